//! The store: rows, and the log positions that they contain.

use async_trait::async_trait;
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::time::Timestamp;
use uuid::Uuid;

use crate::key::{KeyHash, StoredKey};
use crate::port::log::{Group, PartitionId};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine is away, slow, or chose us as the victim of a deadlock.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// The engine answered that this can never be stored.
    #[error("the store refuses the data: {0}")]
    Refused(String),
    /// What was read is not what was written, or breaks an invariant of the schema. It is never
    /// returned as if it were sound; other rows can be read.
    #[error("the store holds what it should not: {0}")]
    Corrupt(String),
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Refused(_) | Self::Corrupt(_) => false,
        }
    }
}

/// Names a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChatKey {
    /// The application.
    pub token: AppToken,
    /// Within the application.
    pub chat: ChatNumber,
}

/// Names a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageKey {
    /// The chat.
    pub chat: ChatKey,
    /// Within the chat.
    pub number: MessageNumber,
}

/// Whether a row was made by its own create or by something that came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Something inside it arrived first; reads as "not stored yet".
    Stub,
    /// Its create has been applied.
    Live,
}

/// A row of `applications`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationRow {
    /// Primary key.
    pub token: AppToken,
    /// Empty in a stub.
    pub name: String,
    /// Rows in `chats`.
    pub chats_count: u32,
    /// When the create was accepted; of a stub, when the stub was made.
    pub created_at: Timestamp,
    /// When the last rename was accepted.
    pub updated_at: Timestamp,
    /// Of the name; 0 in a stub.
    pub revision: u64,
    /// Stub or live.
    pub presence: Presence,
}

/// A row of `chats`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatRow {
    /// Primary key.
    pub key: ChatKey,
    /// Of the create; `None` in a stub.
    pub uid: Option<Uuid>,
    /// The counters' generation when the number was taken; 0 in a stub.
    pub generation: u32,
    /// Live messages.
    pub messages_count: u32,
    /// Highest number that has a row; 0 for none.
    pub highest: u32,
    /// Up to this number every message has a row.
    pub settled_through: u32,
    /// How often a number became live that readers had passed: a dead letter that was replayed, or a
    /// record that came late, below what was settled.
    pub resets: u32,
    /// The lowest of those numbers the last time; 0 where there was none.
    pub reset_from: u32,
    /// When the create was accepted; of a stub, when the stub was made.
    pub created_at: Timestamp,
    /// Stub or live.
    pub presence: Presence,
}

/// The state of a message's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Created and not deleted.
    Live,
    /// A number without its create: no record of it was found (no uid), or it was dead-lettered (with one).
    Void,
    /// Deleted for good; the body is empty.
    Deleted,
}

/// A row of `messages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRow {
    /// Primary key.
    pub key: MessageKey,
    /// Of the create; `None` where none has been applied.
    pub uid: Option<Uuid>,
    /// The counters' generation when the number was taken.
    pub generation: u32,
    /// As it was given.
    pub sender: Option<String>,
    /// The content of the highest revision.
    pub body: String,
    /// See [`State`].
    pub state: State,
    /// As the sender gave it.
    pub sent_at: Option<Timestamp>,
    /// When the create was accepted.
    pub created_at: Timestamp,
    /// When the last edit was accepted.
    pub updated_at: Option<Timestamp>,
    /// Orders all events of this message; 0 where no event set the content.
    pub revision: u64,
}

/// A row of `idempotency`: what a create that carried a key was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Primary key and the hash of the body.
    pub key: StoredKey,
    /// Application that was made, or in which.
    pub token: AppToken,
    /// First number; 0 for an application.
    pub first: u32,
    /// How many numbers; 0 for an application.
    pub count: u32,
    /// Of the event.
    pub uid: Uuid,
    /// The counters' generation when the numbers were taken.
    pub generation: u32,
    /// When the create was accepted; the row may go 24 hours later.
    pub created_at: Timestamp,
}

/// A row of `renumbered`: a message that found its number taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenumberedRow {
    /// The chat.
    pub chat: ChatKey,
    /// Of the message that moved.
    pub uid: Uuid,
    /// The number that it got.
    pub number: u32,
}

/// How far a group has applied one partition: a row of `log_positions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Offset of the first record that has not been applied.
    pub next: u64,
    /// Of the topic, when this was written.
    pub epoch: u32,
    /// Uid of the last applied record, to know the log again.
    pub last_uid: Option<Uuid>,
}

impl Position {
    /// Before the first record.
    pub const START: Self = Self {
        next: 0,
        epoch: 0,
        last_uid: None,
    };
}

/// How much is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Applications whose create has been applied.
    pub applications: u64,
    /// Sum of the applications' counts of chats.
    pub chats: u64,
    /// Sum of the chats' counts of live messages.
    pub messages: u64,
}

/// What the rows below something say, counted at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows of any state.
    pub rows: u64,
    /// Rows that the count column counts: live messages, or chats of any presence.
    pub live: u64,
    /// Highest number that has a row; 0 for none.
    pub highest: u32,
}

/// A text that processes share, and the version that a change must name to take effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// From 1, one higher with each change.
    pub version: u64,
    /// As it was put.
    pub text: String,
}

/// What was decided about a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Somebody is about to append it again.
    Replaying,
    /// It was appended again.
    Replayed,
    /// It was given up.
    Discarded,
}

/// A row of `dead_letters`: a decision about one record of a dead-letter topic. A letter without a
/// row waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterRow {
    /// Of the dead-letter topic.
    pub partition: PartitionId,
    /// Of that topic.
    pub epoch: u32,
    /// Within the partition.
    pub offset: u64,
    /// What was decided.
    pub fate: Fate,
    /// Names the order that decided it.
    pub claim: Uuid,
    /// When.
    pub at: Timestamp,
    /// Why it was given up; empty otherwise.
    pub reason: String,
}

/// What a transaction writes. An insert says that no row has this key, and fails otherwise.
#[derive(Debug, Default)]
pub struct Writes {
    /// New rows.
    pub insert_applications: Vec<ApplicationRow>,
    /// Whole rows to replace.
    pub update_applications: Vec<ApplicationRow>,
    /// New rows.
    pub insert_chats: Vec<ChatRow>,
    /// Whole rows to replace.
    pub update_chats: Vec<ChatRow>,
    /// New rows, in order of key.
    pub insert_messages: Vec<MessageRow>,
    /// Whole rows to replace.
    pub update_messages: Vec<MessageRow>,
    /// Rows to insert or replace.
    pub put_keys: Vec<KeyRow>,
    /// Rows to insert or replace.
    pub put_renumbered: Vec<RenumberedRow>,
}

/// One transaction. What it reads stays locked until it ends; dropping it takes everything back.
#[async_trait]
pub trait Transaction: Send {
    /// The positions of the partitions that the transaction was begun for, in their order, locked since.
    fn positions(&self) -> &[Position];

    /// The rows of these applications, locked; missing ones are left out, order is free.
    async fn applications(&mut self, tokens: &[AppToken]) -> Result<Vec<ApplicationRow>, Error>;

    /// The rows of these chats, locked; missing ones are left out, order is free.
    async fn chats(&mut self, keys: &[ChatKey]) -> Result<Vec<ChatRow>, Error>;

    /// The rows of these messages; missing ones are left out, order is free. Their chats are locked already.
    async fn messages(&mut self, keys: &[MessageKey]) -> Result<Vec<MessageRow>, Error>;

    /// The numbers above `after` that have a row, ascending, at most `limit`.
    async fn numbers_after(
        &mut self,
        chat: ChatKey,
        after: u32,
        limit: u32,
    ) -> Result<Vec<u32>, Error>;

    /// What the messages of a chat say, whose row is locked: nobody adds one until this ends.
    async fn tally(&mut self, chat: ChatKey) -> Result<Tally, Error>;

    /// What the chats of an application say, whose row is locked: nobody adds one until this ends.
    async fn tally_chats(&mut self, token: AppToken) -> Result<Tally, Error>;

    /// The rows of these keys; missing ones are left out.
    async fn keys(&mut self, hashes: &[KeyHash]) -> Result<Vec<KeyRow>, Error>;

    /// Where these messages went, of those that moved.
    async fn renumbered(
        &mut self,
        messages: &[(ChatKey, Uuid)],
    ) -> Result<Vec<RenumberedRow>, Error>;

    /// Writes all of it.
    async fn write(&mut self, writes: Writes) -> Result<(), Error>;

    /// Makes it durable, together with the new positions of the partitions, in their order.
    async fn commit(self: Box<Self>, positions: &[Position]) -> Result<(), Error>;
}

/// Which messages of a chat, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// Above `after` and at most `through`, ascending.
    After {
        /// Exclusive.
        after: u32,
        /// Inclusive.
        through: u32,
    },
    /// Below this number, descending.
    Before(u32),
}

/// Rows and positions. Reads see what is committed.
#[async_trait]
pub trait Store: Send + Sync {
    /// Bytes of the log that are best applied in one transaction. They bound the memory of a batch whose records
    /// are batches themselves.
    fn batch_bytes(&self) -> usize {
        1024 * 1024
    }

    /// Begins a transaction that owns the positions of these partitions of one topic for one group. They
    /// are different, and in order of index, so that two that want the same do not wait for each other.
    async fn begin(
        &self,
        group: Group,
        partitions: &[PartitionId],
    ) -> Result<Box<dyn Transaction>, Error>;

    /// Begins a transaction that owns no position; it is committed with none.
    async fn begin_free(&self) -> Result<Box<dyn Transaction>, Error>;

    /// One application.
    async fn application(&self, token: AppToken) -> Result<Option<ApplicationRow>, Error>;

    /// Applications in order of token, above `after`.
    async fn applications(
        &self,
        after: Option<AppToken>,
        limit: u32,
    ) -> Result<Vec<ApplicationRow>, Error>;

    /// One chat.
    async fn chat(&self, key: ChatKey) -> Result<Option<ChatRow>, Error>;

    /// Chats of an application in order of number, above `after`.
    async fn chats(&self, token: AppToken, after: u32, limit: u32) -> Result<Vec<ChatRow>, Error>;

    /// The highest chat number of an application that has a row; 0 for none.
    async fn highest_chat(&self, token: AppToken) -> Result<u32, Error>;

    /// One message, whatever its state.
    async fn message(&self, key: MessageKey) -> Result<Option<MessageRow>, Error>;

    /// Live messages of one chat, at most `limit`.
    async fn messages(
        &self,
        chat: ChatKey,
        span: Span,
        limit: u32,
    ) -> Result<Vec<MessageRow>, Error>;

    /// The rows of these messages, whatever their state; missing ones are left out, order is free.
    async fn messages_by_key(&self, keys: &[MessageKey]) -> Result<Vec<MessageRow>, Error>;

    /// Where a message went that found its number taken.
    async fn renumbered(&self, chat: ChatKey, uid: Uuid) -> Result<Option<u32>, Error>;

    /// What a create with this key was answered.
    async fn key(&self, hash: KeyHash) -> Result<Option<KeyRow>, Error>;

    /// How far a group has come in one partition.
    async fn position(&self, group: Group, partition: PartitionId) -> Result<Position, Error>;

    /// How far a group has come in every partition where it has applied anything, in order of
    /// partition.
    async fn positions(&self, group: Group) -> Result<Vec<(PartitionId, Position)>, Error>;

    /// How much is stored, by the count columns. Reads one row of each application and chat, so
    /// whoever shows it keeps it for a while.
    async fn totals(&self) -> Result<Totals, Error>;

    /// Chats with a number that has no row below one that has, above `after`.
    async fn unsettled_chats(
        &self,
        after: Option<ChatKey>,
        limit: u32,
    ) -> Result<Vec<ChatRow>, Error>;

    /// These chats with what their messages say, each pair of one moment; missing ones are left out,
    /// order is free.
    async fn chat_tallies(&self, keys: &[ChatKey]) -> Result<Vec<(ChatRow, Tally)>, Error>;

    /// These applications with what their chats say, each pair of one moment; missing ones are left
    /// out, order is free.
    async fn application_tallies(
        &self,
        tokens: &[AppToken],
    ) -> Result<Vec<(ApplicationRow, Tally)>, Error>;

    /// Number and revision of live messages above `after`, ascending, at most `limit`.
    async fn revisions(
        &self,
        chat: ChatKey,
        after: u32,
        limit: u32,
    ) -> Result<Vec<(u32, u64)>, Error>;

    /// Chats whose row was written in this minute of Unix time or later, with the minute of the last
    /// write, in order of minute and key; those of `minute` itself only behind `after`. What it costs
    /// follows what it finds.
    async fn changed_chats(
        &self,
        minute: u32,
        after: Option<ChatKey>,
        limit: u32,
    ) -> Result<Vec<(u32, ChatKey)>, Error>;

    /// A text that processes share; `None` where nobody put one.
    async fn note(&self, name: &str) -> Result<Option<Note>, Error>;

    /// Puts a text over the one of this version, 0 for none; false where there is another version.
    async fn put_note(&self, name: &str, version: u64, text: &str) -> Result<bool, Error>;

    /// What was decided about the letters of a partition from one offset through another, in order.
    async fn letters(
        &self,
        partition: PartitionId,
        epoch: u32,
        from: u64,
        through: u64,
    ) -> Result<Vec<LetterRow>, Error>;

    /// Writes decisions, each only where there is none, where the one that stands is [`Fate::Replaying`]
    /// under the same claim, or where that is older than `stale`. Who won is read afterwards. Two at
    /// once are not in each other's way.
    async fn decide(&self, letters: &[LetterRow], stale: Timestamp) -> Result<(), Error>;

    /// How many letters of a partition from an offset on do not wait any more.
    async fn letters_decided(
        &self,
        partition: PartitionId,
        epoch: u32,
        from: u64,
    ) -> Result<u64, Error>;

    /// Removes keys that are older than this; returns how many.
    async fn forget_keys(&self, before: Timestamp) -> Result<u64, Error>;

    /// Raises the generation of an application's counters and returns it: above every one that was
    /// returned before, above the first, which is 1, and above `seen`, which the caller found
    /// elsewhere: a store that was restored from a backup does not remember its last ones.
    async fn raise_generation(&self, _token: AppToken, _seen: u32) -> Result<u32, Error> {
        // Counters that lose nothing stay in the first generation, and their stores keep none.
        Ok(1)
    }

    /// Answers when the engine does.
    async fn check(&self) -> Result<(), Error>;
}
