//! Numbers without a row, and since when they were seen: only who has waited may call them lost.
//!
//! The order is that of `settle.rs`: the counter is noted; the deadline of whoever may still append is
//! waited out; the end of the log is noted; the store passes it. What is missing then, up to the counter
//! that was noted, has no record.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::judge::Gaps;
use crate::port::counters::Counter;
use crate::port::log::PartitionId;
use crate::port::store::Position;
use crate::voids::Proof;

/// Counters that are watched at the same time; beyond, a gap stays "may come" until others are settled.
const WATCHED_MAX: usize = 100_000;

/// How far a partition is: what has to be passed, and what has been.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) partition: PartitionId,
    /// Of the topic.
    pub(super) epoch: u32,
    /// The end of the partition.
    pub(super) end: u64,
    /// The position of its store group, asked after the end.
    pub(super) stored: Position,
    /// When the end was asked for.
    pub(super) noted_at: Instant,
}

impl Place {
    /// Records that the store has not applied.
    pub(super) const fn in_log(&self) -> u64 {
        // A position of another epoch says nothing about these records.
        let stored = if self.stored.epoch == self.epoch {
            self.stored.next
        } else {
            0
        };
        self.end.saturating_sub(stored)
    }

    const fn proof(&self) -> Proof {
        Proof {
            partition: self.partition,
            epoch: self.epoch,
            end: self.end,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Sighting {
    last: u32,
    since: Instant,
    /// What the store has to pass, noted when the wait was over.
    end: Option<Proof>,
}

/// Counters with numbers that have no row.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    seen: Mutex<HashMap<Counter, Sighting>>,
}

impl Sightings {
    /// What is to be thought of a counter that has given out `known` numbers, of which all up to
    /// `settled` have a row. The rows must have been read after `place`.
    pub(super) fn look(
        &self,
        counter: Counter,
        known: u32,
        settled: u32,
        place: Option<Place>,
        wait: Duration,
    ) -> Gaps {
        let mut seen = self.seen.lock();
        if settled >= known {
            seen.remove(&counter);
            return Gaps::None;
        }
        let fresh = Sighting {
            last: known,
            since: Instant::now(),
            end: None,
        };
        if seen.len() >= WATCHED_MAX && !seen.contains_key(&counter) {
            return Gaps::MayCome;
        }
        let sighting = seen.entry(counter).or_insert(fresh);
        if settled >= sighting.last {
            *sighting = fresh;
            return Gaps::MayCome;
        }
        let Some(place) = place else {
            return Gaps::MayCome;
        };
        let stale = sighting.end.is_none_or(|end| end.epoch != place.epoch);
        if stale && place.noted_at.duration_since(sighting.since) >= wait {
            sighting.end = Some(place.proof());
        }
        match sighting.end {
            Some(end) if end.holds(&place.stored) => Gaps::Void {
                through: sighting.last,
            },
            _ => Gaps::MayCome,
        }
    }

    /// What the store has to have applied before the numbers of a counter are called lost.
    pub(super) fn proof(&self, counter: Counter) -> Option<Proof> {
        self.seen.lock().get(&counter)?.end
    }

    /// When the last of these was seen first.
    pub(super) fn youngest(&self, counters: &[Counter]) -> Option<Instant> {
        let seen = self.seen.lock();
        let since = |counter| seen.get(counter).map(|sighting| sighting.since);
        counters.iter().filter_map(since).max()
    }

    /// Forgets one: its numbers were made void.
    pub(super) fn forget(&self, counter: Counter) {
        self.seen.lock().remove(&counter);
    }
}

#[cfg(test)]
mod tests {
    use chat_wire::ids::AppToken;

    use super::*;
    use crate::port::log::Topic;

    const WAIT: Duration = Duration::from_secs(2);
    const COUNTER: Counter = Counter::Chats(AppToken::from_bytes([1; 16]));

    fn place(end: u64, stored: u64) -> Option<Place> {
        place_in(1, end, (1, stored))
    }

    fn place_in(epoch: u32, end: u64, (stored_epoch, next): (u32, u64)) -> Option<Place> {
        Some(Place {
            partition: PartitionId {
                topic: Topic::Messages,
                index: 0,
            },
            epoch,
            end,
            stored: Position {
                next,
                epoch: stored_epoch,
                last_uid: None,
            },
            noted_at: Instant::now(),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn an_offset_of_another_epoch_proves_nothing() {
        let sightings = Sightings::default();
        let look = |place| sightings.look(COUNTER, 5, 4, place, WAIT);
        assert_eq!(look(place(9, 9)), Gaps::MayCome);
        tokio::time::advance(WAIT).await;
        // The store has applied more records than there are, of a log that was made anew.
        assert_eq!(look(place_in(2, 3, (1, 9))), Gaps::MayCome);
        assert_eq!(look(place_in(2, 4, (2, 2))), Gaps::MayCome);
        assert_eq!(look(place_in(2, 4, (2, 3))), Gaps::Void { through: 5 });
        // And once more.
        assert_eq!(look(place_in(3, 8, (2, 9))), Gaps::MayCome);
        assert_eq!(look(place_in(3, 8, (3, 8))), Gaps::Void { through: 5 });
    }

    #[tokio::test(start_paused = true)]
    async fn a_number_is_lost_only_in_this_order() {
        let sightings = Sightings::default();
        let look = |settled, place| sightings.look(COUNTER, 5, settled, place, WAIT);
        assert_eq!(look(5, place(9, 9)), Gaps::None);
        // Seen first: whoever holds the number may still append it.
        assert_eq!(look(4, place(9, 9)), Gaps::MayCome);
        // An end that was noted before the wait was over proves nothing.
        let early = place(9, 9);
        tokio::time::advance(WAIT).await;
        assert_eq!(look(4, early), Gaps::MayCome);
        // The end is noted now, and the store has to pass it.
        assert_eq!(look(4, place(12, 9)), Gaps::MayCome);
        assert_eq!(look(4, place(20, 11)), Gaps::MayCome);
        assert_eq!(look(4, place(20, 12)), Gaps::Void { through: 5 });
        assert_eq!(look(5, place(20, 12)), Gaps::None);
        // Forgotten: it begins anew.
        assert_eq!(look(4, place(20, 20)), Gaps::MayCome);
    }

    #[tokio::test(start_paused = true)]
    async fn later_numbers_wait_for_themselves() {
        let sightings = Sightings::default();
        let look = |known, settled| sightings.look(COUNTER, known, settled, place(0, 0), WAIT);
        assert_eq!(look(5, 4), Gaps::MayCome);
        tokio::time::advance(WAIT).await;
        // The first came meanwhile; two others have not.
        assert_eq!(look(7, 5), Gaps::MayCome);
        assert_eq!(look(7, 5), Gaps::MayCome);
        tokio::time::advance(WAIT).await;
        assert_eq!(look(9, 5), Gaps::Void { through: 7 });
    }
}
