//! The log: events in partitions, read by groups at their own pace.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::time::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Why the log did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine is away or slow; an append may have happened.
    #[error("the log does not answer: {0}")]
    Unavailable(String),
    /// The record is certainly not in the log, and will not come to be there: the engine rolled the
    /// append back, or never saw it. A later append may succeed.
    #[error("the log took nothing: {0}")]
    NotAppended(String),
    /// The engine answered that this can never be appended.
    #[error("the log refuses the record: {0}")]
    Refused(String),
    /// The records asked for are gone: retention was shorter than the outage.
    #[error("records from offset {asked} on were asked for, the log begins at {start}")]
    OutOfRange {
        /// First offset that was wanted.
        asked: u64,
        /// First offset that exists.
        start: u64,
    },
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::NotAppended(_) => true,
            Self::Refused(_) | Self::OutOfRange { .. } => false,
        }
    }

    /// What the engine said, without the sentence around it.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Unavailable(reason) | Self::NotAppended(reason) | Self::Refused(reason) => {
                reason.clone()
            }
            Self::OutOfRange { .. } => self.to_string(),
        }
    }
}

/// The topics, and the dead letters of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// `application.*`, keyed by token.
    Applications,
    /// `chat.*`, keyed by token.
    Chats,
    /// `message.*` and `messages.*`, keyed by token and chat number.
    Messages,
    /// Records of `applications` that could not be applied.
    ApplicationsDlq,
    /// Records of `chats` that could not be applied.
    ChatsDlq,
    /// Records of `messages` that could not be applied.
    MessagesDlq,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Applications,
        Self::Chats,
        Self::Messages,
        Self::ApplicationsDlq,
        Self::ChatsDlq,
        Self::MessagesDlq,
    ];

    /// The name, before any configured prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Applications => "applications",
            Self::Chats => "chats",
            Self::Messages => "messages",
            Self::ApplicationsDlq => "applications.dlq",
            Self::ChatsDlq => "chats.dlq",
            Self::MessagesDlq => "messages.dlq",
        }
    }

    /// Where its dead letters go; those of a dead-letter topic stay where they are.
    #[must_use]
    pub const fn dead_letters(self) -> Self {
        match self {
            Self::Applications | Self::ApplicationsDlq => Self::ApplicationsDlq,
            Self::Chats | Self::ChatsDlq => Self::ChatsDlq,
            Self::Messages | Self::MessagesDlq => Self::MessagesDlq,
        }
    }
}

/// The consumer groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// `applications` into the store.
    ApplicationsStore,
    /// `chats` into the store.
    ChatsStore,
    /// `messages` into the store.
    MessagesStore,
    /// `messages` into the search index.
    MessagesIndex,
}

impl Group {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::ApplicationsStore,
        Self::ChatsStore,
        Self::MessagesStore,
        Self::MessagesIndex,
    ];

    /// The name, before any configured prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApplicationsStore => "applications-store",
            Self::ChatsStore => "chats-store",
            Self::MessagesStore => "messages-store",
            Self::MessagesIndex => "messages-index",
        }
    }

    /// What it reads.
    #[must_use]
    pub const fn topic(self) -> Topic {
        match self {
            Self::ApplicationsStore => Topic::Applications,
            Self::ChatsStore => Topic::Chats,
            Self::MessagesStore | Self::MessagesIndex => Topic::Messages,
        }
    }
}

/// Says which log this is. A log that was made anew has another identity, even if its topics and
/// offsets are the same; one that was restored from a backup keeps it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId([u8; 16]);

impl LogId {
    /// Wraps what was kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Of a log that is known by a name: the first 128 bits of the SHA-256 of it.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&Sha256::digest(name.as_bytes())[..16]);
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Names a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// The topic.
    pub topic: Topic,
    /// Within the topic, from 0.
    pub index: u32,
}

/// Where a record stood first, carried by its dead letter and its replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Epoch of the topic then.
    pub epoch: u32,
    /// Where.
    pub partition: PartitionId,
    /// Where in it.
    pub offset: u64,
}

/// What a record is about. An adapter that keeps it stores it apart from the value, so that a damaged
/// value does not hide which numbers were given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// The application.
    pub token: AppToken,
    /// The chat whose messages are meant; `None` where the numbers are those of chats.
    pub chat: Option<ChatNumber>,
    /// First number; 0 where the record is about the application itself.
    pub first: u32,
    /// How many numbers.
    pub count: u32,
    /// The counters' generation when the numbers were taken; 0 in a change.
    pub generation: u32,
    /// Whether the record creates what has the numbers, or changes it.
    pub creates: bool,
}

/// What travels beside the value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers {
    /// For example `message.created`; absent on a record that something else wrote.
    pub event: Option<String>,
    /// Of the event.
    pub uid: Option<Uuid>,
    /// Version of the value's shape.
    pub schema: Option<u32>,
    /// Where a replayed or dead-lettered record came from.
    pub origin: Option<Origin>,
    /// Why it is a dead letter.
    pub reason: Option<String>,
    /// What the record is about, where the adapter keeps it apart from the value.
    pub scope: Option<Scope>,
    /// The checksum of the record did not match when it was read: key and value are not what was
    /// appended. A dead letter keeps the mark, so that its replay is never taken for the original.
    pub damaged: bool,
}

/// A record to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// Records of one key stay in order.
    pub key: Bytes,
    /// See [`Headers`].
    pub headers: Headers,
    /// JSON, unless something else wrote it.
    pub value: Bytes,
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where.
    pub partition: PartitionId,
    /// Where in it.
    pub offset: u64,
    /// When the log took it.
    pub appended_at: Timestamp,
    /// See [`NewRecord`].
    pub key: Bytes,
    /// See [`Headers`].
    pub headers: Headers,
    /// See [`NewRecord`].
    pub value: Bytes,
}

impl Record {
    /// Tells this record from any other that may stand at its offset in another log: made of its uid and the
    /// time of its append, or of its bytes where something else wrote it. The uid alone does not tell: a request
    /// that is resumed after the log has lost its tail may append the same event at the same offset again. Of a
    /// damaged record without a uid nothing is known: its fingerprint is nil, and tells nothing.
    #[must_use]
    pub fn fingerprint(&self) -> Uuid {
        let appended_at = self.appended_at.as_micros();
        if let Some(uid) = self.headers.uid {
            let appended_at = u128::from(appended_at.unsigned_abs());
            return Uuid::from_u128(uid.as_u128() ^ appended_at);
        }
        if self.headers.damaged {
            return Uuid::nil();
        }
        let mut hasher = Sha256::new();
        hasher.update((self.key.len() as u64).to_le_bytes());
        hasher.update(&self.key);
        hasher.update(&self.value);
        hasher.update(appended_at.to_le_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize()[..16]);
        Uuid::from_bytes(bytes)
    }

    /// Whether a position that was stored with this fingerprint, `None` or nil where it is not known, may be of
    /// this record. Positions of former versions were stored with the uid alone.
    #[must_use]
    pub fn may_be(&self, fingerprint: Option<Uuid>) -> bool {
        let own = self.fingerprint();
        let Some(known) = fingerprint.filter(|known| !known.is_nil() && !own.is_nil()) else {
            return true;
        };
        known == own || self.headers.uid == Some(known)
    }
}

/// Where an append landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Chosen by the key.
    pub partition: PartitionId,
    /// Never given twice, not even after retention removed the record.
    pub offset: u64,
}

/// What a consumer met.
#[derive(Debug)]
pub enum Polled {
    /// These partitions are this consumer's from now on: seek before anything is read from them.
    Assigned(Vec<PartitionId>),
    /// These partitions belong to somebody else from now on.
    Revoked(Vec<PartitionId>),
    /// Records of one partition, in order, without a gap that was not made by retention.
    Records(Vec<Record>),
    /// Retention removed records of this partition before they were read. Nothing more comes of it
    /// until it is sought where there is something; the other partitions go on
    /// (invariant: gone-records-stop).
    Gone {
        /// The partition.
        partition: PartitionId,
        /// First offset that was wanted.
        asked: u64,
        /// First offset that exists.
        start: u64,
    },
    /// Nothing came within the wait.
    Idle,
}

/// How much one poll may return.
#[derive(Debug, Clone, Copy)]
pub struct PollLimits {
    /// Records.
    pub records: usize,
    /// Bytes of keys and values, exceeded by at most one record.
    pub bytes: usize,
    /// Milliseconds until [`Polled::Idle`].
    pub wait_ms: u64,
}

/// One member of a group.
#[async_trait]
pub trait Consumer: Send {
    /// The next thing; records only of partitions that were sought.
    async fn poll(&mut self, limits: PollLimits) -> Result<Polled, Error>;

    /// Records of one partition that have come already; empty where there are none, or where the group wants to
    /// share out anew. It asks nobody and answers nothing, so that a partition stays whose it is while its last
    /// batch is at work.
    async fn waiting(&mut self, limits: PollLimits) -> Result<Vec<Record>, Error>;

    /// Reads on from this offset. [`Error::OutOfRange`], here or as [`Polled::Gone`] later, where its
    /// record is gone.
    async fn seek(&mut self, partition: PartitionId, offset: u64) -> Result<(), Error>;

    /// Tells the log how far the group is, for display; the truth is in the store.
    async fn commit(&mut self, partition: PartitionId, next: u64) -> Result<(), Error>;

    /// Leaves the group at once.
    async fn leave(self: Box<Self>);
}

/// Events in partitions.
#[async_trait]
pub trait Log: Send + Sync {
    /// Appends; returns when the record is durable.
    ///
    /// # Errors
    /// On [`Error::Unavailable`] the record may be there or may come to be there until the append deadline is over.
    async fn append(&self, topic: Topic, record: NewRecord) -> Result<Appended, Error>;

    /// Joins a group.
    async fn join(&self, group: Group) -> Result<Box<dyn Consumer>, Error>;

    /// The partitions of a topic, fixed since it was made.
    async fn partitions(&self, topic: Topic) -> Result<u32, Error>;

    /// The partition that records of this key go to.
    async fn partition_of(&self, topic: Topic, key: &[u8]) -> Result<PartitionId, Error>;

    /// First offset that exists, and the offset that the next record will get.
    async fn range(&self, partition: PartitionId) -> Result<(u64, u64), Error>;

    /// [`Log::range`] of every partition of a topic, in order, asked of the engine now. The cost
    /// grows neither with the records nor, in round trips, with the partitions.
    async fn ranges(&self, topic: Topic) -> Result<Vec<(u64, u64)>, Error>;

    /// How many members a group has, in whichever process: whoever joined and has neither left nor
    /// been silent for so long that the log gave it up.
    async fn members(&self, group: Group) -> Result<u32, Error>;

    /// Records from an offset on, outside any group; empty at the end.
    async fn read(
        &self,
        partition: PartitionId,
        from: u64,
        limits: PollLimits,
    ) -> Result<Vec<Record>, Error>;

    /// Which log this is, as the engine remembers it.
    async fn identity(&self) -> Result<LogId, Error>;

    /// Grows when the topic was re-created or truncated: the high bits of revisions.
    async fn epoch(&self, topic: Topic) -> Result<u32, Error>;

    /// Raises the epoch of a topic above one that was found elsewhere, in an index that knows more of
    /// the log than the log does; returns the new one. Positions stay where they are: each is compared
    /// with its partition at the next assignment.
    async fn raise_epoch(&self, topic: Topic, above: u32) -> Result<u32, Error>;

    /// Proves without a record that a partition can be appended to now. `false` where nothing but an
    /// append can tell.
    ///
    /// # Errors
    /// Why an append would fail.
    async fn probe(&self, _partition: PartitionId) -> Result<bool, Error> {
        Ok(false)
    }

    /// Answers when the engine does.
    async fn check(&self) -> Result<(), Error>;
}
