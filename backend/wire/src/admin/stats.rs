//! One snapshot of everything that a dashboard shows.

use serde::{Deserialize, Serialize};

use super::Check;
use super::drift::Summary;
use super::lag::Lag;
use super::reconcile::Phase;
use crate::time::Timestamp;

/// Answer of `GET /admin/stats`, and each event of `GET /admin/stats/stream`. What is absent is
/// unknown, and never zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// When it was put together.
    pub at: Timestamp,
    /// Of the server.
    pub version: String,
    /// `embedded` or `engines`.
    pub mode: String,
    /// `all`, `api` or `worker NAME`.
    pub role: String,
    /// Seconds since the server started.
    pub uptime_seconds: u64,
    /// Whether the server can do its work.
    pub ready: bool,
    /// Each dependency.
    pub checks: Vec<Check>,
    /// Rates of this process, over the last seconds.
    pub traffic: Traffic,
    /// How much is stored.
    pub totals: Totals,
    /// Every group, with no partitions; absent where it could not be sampled.
    #[serde(default)]
    pub lag: Option<Lag>,
    /// What the last comparison found; absent before the first.
    #[serde(default)]
    pub drift: Option<DriftSeen>,
    /// Dead letters that wait.
    #[serde(default)]
    pub dead_letters: Option<u64>,
    /// Age of the oldest dead letter that waits, in milliseconds.
    #[serde(default)]
    pub oldest_dead_letter_ms: Option<u64>,
}

/// What this process did, a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Requests answered.
    pub requests_per_second: f64,
    /// Messages accepted.
    pub creates_per_second: f64,
    /// Answers with status 5xx.
    pub errors_per_second: f64,
    /// Answers with status 429 or 503 because of a limit.
    pub shed_per_second: f64,
    /// Median time of creates, in milliseconds.
    #[serde(default)]
    pub create_p50_ms: Option<f64>,
    /// 99th percentile of the time of creates, in milliseconds.
    #[serde(default)]
    pub create_p99_ms: Option<f64>,
    /// Requests at work.
    pub in_flight: u64,
}

/// How much is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Applications.
    #[serde(default)]
    pub applications: Option<u64>,
    /// Chats of all applications, by the count columns.
    #[serde(default)]
    pub chats: Option<u64>,
    /// Live messages of all chats, by the count columns.
    #[serde(default)]
    pub messages: Option<u64>,
}

/// What the last comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftSeen {
    /// When.
    pub at: Timestamp,
    /// How many of each verdict.
    pub summary: Summary,
    /// Whether a run is at work, and where it is.
    #[serde(default)]
    pub running: Option<Phase>,
}
