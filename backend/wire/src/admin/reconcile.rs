//! Reconciliation: a plan, and carrying it out, one run at a time across all processes.

use serde::{Deserialize, Serialize};

use super::drift::Summary;
use crate::ids::{AppToken, ChatNumber};
use crate::time::Timestamp;

/// Body of `POST /admin/reconcile`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Only this application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<AppToken>,
    /// Only this chat of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<ChatNumber>,
    /// Compare everything, and not only what changed since the last run.
    #[serde(default)]
    pub full: bool,
    /// Act. Otherwise the run only finds out what it would do.
    #[serde(default)]
    pub execute: bool,
}

/// What a run does about one finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Recover a counter that is missing or behind: up to the highest number, never down.
    RaiseCounter,
    /// Set the count column from the rows.
    SetCount,
    /// Make numbers void that will never get a row.
    VoidHoles,
    /// Index messages that are missing, and remove what is not live.
    Reindex,
}

impl Act {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RaiseCounter => "raise_counter",
            Self::SetCount => "set_count",
            Self::VoidHoles => "void_holes",
            Self::Reindex => "reindex",
        }
    }
}

/// One thing to do, or done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What.
    pub act: Act,
    /// Where.
    pub token: AppToken,
    /// In which chat; absent for the application itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<ChatNumber>,
    /// As it was found: the counter, the count, the rows, or the documents.
    #[serde(default)]
    pub from: Option<u64>,
    /// As it is to be.
    pub to: u64,
    /// How it went; absent in a plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// How a step went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result", content = "detail")]
pub enum Outcome {
    /// Done.
    Done,
    /// Nothing was left to do: somebody was faster.
    Unneeded,
    /// Not yet: what is amiss may still be on its way. The next run looks again.
    Waits(String),
    /// It failed; the next run tries again.
    Failed(String),
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It compares.
    Comparing,
    /// It acts.
    Acting,
    /// It came to its end.
    Finished,
    /// It was cancelled.
    Cancelled,
    /// It ended in the middle; the detail says why, and the next run goes on from there.
    Failed,
}

/// Answer of `POST /admin/reconcile` (202) and `GET /admin/reconcile`: the run at work, or the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Names the run; a UUID.
    pub id: String,
    /// What it was asked for.
    pub order: Order,
    /// Which process runs it: host, process id and role.
    pub owner: String,
    /// Began.
    pub started_at: Timestamp,
    /// Ended; absent while it is at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Where it is.
    pub phase: Phase,
    /// Why it is there, where that needs words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What it found.
    pub summary: Summary,
    /// Steps in the plan.
    pub planned: u64,
    /// Steps that were done or found unneeded.
    pub done: u64,
    /// Steps that wait.
    pub waits: u64,
    /// Steps that failed.
    pub failed: u64,
    /// The first of the steps, at most 1,000.
    pub steps: Vec<Step>,
}

/// Answer of `GET /admin/reconcile`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runs {
    /// The run at work, in whichever process.
    #[serde(default)]
    pub current: Option<Run>,
    /// The last run that ended.
    #[serde(default)]
    pub last: Option<Run>,
}
