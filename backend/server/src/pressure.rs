//! Pressure: creates are shed while a group is so far behind that memory and disk would suffer, and well
//! before that workers are no longer asked to leave the processors to others.
//!
//! Every process that takes creates looks for itself, once a second; what a request sees of it is one
//! flag for its topic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chat_core::appends::Appends;
use chat_core::backend::Backend;
use chat_core::lag::valve::{Excess, Limits, Measure, Valve};
use chat_core::port::log::{Group, Topic};
use chat_wire::admin::stats::{self, Shedding};
use chat_wire::problem::{Code, Problem};
use chat_wire::time::Timestamp;
use parking_lot::{Mutex, RwLock};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::http::guard::Reason;
use crate::http::guard::refused::Refused;
use crate::sampler::Sampler;
use crate::workers::run::yields;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bytes of one MiB.
const MIB: u64 = 1024 * 1024;
/// The topics of events, whose numbers as a [`Topic`] are 0, 1 and 2.
const TOPICS: usize = 3;
/// What a mean remembers of itself from look to look, in percent: half of it is of the last 35 looks.
const REMEMBERED_PERCENT: u64 = 98;
/// In how many parts records and bytes are summed: a sum that fades keeps its small end.
const PARTS: u64 = 10_000;
/// Part of the limits, in percent, from which on workers should not fall further behind: they get the rest of
/// the way to catch up before creates are shed.
const CLOSE_PERCENT: u64 = 75;
/// Seconds after which another try is worth it, where it is not known how fast the lag goes down.
const RETRY_UNKNOWN: u64 = 5;
/// Nobody is sent away for longer, in seconds: the lag may go down faster than it did, and clients that
/// try a few times should still be there.
const RETRY_MAX: u64 = 10;

/// Lag of each group in records, in the order of [`Group::ALL`]; `None` where it is unknown.
pub type Lags = [Option<u64>; Group::ALL.len()];

/// Whether creates are shed, and for which groups.
#[derive(Debug)]
pub struct Pressure {
    limits: Limits,
    began: Instant,
    /// For each topic, what its creates are told while they are shed.
    shed: [RwLock<Option<Refused>>; TOPICS],
    /// Whether a group that rests under overload is near its limit.
    close: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    groups: [Watched; Group::ALL.len()],
    sizes: [Size; TOPICS],
}

#[derive(Debug, Default)]
struct Watched {
    valve: Valve,
    /// Shut where the group is near its limit.
    close: Valve,
    now: Option<Shut>,
}

/// A group for which creates are shed.
#[derive(Debug, Clone, Copy)]
struct Shut {
    excess: Excess,
    since: Timestamp,
    seen_ms: u64,
    retry_seconds: u64,
}

/// The mean size of the records of a topic that this process appended lately.
#[derive(Debug, Default, Clone, Copy)]
struct Size {
    records: u64,
    bytes: u64,
    counted: (u64, u64),
}

impl Size {
    fn look(&mut self, appended: (u64, u64)) -> Option<u64> {
        if appended != self.counted {
            let sum = |sum: u64, now: u64, counted: u64| {
                let new = now.saturating_sub(counted).saturating_mul(PARTS);
                (sum / 100 * REMEMBERED_PERCENT).saturating_add(new)
            };
            self.records = sum(self.records, appended.0, self.counted.0);
            self.bytes = sum(self.bytes, appended.1, self.counted.1);
            self.counted = appended;
        }
        self.bytes.checked_div(self.records)
    }
}

impl Pressure {
    /// With the limits of the configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self::within(Limits {
            records: config.lag_max,
            bytes: config.lag_max_mib.saturating_mul(MIB),
        })
    }

    /// With these limits.
    #[must_use]
    pub fn within(limits: Limits) -> Self {
        Self {
            limits,
            began: Instant::now(),
            shed: Default::default(),
            close: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// The limits; 0 is none.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Looks until it is told to stop.
    pub async fn run(
        self: Arc<Self>,
        sampler: Arc<Sampler>,
        backend: Backend,
        stop: CancellationToken,
    ) {
        if self.limits == Limits::default() {
            // There is nothing to look at, and a task that ends is one that failed.
            stop.cancelled().await;
            return;
        }
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let lags = tokio::select! {
                () = stop.cancelled() => return,
                lags = async {
                    tick.tick().await;
                    sampler.lags().await
                } => lags,
            };
            self.look(&lags, backend.appends(), millis(self.began.elapsed()));
        }
    }

    /// Takes a look, and sheds or stops shedding.
    pub(crate) fn look(&self, lags: &Lags, appends: &Appends, at_ms: u64) {
        let mut state = self.state.lock();
        let State { groups, sizes } = &mut *state;
        let topics = [Topic::Applications, Topic::Chats, Topic::Messages];
        let means = topics.map(|topic| sizes[topic as usize].look(appends.of(topic)));
        let mut shed = [const { None }; TOPICS];
        let mut close = false;
        for ((group, watched), lag) in Group::ALL.into_iter().zip(groups).zip(lags) {
            let topic = group.topic() as usize;
            let excess = watched.valve.look(self.limits, *lag, means[topic], at_ms);
            watched.note(group, excess, at_ms);
            let near = part(self.limits, CLOSE_PERCENT);
            let is_near = watched
                .close
                .look(near, *lag, means[topic], at_ms)
                .is_some();
            // What others are late with is no reason for these to work against them.
            close |= is_near && yields(group);
            if shed[topic].is_none() {
                shed[topic] = watched.now.map(|shut| shut.refused(group));
            }
        }
        for (told, shed) in self.shed.iter().zip(shed) {
            *told.write() = shed;
        }
        self.close.store(close, Ordering::Relaxed);
    }

    /// Whether a group that rests under overload is so far behind that creates are shed soon, or already.
    /// Always `false` where nobody looks: a process that takes no creates.
    #[must_use]
    pub fn is_close(&self) -> bool {
        self.close.load(Ordering::Relaxed)
    }

    /// Why a create of this topic is shed, if it is.
    #[must_use]
    pub(crate) fn refusal(&self, topic: Topic) -> Option<Refused> {
        self.shed.get(topic as usize)?.read().clone()
    }

    /// Every group for which creates are shed.
    #[must_use]
    pub fn shedding(&self) -> Vec<Shedding> {
        let state = self.state.lock();
        let groups = Group::ALL.into_iter().zip(&state.groups);
        groups
            .filter_map(|(group, watched)| Some(watched.now?.told(group)))
            .collect()
    }
}

impl Watched {
    /// Takes over what the valve says, and tells the log where that is something new.
    fn note(&mut self, group: Group, excess: Option<Excess>, at_ms: u64) {
        let before = self.now;
        self.now = excess.map(|excess| Shut {
            excess,
            since: before.map_or_else(Timestamp::now, |shut| shut.since),
            seen_ms: at_ms,
            retry_seconds: before.map_or(RETRY_UNKNOWN, |before| retry(&before, &excess, at_ms)),
        });
        match (before, &self.now) {
            (None, Some(shut)) => tracing::warn!(
                group = group.name(),
                lag = shut.excess.lag,
                limit = shut.excess.limit,
                measure = measure(shut.excess.measure).as_str(),
                "a group is too far behind: creates are shed"
            ),
            (Some(_), None) => tracing::info!(
                group = group.name(),
                "a group has caught up enough, or its lag is unknown: creates go on"
            ),
            _ => {}
        }
    }
}

impl Shut {
    /// What a create is told: written down once for a look, because every create hears it.
    fn refused(&self, group: Group) -> Refused {
        let problem = Problem::new(Code::Overloaded, self.told(group).text())
            .with_hint("nothing was taken: send it again after Retry-After seconds");
        Refused::new(&Arc::new(problem.into()), Reason::Lag).after(self.retry_seconds)
    }

    fn told(&self, group: Group) -> Shedding {
        Shedding {
            group: group.name().to_owned(),
            topic: group.topic().name().to_owned(),
            measure: measure(self.excess.measure),
            lag: self.excess.lag,
            limit: self.excess.limit,
            resume: self.excess.resume,
            since: self.since,
        }
    }
}

/// Seconds until the lag is down to where creates go on, at the speed at which it went down last.
fn retry(before: &Shut, now: &Excess, at_ms: u64) -> u64 {
    let passed_ms = at_ms.saturating_sub(before.seen_ms);
    let drained = before.excess.lag.saturating_sub(now.lag);
    let comparable = before.excess.measure == now.measure && passed_ms > 0 && drained > 0;
    if !comparable {
        return RETRY_UNKNOWN;
    }
    let left = u128::from(now.lag.saturating_sub(now.resume));
    let ms = left * u128::from(passed_ms) / u128::from(drained);
    u64::try_from(ms.div_ceil(1_000))
        .unwrap_or(RETRY_MAX)
        .clamp(1, RETRY_MAX)
}

/// Limits of which so much is left.
const fn part(limits: Limits, percent: u64) -> Limits {
    // No limit stays none, and a limit of one stays a limit.
    const fn of(limit: u64, percent: u64) -> u64 {
        limit.saturating_mul(percent).div_ceil(100)
    }
    Limits {
        records: of(limits.records, percent),
        bytes: of(limits.bytes, percent),
    }
}

const fn measure(measure: Measure) -> stats::Measure {
    match measure {
        Measure::Records => stats::Measure::Records,
        Measure::Bytes => stats::Measure::Bytes,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::Refusal;

    fn pressure(records: u64) -> Pressure {
        Pressure::within(Limits { records, bytes: 0 })
    }

    fn of_index(lag: Option<u64>) -> Lags {
        [Some(0), Some(0), Some(0), lag]
    }

    #[test]
    fn only_creates_of_the_topic_are_shed() {
        let pressure = pressure(100);
        pressure.look(&of_index(Some(101)), &Appends::default(), 0);
        assert!(pressure.refusal(Topic::Chats).is_none());
        let refusal = Refusal::from(pressure.refusal(Topic::Messages).unwrap());
        assert_eq!(refusal.problem().code, Code::Overloaded);
        for word in ["messages-index", "101", "100", "80"] {
            assert!(refusal.problem().detail.contains(word), "{word}");
        }
        let shedding = pressure.shedding();
        assert_eq!(shedding.len(), 1);
        assert_eq!(
            (shedding[0].topic.as_str(), shedding[0].lag),
            ("messages", 101)
        );
        pressure.look(&of_index(Some(80)), &Appends::default(), 1_000);
        assert!(pressure.refusal(Topic::Messages).is_none());
        assert!(pressure.shedding().is_empty());
    }

    #[test]
    fn workers_hear_of_a_lag_before_creates_are_shed() {
        let pressure = pressure(100);
        let close = [75, 76, 61, 60, 75, 101].map(|lag| {
            pressure.look(&of_index(Some(lag)), &Appends::default(), 0);
            pressure.is_close()
        });
        assert_eq!(close, [false, true, true, false, false, true]);
    }

    #[test]
    fn without_a_limit_none_is_near() {
        let pressure = pressure(0);
        pressure.look(&of_index(Some(u64::MAX)), &Appends::default(), 0);
        assert!(!pressure.is_close());
    }

    #[test]
    fn the_time_to_come_back_follows_the_drain() {
        let pressure = pressure(1_000);
        let after = |lag, at_ms| {
            pressure.look(&of_index(Some(lag)), &Appends::default(), at_ms);
            Refusal::from(pressure.refusal(Topic::Messages).unwrap()).retry_after()
        };
        assert_eq!(after(2_000, 0), Some(RETRY_UNKNOWN));
        assert_eq!(after(1_700, 1_000), Some(3));
        assert_eq!(after(1_750, 2_000), Some(RETRY_UNKNOWN));
        assert_eq!(after(1_749, 3_000), Some(RETRY_MAX));
        assert_eq!(after(801, 4_000), Some(1));
    }

    #[test]
    fn the_mean_size_follows_what_is_appended() {
        let mut size = Size::default();
        assert_eq!(size.look((0, 0)), None);
        assert_eq!(size.look((10, 1_000)), Some(100));
        // Nothing new changes nothing.
        assert_eq!(size.look((10, 1_000)), Some(100));
        for step in 1..=500 {
            let _ = size.look((10 + step * 1_000, 1_000 + step * 1_000 * 50_000));
        }
        let mean = size.look((500_010, 25_000_001_000)).unwrap();
        assert!((49_000..51_000).contains(&mean), "{mean}");
    }
}
