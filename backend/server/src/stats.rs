//! One snapshot of everything that a dashboard shows, put together from whoever knows a part of it.

mod totals;

use std::sync::Arc;
use std::time::Duration;

use chat_core::port::Ports;
use chat_core::port::log::{PartitionId, PollLimits, Topic};
use chat_wire::admin::lag::Lag;
use chat_wire::admin::stats::{DriftSeen, Stats};
use chat_wire::time::Timestamp;
use parking_lot::{Mutex, RwLock};
use tokio::time::{Instant, timeout};

use self::totals::Totals;
use crate::http::admin::{head, readiness};
use crate::sampler::Sampler;
use crate::telemetry::Metrics;

/// How old a snapshot may be when it is shown to another who asks.
const SHOWN_FOR: Duration = Duration::from_millis(500);
/// How long the dead letters may take to be counted before they are unknown.
const LETTERS_TIMEOUT: Duration = Duration::from_secs(2);
/// The topics whose records are dead letters.
const LETTERS: [Topic; 3] = [Topic::ApplicationsDlq, Topic::ChatsDlq, Topic::MessagesDlq];
/// One record.
const ONE: PollLimits = PollLimits {
    records: 1,
    bytes: 1,
    wait_ms: 0,
};

/// What other parts of the server find out and a snapshot shows. Each writes its own field.
#[derive(Debug, Default)]
pub struct Board {
    /// What the last comparison found.
    pub drift: RwLock<Option<DriftSeen>>,
    /// The dead letters that wait. Nobody says so where nobody decides about any; all that are in the
    /// log wait then.
    pub dead_letters: RwLock<Option<DeadLetters>>,
}

/// Dead letters that wait for a decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeadLetters {
    /// How many.
    pub waiting: u64,
    /// When the oldest of them became one; `None` where there is none, or it could not be read.
    pub oldest_at: Option<Timestamp>,
}

/// What a process is, for as long as it runs.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    /// `embedded` or `engines`.
    pub mode: &'static str,
    /// `all`, `api` or `worker NAME`.
    pub role: &'static str,
}

/// Puts snapshots together; whoever asks at the same time gets the same one.
pub struct Snapshots {
    process: Process,
    began: Instant,
    ports: Ports,
    sampler: Arc<Sampler>,
    metrics: Arc<Metrics>,
    board: Arc<Board>,
    totals: Totals,
    /// Where the oldest dead letter of a topic stands, and since when.
    oldest_letters: Mutex<[Option<(u64, Timestamp)>; LETTERS.len()]>,
    last: tokio::sync::Mutex<Option<(Instant, Arc<Stats>)>>,
}

impl Snapshots {
    /// Over these parts.
    #[must_use]
    pub fn new(
        process: Process,
        ports: Ports,
        sampler: Arc<Sampler>,
        metrics: Arc<Metrics>,
        board: Arc<Board>,
    ) -> Self {
        Self {
            process,
            began: Instant::now(),
            totals: Totals::new(Arc::clone(&ports.store)),
            ports,
            sampler,
            metrics,
            board,
            oldest_letters: Mutex::default(),
            last: tokio::sync::Mutex::default(),
        }
    }

    /// How everything is: now, or a moment ago.
    pub async fn now(&self) -> Arc<Stats> {
        let mut last = self.last.lock().await;
        if let Some((at, stats)) = &*last
            && at.elapsed() < SHOWN_FOR
        {
            return Arc::clone(stats);
        }
        let stats = Arc::new(self.take().await);
        *last = Some((Instant::now(), Arc::clone(&stats)));
        stats
    }

    /// The dead letters that wait; `None` where that could not be asked.
    pub async fn dead_letters(&self) -> Option<DeadLetters> {
        if let Some(known) = *self.board.dead_letters.read() {
            return Some(known);
        }
        timeout(LETTERS_TIMEOUT, self.count_letters()).await.ok()?
    }

    async fn take(&self) -> Stats {
        let (readiness, lag, totals, letters) = tokio::join!(
            readiness(&self.ports),
            self.sampler.now(),
            self.totals.now(),
            self.dead_letters(),
        );
        let now = Timestamp::now();
        let oldest = letters.and_then(|letters| letters.oldest_at);
        Stats {
            at: now,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mode: self.process.mode.to_owned(),
            role: self.process.role.to_owned(),
            uptime_seconds: self.began.elapsed().as_secs(),
            ready: readiness.ready,
            checks: readiness.checks,
            traffic: self.metrics.traffic.rates(),
            totals,
            lag: Some(without_partitions(&lag)),
            drift: self.board.drift.read().clone(),
            dead_letters: letters.map(|letters| letters.waiting),
            oldest_dead_letter_ms: oldest.map(|at| age_ms(at, now)),
        }
    }

    /// Counts what is in the dead-letter topics.
    async fn count_letters(&self) -> Option<DeadLetters> {
        let mut letters = DeadLetters::default();
        for (nth, topic) in LETTERS.into_iter().enumerate() {
            let ranges = self.ports.log.ranges(topic).await.ok()?;
            for (index, (start, end)) in (0..).zip(ranges) {
                letters.waiting += end.saturating_sub(start);
                if start < end {
                    let partition = PartitionId { topic, index };
                    let at = self.appended_at(nth, partition, start).await;
                    letters.oldest_at = match (letters.oldest_at, at) {
                        (Some(one), Some(other)) => Some(one.min(other)),
                        (one, other) => one.or(other),
                    };
                }
            }
        }
        Some(letters)
    }

    /// When a record was appended, which never changes.
    async fn appended_at(
        &self,
        nth: usize,
        partition: PartitionId,
        start: u64,
    ) -> Option<Timestamp> {
        // These topics have one partition each.
        let known = self.oldest_letters.lock()[nth];
        if let Some((offset, at)) = known
            && offset == start
            && partition.index == 0
        {
            return Some(at);
        }
        let read = self.ports.log.read(partition, start, ONE).await.ok()?;
        let at = read.first()?.appended_at;
        if partition.index == 0 {
            self.oldest_letters.lock()[nth] = Some((start, at));
        }
        Some(at)
    }
}

/// Milliseconds since a time; a clock that is ahead of ours makes it no age at all.
pub(crate) fn age_ms(at: Timestamp, now: Timestamp) -> u64 {
    let micros = now.as_micros().saturating_sub(at.as_micros());
    u64::try_from(micros / 1_000).unwrap_or(0)
}

fn without_partitions(lag: &Lag) -> Lag {
    let groups = lag.groups.iter().map(head);
    Lag {
        sampled_at: lag.sampled_at,
        interval_ms: lag.interval_ms,
        status: lag.status,
        groups: groups.collect(),
    }
}
