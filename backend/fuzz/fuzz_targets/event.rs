//! Records of the log as events: whatever stands in a record, reading it never panics; what is read is
//! written and read again as the same; what is not becomes a dead letter whose frame reads back.
//!
//! The input: topic, event name, flags, an origin of 12 bytes where a flag says so, then the value.

#![no_main]

use bytes::Bytes;
use chat_core::apply::Batch;
use chat_core::event::{Event, SCHEMA};
use chat_core::port::log::{Group, Headers, NewRecord, Origin, PartitionId, Record, Topic};
use chat_wire::time::Timestamp;
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

#[allow(dead_code, reason = "the log uses the rest")]
#[path = "../../embedded/src/log/frame.rs"]
mod frame;
#[allow(dead_code, reason = "the log uses the rest")]
#[path = "../../embedded/src/log/frames.rs"]
mod frames;
#[allow(dead_code, reason = "the log uses the rest")]
#[path = "../../embedded/src/log/head.rs"]
mod head;

const NAMES: [&str; 8] = [
    "application.created",
    "application.renamed",
    "chat.created",
    "message.created",
    "messages.created",
    "message.edited",
    "message.deleted",
    "\u{e9}vent",
];
const NO_UID: u8 = 1;
const OTHER_SCHEMA: u8 = 2;
const NO_NAME: u8 = 4;
const ORIGIN: u8 = 8;
const DAMAGED: u8 = 16;

fuzz_target!(|data: &[u8]| {
    let Some(record) = record(data) else { return };
    let at = record.appended_at;
    let topic = record.partition.topic;
    let group = Group::ALL.into_iter().find(|group| group.topic() == topic);
    let group = group.unwrap_or(Group::MessagesIndex);
    let (batch, poison) = Batch::decode(
        group,
        record.partition,
        7,
        record.offset,
        vec![record.clone()],
    );
    assert_eq!(batch.next, record.offset + 1);
    for decoded in batch.records {
        let (uid, event) = Event::decode(&record).expect("it was read before");
        assert_eq!((uid, &event), (decoded.uid, &decoded.event));
        let again = Record {
            key: event.key(),
            headers: event.encode(uid).headers,
            value: event.encode(uid).value,
            ..record.clone()
        };
        assert_eq!(Event::decode(&again), Ok((uid, event)));
    }
    for poison in poison {
        let letter = NewRecord {
            key: poison.record.key.clone(),
            headers: Headers {
                reason: Some(poison.reason),
                ..poison.record.headers
            },
            value: poison.record.value,
        };
        let frame = frame::encode(&letter);
        let head = head::Head::new(&letter, frame.len());
        let heads_and_frames = [(&head, frame.as_slice())].into_iter();
        let segment = frames::Segment {
            verify: true,
            ..frames::gather(topic, record.offset, at, heads_and_frames)
        };
        let read = frames::Frames::new(segment).take().expect("one frame");
        let read = read
            .record(record.partition, record.offset, at)
            .expect("it was just written");
        assert_eq!(
            (read.key, read.headers, read.value),
            (letter.key, letter.headers, letter.value)
        );
    }
});

fn record(data: &[u8]) -> Option<Record> {
    let [topic, name, flags, rest @ ..] = data else {
        return None;
    };
    let topic = Topic::ALL[usize::from(*topic) % Topic::ALL.len()];
    let partition = PartitionId { topic, index: 0 };
    let (origin, value) = match flags & ORIGIN != 0 {
        true => {
            let (epoch, rest) = rest.split_first_chunk()?;
            let (offset, rest) = rest.split_first_chunk()?;
            let origin = Origin {
                epoch: u32::from_le_bytes(*epoch),
                partition,
                offset: u64::from_le_bytes(*offset),
            };
            (Some(origin), rest)
        }
        false => (None, rest),
    };
    let name = NAMES[usize::from(*name) % NAMES.len()];
    Some(Record {
        partition,
        offset: 5,
        appended_at: Timestamp::from_micros(1).expect("it is in range"),
        key: Bytes::from_static(b"key"),
        headers: Headers {
            event: (flags & NO_NAME == 0).then(|| name.to_owned()),
            uid: (flags & NO_UID == 0).then_some(Uuid::from_u128(7)),
            schema: Some(SCHEMA + u32::from(flags & OTHER_SCHEMA)),
            origin,
            reason: None,
            scope: None,
            damaged: flags & DAMAGED != 0,
        },
        value: Bytes::copy_from_slice(value),
    })
}
