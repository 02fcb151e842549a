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
    /// Groups that are too far behind, for which this process sheds creates; none where it sheds none.
    #[serde(default)]
    pub shedding: Vec<Shedding>,
    /// Dead letters that wait.
    #[serde(default)]
    pub dead_letters: Option<u64>,
    /// Age of the oldest dead letter that waits, in milliseconds.
    #[serde(default)]
    pub oldest_dead_letter_ms: Option<u64>,
}

/// A group that is so far behind that creates which it would have to apply are shed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shedding {
    /// For example `messages-index`.
    pub group: String,
    /// What is not created meanwhile: `applications`, `chats` or `messages`.
    pub topic: String,
    /// What the next three are counted in.
    pub measure: Measure,
    /// How far it is behind.
    pub lag: u64,
    /// How far it may be.
    pub limit: u64,
    /// Creates go on when it is down to this.
    pub resume: u64,
    /// Since when creates are shed.
    pub since: Timestamp,
}

/// What a lag is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Records of the log.
    Records,
    /// Bytes, by the mean size of the records that this process appended lately.
    Bytes,
}

impl Measure {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Bytes => "bytes",
        }
    }
}

impl Shedding {
    /// The same in words.
    #[must_use]
    pub fn text(&self) -> String {
        let Self {
            group,
            topic,
            lag,
            limit,
            resume,
            ..
        } = self;
        let unit = self.measure.as_str();
        format!(
            "{group} is {lag} {unit} behind, above the limit of {limit}: creates of {topic} are shed \
             until it is down to {resume}"
        )
    }
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
