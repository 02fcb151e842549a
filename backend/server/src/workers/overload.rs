//! Whether workers should leave the processors to those who serve clients.
//!
//! A process that turns clients away for want of a place says so once a second, as a hint; the workers of
//! messages, which may be processes of their own, rest while they hear it and processors are short where
//! they run. On a machine of their own they have nothing to leave to anybody, and go on. When it is over they
//! take half of the time for a while: what they had left would otherwise keep everybody waiting as before.
//! Nobody is told any more when a group comes near to its limit: beyond it creates would be shed altogether.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chat_core::port::Ports;
use chat_core::port::signals::Subject;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::pressure::Pressure;
use crate::telemetry::Metrics;

/// Between two hints.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long one is believed: two more may be lost.
const BELIEVED: Duration = Duration::from_secs(3);
/// One alone says nothing, because whoever connects anew is told of anything that may have been missed; it
/// takes two, at least this far apart.
const APART: Duration = Duration::from_millis(500);
/// How long after an overload a worker takes half of the time only.
const EASED: Duration = Duration::from_secs(30);
/// So many times as long as its batch took a worker rests under overload: it works a tenth of the time.
const REST_TIMES: u32 = 9;
/// Processors are short where somebody waited for one in so many percent of the last ten seconds.
const SHORT_PERCENT: f64 = 20.0;
/// Where Linux tells that (PSI, accounting/psi.rst of its documentation). In a container it is the
/// whole machine's.
const PRESSURE: &str = "/proc/pressure/cpu";

/// What is known of it in this process.
#[derive(Debug)]
pub struct Overload {
    metrics: Arc<Metrics>,
    pressure: Arc<Pressure>,
    began: Instant,
    /// When a hint came last, in milliseconds from the beginning, and one; 0 for never.
    heard: AtomicU64,
    /// When one came last behind another, which is when others do say so, in the same way.
    told: AtomicU64,
    /// When a worker here rested because of it last, in the same way.
    rested: AtomicU64,
}

impl Overload {
    /// Of a process that counts its requests there, and looks how far the groups are behind.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, pressure: Arc<Pressure>) -> Self {
        Self {
            metrics,
            pressure,
            began: Instant::now(),
            heard: AtomicU64::new(0),
            told: AtomicU64::new(0),
            rested: AtomicU64::new(0),
        }
    }

    /// Tells the others while clients are turned away here.
    pub async fn tell(self: Arc<Self>, ports: Ports, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TELL_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.cancelled() => return,
            }
            if self.asks_for_rest() {
                ports.signals.publish(&[Subject::Overload]).await;
            }
        }
    }

    /// Whether workers should rest because of the requests that come to this process.
    fn asks_for_rest(&self) -> bool {
        self.metrics.traffic.is_overloaded() && !self.pressure.is_close()
    }

    /// Hears what the others tell.
    pub async fn listen(self: Arc<Self>, ports: Ports, stop: CancellationToken) {
        let mut hints = tokio::select! {
            hints = ports.signals.subscribe(Subject::Overload) => hints,
            () = stop.cancelled() => return,
        };
        loop {
            tokio::select! {
                () = hints.changed() => self.hear(),
                () = stop.cancelled() => return,
            }
        }
    }

    fn hear(&self) {
        if self.is_within(&self.heard, APART) {
            return;
        }
        if self.is_within(&self.heard, BELIEVED) {
            self.note(&self.told);
        }
        self.note(&self.heard);
    }

    fn note(&self, at: &AtomicU64) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        at.store(now.saturating_add(1), Ordering::Relaxed);
    }

    /// Whether something was noted within this time.
    fn is_within(&self, at: &AtomicU64, time: Duration) -> bool {
        match at.load(Ordering::Relaxed) {
            0 => false,
            noted => self.began.elapsed() < Duration::from_millis(noted) + time,
        }
    }

    fn is_told(&self) -> bool {
        self.is_within(&self.told, BELIEVED)
    }

    /// So many times as long as a batch took a worker here should rest before the next one; 0 for not at all.
    #[must_use]
    pub fn rest_times(&self) -> u32 {
        if self.asks_for_rest() || (self.is_told() && processors_are_short()) {
            self.note(&self.rested);
            REST_TIMES
        } else {
            let eased = self.is_within(&self.rested, EASED) && !self.pressure.is_close();
            u32::from(eased && processors_are_short())
        }
    }
}

fn processors_are_short() -> bool {
    let told = fs::read_to_string(PRESSURE);
    // Where nobody tells, nobody rests: a worker that rests for nothing makes others wait for nothing.
    told.is_ok_and(|text| waited_percent(&text).is_some_and(|waited| waited >= SHORT_PERCENT))
}

/// `some avg10=33.46 avg60=…`
fn waited_percent(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let mut fields = some.split(' ');
    fields
        .find_map(|field| field.strip_prefix("avg10="))?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use chat_core::appends::Appends;
    use chat_core::lag::valve::Limits;

    use super::*;
    use crate::http::guard::Reason;
    use crate::traffic::{Answered, Shed};

    #[tokio::test(start_paused = true)]
    async fn nobody_is_told_to_rest_near_the_limit_of_the_lag() {
        let metrics = Arc::<Metrics>::default();
        let pressure = Arc::new(Pressure::within(Limits {
            records: 100,
            bytes: 0,
        }));
        let overload = Overload::new(Arc::clone(&metrics), Arc::clone(&pressure));
        for _ in 0..1_000 {
            metrics.traffic.count(Answered {
                status: 503,
                created: None,
                shed: Some(Shed(Some(Reason::AtWork))),
                took: Duration::ZERO,
            });
        }
        assert!(overload.asks_for_rest());
        assert_eq!(overload.rest_times(), REST_TIMES);
        pressure.look(&[Some(90); 4], &Appends::default(), 0);
        assert_eq!(overload.rest_times(), 0);
        pressure.look(&[Some(50); 4], &Appends::default(), 1_000);
        assert!(overload.asks_for_rest());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_told_is_believed_for_a_while() {
        let overload = Overload::new(
            Arc::default(),
            Arc::new(Pressure::within(Limits::default())),
        );
        assert!(!overload.is_told());
        // Also at the very beginning, and of two processes at once.
        overload.hear();
        overload.hear();
        assert!(!overload.is_told());
        tokio::time::advance(TELL_EVERY).await;
        overload.hear();
        assert!(overload.is_told());
        tokio::time::advance(BELIEVED / 2).await;
        overload.hear();
        tokio::time::advance(BELIEVED / 2).await;
        assert!(overload.is_told());
        tokio::time::advance(BELIEVED).await;
        assert!(!overload.is_told());
        // Long after the last one, one alone is none again.
        overload.hear();
        assert!(!overload.is_told());
        assert_eq!(overload.rest_times(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_rested_for_is_remembered_for_a_while() {
        let overload = Overload::new(
            Arc::default(),
            Arc::new(Pressure::within(Limits::default())),
        );
        overload.note(&overload.rested);
        tokio::time::advance(EASED / 2).await;
        assert!(overload.is_within(&overload.rested, EASED));
        tokio::time::advance(EASED).await;
        assert_eq!(overload.rest_times(), 0);
    }

    #[test]
    fn the_system_tells_how_short_processors_are() {
        let text = "some avg10=33.46 avg60=44.96 avg300=50.81 total=30334231252\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(waited_percent(text), Some(33.46));
        assert_eq!(waited_percent("full avg10=1.00"), None);
        assert_eq!(waited_percent("some avg10=much"), None);
    }
}
