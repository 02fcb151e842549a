//! The search index: a projection of rows, which may be rebuilt from them at any time.

use async_trait::async_trait;
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::search::Sort;
use chat_wire::time::Timestamp;

use crate::port::log::{LogId, PartitionId};
use crate::port::store::{ChatKey, MessageKey};

/// Why the index did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine is away, slow or full.
    #[error("the search index does not answer: {0}")]
    Unavailable(String),
    /// The positions that the index records are behind those that this process read or recorded last: the index
    /// was restored or emptied meanwhile. Nothing is published before the positions are read again.
    #[error("the search index is not where it was: {0}")]
    Displaced(String),
    /// The index is not what this version of the program made.
    #[error("the search index cannot be used: {0}")]
    Unusable(String),
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Displaced(_) => true,
            Self::Unusable(_) => false,
        }
    }
}

/// A message as the index sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Identity.
    pub key: MessageKey,
    /// External version: an older one never replaces a newer one.
    pub revision: u64,
    /// First sort key of [`Sort::Newest`].
    pub created_at: Timestamp,
    /// `None` for a deleted message: kept as a tombstone that nothing finds.
    pub body: Option<String>,
}

/// What became of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Indexed {
    /// It is searchable.
    Done,
    /// The same revision or a newer one was there.
    Newer,
    /// The index will never take it.
    Refused(String),
}

/// How far the index has read one partition of one log. The index keeps it itself, durable together
/// with the documents: an index that is restored from a snapshot says by it what it lacks, and one
/// that belongs to another log is recognized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexPosition {
    /// Which partition.
    pub partition: PartitionId,
    /// Of which log.
    pub log: LogId,
    /// Of the topic, when this was recorded.
    pub epoch: u32,
    /// Offset of the first record whose message may not be in the index.
    pub next: u64,
    /// Whether the index holds everything below. It does not where it was lost after the log had let
    /// records go, until the rows have been indexed again.
    pub whole: bool,
}

/// Documents that were given to the index ahead of their turn: what is left to do for them.
#[derive(Debug)]
pub enum Staged {
    /// All of it.
    Documents(Vec<Document>),
    /// Making them searchable. One verdict a document, in order.
    Written(Vec<Indexed>),
}

/// Where a document stands in either order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Of the create.
    pub created_at: Timestamp,
    /// Within the application.
    pub chat: ChatNumber,
    /// Within the chat.
    pub number: u32,
}

/// Asks for documents that may contain a text.
#[derive(Debug, Clone)]
pub struct Query {
    /// Only of this application.
    pub token: AppToken,
    /// Only of this chat.
    pub chat: Option<ChatNumber>,
    /// What is searched, normalized, at least one character.
    pub text: String,
    /// The order of the answer.
    pub sort: Sort,
    /// Only behind this one.
    pub after: Option<Rank>,
    /// At most so many.
    pub limit: usize,
}

/// A message that may contain the text: every one that does is among them, some that do not may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The message.
    pub key: MessageKey,
    /// Its place in the order.
    pub rank: Rank,
}

/// A document that is there and no tombstone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Within the chat.
    pub number: MessageNumber,
    /// Under which it is there.
    pub revision: u64,
}

/// The index.
#[async_trait]
pub trait Search: Send + Sync {
    /// Bytes of bodies that are best indexed at once: each call ends with making all of it searchable,
    /// which costs some engines as much as the documents do.
    fn batch_bytes(&self) -> usize {
        1024 * 1024
    }

    /// Does of indexing what can be done while other documents are being made searchable. What comes of it may
    /// show already, or not at all before [`Search::publish`]; to be done again harms nothing.
    async fn stage(&self, documents: Vec<Document>) -> Result<Staged, Error> {
        Ok(Staged::Documents(documents))
    }

    /// Returns when all that was staged is durable and searchable, and these positions are recorded
    /// with it: never before the documents that they are about. Positions of other partitions stay.
    /// One verdict a document, in order.
    ///
    /// # Errors
    /// [`Error::Displaced`] where the index is behind what it recorded when this process last read its positions, or
    /// published: it would hide what is missing.
    async fn publish(
        &self,
        staged: Staged,
        positions: &[IndexPosition],
    ) -> Result<Vec<Indexed>, Error>;

    /// The positions that are recorded, in order of partition; those of partitions that were never
    /// recorded are missing.
    async fn positions(&self) -> Result<Vec<IndexPosition>, Error>;

    /// Indexes; returns when all of it is durable and searchable. One verdict a document, in order.
    async fn index(&self, documents: Vec<Document>) -> Result<Vec<Indexed>, Error> {
        let staged = self.stage(documents).await?;
        self.publish(staged, &[]).await
    }

    /// As [`Search::index`], but what is there under the same revision is replaced too: for documents
    /// that are not what their revision should have made of them.
    async fn repair(&self, documents: Vec<Document>) -> Result<Vec<Indexed>, Error>;

    /// The documents of a chat above `after` that are no tombstones, in order of number; fewer than
    /// the limit means that there are no more.
    async fn list(&self, chat: ChatKey, after: u32, limit: usize) -> Result<Vec<Listed>, Error>;

    /// Documents of each of these chats that are not tombstones, in the order asked for.
    async fn counts(&self, token: AppToken, chats: &[ChatNumber]) -> Result<Vec<u64>, Error>;

    /// Candidates in the order asked for; fewer than the limit means that there are no more.
    async fn candidates(&self, query: &Query) -> Result<Vec<Candidate>, Error>;

    /// Documents that are not tombstones.
    async fn count(&self, token: AppToken, chat: Option<ChatNumber>) -> Result<u64, Error>;

    /// Answers when the engine does.
    async fn check(&self) -> Result<(), Error>;
}
