//! Frames of the embedded log: no bytes make reading them panic, and what is read is written and read again
//! as the same.

#![no_main]

use bytes::Bytes;
use chat_core::port::log::{NewRecord, PartitionId, Topic};
use chat_wire::time::Timestamp;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the tests of the file use the rest")]
#[path = "../../embedded/src/log/frame.rs"]
mod frame;

const PLACE: PartitionId = PartitionId {
    topic: Topic::Messages,
    index: 0,
};

fuzz_target!(|data: &[u8]| {
    let at = Timestamp::from_micros(1).expect("it is in range");
    let bytes = Bytes::copy_from_slice(data);
    let mut frames = frame::Frames::new(bytes.clone());
    let mut skipped = frame::Frames::new(bytes);
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
        let mut again = frame::Frames::new(frame::encode(&new).into());
        let again = again.take().expect("one frame").record(PLACE, 3, at);
        assert_eq!(again.expect("it was just written"), record);
    }
    assert!(skipped.skip().is_err());
});
