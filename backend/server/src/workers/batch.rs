//! Batches: what a worker takes from its partitions at once.

use std::collections::BTreeMap;

use chat_core::port::log::{PartitionId, PollLimits, Record};

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
pub(super) struct ReadPositions(BTreeMap<PartitionId, u64>);

impl ReadPositions {
    /// Notes that a partition is read from here on.
    pub(super) fn seek(&mut self, partition: PartitionId, next: u64) {
        self.0.insert(partition, next);
    }

    /// Forgets partitions that belong to somebody else.
    pub(super) fn forget(&mut self, partitions: &[PartitionId]) {
        for partition in partitions {
            self.0.remove(partition);
        }
    }

    /// All partitions, with where they are read on.
    pub(super) fn all(&self) -> Vec<(PartitionId, u64)> {
        self.0
            .iter()
            .map(|(partition, next)| (*partition, *next))
            .collect()
    }

    /// Adds records of one partition to a batch.
    pub(super) fn add(&mut self, work: &mut Vec<Work>, more: Vec<Record>) {
        let (Some(begin), Some(end)) = (more.first(), more.last()) else {
            return;
        };
        let partition = begin.partition;
        let behind = end.offset + 1;
        // A record that is told again begins the batch earlier than it was expected.
        let expected = self.0.insert(partition, behind);
        let first = expected.unwrap_or(begin.offset).min(begin.offset);
        match work.iter_mut().find(|one| one.partition == partition) {
            Some(one) => {
                one.first = one.first.min(first);
                one.records.extend(more);
            }
            None => work.push(Work {
                partition,
                first,
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
        read.seek(records(1, 0, &[1])[0].partition, 4);
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
        let behind: Vec<u64> = read.all().into_iter().map(|(_, next)| next).collect();
        assert_eq!(behind, [10, 8]);
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
