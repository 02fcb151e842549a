//! A record as bytes, and back: the format of `batches.frames` (migrations/sqlite/log).

use bytes::{Buf, BufMut};
use chat_core::port::log::{Headers, NewRecord, Origin, PartitionId, Topic};
use uuid::Uuid;

use super::head::{self, CHECKSUM_BYTES};

const EVENT: u8 = 1;
const UID: u8 = 2;
const SCHEMA: u8 = 4;
const ORIGIN: u8 = 8;
const REASON: u8 = 16;
const DAMAGED: u8 = 32;

/// Bytes in front of each record: three lengths.
pub(super) const LENGTHS: usize = 12;
/// Offsets of a topic: as many as a revision has room for.
pub(crate) const OFFSETS: i64 = 1 << 40;
/// Longest event name and reason, in bytes; longer ones are cut.
const TEXT_BYTES: usize = 4 * 1024;

/// The frames end in the middle of a record, or say what this program never wrote, and nothing else
/// tells which numbers the record has.
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

/// The number that a topic's first offset has in the database.
pub(crate) const fn base(topic: Topic) -> i64 {
    code(topic) as i64 * OFFSETS
}

/// The number of a place in the database.
pub(super) fn id(topic: Topic, offset: u64) -> i64 {
    let offset = i64::try_from(offset).unwrap_or(OFFSETS);
    base(topic) + offset.min(OFFSETS)
}

/// The offset of a number in the database.
pub(super) fn offset(topic: Topic, id: i64) -> u64 {
    u64::try_from(id - base(topic)).unwrap_or(0)
}

fn topic(code: u8) -> Result<Topic, Damaged> {
    Topic::ALL
        .into_iter()
        .find(|topic| self::code(*topic) == code)
        .ok_or(Damaged)
}

/// The frame of one record. It ends with the checksum of its bytes, which [`seal`] binds to a place.
pub(super) fn encode(record: &NewRecord) -> Vec<u8> {
    let headers = &record.headers;
    let texts = headers.event.as_ref().map_or(0, String::len)
        + headers.reason.as_ref().map_or(0, String::len);
    let mut frame =
        Vec::with_capacity(LENGTHS + 52 + texts + record.key.len() + record.value.len());
    frame.resize(LENGTHS, 0);
    put_headers(&mut frame, headers);
    let headers_len = frame.len() - LENGTHS;
    frame.extend_from_slice(&record.key);
    frame.extend_from_slice(&record.value);
    let mut lengths = &mut frame[..LENGTHS];
    for len in [headers_len, record.key.len(), record.value.len()] {
        lengths.put_u32_le(u32::try_from(len).expect("the size of a record was checked"));
    }
    frame.put_u32_le(crc32c::crc32c(&frame));
    frame
}

/// Binds the checksum at the end of a frame to the place and time of its record.
pub(super) fn seal(frame: &mut [u8], place: i64, appended_at: i64) {
    let checksum = frame.len() - CHECKSUM_BYTES;
    let of_bytes = (&frame[checksum..]).get_u32_le();
    (&mut frame[checksum..]).put_u32_le(head::sealed(of_bytes, place, appended_at));
}

fn put_headers(frame: &mut Vec<u8>, headers: &Headers) {
    let flag = |is_some, flag| if is_some { flag } else { 0 };
    frame.put_u8(
        flag(headers.event.is_some(), EVENT)
            | flag(headers.uid.is_some(), UID)
            | flag(headers.schema.is_some(), SCHEMA)
            | flag(headers.origin.is_some(), ORIGIN)
            | flag(headers.reason.is_some(), REASON)
            | flag(headers.damaged, DAMAGED),
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

/// Reads the headers of a frame.
pub(super) fn headers(mut bytes: &[u8]) -> Result<Headers, Damaged> {
    let bytes = &mut bytes;
    let flags = bytes.try_get_u8().map_err(|_| Damaged)?;
    let mut headers = Headers {
        damaged: flags & DAMAGED != 0,
        ..Headers::default()
    };
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
