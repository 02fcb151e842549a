//! How far each group has applied its topic, known without asking SQLite.

use std::sync::atomic::{AtomicU64, Ordering};

use chat_core::port::log::Group;

/// The next offset of each group, as of its last commit in the store. It never runs ahead of the store.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    next: [AtomicU64; Group::ALL.len()],
}

impl Progress {
    /// Notes what a commit has made durable.
    pub(crate) fn applied(&self, group: Group, next: u64) {
        self.next[group as usize].store(next, Ordering::Release);
    }

    /// Offset of the first record that the group has not applied.
    pub(crate) fn next(&self, group: Group) -> u64 {
        self.next[group as usize].load(Ordering::Acquire)
    }
}
