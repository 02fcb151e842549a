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

    #[test]
    fn identifiers_are_of_the_promised_kind() {
        assert_eq!(System.uid().get_version_num(), 7);
        assert_ne!(System.token(), System.token());
    }
}
