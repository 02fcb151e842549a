//! Settling: a number that was handed out and for which no record can come any more becomes a void row.
//!
//! Two kinds of numbers are settled. Those whose append certainly did not happen are lost at once; whoever
//! was given them says so (`Settler::note_lost`). For all others nothing but waiting tells, in this order
//! and no other: note the counter; wait out the deadline of whoever may still append; note the end of the
//! log; wait until the store has passed it; what is missing then, up to the counter that was noted, will
//! never come. That the store has passed the end is proved in the transaction that writes the voids, with
//! the position locked: a store that was rolled back since (a failover) lacks rows whose records exist.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use parking_lot::Mutex;

use crate::backend::Backend;
use crate::error::Error;
use crate::event::Event;
use crate::port::counters::Counter;
use crate::port::log::{Group, PartitionId, Topic};
use crate::port::store::{ChatKey, Position};
use crate::voids::{Gap, Proof};

/// Chats with gaps that one read of the store returns.
const CHATS_A_READ: u32 = 1_000;
/// Ranges of lost numbers that are remembered; beyond, their chats are suspected like any other.
const LOST_MAX: usize = 100_000;
/// How long lost numbers wait for the row of their chat.
const CHAT_PATIENCE: Duration = Duration::from_secs(60);

/// Chats in which a number may have been lost.
#[derive(Debug, Default)]
pub struct Settler {
    suspects: Mutex<BTreeMap<ChatKey, Suspect>>,
    lost: Mutex<Vec<Lost>>,
    /// How far the store was in each partition when it was asked last.
    seen: Mutex<BTreeMap<PartitionId, Position>>,
}

/// Numbers whose append certainly did not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lost {
    chat: ChatKey,
    first: u32,
    last: u32,
    /// Until then a retry with the same idempotency key may use them after all.
    held_until: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Suspect {
    /// Nothing is known but the suspicion.
    New,
    /// The counter stood at `last`; whoever holds a number up to it has until `since` + deadline.
    Waiting { last: u32, since: Duration },
    /// Everything that will ever be appended for those numbers is below the end in the proof.
    Reading { last: u32, proof: Proof },
}

impl Settler {
    /// Notes that a number of this chat may never be used.
    pub fn suspect(&self, chat: ChatKey) {
        self.suspects.lock().entry(chat).or_insert(Suspect::New);
    }

    /// Notes numbers that are certainly not in the log and never will be, unless a retry with the same
    /// key takes them up ([`Settler::reclaim`]); nothing happens to them before `held_until`.
    pub(crate) fn note_lost(
        &self,
        chat: ChatKey,
        numbers: RangeInclusive<u32>,
        held_until: Duration,
    ) {
        let (first, last) = numbers.into_inner();
        let mut lost = self.lost.lock();
        if lost.len() >= LOST_MAX {
            drop(lost);
            self.suspect(chat);
            return;
        }
        lost.push(Lost {
            chat,
            first,
            last,
            held_until,
        });
    }

    /// A retry appends these numbers now: they are not lost until it fails.
    pub(crate) fn reclaim(&self, chat: ChatKey, numbers: RangeInclusive<u32>) {
        let mut lost = self.lost.lock();
        if !lost.is_empty() {
            lost.retain(|one| one.chat != chat || one.first != *numbers.start());
        }
    }

    /// Whether lost numbers wait to become void.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        !self.lost.lock().is_empty()
    }

    fn take_due(&self, now: Duration) -> Vec<Lost> {
        let mut lost = self.lost.lock();
        let (due, held) = lost.drain(..).partition(|one| one.held_until <= now);
        *lost = held;
        due
    }

    /// Compares how far the store is with what was seen before. Where it went back, it was rolled back:
    /// what was noted about the partition is noted again.
    fn see(&self, partition: PartitionId, position: Position) {
        let before = self.seen.lock().insert(partition, position);
        let went_back = before
            .is_some_and(|before| (position.epoch, position.next) < (before.epoch, before.next));
        if !went_back {
            return;
        }
        tracing::error!(
            topic = partition.topic.name(),
            partition = partition.index,
            next = position.next,
            "the store went back: no number of this partition becomes void before it has caught up"
        );
        for suspect in self.suspects.lock().values_mut() {
            if matches!(suspect, Suspect::Reading { proof, .. } if proof.partition == partition) {
                *suspect = Suspect::New;
            }
        }
    }

    fn put(&self, chat: ChatKey, next: Option<Suspect>) {
        let mut suspects = self.suspects.lock();
        match next {
            Some(next) => suspects.insert(chat, next),
            None => suspects.remove(&chat),
        };
    }
}

impl Backend {
    /// Suspects every chat of the store that has a gap.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn suspect_gaps(&self) -> Result<(), Error> {
        let mut after = None;
        loop {
            let chats = self
                .ports()
                .store
                .unsettled_chats(after, CHATS_A_READ)
                .await?;
            for row in &chats {
                self.settler().suspect(row.key);
            }
            after = chats.last().map(|row| row.key);
            if chats.len() < CHATS_A_READ as usize {
                return Ok(());
            }
        }
    }

    /// Makes numbers void whose append certainly did not happen; returns how many. To be called soon after
    /// they were noted.
    ///
    /// # Errors
    /// Those of the store; the next call goes on where this one stopped.
    pub async fn settle_lost(&self) -> Result<u64, Error> {
        let due = self.settler().take_due(self.uptime());
        if due.is_empty() {
            return Ok(0);
        }
        let gaps = merged(&due);
        match self.void_all(None, gaps).await {
            Ok(voided) => {
                self.wait_for_chats(due, &voided.absent);
                Ok(voided.voids)
            }
            Err(error) => {
                self.settler().lost.lock().extend(due);
                Err(error)
            }
        }
    }

    /// The record that makes a chat may still be on its way into the store.
    fn wait_for_chats(&self, due: Vec<Lost>, absent: &[ChatKey]) {
        let now = self.uptime();
        let patient = |lost: &Lost| {
            absent.contains(&lost.chat) && now.saturating_sub(lost.held_until) < CHAT_PATIENCE
        };
        let waiting = due.into_iter().filter(patient);
        self.settler().lost.lock().extend(waiting);
    }

    /// One step for every suspect; returns how many numbers became void. To be called about once a second.
    ///
    /// # Errors
    /// Those of the ports; the next step goes on where this one stopped.
    pub async fn settle(&self) -> Result<u64, Error> {
        let mut voids = self.settle_lost().await?;
        self.read_deadline().await?;
        self.see_positions().await?;
        let suspects: Vec<(ChatKey, Suspect)> = {
            let suspects = self.settler().suspects.lock();
            suspects
                .iter()
                .map(|(chat, suspect)| (*chat, *suspect))
                .collect()
        };
        let mut passed: BTreeMap<PartitionId, Vec<(ChatKey, u32, Proof)>> = BTreeMap::new();
        for (chat, suspect) in suspects {
            match suspect {
                Suspect::Reading { last, proof } => {
                    if self.has_passed(proof) {
                        let all = passed.entry(proof.partition).or_default();
                        all.push((chat, last, proof));
                    }
                }
                _ => {
                    let next = self.advance(chat, suspect).await?;
                    self.settler().put(chat, Some(next));
                }
            }
        }
        for chats in passed.into_values() {
            voids += self.void_suspects(&chats).await?;
        }
        Ok(voids)
    }

    /// Makes the numbers of these chats of one partition void, unless the store proves to have gone back.
    async fn void_suspects(&self, chats: &[(ChatKey, u32, Proof)]) -> Result<u64, Error> {
        let furthest = chats.iter().map(|(_, _, proof)| proof);
        let Some(proof) = furthest.max_by_key(|proof| (proof.epoch, proof.end)) else {
            return Ok(0);
        };
        let gaps = chats.iter().map(|(chat, last, _)| Gap {
            chat: *chat,
            after: None,
            through: *last,
        });
        let voided = self.void_all(Some(*proof), gaps.collect()).await?;
        for (chat, ..) in chats {
            let next = voided.disproved.then_some(Suspect::New);
            self.settler().put(*chat, next);
        }
        Ok(voided.voids)
    }

    /// Asks how far the store is in the partitions that suspects wait for.
    async fn see_positions(&self) -> Result<(), Error> {
        let mut partitions: Vec<PartitionId> = {
            let suspects = self.settler().suspects.lock();
            let reading = suspects.values().filter_map(|suspect| match suspect {
                Suspect::Reading { proof, .. } => Some(proof.partition),
                _ => None,
            });
            reading.collect()
        };
        partitions.sort_unstable();
        partitions.dedup();
        for partition in partitions {
            let store = &self.ports().store;
            let position = store.position(Group::MessagesStore, partition).await?;
            self.settler().see(partition, position);
        }
        Ok(())
    }

    fn has_passed(&self, proof: Proof) -> bool {
        let seen = self.settler().seen.lock();
        seen.get(&proof.partition)
            .is_some_and(|position| proof.holds(position))
    }

    async fn advance(&self, chat: ChatKey, suspect: Suspect) -> Result<Suspect, Error> {
        match suspect {
            Suspect::New => Ok(Suspect::Waiting {
                last: self.last(Counter::Messages(chat)).await?,
                since: self.uptime(),
            }),
            // The margin is another deadline: clocks do not matter, but a producer may be slow to give up.
            Suspect::Waiting { last, since }
                if self.uptime().saturating_sub(since) > self.append_patience() * 2 =>
            {
                let key = Event::message_key(chat);
                let partition = self.ports().log.partition_of(Topic::Messages, &key).await?;
                let proof = self.note_end(partition).await?;
                Ok(proof.map_or(suspect, |proof| Suspect::Reading { last, proof }))
            }
            waiting => Ok(waiting),
        }
    }

    /// The end of a partition now; none while the log is being made anew.
    pub(crate) async fn note_end(&self, partition: PartitionId) -> Result<Option<Proof>, Error> {
        let log = &self.ports().log;
        let epoch = log.epoch(partition.topic).await?;
        let (_, end) = log.range(partition).await?;
        let same = log.epoch(partition.topic).await? == epoch;
        Ok(same.then_some(Proof {
            partition,
            epoch,
            end,
        }))
    }
}

/// Ranges of the same chat that follow each other as one.
fn merged(lost: &[Lost]) -> Vec<Gap> {
    let mut ranges: Vec<(ChatKey, u32, u32)> = lost
        .iter()
        .map(|one| (one.chat, one.first, one.last))
        .collect();
    ranges.sort_unstable();
    let mut gaps: Vec<Gap> = Vec::new();
    for (chat, first, last) in ranges {
        match gaps.last_mut() {
            Some(gap) if gap.chat == chat && first <= gap.through.saturating_add(1) => {
                gap.through = gap.through.max(last);
            }
            _ => gaps.push(Gap {
                chat,
                after: Some(first.saturating_sub(1)),
                through: last,
            }),
        }
    }
    gaps
}

#[cfg(test)]
mod tests {
    use chat_wire::ids::{AppToken, ChatNumber};

    use super::*;

    const CHAT: ChatKey = ChatKey {
        token: AppToken::from_bytes([1; 16]),
        chat: ChatNumber::FIRST,
    };
    const PARTITION: PartitionId = PartitionId {
        topic: Topic::Messages,
        index: 0,
    };

    fn position(epoch: u32, next: u64) -> Position {
        Position {
            next,
            epoch,
            last_uid: None,
        }
    }

    #[test]
    fn lost_numbers_that_follow_each_other_are_one_range() {
        let settler = Settler::default();
        for numbers in [7..=7, 5..=6, 1..=1, 8..=10] {
            settler.note_lost(CHAT, numbers, Duration::ZERO);
        }
        let gaps = merged(&settler.take_due(Duration::ZERO));
        let ranges: Vec<_> = gaps.iter().map(|gap| (gap.after, gap.through)).collect();
        assert_eq!(ranges, [(Some(0), 1), (Some(4), 10)]);
        assert!(!settler.has_lost());
    }

    #[test]
    fn a_retry_takes_its_numbers_up_until_the_lease_is_over() {
        let settler = Settler::default();
        let lease = Duration::from_secs(6);
        settler.note_lost(CHAT, 4..=6, lease);
        assert_eq!(settler.take_due(Duration::from_secs(5)), []);
        settler.reclaim(CHAT, 4..=6);
        assert_eq!(settler.take_due(lease), []);
        settler.note_lost(CHAT, 4..=6, lease);
        assert_eq!(settler.take_due(lease).len(), 1);
    }

    #[test]
    fn a_store_that_went_back_makes_suspects_new() {
        let settler = Settler::default();
        let reading = Suspect::Reading {
            last: 5,
            proof: Proof {
                partition: PARTITION,
                epoch: 1,
                end: 10,
            },
        };
        settler.see(PARTITION, position(1, 9));
        settler.put(CHAT, Some(reading));
        settler.see(PARTITION, position(1, 9));
        assert!(matches!(
            settler.suspects.lock()[&CHAT],
            Suspect::Reading { .. }
        ));
        settler.see(PARTITION, position(1, 8));
        assert!(matches!(settler.suspects.lock()[&CHAT], Suspect::New));
    }
}
