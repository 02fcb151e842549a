//! Chats: numbered 1, 2, 3 … within an application.

use serde::{Deserialize, Serialize};

use crate::ids::ChatNumber;
use crate::time::Timestamp;

/// Answer of `POST /applications/{token}/chats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatCreated {
    /// May be used at once, before the chat's row is stored.
    pub chat_number: ChatNumber,
}

/// Answer of `GET /applications/{token}/chats/{n}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat {
    /// Within the application.
    pub chat_number: ChatNumber,
    /// Live messages whose rows are stored.
    pub messages_count: u32,
    /// When the create was accepted.
    pub created_at: Timestamp,
}

/// Answer of `GET /applications/{token}/chats`, in order of number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatPage {
    /// At most `limit`.
    pub chats: Vec<Chat>,
    /// What to give as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after: Option<ChatNumber>,
}
