//! How often a call is repeated, and how long to pause in between.

use std::time::Duration;

use rand::Rng;

/// Exponential backoff with full jitter: each pause is a random part of a ceiling that doubles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Attempts after the first; 0 repeats nothing.
    pub most: u32,
    /// Ceiling of the first pause.
    pub base: Duration,
    /// No ceiling is higher.
    pub cap: Duration,
    /// How long a call is sent again while it is answered that it came too early (429, or 503
    /// `overloaded`): such an answer is neither a failure nor part of the deadline. Zero counts it as
    /// any other failure.
    pub shed_for: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            most: 3,
            base: Duration::from_millis(100),
            cap: Duration::from_secs(5),
            shed_for: Duration::ZERO,
        }
    }
}

impl Retries {
    /// The pause before attempt `attempt + 1`, counted from 0; never shorter than what the server asked for.
    #[must_use]
    pub fn pause(&self, attempt: u32, retry_after: Option<Duration>) -> Duration {
        let jitter = self
            .ceiling(attempt)
            .mul_f64(rand::rng().random_range(0.0..=1.0));
        // Jitter comes on top: everyone whom an overloaded server sends away for one
        // second would otherwise be back in the same instant.
        retry_after.map_or(jitter, |asked| asked.saturating_add(jitter))
    }

    fn ceiling(&self, attempt: u32) -> Duration {
        let doubled = 1_u32.checked_shl(attempt.min(31)).unwrap_or(u32::MAX);
        self.base.saturating_mul(doubled).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_double_up_to_the_cap() {
        let retries = Retries::default();
        let ceilings: Vec<_> = (0..8).map(|n| retries.ceiling(n).as_millis()).collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(retries.ceiling(u32::MAX), retries.cap);
    }

    #[test]
    fn a_pause_is_within_its_bounds() {
        let retries = Retries::default();
        let asked = Duration::from_secs(2);
        for attempt in 0..50 {
            assert!(retries.pause(attempt, None) <= retries.cap);
            assert!(retries.pause(attempt, Some(asked)) >= asked);
        }
    }
}
