//! Dead letters: records that could never be applied, kept until somebody decides about them.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Where a record stands, or stood: `topic/partition/offset`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// For example `messages`, or `messages.dlq`.
    pub topic: String,
    /// Within the topic, from 0.
    pub partition: u32,
    /// Within the partition.
    pub offset: u64,
}

/// What became of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nobody has decided yet.
    Waiting,
    /// It was appended again to the topic that it came from.
    Replayed,
    /// It was given up, with a reason.
    Discarded,
}

impl State {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }
}

/// One dead letter, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Names it in paths and orders: `topic/partition/offset` of the dead-letter topic, with `-` for `/`.
    pub id: String,
    /// Where it stood first.
    #[serde(default)]
    pub origin: Option<Place>,
    /// For example `message.created`; absent where the record did not say.
    #[serde(default)]
    pub event: Option<String>,
    /// Why it could not be applied.
    pub reason: String,
    /// When it became a dead letter.
    pub buried_at: Timestamp,
    /// Bytes of its value.
    pub bytes: u64,
    /// What became of it.
    pub state: State,
    /// When that was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Timestamp>,
    /// Why it was discarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discard_reason: Option<String>,
}

/// Answer of `GET /admin/dlq`: oldest first within each topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterPage {
    /// How many wait, over all topics.
    pub waiting: u64,
    /// At most `limit`.
    pub letters: Vec<Letter>,
    /// What to give as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after: Option<String>,
}

/// Answer of `GET /admin/dlq/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterWithBytes {
    /// What `GET /admin/dlq` says of it.
    #[serde(flatten)]
    pub letter: Letter,
    /// The key as text; what is not UTF-8 is replaced.
    pub key: String,
    /// The value as text; what is not UTF-8 is replaced.
    pub text: String,
    /// The value in base64, as it was read.
    pub base64: String,
}

/// Body of `POST /admin/dlq/replay` and `POST /admin/dlq/discard`: these, or all that wait.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// These letters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// All that wait, of this topic where one is named.
    #[serde(default)]
    pub all: bool,
    /// For example `messages.dlq`; together with `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Why they are given up; discarding wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Act. Otherwise the answer only says what would be done.
    #[serde(default)]
    pub execute: bool,
}

/// Answer to an order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Letters that were replayed or discarded, or would be.
    pub done: u64,
    /// Letters that had been decided about before.
    pub before: u64,
    /// Letters that failed, with the reason.
    #[serde(default)]
    pub failed: Vec<Failed>,
}

/// A letter that could not be replayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Of the letter.
    pub id: String,
    /// Why.
    pub detail: String,
}
