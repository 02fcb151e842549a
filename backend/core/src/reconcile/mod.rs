//! Reconciliation: what the counters, the rows, the count columns, the log and the index say of each
//! other, and mending what differs.
//!
//! `compare` asks, `judge` decides, `act` mends; `walk` goes along what is to be compared, `run` and
//! `pass` carry an order out and `book` keeps it to one run at a time across all processes. What is in flight is not
//! drift: a figure that differs is judged only when what was on its way has arrived.

mod act;
mod book;
mod compare;
mod documents;
mod indexed;
mod judge;
mod page;
mod pass;
mod run;
mod sightings;
mod walk;

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

pub use self::page::Wish;
pub use self::run::Work;
use self::sightings::Sightings;
use crate::port::store::ChatKey;

/// Chats in which a comparison found something, that are kept for the next run.
const SUSPECTS_MAX: usize = 10_000;

/// What reconciliation remembers in this process.
#[derive(Debug, Default)]
pub struct Reconciler {
    owner: OnceLock<String>,
    sightings: Sightings,
    /// Chats in which somebody who looked found drift: a run that compares what changed looks at them
    /// too, because what was changed by hand has not changed for the store.
    suspects: Mutex<BTreeSet<ChatKey>>,
    /// Held while a run is carried out here.
    working: tokio::sync::Mutex<()>,
    /// Held while a page is compared: whoever asks at the same time waits instead of doubling the work.
    looking: tokio::sync::Mutex<()>,
    closing: AtomicBool,
    /// The version of the book that was seen last, and since when: signs of life change it.
    seen: Mutex<Option<(u64, Duration)>>,
}

impl Reconciler {
    /// Names this process to others: host, process id and role. The first name stays.
    pub fn name(&self, owner: impl Into<String>) {
        // A second name would only confuse who reads the first.
        let _ = self.owner.set(owner.into());
    }

    /// Ends the run of this process, if there is one, and returns when it has written down where it is.
    pub async fn close(&self) {
        self.closing.store(true, Ordering::Release);
        drop(self.working.lock().await);
    }

    fn owner(&self) -> String {
        let unnamed = || format!("process {}", std::process::id());
        self.owner.get().cloned().unwrap_or_else(unnamed)
    }

    /// Whether the book has had this version for so long, by the uptime of this process.
    fn is_silent(&self, version: u64, uptime: Duration, span: Duration) -> bool {
        let mut seen = self.seen.lock();
        match *seen {
            Some((known, since)) if known == version => uptime.saturating_sub(since) >= span,
            _ => {
                *seen = Some((version, uptime));
                false
            }
        }
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Has the next run compare a chat with all its documents.
    pub fn suspect(&self, chat: ChatKey) {
        let mut suspects = self.suspects.lock();
        if suspects.len() < SUSPECTS_MAX {
            suspects.insert(chat);
        }
    }

    fn take_suspects(&self) -> Vec<ChatKey> {
        std::mem::take(&mut *self.suspects.lock())
            .into_iter()
            .collect()
    }
}
