//! One source of data: what it gave last, how old that is, what went wrong, and when to ask again.

use crate::failure::{Failure, Kind};

/// First pause after a failure; it doubles with each further one.
const BACKOFF_MIN_MS: u64 = 1_000;
/// Longest pause after a failure: whoever mends the server sees it soon.
const BACKOFF_MAX_MS: u64 = 10_000;
/// A path that the server does not have appears only with an update.
const NOT_OFFERED_MS: u64 = 30_000;

/// How old data is, measured in intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// As it should be.
    Fresh,
    /// More than two intervals.
    Late,
    /// More than five intervals.
    Old,
}

/// A source with its data.
#[derive(Debug, Clone)]
pub struct Source<T> {
    /// What it gave last. It stays when a later request fails, and is dimmed by its age.
    pub data: Option<T>,
    /// When it was asked, and when it is to be asked.
    pub poll: Poll,
}

impl<T> Default for Source<T> {
    fn default() -> Self {
        Self {
            data: None,
            poll: Poll::default(),
        }
    }
}

impl<T> Source<T> {
    /// Drops what is known, because something else is wanted now.
    pub fn forget(&mut self, now_ms: u64) {
        self.data = None;
        self.poll = Poll {
            next_ms: Some(now_ms),
            ..Poll::default()
        };
    }
}

/// The state of a source without its data.
#[derive(Debug, Clone)]
pub struct Poll {
    /// When the data came.
    pub fetched_ms: Option<u64>,
    /// Why the last request gave none.
    pub failure: Option<Failure>,
    failed_in_row: u32,
    flight: Option<Flight>,
    next_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    seq: u64,
    since_ms: u64,
}

impl Default for Poll {
    /// Nothing is known, and it is to be asked at once.
    fn default() -> Self {
        Self {
            fetched_ms: None,
            failure: None,
            failed_in_row: 0,
            flight: None,
            next_ms: Some(0),
        }
    }
}

impl Poll {
    /// Whether it is time to ask.
    #[must_use]
    pub fn due(&self, now_ms: u64) -> bool {
        self.flight.is_none() && self.next_ms.is_some_and(|next| next <= now_ms)
    }

    /// When it will be asked; `None` while a request is under way, or where it is asked only on demand.
    #[must_use]
    pub fn next_ms(&self) -> Option<u64> {
        self.next_ms.filter(|_| self.flight.is_none())
    }

    /// How long the request under way has been waiting.
    #[must_use]
    pub fn waiting_ms(&self, now_ms: u64) -> Option<u64> {
        let flight = self.flight?;
        Some(now_ms.saturating_sub(flight.since_ms))
    }

    /// Whether something was answered, well or not.
    #[must_use]
    pub fn answered(&self) -> bool {
        self.flight.is_none() && (self.fetched_ms.is_some() || self.failure.is_some())
    }

    /// A request has been sent.
    pub fn begin(&mut self, now_ms: u64, seq: u64) {
        self.flight = Some(Flight {
            seq,
            since_ms: now_ms,
        });
    }

    /// The answer to request `seq` has come; `false` where nobody waits for it any more.
    /// `interval_ms` is `None` for what is asked only on demand.
    pub fn end(
        &mut self,
        now_ms: u64,
        seq: u64,
        interval_ms: Option<u64>,
        failure: Option<Failure>,
    ) -> bool {
        if self.flight.is_none_or(|flight| flight.seq != seq) {
            return false;
        }
        self.flight = None;
        match failure {
            None => {
                self.fetched_ms = Some(now_ms);
                self.failure = None;
                self.failed_in_row = 0;
                self.next_ms = interval_ms.map(|interval| now_ms + interval);
            }
            Some(failure) => {
                self.next_ms = match failure.kind {
                    Kind::NotOffered => Some(now_ms + NOT_OFFERED_MS),
                    // Asking again for a record that does not exist changes nothing.
                    Kind::NotFound if interval_ms.is_none() => None,
                    _ => Some(now_ms + backoff_ms(self.failed_in_row)),
                };
                self.failed_in_row = self.failed_in_row.saturating_add(1);
                self.failure = Some(failure);
            }
        }
        true
    }

    /// Asks anew at once, and lets go of the request under way.
    pub fn restart(&mut self, now_ms: u64) {
        self.flight = None;
        self.next_ms = Some(now_ms);
    }

    /// Age of the data.
    #[must_use]
    pub fn age_ms(&self, now_ms: u64) -> Option<u64> {
        Some(now_ms.saturating_sub(self.fetched_ms?))
    }

    /// How old the data is; what is asked only on demand never gets old.
    #[must_use]
    pub fn freshness(&self, now_ms: u64, interval_ms: Option<u64>) -> Freshness {
        let (Some(age), Some(interval)) = (self.age_ms(now_ms), interval_ms) else {
            return Freshness::Fresh;
        };
        if age > interval * 5 {
            Freshness::Old
        } else if age > interval * 2 {
            Freshness::Late
        } else {
            Freshness::Fresh
        }
    }
}

fn backoff_ms(failed_before: u32) -> u64 {
    (BACKOFF_MIN_MS << failed_before.min(10)).min(BACKOFF_MAX_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: Kind) -> Option<Failure> {
        Some(Failure {
            kind,
            text: "no".into(),
            hint: None,
        })
    }

    #[test]
    fn it_is_asked_at_once_and_then_at_its_interval() {
        let mut poll = Poll::default();
        assert!(poll.due(0));
        poll.begin(0, 1);
        assert!(!poll.due(5_000));
        assert_eq!(poll.waiting_ms(5_000), Some(5_000));
        assert!(poll.end(5_000, 1, Some(2_000), None));
        assert!(!poll.due(6_999));
        assert!(poll.due(7_000));
    }

    #[test]
    fn an_answer_that_nobody_waits_for_is_dropped() {
        let mut poll = Poll::default();
        poll.begin(0, 1);
        poll.restart(10);
        poll.begin(10, 2);
        assert!(!poll.end(20, 1, None, None));
        assert!(poll.end(30, 2, None, None));
        assert_eq!(poll.fetched_ms, Some(30));
        assert_eq!(poll.next_ms(), None);
    }

    #[test]
    fn pauses_grow_and_end_with_the_first_success() {
        let mut poll = Poll::default();
        let mut pauses = Vec::new();
        for seq in 0..6 {
            poll.begin(0, seq);
            poll.end(0, seq, Some(500), failure(Kind::Unreachable));
            pauses.push(poll.next_ms().unwrap());
        }
        assert_eq!(pauses, [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        poll.begin(0, 9);
        poll.end(0, 9, Some(500), None);
        assert_eq!((poll.next_ms(), &poll.failure), (Some(500), &None));
    }

    #[test]
    fn data_survives_a_failure_and_gets_old() {
        let mut poll = Poll::default();
        poll.begin(0, 1);
        poll.end(0, 1, Some(1_000), None);
        poll.begin(1_000, 2);
        poll.end(1_000, 2, Some(1_000), failure(Kind::Timeout));
        assert_eq!(poll.age_ms(1_500), Some(1_500));
        let at = |ms| poll.freshness(ms, Some(1_000));
        assert_eq!(at(2_000), Freshness::Fresh);
        assert_eq!(at(2_001), Freshness::Late);
        assert_eq!(at(5_001), Freshness::Old);
    }

    #[test]
    fn a_missing_path_is_asked_for_rarely() {
        let mut poll = Poll::default();
        poll.begin(0, 1);
        poll.end(0, 1, Some(1_000), failure(Kind::NotOffered));
        assert_eq!(poll.next_ms(), Some(NOT_OFFERED_MS));
    }
}
