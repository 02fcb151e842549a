//! A pace: so many a second, kept by the generic cell rate algorithm (ITU-T I.371) in one word.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SECOND_NS: u64 = 1_000_000_000;

/// When what was let pass so far will have been worth its time, in nanoseconds of a clock that never
/// goes back. As much as one second allows may come at once.
///
/// Whoever is let pass may cost more than what is left: the debt is waited for by those who come next.
/// So a refusal needs no look at a body, a batch of any size passes sooner or later, and the mean is kept.
#[derive(Debug, Default)]
pub(crate) struct Pace(AtomicU64);

/// What is left of a pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    /// How many would pass now.
    pub(crate) count: u64,
    /// How long until as many would as ever.
    pub(crate) full_in: Duration,
}

impl Pace {
    /// Lets one pass.
    ///
    /// # Errors
    /// How long to wait where it may not.
    pub(crate) fn pass(&self, rate: u32, now_ns: u64) -> Result<(), Duration> {
        let (step, ahead) = steps(rate);
        let latest = now_ns.saturating_add(ahead);
        let passed = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |until| {
                (until <= latest).then(|| until.max(now_ns).saturating_add(step))
            });
        passed
            .map(drop)
            .map_err(|until| Duration::from_nanos(until - latest))
    }

    /// Charges somebody who was let pass for more than one.
    pub(crate) fn charge(&self, rate: u32, count: u64, now_ns: u64) {
        let (step, _) = steps(rate);
        let cost = step.saturating_mul(count);
        let charged = |until: u64| Some(until.max(now_ns).saturating_add(cost));
        // It never refuses.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, charged);
    }

    /// What is left.
    pub(crate) fn left(&self, rate: u32, now_ns: u64) -> Left {
        let (step, ahead) = steps(rate);
        let until = self.0.load(Ordering::Relaxed).max(now_ns);
        let room = now_ns.saturating_add(ahead + step).saturating_sub(until);
        Left {
            count: room / step,
            full_in: Duration::from_nanos(until - now_ns),
        }
    }

    /// Whether nothing has passed for so long that it makes no difference any more.
    pub(crate) fn is_over(&self, now_ns: u64) -> bool {
        self.0.load(Ordering::Relaxed) <= now_ns
    }
}

/// What one costs, and how far ahead of the time the pace may be for another one, in nanoseconds.
const fn steps(rate: u32) -> (u64, u64) {
    let rate = if rate == 0 { 1 } else { rate as u64 };
    let step = if rate > SECOND_NS {
        1
    } else {
        SECOND_NS / rate
    };
    (step, SECOND_NS - step)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 7 * SECOND_NS;

    fn passed(pace: &Pace, rate: u32, tries: u32, now_ns: u64) -> u32 {
        (0..tries)
            .map(|_| u32::from(pace.pass(rate, now_ns).is_ok()))
            .sum()
    }

    #[test]
    fn a_second_is_worth_its_rate() {
        let pace = Pace::default();
        assert_eq!(passed(&pace, 10, 100, START), 10);
        assert_eq!(passed(&pace, 10, 100, START + SECOND_NS / 2), 5);
        assert_eq!(passed(&pace, 10, 100, START + 100 * SECOND_NS), 10);
    }

    #[test]
    fn who_is_refused_hears_how_long() {
        let pace = Pace::default();
        assert_eq!(passed(&pace, 4, 4, START), 4);
        let wait = pace.pass(4, START).unwrap_err();
        assert_eq!(wait, Duration::from_millis(250));
        assert!(pace.pass(4, START + 249_000_000).is_err());
        assert!(pace.pass(4, START + 250_000_000).is_ok());
    }

    #[test]
    fn a_batch_may_go_into_debt_and_the_mean_is_kept() {
        let pace = Pace::default();
        assert!(pace.pass(100, START).is_ok());
        pace.charge(100, 999, START);
        let wait = pace.pass(100, START).unwrap_err();
        assert_eq!(wait, Duration::from_millis(9_010));
        assert_eq!(pace.left(100, START).count, 0);
        assert!(pace.pass(100, START + 9_010_000_000).is_ok());
    }

    #[test]
    fn what_is_left_is_told() {
        let pace = Pace::default();
        let full = Left {
            count: 10,
            full_in: Duration::ZERO,
        };
        assert_eq!(pace.left(10, START), full);
        assert_eq!(passed(&pace, 10, 3, START), 3);
        let left = pace.left(10, START);
        assert_eq!((left.count, left.full_in.as_millis()), (7, 300));
        assert!(!pace.is_over(START));
        assert!(pace.is_over(START + 300_000_000));
    }

    #[test]
    fn the_extremes_are_no_trouble() {
        let pace = Pace::default();
        assert_eq!(passed(&pace, 1, 5, START), 1);
        assert_eq!(passed(&Pace::default(), u32::MAX, 1_000, START), 1_000);
        pace.charge(1, u64::MAX, START);
        assert!(pace.pass(1, START).is_err());
    }
}
