//! One snapshot of everything that a dashboard shows, put together from whoever knows a part of it.

mod kept;

use std::sync::Arc;
use std::time::Duration;

use chat_core::backend::Backend;
use chat_core::error::Error;
use chat_core::letters::Watch;
use chat_wire::admin::lag::Lag;
use chat_wire::admin::stats::{DriftSeen, Stats, Totals};
use chat_wire::time::Timestamp;
use tokio::time::Instant;

use self::kept::Kept;
use crate::http::admin::{head, readiness};
use crate::pressure::Pressure;
use crate::sampler::Sampler;
use crate::telemetry::Metrics;

/// How old a snapshot may be when it is shown to another who asks.
const SHOWN_FOR: Duration = Duration::from_millis(500);
/// How long totals are shown: they cost a row of every chat.
const TOTALS_FOR: Duration = Duration::from_secs(5);
/// How long dead letters and drift are shown.
const OTHERS_FOR: Duration = Duration::from_secs(1);

/// Dead letters that wait for a decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeadLetters {
    /// How many.
    pub waiting: u64,
    /// When the oldest of them became one; `None` where there is none.
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

/// Who watches the lag, and what is done about it.
pub struct Watched {
    /// How far each group is behind.
    pub sampler: Arc<Sampler>,
    /// For which of them creates are shed.
    pub pressure: Arc<Pressure>,
}

/// Puts snapshots together; whoever asks at the same time gets the same one.
pub struct Snapshots {
    process: Process,
    began: Instant,
    backend: Backend,
    watched: Watched,
    metrics: Arc<Metrics>,
    totals: Kept<Totals>,
    drift: Kept<Option<DriftSeen>>,
    letters: Kept<DeadLetters>,
    last: tokio::sync::Mutex<Option<(Instant, Arc<Stats>)>>,
}

impl Snapshots {
    /// Over these parts.
    #[must_use]
    pub fn new(
        process: Process,
        backend: Backend,
        watched: Watched,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (of_totals, of_drift, of_letters) = (backend.clone(), backend.clone(), backend.clone());
        // Where the letters begin that nobody has decided about: what was looked through once is not
        // looked through again.
        let watch = Arc::new(tokio::sync::Mutex::new(Watch::default()));
        Self {
            process,
            began: Instant::now(),
            backend,
            watched,
            metrics,
            totals: Kept::new("totals", TOTALS_FOR, move || {
                let backend = of_totals.clone();
                Box::pin(async move {
                    let totals = backend.ports().store.totals().await?;
                    Ok(Totals {
                        applications: Some(totals.applications),
                        chats: Some(totals.chats),
                        messages: Some(totals.messages),
                    })
                })
            }),
            drift: Kept::new("drift", OTHERS_FOR, move || {
                let backend = of_drift.clone();
                Box::pin(async move { backend.drift_seen().await })
            }),
            letters: Kept::new("dead letters", OTHERS_FOR, move || {
                let (backend, watch) = (of_letters.clone(), Arc::clone(&watch));
                Box::pin(async move { letters(&backend, &mut *watch.lock().await).await })
            }),
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
        self.letters.now().await
    }

    async fn take(&self) -> Stats {
        let (readiness, lag, totals, drift, letters) = tokio::join!(
            readiness(&self.backend, &self.watched.pressure),
            self.watched.sampler.now(),
            self.totals.now(),
            self.drift.now(),
            self.letters.now(),
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
            totals: totals.unwrap_or_default(),
            lag: Some(without_partitions(&lag)),
            shedding: self.watched.pressure.shedding(),
            drift: drift.flatten(),
            dead_letters: letters.map(|letters| letters.waiting),
            oldest_dead_letter_ms: oldest.map(|at| age_ms(at, now)),
        }
    }
}

async fn letters(backend: &Backend, watch: &mut Watch) -> Result<DeadLetters, Error> {
    let waiting = backend.letters_waiting().await?;
    // Next to always there is none, and nothing has to be read to know it.
    let oldest_at = match waiting {
        0 => None,
        _ => backend.oldest_letter(watch).await?,
    };
    Ok(DeadLetters { waiting, oldest_at })
}

/// Milliseconds since a time; a clock that is ahead of ours makes it no age at all.
pub(crate) fn age_ms(at: Timestamp, now: Timestamp) -> u64 {
    let micros = now.as_micros().saturating_sub(at.as_micros());
    u64::try_from(micros / 1_000).unwrap_or(0)
}

fn without_partitions(lag: &Lag) -> Lag {
    Lag {
        sampled_at: lag.sampled_at,
        interval_ms: lag.interval_ms,
        status: lag.status,
        groups: lag.groups.iter().map(head).collect(),
    }
}
