//! Batches of the embedded log: no bytes make reading them panic, and what is read is written and read again
//! as the same.
//!
//! The input: two bytes that say how many bytes the heads have, the heads, then the frames. Without heads
//! it is a batch that was written before there were checksums.

#![no_main]

use bytes::Bytes;
use chat_core::port::log::{NewRecord, PartitionId, Topic};
use chat_wire::time::Timestamp;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the log uses the rest")]
#[path = "../../embedded/src/log/frame.rs"]
mod frame;
#[allow(dead_code, reason = "the log uses the rest")]
#[path = "../../embedded/src/log/frames.rs"]
mod frames;
#[allow(dead_code, reason = "the log uses the rest")]
#[path = "../../embedded/src/log/head.rs"]
mod head;

use frames::{Frames, Segment, gather};
use head::{BatchHead, Head};

const PLACE: PartitionId = PartitionId {
    topic: Topic::Messages,
    index: 0,
};

fuzz_target!(|data: &[u8]| {
    let at = Timestamp::from_micros(1).expect("it is in range");
    let Some((heads, data)) = data.split_first_chunk() else {
        return;
    };
    let heads = usize::from(u16::from_le_bytes(*heads)).min(data.len());
    let (heads, bytes) = data.split_at(heads);
    let _ = BatchHead::read(heads);
    let segment = |verify| Segment {
        topic: PLACE.topic,
        first: 3,
        records: u64::MAX,
        appended_at: at,
        frames: Bytes::copy_from_slice(bytes),
        heads: Bytes::copy_from_slice(heads),
        verify,
    };
    for verify in [false, true] {
        let mut frames = Frames::new(segment(verify));
        let mut skipped = Frames::new(segment(verify));
        while let Ok(taken) = frames.take() {
            assert!(skipped.skip().is_ok());
            let Ok(record) = taken.record(PLACE, 3, at) else {
                continue;
            };
            let new = NewRecord {
                key: record.key.clone(),
                headers: record.headers.clone(),
                value: record.value.clone(),
            };
            let frame = frame::encode(&new);
            let head = Head::new(&new, frame.len());
            let again = Segment {
                verify: true,
                ..gather(PLACE.topic, 3, at, [(&head, frame.as_slice())].into_iter())
            };
            let again = Frames::new(again).take().expect("one frame");
            let again = again.record(PLACE, 3, at);
            assert_eq!(again.expect("it was just written"), record);
        }
    }
});
