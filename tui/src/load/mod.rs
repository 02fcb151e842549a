//! The live view of a load test: what it sends, what comes back, and how far the workers are behind.
//!
//! [`Live`] is what is known at a moment, [`draw`] draws it and changes nothing, and [`show::show`]
//! owns the terminal while the test runs.

pub mod show;

pub use crate::view::load::draw;

/// Where a load test is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Applications and chats are made.
    #[default]
    Preparing,
    /// Requests are sent, and not counted yet.
    WarmUp,
    /// Requests are sent and counted.
    Running,
    /// The last answers and the workers are waited for.
    Draining,
    /// Everything that was acknowledged is looked for.
    Verifying,
}

impl Phase {
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::WarmUp => "warm-up",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Verifying => "verifying",
        }
    }
}

/// Everything that the view shows. Times are milliseconds, rates are of the last second.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Live {
    /// Of the scenario.
    pub name: String,
    /// Address of the server.
    pub target: String,
    /// `open` or `closed`.
    pub model: &'static str,
    /// Where it is.
    pub phase: Phase,
    /// Seconds in this phase.
    pub elapsed: f64,
    /// Seconds that this phase takes, where that is known.
    pub planned: Option<f64>,
    /// Requests that are due, a second.
    pub wanted_per_second: f64,
    /// Sent.
    pub sent_per_second: f64,
    /// Answered as wanted.
    pub ok_per_second: f64,
    /// Sent since the measurement began.
    pub sent: u64,
    /// Answered as wanted since then.
    pub ok: u64,
    /// Otherwise, or not at all.
    pub failed: u64,
    /// Due and not sent, because too many were in flight.
    pub skipped: u64,
    /// Sent and not answered.
    pub in_flight: u64,
    /// Most that may be.
    pub in_flight_max: u64,
    /// How late requests are sent, 99th percentile of the last second.
    pub late_p99: Option<f64>,
    /// Each kind of operation.
    pub operations: Vec<Operation>,
    /// Other answers than wanted, by code, most frequent first.
    pub errors: Vec<(String, u64)>,
    /// The seconds so far, oldest first.
    pub series: Vec<Point>,
    /// Each consumer group; empty where lag cannot be asked for.
    pub lag: Vec<Lag>,
    /// What is going on, in words.
    pub note: Option<String>,
}

/// One kind of operation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Operation {
    /// For example `send`.
    pub name: String,
    /// Answered as wanted in the last second.
    pub per_second: f64,
    /// Answered as wanted, since the measurement began.
    pub ok: u64,
    /// Otherwise.
    pub failed: u64,
    /// Response time since the measurement began.
    pub p50: Option<f64>,
    /// 99th percentile of it.
    pub p99: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
    /// 99th percentile of the service time.
    pub service_p99: Option<f64>,
}

/// One second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Point {
    /// Due.
    pub wanted: f64,
    /// Answered as wanted.
    pub ok: f64,
    /// Median response time.
    pub p50: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
}

/// One consumer group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lag {
    /// For example `messages-store`.
    pub group: String,
    /// Unread records; `None` where that is unknown.
    pub records: Option<u64>,
    /// In words, as `chatctl lag` has them.
    pub status: String,
    /// Seconds until nothing is unread at these rates; `None` where that is never or unknown.
    pub drain_seconds: Option<f64>,
}
