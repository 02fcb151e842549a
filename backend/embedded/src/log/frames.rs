//! The frames of one batch: put together, and read with their checksums compared.

use bytes::{Buf, Bytes};
use chat_core::port::log::{Headers, PartitionId, Record, Topic};
use chat_wire::time::Timestamp;

use super::frame::{Damaged, LENGTHS, headers, id, seal};
use super::head::{self, BatchHead, CHECKSUM_BYTES, Head};

/// What one commit appended to one topic.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) topic: Topic,
    pub(super) first: u64,
    pub(super) records: u64,
    pub(super) appended_at: Timestamp,
    pub(super) frames: Bytes,
    /// See [`super::head`]; empty in a batch that was written without checksums.
    pub(super) heads: Bytes,
    /// Whether it was read from the disk, so that its checksums have to be compared.
    pub(super) verify: bool,
}

impl Segment {
    pub(super) const fn next(&self) -> u64 {
        self.first + self.records
    }

    pub(super) const fn len(&self) -> usize {
        self.frames.len() + self.heads.len()
    }
}

/// Puts records together as one batch of a topic.
pub(super) fn gather<'a>(
    topic: Topic,
    first: u64,
    appended_at: Timestamp,
    records: impl Iterator<Item = (&'a Head, &'a [u8])> + Clone,
) -> Segment {
    let count = records.clone().count();
    let mut frames = Vec::with_capacity(records.clone().map(|(_, frame)| frame.len()).sum());
    let mut heads = Vec::with_capacity(BatchHead::bytes(count));
    let batch = BatchHead {
        id: id(topic, first),
        records: u32::try_from(count).unwrap_or(u32::MAX),
        appended_at: appended_at.as_micros(),
    };
    batch.put(&mut heads);
    for (place, (head, frame)) in (batch.id..).zip(records) {
        let start = frames.len();
        frames.extend_from_slice(frame);
        seal(&mut frames[start..], place, batch.appended_at);
        head.put(place, &mut heads);
    }
    Segment {
        topic,
        first,
        records: count as u64,
        appended_at,
        frames: frames.into(),
        heads: heads.into(),
        verify: false,
    }
}

/// Frames on their way out. What it yields shares the bytes and copies only the headers.
#[derive(Debug)]
pub(super) struct Frames {
    rest: Bytes,
    /// Empty in a batch that was written without checksums.
    heads: Bytes,
    /// The place of the first record.
    id: i64,
    appended_at: i64,
    /// Whether the bytes come from the disk and have to be compared with their checksums.
    verify: bool,
    /// How many were taken.
    nth: usize,
}

/// What was found at the place of a record.
#[derive(Debug)]
pub(super) enum Taken {
    /// What was appended.
    Intact(Frame),
    /// Something else, and what is known about the record all the same.
    Damaged(Head, Bytes),
}

/// One frame, not looked into yet.
#[derive(Debug)]
pub(super) struct Frame {
    head: Option<Head>,
    headers: Bytes,
    key: Bytes,
    value: Bytes,
}

impl Frames {
    /// Those of a batch.
    pub(super) fn new(segment: Segment) -> Self {
        let Segment {
            topic,
            first,
            appended_at,
            frames,
            heads,
            verify,
            ..
        } = segment;
        Self {
            rest: frames,
            heads,
            id: id(topic, first),
            appended_at: appended_at.as_micros(),
            verify,
            nth: 0,
        }
    }

    /// The next frame.
    pub(super) fn take(&mut self) -> Result<Taken, Damaged> {
        if self.heads.is_empty() {
            return self.take_unprotected();
        }
        let place = self.place();
        let head = Head::read(&self.heads, self.nth, place);
        self.nth += 1;
        let mut bytes = match (head, self.lengths()) {
            (Some(head), _) => self.split(head.len as usize),
            (None, Ok((headers, key, value))) => {
                self.split(LENGTHS + headers + key + value + CHECKSUM_BYTES)
            }
            (None, Err(Damaged)) => return Err(Damaged),
        };
        match (self.intact(&bytes, place), head) {
            (Some((headers, key, value)), head) => {
                bytes.advance(LENGTHS);
                Ok(Taken::Intact(Frame {
                    head,
                    headers: bytes.split_to(headers),
                    key: bytes.split_to(key),
                    value: bytes.split_to(value),
                }))
            }
            (None, Some(head)) => Ok(Taken::Damaged(head, bytes)),
            (None, None) => Err(Damaged),
        }
    }

    /// Passes over one frame without looking into it.
    pub(super) fn skip(&mut self) -> Result<(), Damaged> {
        let verify = std::mem::replace(&mut self.verify, false);
        let taken = self.take().map(drop);
        self.verify = verify;
        taken
    }

    fn place(&self) -> i64 {
        self.id + i64::try_from(self.nth).unwrap_or(i64::MAX)
    }

    /// As many bytes as there are of those asked for.
    fn split(&mut self, len: usize) -> Bytes {
        self.rest.split_to(len.min(self.rest.len()))
    }

    /// The lengths in a frame, where it is what was appended at this place.
    fn intact(&self, frame: &[u8], place: i64) -> Option<(usize, usize, usize)> {
        let content = frame.len().checked_sub(CHECKSUM_BYTES)?;
        let (headers, key, value) = lengths(frame).ok()?;
        if LENGTHS + headers + key + value != content {
            return None;
        }
        let (content, mut checksum) = frame.split_at(content);
        if self.verify {
            let sealed = head::sealed(crc32c::crc32c(content), place, self.appended_at);
            if sealed != checksum.get_u32_le() {
                return None;
            }
        }
        Some((headers, key, value))
    }

    fn take_unprotected(&mut self) -> Result<Taken, Damaged> {
        let (headers, key, value) = self.lengths()?;
        self.rest.advance(LENGTHS);
        Ok(Taken::Intact(Frame {
            head: None,
            headers: self.rest.split_to(headers),
            key: self.rest.split_to(key),
            value: self.rest.split_to(value),
        }))
    }

    fn lengths(&self) -> Result<(usize, usize, usize), Damaged> {
        let (headers, key, value) = lengths(&self.rest)?;
        if LENGTHS + headers + key + value > self.rest.len() {
            return Err(Damaged);
        }
        Ok((headers, key, value))
    }
}

fn lengths(frame: &[u8]) -> Result<(usize, usize, usize), Damaged> {
    let mut lengths = frame.get(..LENGTHS).ok_or(Damaged)?;
    let mut next = || lengths.get_u32_le() as usize;
    Ok((next(), next(), next()))
}

impl Taken {
    /// Bytes of key and value.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Intact(frame) => frame.key.len() + frame.value.len(),
            Self::Damaged(_, bytes) => bytes.len(),
        }
    }

    /// The record that was appended there and then, marked where it is damaged.
    pub(super) fn record(
        self,
        partition: PartitionId,
        offset: u64,
        appended_at: Timestamp,
    ) -> Result<Record, Damaged> {
        match self {
            Self::Intact(frame) => frame.record(partition, offset, appended_at),
            Self::Damaged(head, bytes) => Ok(Record {
                partition,
                offset,
                appended_at,
                key: Bytes::new(),
                headers: Headers {
                    uid: head.uid,
                    scope: head.scope,
                    damaged: true,
                    ..Headers::default()
                },
                value: bytes,
            }),
        }
    }
}

impl Frame {
    fn record(
        self,
        partition: PartitionId,
        offset: u64,
        appended_at: Timestamp,
    ) -> Result<Record, Damaged> {
        Ok(Record {
            partition,
            offset,
            appended_at,
            headers: Headers {
                scope: self.head.and_then(|head| head.scope),
                ..headers(&self.headers)?
            },
            key: self.key,
            value: self.value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::frame::encode;
    use chat_core::port::log::{NewRecord, Origin, Topic};
    use proptest::prelude::*;
    use uuid::Uuid;

    const AT: i64 = 5;

    const PLACE: PartitionId = PartitionId {
        topic: Topic::Messages,
        index: 0,
    };

    fn any_topic() -> impl Strategy<Value = Topic> {
        (0..Topic::ALL.len()).prop_map(|nth| Topic::ALL[nth])
    }

    prop_compose! {
        fn any_origin()(epoch: u32, topic in any_topic(), index: u32, offset: u64) -> Origin {
            Origin { epoch, partition: PartitionId { topic, index }, offset }
        }
    }

    prop_compose! {
        fn any_record()(
            key: Vec<u8>,
            value: Vec<u8>,
            event in proptest::option::of(".{0,20}"),
            uid: Option<u128>,
            schema: Option<u32>,
            origin in proptest::option::of(any_origin()),
            reason in proptest::option::of(".{0,80}"),
        ) -> NewRecord {
            let uid = uid.map(Uuid::from_u128);
            let headers = Headers { event, uid, schema, origin, reason, ..Headers::default() };
            NewRecord { key: key.into(), headers, value: value.into() }
        }
    }

    fn segment(records: &[NewRecord]) -> Segment {
        let frames: Vec<(Head, Vec<u8>)> = records
            .iter()
            .map(|record| {
                let frame = encode(record);
                (Head::new(record, frame.len()), frame)
            })
            .collect();
        let at = Timestamp::from_micros(AT).unwrap();
        let frames = frames.iter().map(|(head, frame)| (head, frame.as_slice()));
        Segment {
            verify: true,
            ..gather(Topic::Messages, 7, at, frames)
        }
    }

    /// What is read of each record; `None` from where on nothing is known.
    fn read(segment: Segment) -> Vec<Option<Record>> {
        let (first, records) = (segment.first, segment.records);
        let at = segment.appended_at;
        let mut frames = Frames::new(segment);
        (first..first + records)
            .map(|offset| frames.take().ok()?.record(PLACE, offset, at).ok())
            .collect()
    }

    fn same(read: &Record, sent: &NewRecord) -> bool {
        (&read.key, &read.headers, &read.value) == (&sent.key, &sent.headers, &sent.value)
    }

    proptest! {
        #[test]
        fn records_read_back(records in proptest::collection::vec(any_record(), 1..8)) {
            let found = read(segment(&records));
            prop_assert_eq!(found.len(), records.len());
            for (found, sent) in found.iter().zip(&records) {
                prop_assert!(same(found.as_ref().unwrap(), sent));
            }
        }

        /// One bit makes one record damaged at most, and leaves its uid known.
        #[test]
        fn a_flipped_bit_damages_one_record_and_hides_no_uid(
            records in proptest::collection::vec(any_record(), 1..8),
            at: usize,
        ) {
            let mut damaged = segment(&records);
            let mut frames = damaged.frames.to_vec();
            let mut heads = damaged.heads.to_vec();
            let bit = at % ((frames.len() + heads.len()) * 8);
            match bit.checked_sub(frames.len() * 8) {
                None => frames[bit / 8] ^= 1 << (bit % 8),
                Some(bit) => heads[bit / 8] ^= 1 << (bit % 8),
            }
            (damaged.frames, damaged.heads) = (frames.into(), heads.into());
            let mut wrong = 0;
            for (found, sent) in read(damaged).iter().zip(&records) {
                let found = found.as_ref().unwrap();
                if found.headers.damaged {
                    wrong += 1;
                    let uid = sent.headers.uid.filter(|uid| !uid.is_nil());
                    prop_assert_eq!(found.headers.uid, uid);
                } else {
                    prop_assert!(same(found, sent));
                }
            }
            prop_assert!(wrong <= 1);
        }

        #[test]
        fn a_record_in_the_place_of_another_is_damaged(
            records in proptest::collection::vec(any_record(), 1..4),
        ) {
            let mut moved = segment(&records);
            moved.first += 1;
            for found in read(moved) {
                prop_assert!(found.is_none_or(|found| found.headers.damaged));
            }
        }

        #[test]
        fn batches_without_checksums_read_back(
            records in proptest::collection::vec(any_record(), 1..8),
        ) {
            let mut old = segment(&records);
            let without = |record| {
                let mut frame = encode(record);
                frame.truncate(frame.len() - CHECKSUM_BYTES);
                frame
            };
            old.frames = records.iter().flat_map(without).collect::<Vec<u8>>().into();
            old.heads = Bytes::new();
            for (found, sent) in read(old).iter().zip(&records) {
                prop_assert!(same(found.as_ref().unwrap(), sent));
            }
        }

        #[test]
        fn damage_is_noticed_and_never_panics(
            frames: Vec<u8>,
            heads: Vec<u8>,
            records in 0_u64..8,
        ) {
            let at = Timestamp::from_micros(AT).unwrap();
            let found = read(Segment {
                topic: Topic::Messages,
                first: 0,
                records,
                appended_at: at,
                frames: frames.into(),
                heads: heads.into(),
                verify: true,
            });
            prop_assert_eq!(found.len() as u64, records);
        }
    }

    #[test]
    fn a_mark_of_damage_and_a_long_reason_are_kept() {
        let reason = format!("x{}", "é".repeat(4 * 1024));
        let record = NewRecord {
            key: Bytes::new(),
            headers: Headers {
                reason: Some(reason),
                damaged: true,
                ..Headers::default()
            },
            value: Bytes::new(),
        };
        let found = read(segment(&[record])).remove(0).unwrap();
        assert!(found.headers.damaged);
        // Cut between two characters.
        assert_eq!(found.headers.reason.unwrap().len(), 4 * 1024 - 1);
    }
}
