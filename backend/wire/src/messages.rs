//! Messages: numbered 1, 2, 3 … within a chat.

use serde::{Deserialize, Serialize};

use crate::ids::{ChatNumber, MessageNumber};
use crate::time::Timestamp;

/// Body of `POST …/messages`, and one line of `POST …/messages/batch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    /// 1 byte to 64 KiB of UTF-8, kept byte for byte.
    pub body: String,
    /// At most 255 code points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// When the sender says that it was sent; for imports of older messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
}

/// Answer of `POST …/messages`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageCreated {
    /// Within the chat.
    pub message_number: MessageNumber,
}

/// Answer of `POST …/messages/batch`: line i of the request has the number `first + i`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchCreated {
    /// Number of the first line.
    pub first: MessageNumber,
    /// Number of the last line.
    pub last: MessageNumber,
}

/// Body of `PUT …/messages/{m}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditMessage {
    /// The new body, by the rules of a create.
    pub body: String,
}

/// A stored, live message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The chat that it is in.
    pub chat_number: ChatNumber,
    /// Within the chat.
    pub message_number: MessageNumber,
    /// As it was given.
    pub sender: Option<String>,
    /// The latest body.
    pub body: String,
    /// As the sender gave it, to the microsecond.
    pub sent_at: Option<Timestamp>,
    /// When the create was accepted.
    pub created_at: Timestamp,
    /// When the last edit was accepted.
    pub updated_at: Option<Timestamp>,
    /// Grows with every edit; also the `ETag`.
    pub revision: u64,
}

/// Answer of `GET …/messages`, in order of number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessagePage {
    /// At most `limit`; deleted and void numbers are left out.
    pub messages: Vec<Message>,
    /// Up to this number everything is stored or void: nothing will appear at or below it. 0 where nothing is.
    pub settled_through: u32,
    /// What to give as `after` to read on; absent when the settled end was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after: Option<MessageNumber>,
    /// What to give as `before` to read back; absent at the start of the chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_before: Option<MessageNumber>,
}

/// The data of a `reset` event of a stream: numbers that its reader has passed, or believes to have
/// passed, are not what they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamReset {
    /// From this number on the reader should read again.
    pub from: u32,
    /// The stream goes on behind this number.
    pub after: u32,
}
