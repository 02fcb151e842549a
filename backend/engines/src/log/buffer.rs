//! Records that came and were not handed out yet, by partition.

use std::collections::{BTreeMap, VecDeque};

use chat_core::port::log::{PollLimits, Record};

/// Records that wait here at most; the client itself holds more.
const RECORDS: usize = 32_768;
/// Bytes that wait here at most.
const BYTES: usize = 8 * 1024 * 1024;

/// The partitions that are ours.
#[derive(Default)]
pub(super) struct Buffer {
    parts: BTreeMap<u32, Part>,
    records: usize,
    bytes: usize,
    /// Whose turn it is, so that a busy partition starves no other.
    turn: u32,
}

struct Part {
    /// Offset of the next record that the client will bring.
    next: u64,
    /// Whether records may be handed out.
    sought: bool,
    /// Whether the client brings no more: what it would have to bring is gone.
    stopped: bool,
    records: VecDeque<Record>,
}

impl Buffer {
    /// A partition came; its records are kept until it was sought.
    pub(super) fn add(&mut self, index: u32, next: u64) {
        self.remove(index);
        let part = Part {
            next,
            sought: false,
            stopped: false,
            records: VecDeque::new(),
        };
        self.parts.insert(index, part);
    }

    /// A partition went, and its records with it.
    pub(super) fn remove(&mut self, index: u32) {
        if let Some(part) = self.parts.remove(&index) {
            self.records -= part.records.len();
            self.bytes -= part.records.iter().map(size).sum::<usize>();
        }
    }

    /// Nothing more comes of a partition; what came before is still handed out.
    pub(super) fn stop(&mut self, index: u32) {
        if let Some(part) = self.parts.get_mut(&index) {
            part.stopped = true;
        }
    }

    /// Whether nothing more comes of a partition.
    pub(super) fn is_stopped(&self, index: u32) -> bool {
        self.parts.get(&index).is_some_and(|part| part.stopped)
    }

    /// Each partition of which something may come, and the offset that it has come to.
    pub(super) fn positions(&self) -> impl Iterator<Item = (u32, u64)> {
        let reading = self.parts.iter().filter(|(_, part)| !part.stopped);
        reading.map(|(index, part)| (*index, part.next))
    }

    /// Whether the partition's next record is the one at this offset; `None` where it is not ours.
    pub(super) fn stands_at(&self, index: u32, offset: u64) -> Option<bool> {
        let part = self.parts.get(&index)?;
        let first = part
            .records
            .front()
            .map_or(part.next, |record| record.offset);
        Some(first == offset)
    }

    /// Records may be handed out as they are.
    pub(super) fn open(&mut self, index: u32) {
        if let Some(part) = self.parts.get_mut(&index) {
            part.sought = true;
        }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.records >= RECORDS || self.bytes >= BYTES
    }

    /// Keeps a record; what was under way before a seek, or belongs to somebody else, is not kept.
    pub(super) fn keep(&mut self, record: Record) {
        let Some(part) = self.parts.get_mut(&record.partition.index) else {
            return;
        };
        if record.offset < part.next || part.stopped {
            return;
        }
        part.next = record.offset + 1;
        self.records += 1;
        self.bytes += size(&record);
        part.records.push_back(record);
    }

    /// The records of one partition, the next one in turn.
    pub(super) fn take(&mut self, limits: PollLimits) -> Option<Vec<Record>> {
        let ready = |(_, part): &(&u32, &Part)| part.sought && !part.records.is_empty();
        let mut after = self.parts.range(self.turn..).filter(ready);
        let first = after.next().map(|(index, _)| *index);
        let index = first.or_else(|| Some(*self.parts.iter().find(ready)?.0))?;
        self.turn = index + 1;
        let waiting = &mut self.parts.get_mut(&index)?.records;
        let (mut count, mut bytes) = (0, 0);
        for record in waiting.iter().take(limits.records.max(1)) {
            if count > 0 && bytes >= limits.bytes {
                break;
            }
            count += 1;
            bytes += size(record);
        }
        let records: Vec<Record> = waiting.drain(..count).collect();
        self.records -= count;
        self.bytes -= bytes;
        Some(records)
    }
}

fn size(record: &Record) -> usize {
    record.key.len() + record.value.len()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use chat_core::port::log::{Headers, PartitionId, Topic};
    use chat_wire::time::Timestamp;

    use super::*;

    const ALL: PollLimits = PollLimits {
        records: 100,
        bytes: 1_000,
        wait_ms: 0,
    };

    fn record(index: u32, offset: u64) -> Record {
        Record {
            partition: PartitionId {
                topic: Topic::Chats,
                index,
            },
            offset,
            appended_at: Timestamp::from_micros(0).unwrap(),
            key: Bytes::new(),
            headers: Headers::default(),
            value: Bytes::from_static(b"0123456789"),
        }
    }

    fn offsets(records: Option<Vec<Record>>) -> Vec<(u32, u64)> {
        let records = records.unwrap_or_default();
        records
            .iter()
            .map(|record| (record.partition.index, record.offset))
            .collect()
    }

    #[test]
    fn nothing_is_handed_out_before_it_was_sought() {
        let mut buffer = Buffer::default();
        buffer.add(1, 5);
        buffer.keep(record(1, 5));
        buffer.keep(record(2, 5));
        assert_eq!(offsets(buffer.take(ALL)), []);
        assert_eq!(buffer.stands_at(1, 5), Some(true));
        assert_eq!(buffer.stands_at(2, 5), None);
        buffer.open(1);
        assert_eq!(offsets(buffer.take(ALL)), [(1, 5)]);
        assert_eq!((buffer.records, buffer.bytes), (0, 0));
    }

    #[test]
    fn a_partition_that_stops_gives_what_it_has() {
        let mut buffer = Buffer::default();
        for index in [0, 1] {
            buffer.add(index, 0);
            buffer.open(index);
            buffer.keep(record(index, 0));
        }
        buffer.stop(0);
        buffer.keep(record(0, 7));
        assert_eq!(offsets(buffer.take(ALL)), [(0, 0)]);
        assert_eq!(offsets(buffer.take(ALL)), [(1, 0)]);
        assert_eq!(offsets(buffer.take(ALL)), []);
        assert_eq!(buffer.positions().collect::<Vec<_>>(), [(1, 1)]);
        buffer.add(0, 7);
        assert_eq!(buffer.positions().count(), 2);
    }

    #[test]
    fn partitions_take_turns_and_limits_are_kept() {
        let mut buffer = Buffer::default();
        for index in [0, 1] {
            buffer.add(index, 0);
            buffer.open(index);
            (0..3).for_each(|offset| buffer.keep(record(index, offset)));
        }
        let two = PollLimits { records: 2, ..ALL };
        assert_eq!(offsets(buffer.take(two)), [(0, 0), (0, 1)]);
        assert_eq!(offsets(buffer.take(two)), [(1, 0), (1, 1)]);
        let small = PollLimits { bytes: 1, ..ALL };
        assert_eq!(offsets(buffer.take(small)), [(0, 2)]);
        // What came twice is kept once, and what is given away is forgotten.
        buffer.keep(record(1, 1));
        buffer.remove(1);
        assert_eq!(offsets(buffer.take(ALL)), []);
        assert_eq!((buffer.records, buffer.bytes), (0, 0));
    }
}
