//! Telemetry: log lines and Prometheus metrics.

pub mod asked;
mod limit;
mod lines;
mod process;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::SystemTime;

use chat_core::port::log::Group;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format;

use self::asked::Asked;
use self::limit::Limited;
pub use self::lines::Flusher;
use crate::config::{Config, LogFormat};
use crate::http::guard::Reason;
use crate::supervise::TaskName;
use crate::traffic::Traffic;

/// What the name of every metric of ours begins with.
const PREFIX: &str = "chatd";

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
    /// The system starts no thread.
    #[error("the thread that writes log lines cannot be started: {0}")]
    Thread(std::io::Error),
}

/// Sends log lines to stderr, as configured. Those that wait are written when what it returns is dropped.
///
/// # Errors
/// [`Error::Filter`] when `CHATD_LOG` cannot be read.
pub fn init(config: &Config) -> Result<Flusher, Error> {
    let filter = EnvFilter::try_new(&config.log).map_err(|source| Error::Filter {
        filter: config.log.clone(),
        source,
    })?;
    let (lines, flusher) = lines::start(std::io::stderr()).map_err(Error::Thread)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // What it would say of itself, it would write to stderr and panic where that fails.
        .log_internal_errors(false)
        .with_writer(lines);
    match config.log_format {
        LogFormat::Text => {
            use std::io::IsTerminal as _;
            let format = Limited::new(format(), limit::append_text);
            let ansi = std::io::stderr().is_terminal();
            lines.with_ansi(ansi).event_format(format).init();
        }
        LogFormat::Json => {
            let format = Limited::new(format::json(), limit::append_json);
            let fields = format::JsonFields::new();
            lines.fmt_fields(fields).event_format(format).init();
        }
    }
    // The standard hook writes to stderr itself, and waits where nobody reads it.
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload_as_str().unwrap_or("no text");
        let place = panic.location().map(ToString::to_string);
        tracing::error!(panic = text, place, "a task panicked");
    }));
    Ok(flusher)
}

/// A route, a method and a status.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Route {
    /// The pattern, never the path: a path holds a token.
    pub route: Cow<'static, str>,
    /// The method.
    pub method: &'static str,
    /// The status.
    pub status: u16,
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

/// The limit beyond which a request came.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ShedBy {
    /// `at_work`, `application_at_work`, `bytes`, `lag` or `rate`.
    pub reason: &'static str,
}

impl From<Reason> for ShedBy {
    fn from(reason: Reason) -> Self {
        Self {
            reason: reason.as_str(),
        }
    }
}

/// A gauge of seconds.
type Seconds = Gauge<f64, AtomicU64>;
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
    /// Requests that were shed before they took a number, by reason.
    pub shed: Family<ShedBy, Counter>,
    /// Events by group and outcome.
    pub applied: Family<GroupOutcome, Counter>,
    /// Records in one batch of a worker.
    pub batch_records: Sizes,
    /// Seconds to apply one batch.
    pub batch_seconds: Sizes,
    /// Tries of a worker that failed and are repeated.
    pub retries: Family<GroupName, Counter>,
    /// Records that became dead letters.
    pub dead_letters: Family<GroupName, Counter>,
    /// Background tasks that ended and were started again.
    pub restarts: Family<TaskName, Counter>,
    /// Numbers that became void.
    pub voids: Counter<u64, AtomicU64>,
    /// The last seconds of the API, for snapshots.
    pub traffic: Traffic,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            requests: Family::default(),
            latency: Family::new_with_constructor(latency_buckets),
            in_flight: Gauge::default(),
            shed: Family::default(),
            applied: Family::default(),
            batch_records: Family::new_with_constructor(size_buckets),
            batch_seconds: Family::new_with_constructor(latency_buckets),
            retries: Family::default(),
            dead_letters: Family::default(),
            restarts: Family::default(),
            voids: Counter::default(),
            traffic: Traffic::default(),
            registry: Registry::default(),
        };
        let mut registry = Registry::default();
        // The name that every Prometheus client gives it, whatever the program.
        registry.register_with_unit(
            "process_start_time",
            "When the process started, since 1970",
            Unit::Seconds,
            ConstGauge::new(since_1970()),
        );
        let ours = registry.sub_registry_with_prefix(PREFIX);
        ours.register(
            "build",
            "What is running",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        metrics.register_requests(ours);
        metrics.register_work(ours);
        Self {
            registry,
            ..metrics
        }
    }
}

impl Metrics {
    fn register_requests(&self, r: &mut Registry) {
        r.register(
            "http_requests",
            "Answers by route, method and status",
            self.requests.clone(),
        );
        r.register_with_unit(
            "http_request_duration",
            "Time to an answer by route, method and status",
            Unit::Seconds,
            self.latency.clone(),
        );
        r.register(
            "http_requests_in_flight",
            "Requests at work",
            self.in_flight.clone(),
        );
        for reason in Reason::ALL {
            drop(self.shed.get_or_create(&ShedBy::from(reason)));
        }
        r.register(
            "http_requests_shed",
            "Requests refused before any work, by the limit that they came beyond",
            self.shed.clone(),
        );
    }

    fn register_work(&self, r: &mut Registry) {
        // There from the start: a counter that appears with its first count has no rate then.
        for group in Group::ALL {
            let label = GroupName {
                group: group.name(),
            };
            drop(self.retries.get_or_create(&label));
            drop(self.dead_letters.get_or_create(&label));
        }
        r.register(
            "events_applied",
            "Events by group and outcome",
            self.applied.clone(),
        );
        r.register(
            "batch_records",
            "Records in a worker's batch",
            self.batch_records.clone(),
        );
        r.register_with_unit(
            "batch_duration",
            "Time to apply a worker's batch",
            Unit::Seconds,
            self.batch_seconds.clone(),
        );
        r.register(
            "worker_retries",
            "Failed tries of a worker",
            self.retries.clone(),
        );
        r.register(
            "dead_letters",
            "Records that became dead letters, by the group that gave them up",
            self.dead_letters.clone(),
        );
        r.register(
            "task_restarts",
            "Background tasks that ended unexpectedly and were started again",
            self.restarts.clone(),
        );
        r.register(
            "numbers_voided",
            "Numbers that were handed out and have no record",
            self.voids.clone(),
        );
    }

    /// The text that Prometheus scrapes: what was counted, and what was asked for it.
    #[must_use]
    pub fn text(&self, asked: &Asked<'_>) -> String {
        let mut page = String::new();
        let mut process = Registry::default();
        process::register(&mut process);
        let encoded = text::encode_registry(&mut page, &self.registry)
            .and_then(|()| text::encode_registry(&mut page, &process))
            .and_then(|()| text::encode_registry(&mut page, &asked.registry()))
            .and_then(|()| text::encode_eof(&mut page));
        if encoded.is_err() {
            // Writing into a String does not fail; a metric that cannot be encoded is a defect that
            // should be seen in the page and not take the server down.
            let _ = writeln!(page, "# the metrics could not be encoded");
        }
        page
    }

    /// Counts a request that was shed.
    pub fn shed(&self, reason: Reason) {
        self.shed.get_or_create(&ShedBy::from(reason)).inc();
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

fn since_1970() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

fn latency_buckets() -> Histogram {
    Histogram::new([
        0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ])
}

fn size_buckets() -> Histogram {
    Histogram::new([1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0])
}
