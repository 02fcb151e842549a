//! Telemetry: log lines and Prometheus metrics.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Why log lines cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is no filter.
    #[error("CHATD_LOG is {filter:?}, which is no level or directive: {source}")]
    Filter {
        /// As it was given.
        filter: String,
        /// Of the parser.
        source: tracing_subscriber::filter::ParseError,
    },
}

/// Sends log lines to stderr, as configured.
///
/// # Errors
/// [`Error::Filter`] when `CHATD_LOG` cannot be read.
pub fn init(config: &Config) -> Result<(), Error> {
    let filter = EnvFilter::try_new(&config.log).map_err(|source| Error::Filter {
        filter: config.log.clone(),
        source,
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => {
            use std::io::IsTerminal as _;
            lines.with_ansi(std::io::stderr().is_terminal()).init();
        }
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}

/// A route, a method and a status.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Route {
    /// The pattern, never the path: a path holds a token.
    pub route: String,
    /// The method.
    pub method: &'static str,
    /// The status.
    pub status: u16,
}

/// A consumer group and a partition of its topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GroupPartition {
    /// Name of the group.
    pub group: &'static str,
    /// Name of the topic.
    pub topic: &'static str,
    /// Within the topic.
    pub partition: u32,
}

/// A consumer group and what became of an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GroupOutcome {
    /// Name of the group.
    pub group: &'static str,
    /// `created`, `changed`, `repeated`, `renumbered`, `superseded`, `indexed`, `newer`, `refused`, `dead`.
    pub outcome: &'static str,
}

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GroupName {
    /// Name of the group.
    pub group: &'static str,
}

type Latency = Family<Route, Histogram, fn() -> Histogram>;
type Sizes = Family<GroupName, Histogram, fn() -> Histogram>;

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Answers by route.
    pub requests: Family<Route, Counter>,
    /// Seconds to an answer by route.
    pub latency: Latency,
    /// Requests at work.
    pub in_flight: Gauge<i64, AtomicI64>,
    /// Requests that were shed before they took a number.
    pub shed: Counter<u64, AtomicU64>,
    /// Events by group and outcome.
    pub applied: Family<GroupOutcome, Counter>,
    /// Records in one batch of a worker.
    pub batch_records: Sizes,
    /// Seconds to apply one batch.
    pub batch_seconds: Sizes,
    /// Tries of a worker that failed and are repeated.
    pub retries: Family<GroupName, Counter>,
    /// Records between the end of the log and the group's position, asked at each scrape.
    pub lag: Family<GroupPartition, Gauge<i64, AtomicI64>>,
    /// Numbers that became void.
    pub voids: Counter<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("chatd");
        let metrics = Self {
            requests: Family::default(),
            latency: Family::new_with_constructor(latency_buckets),
            in_flight: Gauge::default(),
            shed: Counter::default(),
            applied: Family::default(),
            batch_records: Family::new_with_constructor(size_buckets),
            batch_seconds: Family::new_with_constructor(latency_buckets),
            retries: Family::default(),
            lag: Family::default(),
            voids: Counter::default(),
            registry: Registry::default(),
        };
        let r = &mut registry;
        r.register(
            "http_requests",
            "Answers by route, method and status",
            metrics.requests.clone(),
        );
        r.register_with_unit(
            "http_request_duration",
            "Time to an answer by route, method and status",
            Unit::Seconds,
            metrics.latency.clone(),
        );
        r.register(
            "http_requests_in_flight",
            "Requests at work",
            metrics.in_flight.clone(),
        );
        r.register(
            "http_requests_shed",
            "Requests refused before any work",
            metrics.shed.clone(),
        );
        r.register(
            "events_applied",
            "Events by group and outcome",
            metrics.applied.clone(),
        );
        r.register(
            "batch_records",
            "Records in a worker's batch",
            metrics.batch_records.clone(),
        );
        r.register_with_unit(
            "batch_duration",
            "Time to apply a worker's batch",
            Unit::Seconds,
            metrics.batch_seconds.clone(),
        );
        r.register(
            "worker_retries",
            "Failed tries of a worker",
            metrics.retries.clone(),
        );
        r.register(
            "log_lag_records",
            "End offset minus position, by group and partition",
            metrics.lag.clone(),
        );
        r.register(
            "numbers_voided",
            "Numbers that were never acknowledged",
            metrics.voids.clone(),
        );
        Self {
            registry,
            ..metrics
        }
    }
}

impl Metrics {
    /// The text that Prometheus scrapes.
    #[must_use]
    pub fn text(&self) -> String {
        let mut page = String::new();
        if text::encode(&mut page, &self.registry).is_err() {
            // Writing into a String does not fail; a metric that cannot be encoded is a defect that
            // should be seen in the page and not take the server down.
            let _ = writeln!(page, "# the metrics could not be encoded");
        }
        page
    }

    /// Counts events of a group; nothing is shown for what never happened.
    pub fn count(&self, group: &'static str, outcome: &'static str, events: u64) {
        if events > 0 {
            self.applied
                .get_or_create(&GroupOutcome { group, outcome })
                .inc_by(events);
        }
    }
}

fn latency_buckets() -> Histogram {
    Histogram::new([
        0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ])
}

fn size_buckets() -> Histogram {
    Histogram::new([1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0])
}
