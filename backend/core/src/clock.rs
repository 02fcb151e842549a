//! Time and identifiers as inputs: the rules read the clock and make identifiers only through these.
//!
//! Production uses [`System`]. Tests and the simulation pass their own implementation, so that a run
//! depends on nothing but its seed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chat_wire::ids::AppToken;
use chat_wire::time::Timestamp;
use uuid::Uuid;

/// Reads time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock. It may jump in both directions and differs between machines, so it stamps
    /// events and never decides how long something took.
    fn now(&self) -> Timestamp;

    /// Time since a fixed moment of this process. It never goes back, and it counts the time during
    /// which the machine was suspended: a deadline that is measured with it expires while the
    /// machine sleeps, as it does for every other process of the system.
    fn uptime(&self) -> Duration;
}

/// Makes identifiers.
pub trait IdSource: Send + Sync + fmt::Debug {
    /// A UUID of version 7, never returned before.
    fn uid(&self) -> Uuid;

    /// A token of 128 random bits, never returned before.
    fn token(&self) -> AppToken;
}

/// The clock and the identifiers of one backend.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Reads time.
    pub clock: Arc<dyn Clock>,
    /// Makes identifiers.
    pub ids: Arc<dyn IdSource>,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            clock: Arc::new(System),
            ids: Arc::new(System),
        }
    }
}

/// By how much the wall clock may run ahead of the uptime before it is not believed: it is adjusted in
/// small steps all the time.
const DRIFT: Duration = Duration::from_secs(60);

/// A wall clock for decisions that drop something because it is old. Where the system's clock jumps ahead,
/// by mistake or by an attack on NTP, this one goes on at the pace of the uptime.
#[derive(Debug, Clone)]
pub struct TrustedClock {
    clock: Arc<dyn Clock>,
    began: Timestamp,
    began_uptime: Duration,
}

impl TrustedClock {
    /// Believes what the clock says now.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            began: clock.now(),
            began_uptime: clock.uptime(),
            clock,
        }
    }

    /// The wall clock, or what it can be at most.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let passed = self.clock.uptime().saturating_sub(self.began_uptime) + DRIFT;
        let passed = i64::try_from(passed.as_micros()).unwrap_or(i64::MAX);
        let most = self.began.as_micros().saturating_add(passed);
        let now = self.clock.now();
        Timestamp::from_micros(most).map_or(now, |most| now.min(most))
    }
}

/// The operating system's clock and random numbers.
#[derive(Debug, Clone, Copy)]
pub struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn uptime(&self) -> Duration {
        boot_time()
    }
}

impl IdSource for System {
    fn uid(&self) -> Uuid {
        Uuid::now_v7()
    }

    fn token(&self) -> AppToken {
        AppToken::from_bytes(*Uuid::new_v4().as_bytes())
    }
}

/// `CLOCK_BOOTTIME` on Linux: unlike `CLOCK_MONOTONIC` it goes on while the machine is suspended.
#[cfg(target_os = "linux")]
fn boot_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[cfg(not(target_os = "linux"))]
fn boot_time() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> =
        std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uptime_never_goes_back() {
        let mut last = System.uptime();
        for _ in 0..1_000 {
            let now = System.uptime();
            assert!(now >= last);
            last = now;
        }
    }

    #[derive(Debug, Default)]
    struct Set(parking_lot::Mutex<(i64, u64)>);

    impl Clock for Set {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(self.0.lock().0 * 1_000_000).unwrap()
        }

        fn uptime(&self) -> Duration {
            Duration::from_secs(self.0.lock().1)
        }
    }

    #[test]
    fn a_clock_that_jumps_ahead_is_not_believed_and_one_that_goes_back_is() {
        let set = Arc::new(Set::default());
        let trusted = TrustedClock::new(Arc::clone(&set) as _);
        let at = |wall: i64, uptime: u64| {
            *set.0.lock() = (wall, uptime);
            trusted.now().as_micros() / 1_000_000
        };
        assert_eq!(at(10, 10), 10);
        assert_eq!(at(86_400, 11), 71);
        assert_eq!(at(86_400, 86_400), 86_400);
        assert_eq!(at(-5, 86_401), -5);
    }

    #[test]
    fn identifiers_are_of_the_promised_kind() {
        assert_eq!(System.uid().get_version_num(), 7);
        assert_ne!(System.token(), System.token());
    }
}
