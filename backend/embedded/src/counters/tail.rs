//! What the log holds beyond the store: the numbers and keys that only it can say.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use chat_core::event::Event;
use chat_core::key::StoredKey;
use chat_core::port::counters::{Counter, Grant};
use chat_core::port::log::{self, Group, Log, PartitionId, PollLimits, Record, Scope};
use chat_core::port::store::{self, ChatKey, Store};
use chat_wire::ids::{AppToken, ChatNumber};
use parking_lot::Mutex;

use super::state::{STORE_GROUPS, State};
use super::{LogHorizon, Numbers};
use crate::log::Events;
use crate::progress::Progress;
use crate::store::Rows;

/// How much of the tail is read at a time.
const PAGE: PollLimits = PollLimits {
    records: 4_096,
    bytes: 4 * 1024 * 1024,
    wait_ms: 0,
};

/// Why the counters could not be rebuilt: the port that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Log(#[from] log::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
}

#[derive(Default)]
struct Tail {
    chats: HashMap<AppToken, Highest>,
    messages: HashMap<ChatKey, Highest>,
    keys: Vec<(AppToken, StoredKey, Grant)>,
}

#[derive(Default, Clone, Copy)]
struct Highest {
    number: u32,
    generation: u32,
}

impl Highest {
    fn raise(&mut self, number: u32, generation: u32) {
        self.number = self.number.max(number);
        self.generation = self.generation.max(generation);
    }
}

impl Numbers {
    /// Rebuilds what the store alone cannot say: whatever stands in the log behind the positions of
    /// the store's groups. All other counters are restored from the store when they are first needed.
    pub(crate) async fn rebuild(
        log: Arc<Events>,
        rows: &Rows,
        progress: Arc<Progress>,
    ) -> Result<Self, Error> {
        let mut tail = Tail::default();
        for group in STORE_GROUPS {
            tail.read(&log, group, progress.next(group)).await?;
        }
        let mut state = State::default();
        for (token, highest) in tail.chats {
            let last = rows.highest_chat(token).await?.max(highest.number);
            state.restore(Counter::Chats(token), last, highest.generation);
        }
        let chats: Vec<ChatKey> = tail.messages.keys().copied().collect();
        for row in rows.chats_by_key(&chats).await? {
            state.restore(Counter::Messages(row.key), row.highest, row.generation);
        }
        for (chat, highest) in tail.messages {
            state.restore(Counter::Messages(chat), highest.number, highest.generation);
        }
        let horizon = LogHorizon { log, progress };
        let now = Instant::now();
        for (token, key, grant) in tail.keys {
            state.restore_key(token, key, grant, now, &horizon);
        }
        Ok(Self {
            state: Mutex::new(state),
            horizon,
        })
    }
}

impl Tail {
    async fn read(&mut self, log: &Events, group: Group, next: u64) -> Result<(), log::Error> {
        let partition = PartitionId {
            topic: group.topic(),
            index: 0,
        };
        // Retention never removes what is not applied. Where the store was replaced by an older one
        // it had to, and the worker stops at the gap and says so.
        let (start, end) = log.range(partition).await?;
        let mut from = next.max(start);
        while from < end {
            let records = log.read(partition, from, PAGE).await?;
            let Some(last) = records.last() else { break };
            from = last.offset + 1;
            for record in &records {
                self.add(record);
            }
        }
        Ok(())
    }

    fn add(&mut self, record: &Record) {
        let Ok((uid, event)) = Event::decode(record) else {
            // It becomes a dead letter when its turn comes, and keeps its numbers.
            if let Some(scope) = record.headers.scope {
                self.reserve(&scope);
            }
            return;
        };
        let (token, key, first, count, generation) = match event {
            Event::ApplicationCreated(event) => {
                let highest = self.chats.entry(event.application_token).or_default();
                highest.raise(0, event.generation);
                (event.application_token, event.key, 0, 0, event.generation)
            }
            Event::ChatCreated(event) => {
                let chat = ChatKey {
                    token: event.application_token,
                    chat: event.chat_number,
                };
                let number = event.chat_number.get();
                let highest = self.chats.entry(chat.token).or_default();
                highest.raise(number, event.generation);
                self.messages.entry(chat).or_default();
                (chat.token, event.key, number, 1, event.generation)
            }
            Event::MessagesCreated(event) => {
                let highest = self.messages.entry(event.chat()).or_default();
                highest.raise(event.last(), event.generation);
                let first = event.first.get();
                let count = event.last() - first + 1;
                (
                    event.application_token,
                    event.key,
                    first,
                    count,
                    event.generation,
                )
            }
            Event::ApplicationRenamed(_) | Event::MessageEdited(_) | Event::MessageDeleted(_) => {
                return;
            }
        };
        if let Some(key) = key {
            let grant = Grant {
                first,
                count,
                uid,
                generation,
            };
            self.keys.push((token, key, grant));
        }
    }

    /// Counts the numbers of a create whose value cannot be read.
    fn reserve(&mut self, scope: &Scope) {
        if !scope.creates {
            return;
        }
        let token = scope.token;
        let last = scope.first.saturating_add(scope.count).saturating_sub(1);
        let highest = match scope.chat {
            Some(chat) => self.messages.entry(ChatKey { token, chat }).or_default(),
            None => {
                if let Some(chat) = ChatNumber::new(scope.first) {
                    self.messages.entry(ChatKey { token, chat }).or_default();
                }
                self.chats.entry(token).or_default()
            }
        };
        highest.raise(last, scope.generation);
    }
}
