//! Batches: what a worker takes from its partitions at once.

use std::collections::BTreeMap;

use chat_core::port::log::{PartitionId, PollLimits, Record};
use chat_core::port::store::Position;
use uuid::Uuid;

/// Of a batch a worker takes so small a part while it rests in between: many short rests keep its share as
/// well as a few long ones.
const REST_PART: usize = 8;

/// Records of one partition that follow each other; there is at least one.
#[derive(Debug)]
pub struct Work {
    /// Whose they are.
    pub partition: PartitionId,
    /// Offset from which they were read.
    pub first: u64,
    /// Fingerprint of the record before that, where it is known.
    pub before: Option<Uuid>,
    /// In order of offset.
    pub records: Vec<Record>,
}

/// From how many partitions a batch is taken at most; all of them together stay within the limits.
const PARTITIONS: usize = 64;

/// What a worker takes at once while it rests in between.
pub(super) const fn part(limits: PollLimits) -> PollLimits {
    PollLimits {
        records: limits.records.div_ceil(REST_PART),
        bytes: limits.bytes.div_ceil(REST_PART),
        ..limits
    }
}

/// Where each partition is read on: a consumer hands out records without a gap from where it was sought,
/// so the place from which a batch was read is known without asking.
#[derive(Debug, Default)]
pub(super) struct ReadPositions(BTreeMap<PartitionId, ReadPosition>);

/// Where a partition is read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReadPosition {
    /// Offset of the next record.
    pub(super) next: u64,
    /// Fingerprint of the record before it, where that was read, or compared with the stored position.
    last: Option<Uuid>,
}

impl ReadPosition {
    /// Whether the store has applied just what was read, but says that another record was the last one: it went
    /// back to a time when the log was another one, and was as long.
    pub(super) fn is_of_another_log(&self, stored: &Position) -> bool {
        let known = |fingerprint: Option<Uuid>| fingerprint.filter(|known| !known.is_nil());
        let (read, applied) = (known(self.last), known(stored.last_uid));
        stored.next == self.next && read.is_some() && applied.is_some() && read != applied
    }
}

impl ReadPositions {
    /// Notes that a partition is read from here on, where the store says that the group is at `stored`.
    pub(super) fn seek(&mut self, partition: PartitionId, next: u64, stored: &Position) {
        let last = stored.last_uid.filter(|_| stored.next == next);
        self.0.insert(partition, ReadPosition { next, last });
    }

    /// Forgets partitions that belong to somebody else.
    pub(super) fn forget(&mut self, partitions: &[PartitionId]) {
        for partition in partitions {
            self.0.remove(partition);
        }
    }

    /// All partitions, with where they are read on.
    pub(super) fn all(&self) -> Vec<(PartitionId, ReadPosition)> {
        let all = self.0.iter();
        all.map(|(partition, read)| (*partition, *read)).collect()
    }

    /// Adds records of one partition to a batch.
    pub(super) fn add(&mut self, work: &mut Vec<Work>, more: Vec<Record>) {
        let (Some(begin), Some(end)) = (more.first(), more.last()) else {
            return;
        };
        let partition = begin.partition;
        let read = ReadPosition {
            next: end.offset + 1,
            last: Some(end.fingerprint()),
        };
        // A record that is told again begins the batch earlier than it was expected.
        let expected = self.0.insert(partition, read);
        let first = expected.map_or(begin.offset, |expected| expected.next.min(begin.offset));
        let before = expected.filter(|expected| expected.next == first);
        match work.iter_mut().find(|one| one.partition == partition) {
            Some(one) => {
                if first < one.first {
                    (one.first, one.before) = (first, None);
                }
                one.records.extend(more);
            }
            None => work.push(Work {
                partition,
                first,
                before: before.and_then(|before| before.last),
                records: more,
            }),
        }
    }
}

/// What a batch has room for, without waiting; `None` where it is full.
pub(super) fn room(work: &[Work], limits: PollLimits) -> Option<PollLimits> {
    let (count, bytes) = size(work);
    let left = PollLimits {
        records: limits.records.saturating_sub(count),
        bytes: limits.bytes.saturating_sub(bytes),
        wait_ms: 0,
    };
    (work.len() < PARTITIONS && left.records > 0 && left.bytes > 0).then_some(left)
}

/// Records, and the bytes of their values.
pub(super) fn size(work: &[Work]) -> (usize, usize) {
    let records = work.iter().flat_map(|one| &one.records);
    records.fold((0, 0), |(count, bytes), record| {
        (count + 1, bytes + record.value.len())
    })
}

/// Whether a batch is so large that more waits behind it.
pub(super) fn is_full(work: &[Work], limits: PollLimits) -> bool {
    let (records, bytes) = size(work);
    2 * records >= limits.records || 2 * bytes >= limits.bytes
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use chat_core::port::log::{Headers, Topic};
    use chat_wire::time::Timestamp;

    use super::*;

    const LIMITS: PollLimits = PollLimits {
        records: 8,
        bytes: 100,
        wait_ms: 500,
    };

    fn records(index: u32, offset: u64, values: &[usize]) -> Vec<Record> {
        let partition = PartitionId {
            topic: Topic::Messages,
            index,
        };
        let one = |(offset, bytes): (u64, &usize)| Record {
            partition,
            offset,
            appended_at: Timestamp::now(),
            key: Bytes::new(),
            headers: Headers::default(),
            value: vec![0; *bytes].into(),
        };
        (offset..).zip(values).map(one).collect()
    }

    #[test]
    fn records_of_a_partition_stay_together_and_in_order() {
        let (mut work, mut read) = (Vec::new(), ReadPositions::default());
        read.seek(records(1, 0, &[1])[0].partition, 4, &Position::START);
        read.add(&mut work, records(1, 5, &[1, 1]));
        read.add(&mut work, records(0, 9, &[1]));
        read.add(&mut work, Vec::new());
        read.add(&mut work, records(1, 7, &[1]));
        let offsets: Vec<(u32, Vec<u64>)> = work
            .iter()
            .map(|one| {
                (
                    one.partition.index,
                    one.records.iter().map(|record| record.offset).collect(),
                )
            })
            .collect();
        assert_eq!(offsets, [(1, vec![5, 6, 7]), (0, vec![9])]);
        assert_eq!(size(&work), (4, 4));
        // Where it was read from, also where the log has no record of that offset.
        assert_eq!((work[0].first, work[1].first), (4, 9));
        let behind: Vec<u64> = read.all().iter().map(|(_, read)| read.next).collect();
        assert_eq!(behind, [10, 8]);
    }

    #[test]
    fn a_position_of_another_log_is_told_by_its_last_record() {
        let mut read = ReadPositions::default();
        let batch = records(0, 5, &[1, 2]);
        let last = Some(batch[1].fingerprint());
        read.seek(batch[0].partition, 5, &Position::START);
        let stored = |next, last_uid| Position {
            next,
            epoch: 0,
            last_uid,
        };
        let other = Some(Uuid::from_u128(7));
        assert!(!read.all()[0].1.is_of_another_log(&stored(5, other)));
        read.add(&mut Vec::new(), batch);
        let read = read.all()[0].1;
        assert!(read.is_of_another_log(&stored(7, other)));
        for same in [stored(7, last), stored(7, None), stored(6, other)] {
            assert!(!read.is_of_another_log(&same), "{same:?}");
        }
    }

    #[test]
    fn a_batch_has_room_until_records_or_bytes_are_used_up() {
        let (mut work, mut read) = (Vec::new(), ReadPositions::default());
        read.add(&mut work, records(0, 0, &[10, 20, 30]));
        let left = room(&work, LIMITS).unwrap();
        assert_eq!((left.records, left.bytes, left.wait_ms), (5, 40, 0));
        assert!(is_full(&work, LIMITS));
        read.add(&mut work, records(0, 3, &[40]));
        assert!(room(&work, LIMITS).is_none());
        let mut many = Vec::new();
        read.add(&mut many, records(0, 0, &[1; 3]));
        assert!(!is_full(&many, LIMITS));
        read.add(&mut many, records(0, 3, &[1; 5]));
        assert!(is_full(&many, LIMITS));
        assert!(room(&many, LIMITS).is_none());
    }

    #[test]
    fn who_rests_takes_an_eighth() {
        let part = part(LIMITS);
        assert_eq!((part.records, part.bytes, part.wait_ms), (1, 13, 500));
    }
}
