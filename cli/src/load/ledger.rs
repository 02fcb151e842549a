//! What the server has acknowledged, chat by chat: 16 bytes a message, so that ten million fit.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is known of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It is there with this body.
    Live,
    /// A change of it is under way, so nobody else may change it.
    Busy,
    /// A change of it was sent and not answered: it has the old body or the new one, or none.
    Uncertain,
    /// It is deleted.
    Deleted,
}

/// One acknowledged message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// The number that was given out.
    pub(crate) number: u32,
    pub(crate) state: State,
    /// Of the body that was acknowledged last.
    pub(crate) body: u64,
}

/// What is known of a chat.
#[derive(Debug, Default)]
pub(crate) struct Chat {
    /// In order of acknowledgement.
    pub(crate) entries: Vec<Entry>,
    /// Bodies that were sent and not answered: they may be there.
    pub(crate) unanswered: Vec<u64>,
    /// Highest number that was given out.
    pub(crate) highest: u32,
}

/// All chats of a run.
#[derive(Debug)]
pub(crate) struct Ledger {
    chats: Vec<Mutex<Chat>>,
}

/// What a body is compared by.
pub(crate) fn fingerprint(body: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

impl Ledger {
    pub(crate) fn new(chats: usize) -> Self {
        Self {
            chats: (0..chats).map(|_| Mutex::default()).collect(),
        }
    }

    /// The chat at this place; a task that panicked has left it as it was.
    pub(crate) fn chat(&self, at: u32) -> MutexGuard<'_, Chat> {
        let chat = &self.chats[at as usize];
        chat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many chats there are.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.chats.len()).unwrap_or(u32::MAX)
    }

    /// Messages that were acknowledged, deleted ones too.
    pub(crate) fn acknowledged(&self) -> u64 {
        let of = |at| self.chat(at).entries.len() as u64;
        (0..self.len()).map(of).sum()
    }
}

impl Chat {
    /// A create was acknowledged.
    pub(crate) fn acknowledged(&mut self, number: u32, body: u64) {
        self.highest = self.highest.max(number);
        self.entries.push(Entry {
            number,
            state: State::Live,
            body,
        });
    }

    /// A message that is there for certain, if there is one near this choice.
    pub(crate) fn some(&self, choice: u32) -> Option<(usize, u32)> {
        let count = self.entries.len();
        // A few steps are enough unless nearly everything is deleted.
        (0..16.min(count)).find_map(|step| {
            let at = (choice as usize + step) % count;
            let entry = &self.entries[at];
            (entry.state == State::Live).then_some((at, entry.number))
        })
    }

    /// The same, and from now on a change of it is under way.
    pub(crate) fn take(&mut self, choice: u32) -> Option<(usize, u32)> {
        let (at, number) = self.some(choice)?;
        self.entries[at].state = State::Busy;
        Some((at, number))
    }

    /// How the change ended.
    pub(crate) fn put(&mut self, at: usize, state: State, body: Option<u64>) {
        let entry = &mut self.entries[at];
        entry.state = state;
        entry.body = body.unwrap_or(entry.body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_change_at_a_time() {
        let ledger = Ledger::new(1);
        let mut chat = ledger.chat(0);
        assert_eq!(chat.take(7), None);
        chat.acknowledged(1, 11);
        let (at, number) = chat.take(7).unwrap();
        assert_eq!((number, chat.take(7)), (1, None));
        chat.put(at, State::Live, Some(12));
        assert_eq!(chat.entries[at].body, 12);
        chat.take(0).unwrap();
        chat.put(at, State::Deleted, None);
        assert_eq!((chat.some(0), chat.entries[at].body), (None, 12));
        drop(chat);
        assert_eq!(ledger.acknowledged(), 1);
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Entry>(), 16);
    }
}
