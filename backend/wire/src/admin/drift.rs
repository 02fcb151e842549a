//! Drift: the counter beside the highest number, the rows, the count, the log and the index.

use serde::{Deserialize, Serialize};

use crate::ids::{AppToken, ChatNumber};
use crate::time::Timestamp;

/// What is the matter with an application or a chat. In order of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything agrees.
    Ok,
    /// What differs is still on its way through the log.
    InFlight,
    /// Something could not be asked; the detail says what.
    Unknown,
    /// The count column is not the number of live rows.
    CountStale,
    /// Live messages are missing in the index, or it holds some that are not live.
    Unindexed,
    /// Numbers that were handed out have no row, and no record was found that could bring one.
    Holes,
    /// The counter is missing, or below the highest number: it would be fenced at the next create.
    CounterBehind,
}

impl Verdict {
    /// All of them, from well to worst.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::InFlight,
        Self::Unknown,
        Self::CountStale,
        Self::Unindexed,
        Self::Holes,
        Self::CounterBehind,
    ];

    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::InFlight => "in_flight",
            Self::Unknown => "unknown",
            Self::CountStale => "count_stale",
            Self::Unindexed => "unindexed",
            Self::Holes => "holes",
            Self::CounterBehind => "counter_behind",
        }
    }

    /// Whether reconciliation has something to do.
    #[must_use]
    pub const fn is_drift(self) -> bool {
        !matches!(self, Self::Ok | Self::InFlight | Self::Unknown)
    }
}

/// Answer of `GET /admin/drift`: applications, or the chats of one, worst first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftPage {
    /// When it was looked at.
    pub compared_at: Timestamp,
    /// How many have each verdict other than `ok`, over everything that was compared for this page and
    /// not only its rows. A page that goes on within what an earlier one compared counts nothing
    /// again, so the summaries of all pages add up.
    pub summary: Summary,
    /// At most `limit`.
    pub rows: Vec<Drift>,
    /// What to give as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after: Option<String>,
}

/// How many rows have which verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Rows that were compared.
    pub compared: u64,
    /// `in_flight`.
    pub in_flight: u64,
    /// `unknown`.
    pub unknown: u64,
    /// `count_stale`.
    pub count_stale: u64,
    /// `unindexed`.
    pub unindexed: u64,
    /// `holes`.
    pub holes: u64,
    /// `counter_behind`.
    pub counter_behind: u64,
}

impl Summary {
    /// Rows for which reconciliation has something to do.
    #[must_use]
    pub const fn drifted(&self) -> u64 {
        self.count_stale + self.unindexed + self.holes + self.counter_behind
    }

    /// Counts one row.
    pub const fn add(&mut self, verdict: Verdict) {
        self.compared += 1;
        match verdict {
            Verdict::Ok => {}
            Verdict::InFlight => self.in_flight += 1,
            Verdict::Unknown => self.unknown += 1,
            Verdict::CountStale => self.count_stale += 1,
            Verdict::Unindexed => self.unindexed += 1,
            Verdict::Holes => self.holes += 1,
            Verdict::CounterBehind => self.counter_behind += 1,
        }
    }
}

/// One application (its chats are counted) or one chat (its messages are counted). What is absent is
/// unknown, and never zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The application.
    pub token: AppToken,
    /// The application's name; empty while its create is on its way.
    pub name: String,
    /// The chat; absent for the application itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<ChatNumber>,
    /// Last number that the counter gave out; absent where the counter is missing.
    #[serde(default)]
    pub counter: Option<u32>,
    /// Highest number that has a row.
    pub highest: u32,
    /// Rows of any state: every number up to the highest has one where nothing is amiss.
    pub rows: u64,
    /// Rows that are live: chats, or messages that are neither void nor deleted.
    pub live: u64,
    /// The count column.
    pub count: u64,
    /// Records of the partition that the store has not applied yet.
    #[serde(default)]
    pub in_log: Option<u64>,
    /// Live documents in the index; of an application those of all its chats.
    #[serde(default)]
    pub documents: Option<u64>,
    /// The worst of what is the matter.
    pub verdict: Verdict,
    /// All of what is the matter, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// Of an application: chats in it that have drifted; 0 for a chat.
    #[serde(default)]
    pub chats_drifted: u64,
}
