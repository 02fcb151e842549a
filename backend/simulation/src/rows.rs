//! The simulated store's tables, with an undo record for each commit: a store that fails over to a replica
//! forgets its last commits.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chat_core::key::KeyHash;
use chat_core::port::log::{Group, PartitionId, Topic};
use chat_core::port::store::{
    ApplicationRow, ChatKey, ChatRow, Error, KeyRow, LetterRow, MessageKey, MessageRow, Note,
    Position, RenumberedRow, Tally, Writes,
};
use chat_wire::ids::{AppToken, MessageNumber};
use tokio::time::Instant;
use uuid::Uuid;

use crate::world::{Incarnation, Outage, put};

/// How long another server takes to take a store's place: longer than a request.
const REPLACED_FOR: Duration = Duration::from_secs(1);

/// How long somebody waits for a lock before its owner's connection is ended.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// The tables.
#[derive(Debug, Default)]
pub struct Rows {
    /// By primary key.
    pub applications: BTreeMap<AppToken, ApplicationRow>,
    /// By primary key.
    pub chats: BTreeMap<ChatKey, ChatRow>,
    /// The minute of the last write of each chat.
    pub changed: BTreeMap<ChatKey, u32>,
    /// By primary key.
    pub messages: BTreeMap<MessageKey, MessageRow>,
    /// By hash.
    pub keys: BTreeMap<KeyHash, KeyRow>,
    /// Where messages went.
    pub renumbered: BTreeMap<(ChatKey, Uuid), u32>,
    /// How far each group is.
    pub positions: BTreeMap<(Group, PartitionId), Position>,
    /// Shared documents.
    pub notes: BTreeMap<String, Note>,
    /// Decisions about dead letters.
    pub letters: BTreeMap<(PartitionId, u32, u64), LetterRow>,
    /// Generations of counters.
    pub generations: BTreeMap<AppToken, u32>,
    /// Epochs of topics.
    pub epochs: BTreeMap<Topic, u32>,
}

type Undo = Box<dyn FnOnce(&mut Rows) + Send>;

/// One commit, as what takes it back.
#[derive(Default)]
pub struct Commit(Vec<Undo>);

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commit({})", self.0.len())
    }
}

macro_rules! setters {
    ($($set:ident, $table:ident, $key:ty, $row:ty;)*) => {
        $(
            /// Writes or removes a row, and remembers what was there.
            pub fn $set(&mut self, commit: &mut Commit, key: $key, row: Option<$row>) {
                let old = self.$table.get(&key).cloned();
                put(&mut self.$table, key.clone(), row);
                commit.0.push(Box::new(move |rows| put(&mut rows.$table, key, old)));
            }
        )*
    };
}

impl Rows {
    setters! {
        set_application, applications, AppToken, ApplicationRow;
        set_chat, chats, ChatKey, ChatRow;
        set_changed, changed, ChatKey, u32;
        set_message, messages, MessageKey, MessageRow;
        set_key, keys, KeyHash, KeyRow;
        set_renumbered, renumbered, (ChatKey, Uuid), u32;
        set_position, positions, (Group, PartitionId), Position;
        set_note, notes, String, Note;
        set_letter, letters, (PartitionId, u32, u64), LetterRow;
        set_generation, generations, AppToken, u32;
        set_epoch, epochs, Topic, u32;
    }

    /// The epoch of a topic.
    #[must_use]
    pub fn epoch(&self, topic: Topic) -> u32 {
        self.epochs.get(&topic).copied().unwrap_or(0)
    }

    /// How far a group is.
    #[must_use]
    pub fn position(&self, group: Group, partition: PartitionId) -> Position {
        let found = self.positions.get(&(group, partition));
        found.copied().unwrap_or(Position::START)
    }

    /// The rows of a chat above a number.
    pub fn messages_of(&self, chat: ChatKey, after: u32) -> impl Iterator<Item = &MessageRow> {
        let from = after.checked_add(1).and_then(MessageNumber::new);
        let range = from.map(|number| self.messages.range(MessageKey { chat, number }..));
        range
            .into_iter()
            .flatten()
            .map(|(_, row)| row)
            .take_while(move |row| row.key.chat == chat)
    }

    /// What the rows of a chat say.
    #[must_use]
    pub fn tally(&self, chat: ChatKey) -> Tally {
        let mut tally = Tally::default();
        for row in self.messages_of(chat, 0) {
            tally.rows += 1;
            tally.live += u64::from(row.state == chat_core::port::store::State::Live);
            tally.highest = row.key.number.get();
        }
        tally
    }

    /// What the chats of an application say.
    #[must_use]
    pub fn tally_chats(&self, token: AppToken) -> Tally {
        let mut tally = Tally::default();
        for key in self.chats.keys().filter(|key| key.token == token) {
            tally.rows += 1;
            tally.live += 1;
            tally.highest = key.chat.get();
        }
        tally
    }

    /// Writes what a transaction wrote, as the schema allows it.
    fn write(&mut self, commit: &mut Commit, writes: Writes, minute: u32) -> Result<(), Error> {
        let duplicate = || Error::Refused("a row with this key exists (error 1062)".to_owned());
        for row in writes.insert_applications {
            if self.applications.contains_key(&row.token) {
                return Err(duplicate());
            }
            self.set_application(commit, row.token, Some(row));
        }
        for row in writes.update_applications {
            self.set_application(commit, row.token, Some(row));
        }
        for row in writes.insert_chats {
            if self.chats.contains_key(&row.key) {
                return Err(duplicate());
            }
            self.set_changed(commit, row.key, Some(minute));
            self.set_chat(commit, row.key, Some(row));
        }
        for row in writes.update_chats {
            self.set_changed(commit, row.key, Some(minute));
            self.set_chat(commit, row.key, Some(row));
        }
        for row in writes.insert_messages {
            if self.messages.contains_key(&row.key) {
                return Err(duplicate());
            }
            self.set_message(commit, row.key, Some(row));
        }
        for row in writes.update_messages {
            self.set_message(commit, row.key, Some(row));
        }
        for row in writes.put_keys {
            self.set_key(commit, row.key.hash, Some(row));
        }
        for RenumberedRow { chat, uid, number } in writes.put_renumbered {
            self.set_renumbered(commit, (chat, uid), Some(number));
        }
        Ok(())
    }
}

/// Who has the store's lock.
#[derive(Debug)]
struct Holder {
    transaction: u64,
    process: Arc<Incarnation>,
    since: Instant,
}

/// The store.
#[derive(Debug, Default)]
pub struct StoreState {
    /// What is committed.
    pub rows: Rows,
    commits: Vec<Commit>,
    holder: Option<Holder>,
    transactions: u64,
    /// It does not answer.
    pub down: Outage,
    /// It answers, and takes no writes.
    pub read_only: Outage,
    /// Another server takes its place: reads fail meanwhile, so that no answer is put together from both.
    pub replaced: Outage,
    /// Commits that were forgotten.
    pub forgotten: u64,
}

impl StoreState {
    /// Whether it answers.
    ///
    /// # Errors
    /// It does not.
    pub fn available(&self) -> Result<(), Error> {
        if self.down.lasts() {
            return Err(Error::Unavailable("no connection".into()));
        }
        Ok(())
    }

    /// Whether it takes writes.
    ///
    /// # Errors
    /// It does not.
    pub fn writable(&self) -> Result<(), Error> {
        self.available()?;
        if self.read_only.lasts() {
            return Err(Error::Unavailable("the server is read-only".into()));
        }
        Ok(())
    }

    /// Begins a transaction where nobody else is in one. Rows are locked as a whole: what two transactions
    /// could do to each other beyond waiting is the engines' own business.
    pub fn begin(&mut self, process: &Arc<Incarnation>) -> Option<u64> {
        if let Some(holder) = &self.holder
            && !holder.process.is_dead()
            && holder.since.elapsed() < LOCK_PATIENCE
        {
            return None;
        }
        self.transactions += 1;
        self.holder = Some(Holder {
            transaction: self.transactions,
            process: Arc::clone(process),
            since: Instant::now(),
        });
        Some(self.transactions)
    }

    /// Ends a transaction, where it is still under way.
    pub fn end(&mut self, transaction: u64) {
        if self.is_held(transaction) {
            self.holder = None;
        }
    }

    /// Whether a transaction is still under way.
    #[must_use]
    pub fn is_held(&self, transaction: u64) -> bool {
        let holder = self.holder.as_ref();
        holder.is_some_and(|holder| holder.transaction == transaction)
    }

    /// Commits what a transaction wrote.
    ///
    /// # Errors
    /// The schema refuses it; nothing was written then.
    pub fn commit(
        &mut self,
        writes: Vec<Writes>,
        positions: &[((Group, PartitionId), Position)],
        minute: u32,
    ) -> Result<(), Error> {
        let mut commit = Commit::default();
        for writes in writes {
            if let Err(error) = self.rows.write(&mut commit, writes, minute) {
                undo(&mut self.rows, commit);
                return Err(error);
            }
        }
        for (place, position) in positions {
            self.rows.set_position(&mut commit, *place, Some(*position));
        }
        self.commits.push(commit);
        Ok(())
    }

    /// One change outside of a transaction of the port.
    pub fn change<T>(&mut self, change: impl FnOnce(&mut Rows, &mut Commit) -> T) -> T {
        let mut commit = Commit::default();
        let result = change(&mut self.rows, &mut commit);
        if !commit.0.is_empty() {
            self.commits.push(commit);
        }
        result
    }

    /// Forgets its last commits, as a replica does that was promoted before it had them. Whoever is in a
    /// transaction loses it.
    pub fn roll_back(&mut self, commits: usize) -> usize {
        self.holder = None;
        let mut undone = 0;
        while undone < commits
            && let Some(commit) = self.commits.pop()
        {
            undo(&mut self.rows, commit);
            undone += 1;
        }
        self.forgotten += undone as u64;
        self.replaced.for_span(REPLACED_FOR);
        undone
    }

    /// How many commits there are to forget.
    #[must_use]
    pub const fn commits(&self) -> usize {
        self.commits.len()
    }
}

fn undo(rows: &mut Rows, commit: Commit) {
    for step in commit.0.into_iter().rev() {
        step(rows);
    }
}
