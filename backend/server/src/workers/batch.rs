//! Batches: what a worker takes from its partitions at once.

use chat_core::port::log::{PartitionId, PollLimits, Record};

/// Of a batch a worker takes so small a part while it rests in between: many short rests keep its share as
/// well as a few long ones.
const REST_PART: usize = 8;

/// Records of one partition that follow each other; there is at least one.
#[derive(Debug)]
pub struct Work {
    /// Whose they are.
    pub partition: PartitionId,
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

/// Adds records of one partition to a batch.
pub(super) fn add(work: &mut Vec<Work>, more: Vec<Record>) {
    let Some(partition) = more.first().map(|record| record.partition) else {
        return;
    };
    match work.iter_mut().find(|one| one.partition == partition) {
        Some(one) => one.records.extend(more),
        None => work.push(Work {
            partition,
            records: more,
        }),
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
        let mut work = Vec::new();
        add(&mut work, records(1, 5, &[1, 1]));
        add(&mut work, records(0, 9, &[1]));
        add(&mut work, Vec::new());
        add(&mut work, records(1, 7, &[1]));
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
    }

    #[test]
    fn a_batch_has_room_until_records_or_bytes_are_used_up() {
        let mut work = Vec::new();
        add(&mut work, records(0, 0, &[10, 20, 30]));
        let left = room(&work, LIMITS).unwrap();
        assert_eq!((left.records, left.bytes, left.wait_ms), (5, 40, 0));
        assert!(is_full(&work, LIMITS));
        add(&mut work, records(0, 3, &[40]));
        assert!(room(&work, LIMITS).is_none());
        let mut many = Vec::new();
        add(&mut many, records(0, 0, &[1; 3]));
        assert!(!is_full(&many, LIMITS));
        add(&mut many, records(0, 3, &[1; 5]));
        assert!(is_full(&many, LIMITS));
        assert!(room(&many, LIMITS).is_none());
    }

    #[test]
    fn who_rests_takes_an_eighth() {
        let part = part(LIMITS);
        assert_eq!((part.records, part.bytes, part.wait_ms), (1, 13, 500));
    }
}
