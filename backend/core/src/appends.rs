//! How much this process has appended, so that a lag in records can be told in bytes.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::port::log::Topic;

/// Records and bytes of each topic, since the process started.
#[derive(Debug, Default)]
pub struct Appends([Sums; Topic::ALL.len()]);

#[derive(Debug, Default)]
struct Sums {
    records: AtomicU64,
    bytes: AtomicU64,
}

impl Appends {
    pub(crate) fn count(&self, topic: Topic, bytes: usize) {
        let sums = &self.0[topic as usize];
        sums.records.fetch_add(1, Ordering::Relaxed);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        sums.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Records of a topic, and the bytes of their keys and values.
    #[must_use]
    pub fn of(&self, topic: Topic) -> (u64, u64) {
        let sums = &self.0[topic as usize];
        let records = sums.records.load(Ordering::Relaxed);
        (records, sums.bytes.load(Ordering::Relaxed))
    }
}
