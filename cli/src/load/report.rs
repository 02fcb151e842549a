//! What a run found out: the document that is printed, written, plotted and compared.

use std::collections::BTreeMap;

use chat_wire::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Version of the document; a reader refuses one that it does not know.
pub(crate) const SCHEMA: u32 = 1;

/// Everything that a run found out. Times are milliseconds, rates are per second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// [`SCHEMA`].
    pub(crate) schema: u32,
    /// What was asked for.
    pub(crate) scenario: Asked,
    /// Where it ran.
    pub(crate) environment: Environment,
    /// What was measured, after the warm-up.
    pub(crate) totals: Totals,
    /// The warm-up, which counts for nothing else.
    pub(crate) warmup: Totals,
    /// Each kind of operation that was sent, in order of name.
    pub(crate) operations: Vec<Operation>,
    /// How the generator itself did.
    pub(crate) generator: Generator,
    /// From an answered create to its row and to its document, of samples.
    #[serde(default)]
    pub(crate) freshness: Option<Freshness>,
    /// After the load: how long the workers needed.
    #[serde(default)]
    pub(crate) drain: Option<Drain>,
    /// Whether everything is there; absent where that was not asked.
    #[serde(default)]
    pub(crate) verification: Option<Verification>,
    /// Each objective, and whether it was met.
    pub(crate) objectives: Vec<Objective>,
    /// The trials of `--find-max`, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) trials: Vec<Trial>,
    /// A point for each second of the measurement.
    pub(crate) series: Vec<Second>,
    /// Whether somebody ended it before its time.
    pub(crate) interrupted: bool,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// Of the scenario, or of its file.
    pub(crate) name: String,
    /// What it is for.
    pub(crate) about: String,
    /// `open`: requests are sent when they are due; `closed`: each user waits for its answer.
    pub(crate) model: Model,
    /// Seed of every choice.
    pub(crate) seed: u64,
    /// Seconds of the warm-up.
    pub(crate) warmup_seconds: f64,
    /// Seconds of the measurement, as planned.
    pub(crate) seconds: f64,
    /// The scenario with all flags and defaults in it, as TOML that can be run again.
    pub(crate) toml: String,
}

/// How requests come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Model {
    /// They arrive on a schedule, whether or not earlier ones are answered.
    Open,
    /// A fixed number of users, of which each waits for its answer.
    Closed,
}

impl Model {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// Where it ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Environment {
    /// When the measurement began.
    pub(crate) started_at: Timestamp,
    /// Version of `chatctl`.
    pub(crate) version: String,
    /// Address of the server.
    pub(crate) target: String,
    /// Version of the server, where it told.
    #[serde(default)]
    pub(crate) server_version: Option<String>,
    /// `embedded` or `engines`, where it told.
    #[serde(default)]
    pub(crate) server_mode: Option<String>,
    /// Operating system and architecture.
    pub(crate) platform: String,
    /// Processors that the generator may use.
    pub(crate) cpus: u32,
    /// Load average over a minute, before the run; absent where the system has none.
    #[serde(default)]
    pub(crate) load_before: Option<f64>,
    /// Most files and sockets that the generator may open.
    #[serde(default)]
    pub(crate) open_files_max: Option<u64>,
}

/// Sums over all operations.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
    /// Requests that were due.
    pub(crate) wanted: u64,
    /// Requests that were sent.
    pub(crate) sent: u64,
    /// Requests that got the answer they wanted.
    pub(crate) ok: u64,
    /// Requests that were due while too many others were in flight, and were not sent.
    pub(crate) skipped: u64,
    /// Other answers, or none, by code.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Messages that the server acknowledged, those of batches too.
    pub(crate) messages: u64,
    /// Most requests in flight at once.
    pub(crate) in_flight_max: u64,
    /// Due a second.
    pub(crate) wanted_per_second: f64,
    /// Sent a second.
    pub(crate) sent_per_second: f64,
    /// Answered as wanted, a second.
    pub(crate) ok_per_second: f64,
}

impl Totals {
    /// Answers of another kind than wanted, and none at all.
    pub(crate) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// One kind of operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Operation {
    /// For example `send`.
    pub(crate) name: String,
    /// Answered as wanted.
    pub(crate) ok: u64,
    /// Other answers, or none, by code.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Of answers as wanted: from the moment at which the request was due to its answer.
    /// In the closed model the same as `service`.
    pub(crate) response: Latency,
    /// Of answers as wanted: from the moment at which the request was really sent to its answer.
    pub(crate) service: Latency,
    /// Of all other answers, from the moment at which the request was due.
    pub(crate) refused: Latency,
}

/// A distribution of times in milliseconds, with three significant digits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// How many there were; everything else is absent where there were none.
    pub(crate) count: u64,
    #[serde(default)]
    pub(crate) mean: Option<f64>,
    #[serde(default)]
    pub(crate) p50: Option<f64>,
    #[serde(default)]
    pub(crate) p90: Option<f64>,
    #[serde(default)]
    pub(crate) p95: Option<f64>,
    #[serde(default)]
    pub(crate) p99: Option<f64>,
    #[serde(default)]
    pub(crate) p99_9: Option<f64>,
    #[serde(default)]
    pub(crate) p99_99: Option<f64>,
    #[serde(default)]
    pub(crate) max: Option<f64>,
    /// The whole distribution: pairs of a quantile between 0 and 1, and milliseconds.
    #[serde(default)]
    pub(crate) quantiles: Vec<(f64, f64)>,
}

/// How the generator itself did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Generator {
    /// How much later than due requests were sent.
    pub(crate) late: Latency,
    /// CPU that it used, in seconds.
    #[serde(default)]
    pub(crate) cpu_seconds: Option<f64>,
    /// CPU microseconds for each request.
    #[serde(default)]
    pub(crate) cpu_us_per_request: Option<f64>,
    /// Why the figures tell of the generator rather than of the server, where that is so.
    #[serde(default)]
    pub(crate) limited_by: Option<String>,
}

/// From an answered create to what can be seen of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Freshness {
    /// To its row.
    pub(crate) stored: Latency,
    /// To its document.
    pub(crate) searchable: Latency,
    /// Samples that were given up, because it took longer than the patience.
    pub(crate) given_up: u64,
}

/// After the load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Drain {
    /// Records that were unread when the load ended, by group; absent where unknown.
    pub(crate) lag_at_end: BTreeMap<String, Option<u64>>,
    /// Seconds until nothing was unread; absent where it did not happen in time.
    #[serde(default)]
    pub(crate) seconds: Option<f64>,
}

/// Whether everything that was acknowledged is there, once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verification {
    /// Messages that were acknowledged, and not deleted afterwards.
    pub(crate) acknowledged: u64,
    /// Requests whose outcome nobody knows: they were sent and not answered.
    pub(crate) unanswered: u64,
    /// Rows of the chats of the run.
    pub(crate) rows: u64,
    /// Documents that were looked at.
    pub(crate) documents: u64,
    /// Acknowledged messages that are not there, or have another body.
    pub(crate) lost: u64,
    /// Messages that are there more than once.
    pub(crate) doubled: u64,
    /// Messages that are there and that nobody sent, or that were deleted.
    pub(crate) unexpected: u64,
    /// Acknowledged messages that search does not find.
    pub(crate) unindexed: u64,
    /// Numbers that were given to two creates.
    pub(crate) numbers_twice: u64,
    /// Chats whose counter, numbers, rows, count or documents disagree after everything settled.
    pub(crate) chats_drifted: u64,
    /// Numbers that belong to no message, because a create was not acknowledged.
    pub(crate) void: u64,
    /// Dead letters of the run.
    #[serde(default)]
    pub(crate) dead_letters: Option<u64>,
    /// Whether every document was looked at, or only samples of them and their number.
    pub(crate) index_complete: bool,
    /// Seconds that it took.
    pub(crate) seconds: f64,
    /// What is wrong, in words; empty where nothing is.
    pub(crate) findings: Vec<String>,
}

impl Verification {
    /// Whether nothing is wrong.
    pub(crate) fn kept(&self) -> bool {
        self.findings.is_empty()
    }
}

/// An objective, and whether it was met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Objective {
    /// As it was written, for example `send.p99<50ms`.
    pub(crate) text: String,
    /// The figure, in the unit of the objective.
    pub(crate) value: f64,
    /// Its unit: `ms`, `s`, `%`, `/s`, or empty.
    pub(crate) unit: String,
    /// Whether it was met.
    pub(crate) met: bool,
}

/// One try of `--find-max`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trial {
    /// Requests a second that were due.
    pub(crate) rate: f64,
    /// Answered as wanted, a second.
    pub(crate) ok_per_second: f64,
    /// 50th percentile of the response time of the busiest operation.
    #[serde(default)]
    pub(crate) p50: Option<f64>,
    /// 99th percentile of it.
    #[serde(default)]
    pub(crate) p99: Option<f64>,
    /// Whether every objective was met.
    pub(crate) met: bool,
    /// What was not.
    #[serde(default)]
    pub(crate) missed: Vec<String>,
}

/// One second of the measurement.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Second {
    /// Seconds since the measurement began, at its end.
    pub(crate) at: f64,
    /// Requests that were due in it.
    pub(crate) wanted: u64,
    /// Sent in it.
    pub(crate) sent: u64,
    /// Answered in it as wanted.
    pub(crate) ok: u64,
    /// Answered in it otherwise, or given up.
    pub(crate) errors: u64,
    /// Due in it and not sent.
    pub(crate) skipped: u64,
    /// In flight at its end.
    pub(crate) in_flight: u64,
    /// Response times of the answers in it, as wanted.
    #[serde(default)]
    pub(crate) p50: Option<f64>,
    #[serde(default)]
    pub(crate) p99: Option<f64>,
    #[serde(default)]
    pub(crate) p99_9: Option<f64>,
    /// Unread records by group; absent where that is unknown.
    #[serde(default)]
    pub(crate) lag: BTreeMap<String, Option<u64>>,
}
