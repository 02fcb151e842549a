//! A record as bytes, and back: the format of `batches.frames` (migrations/sqlite/log).

use bytes::{Buf, BufMut, Bytes};
use chat_core::port::log::{Headers, NewRecord, Origin, PartitionId, Record, Topic};
use chat_wire::time::Timestamp;
use uuid::Uuid;

const EVENT: u8 = 1;
const UID: u8 = 2;
const SCHEMA: u8 = 4;
const ORIGIN: u8 = 8;
const REASON: u8 = 16;

/// Bytes in front of each record: three lengths.
const LENGTHS: usize = 12;
/// Longest event name and reason, in bytes; longer ones are cut.
const TEXT_BYTES: usize = 4 * 1024;

/// The frames end in the middle of a record, or say what this program never wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged;

/// The number of a topic in the database; 0 is none, and the busiest has the highest.
pub(super) const fn code(topic: Topic) -> u8 {
    match topic {
        Topic::ApplicationsDlq => 1,
        Topic::ChatsDlq => 2,
        Topic::MessagesDlq => 3,
        Topic::Applications => 4,
        Topic::Chats => 5,
        Topic::Messages => 6,
    }
}

fn topic(code: u8) -> Result<Topic, Damaged> {
    Topic::ALL
        .into_iter()
        .find(|topic| self::code(*topic) == code)
        .ok_or(Damaged)
}

/// The frame of one record.
pub(super) fn encode(record: &NewRecord) -> Vec<u8> {
    let headers = &record.headers;
    let texts = headers.event.as_ref().map_or(0, String::len)
        + headers.reason.as_ref().map_or(0, String::len);
    let mut frame =
        Vec::with_capacity(LENGTHS + 48 + texts + record.key.len() + record.value.len());
    frame.resize(LENGTHS, 0);
    put_headers(&mut frame, headers);
    let headers_len = frame.len() - LENGTHS;
    frame.extend_from_slice(&record.key);
    frame.extend_from_slice(&record.value);
    let mut lengths = &mut frame[..LENGTHS];
    for len in [headers_len, record.key.len(), record.value.len()] {
        lengths.put_u32_le(u32::try_from(len).expect("the size of a record was checked"));
    }
    frame
}

fn put_headers(frame: &mut Vec<u8>, headers: &Headers) {
    let flag = |is_some, flag| if is_some { flag } else { 0 };
    frame.put_u8(
        flag(headers.event.is_some(), EVENT)
            | flag(headers.uid.is_some(), UID)
            | flag(headers.schema.is_some(), SCHEMA)
            | flag(headers.origin.is_some(), ORIGIN)
            | flag(headers.reason.is_some(), REASON),
    );
    if let Some(event) = &headers.event {
        put_text(frame, event);
    }
    if let Some(uid) = headers.uid {
        frame.extend_from_slice(uid.as_bytes());
    }
    if let Some(schema) = headers.schema {
        frame.put_u32_le(schema);
    }
    if let Some(origin) = headers.origin {
        frame.put_u32_le(origin.epoch);
        frame.put_u8(code(origin.partition.topic));
        frame.put_u32_le(origin.partition.index);
        frame.put_u64_le(origin.offset);
    }
    if let Some(reason) = &headers.reason {
        put_text(frame, reason);
    }
}

fn put_text(frame: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    frame.put_u16_le(u16::try_from(end).expect("the limit fits"));
    frame.extend_from_slice(&text.as_bytes()[..end]);
}

/// Frames on their way out. What it yields shares the bytes and copies only the headers.
#[derive(Debug)]
pub(super) struct Frames {
    rest: Bytes,
}

/// One frame, not looked into yet.
#[derive(Debug)]
pub(super) struct Frame {
    headers: Bytes,
    key: Bytes,
    value: Bytes,
}

impl Frames {
    pub(super) const fn new(frames: Bytes) -> Self {
        Self { rest: frames }
    }

    /// Passes over one frame without looking into it.
    pub(super) fn skip(&mut self) -> Result<(), Damaged> {
        let (headers, key, value) = self.lengths()?;
        self.rest.advance(LENGTHS + headers + key + value);
        Ok(())
    }

    /// The next frame.
    pub(super) fn take(&mut self) -> Result<Frame, Damaged> {
        let (headers, key, value) = self.lengths()?;
        self.rest.advance(LENGTHS);
        Ok(Frame {
            headers: self.rest.split_to(headers),
            key: self.rest.split_to(key),
            value: self.rest.split_to(value),
        })
    }

    fn lengths(&self) -> Result<(usize, usize, usize), Damaged> {
        let mut lengths = self.rest.get(..LENGTHS).ok_or(Damaged)?;
        let mut next = || lengths.get_u32_le() as usize;
        let (headers, key, value) = (next(), next(), next());
        if LENGTHS + headers + key + value > self.rest.len() {
            return Err(Damaged);
        }
        Ok((headers, key, value))
    }
}

impl Frame {
    /// Bytes of key and value.
    pub(super) const fn len(&self) -> usize {
        self.key.len() + self.value.len()
    }

    /// The record that was appended there and then.
    pub(super) fn record(
        self,
        partition: PartitionId,
        offset: u64,
        appended_at: Timestamp,
    ) -> Result<Record, Damaged> {
        Ok(Record {
            partition,
            offset,
            appended_at,
            headers: headers(&self.headers)?,
            key: self.key,
            value: self.value,
        })
    }
}

fn headers(mut bytes: &[u8]) -> Result<Headers, Damaged> {
    let bytes = &mut bytes;
    let flags = bytes.try_get_u8().map_err(|_| Damaged)?;
    let mut headers = Headers::default();
    if flags & EVENT != 0 {
        headers.event = Some(text(bytes)?);
    }
    if flags & UID != 0 {
        let uid = bytes.split_off(..16).ok_or(Damaged)?;
        headers.uid = Some(Uuid::from_slice(uid).map_err(|_| Damaged)?);
    }
    if flags & SCHEMA != 0 {
        headers.schema = Some(bytes.try_get_u32_le().map_err(|_| Damaged)?);
    }
    if flags & ORIGIN != 0 {
        headers.origin = Some(Origin {
            epoch: bytes.try_get_u32_le().map_err(|_| Damaged)?,
            partition: PartitionId {
                topic: topic(bytes.try_get_u8().map_err(|_| Damaged)?)?,
                index: bytes.try_get_u32_le().map_err(|_| Damaged)?,
            },
            offset: bytes.try_get_u64_le().map_err(|_| Damaged)?,
        });
    }
    if flags & REASON != 0 {
        headers.reason = Some(text(bytes)?);
    }
    Ok(headers)
}

fn text(bytes: &mut &[u8]) -> Result<String, Damaged> {
    let len = bytes.try_get_u16_le().map_err(|_| Damaged)?;
    let text = bytes.split_off(..usize::from(len)).ok_or(Damaged)?;
    String::from_utf8(text.to_vec()).map_err(|_| Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            let headers = Headers { event, uid: uid.map(Uuid::from_u128), schema, origin, reason };
            NewRecord { key: key.into(), headers, value: value.into() }
        }
    }

    proptest! {
        #[test]
        fn records_read_back(records in proptest::collection::vec(any_record(), 0..8)) {
            let bytes: Vec<u8> = records.iter().flat_map(encode).collect();
            let mut frames = Frames::new(bytes.into());
            for (offset, sent) in (0..).zip(&records) {
                let at = Timestamp::from_micros(5).unwrap();
                let read = frames.take().unwrap().record(PLACE, offset, at).unwrap();
                prop_assert_eq!(&read.key, &sent.key);
                prop_assert_eq!(&read.value, &sent.value);
                prop_assert_eq!(&read.headers, &sent.headers);
            }
            prop_assert!(frames.take().is_err());
        }

        #[test]
        fn damage_is_noticed_and_never_panics(bytes: Vec<u8>) {
            let mut frames = Frames::new(bytes.into());
            while let Ok(frame) = frames.take() {
                let _ = frame.record(PLACE, 0, Timestamp::from_micros(0).unwrap());
            }
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let reason = format!("x{}", "é".repeat(TEXT_BYTES));
        let record = NewRecord {
            key: Bytes::new(),
            headers: Headers {
                reason: Some(reason),
                ..Headers::default()
            },
            value: Bytes::new(),
        };
        let mut frames = Frames::new(encode(&record).into());
        let read = frames
            .take()
            .unwrap()
            .record(PLACE, 0, Timestamp::from_micros(0).unwrap());
        assert_eq!(read.unwrap().headers.reason.unwrap().len(), TEXT_BYTES - 1);
    }
}
