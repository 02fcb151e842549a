//! Search: hits, their highlights, and how current the answer is.

use serde::{Deserialize, Serialize};

use crate::messages::Message;

/// The order of hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// Latest first: by time of creation, then chat, then number, descending.
    #[default]
    Newest,
    /// By chat and number, ascending.
    Number,
}

/// One message that contains the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// The message, as it is stored.
    #[serde(flatten)]
    pub message: Message,
    /// Each occurrence as `[start, end)`, counted in characters (Unicode scalar values) of `body`; in order, apart from each other.
    pub highlights: Vec<(u32, u32)>,
}

/// Answer of a search.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchPage {
    /// At most `limit`.
    pub hits: Vec<Hit>,
    /// Whether every message that was acknowledged before the search is in the answer.
    pub complete: bool,
    /// Log records that may hold an answer and are not searchable yet.
    pub lag_records: u64,
    /// What to give as `cursor` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
