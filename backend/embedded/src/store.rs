//! The store port on SQLite: one connection that writes, a few that read.

mod absent;
mod counts;
pub(crate) mod epoch;
mod operate;
mod overview;
pub(crate) mod pages;
pub(crate) mod read;
pub(crate) mod rows;
mod runs;
pub(crate) mod sums;
pub(crate) mod transaction;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use chat_core::key::KeyHash;
use chat_core::port::log::{Group, PartitionId};
use chat_core::port::store::{
    ApplicationRow, ChatKey, ChatRow, Error, KeyRow, LetterRow, MessageKey, MessageRow, Note,
    Position, Span, Store, Tally, Totals, Transaction,
};
use chat_wire::ids::AppToken;
use chat_wire::time::Timestamp;
use sqlx::pool::PoolConnection;
use sqlx::{Sqlite, SqlitePool};
use uuid::Uuid;

use self::rows::told;
use self::transaction::Work;
use crate::progress::Progress;
use crate::sqlite::{self, Tuning};

/// Connections that read. Each has a thread and a page cache, and two cores are what we aim at.
const READERS: u32 = 4;
/// The writer keeps the edges of the chats that are written to, and a batch.
const WRITER: Tuning = Tuning {
    cache_kib: 16 * 1024,
    rows_ahead: 256,
};
/// Readers find most pages in the cache of the operating system.
const READER: Tuning = Tuning {
    cache_kib: 2 * 1024,
    rows_ahead: 256,
};
/// Keys that are removed in one transaction, so that applying never waits long for it.
const FORGET_KEYS: u32 = 1_000;

/// The rows of one data directory.
pub(crate) struct Rows {
    file: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
    progress: Arc<Progress>,
}

impl Rows {
    /// Opens or makes the database and brings it up to date.
    pub(crate) async fn open(
        file: &Path,
        progress: Arc<Progress>,
    ) -> Result<Self, sqlx::migrate::MigrateError> {
        let writer = sqlite::pool(1)
            .connect_with(sqlite::writing(file, WRITER))
            .await?;
        sqlx::migrate!("../../migrations/sqlite/store")
            .run(&writer)
            .await?;
        let readers = sqlite::pool(READERS).connect_lazy_with(sqlite::reading(file, READER));
        Ok(Self {
            file: file.to_owned(),
            writer,
            readers,
            progress,
        })
    }

    /// Moves everything committed into the database file and syncs it; tells whether that was done to
    /// the end. Waits for no reader: a long one only means that the next call does it.
    pub(crate) async fn checkpoint(&self) -> Result<bool, Error> {
        self.checkpoint_with("PRAGMA wal_checkpoint(PASSIVE)").await
    }

    async fn checkpoint_with(&self, pragma: &'static str) -> Result<bool, Error> {
        // Holding the only connection that writes, so nothing is committed meanwhile.
        let mut writer = self.writer().await?;
        let (busy, in_wal, moved): (i64, i64, i64) = sqlx::query_as(pragma)
            .fetch_one(&mut *writer)
            .await
            .map_err(told)?;
        Ok(busy == 0 && in_wal == moved)
    }

    /// Waits for those who hold a connection, then closes all of them.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        // Cuts the WAL too: the next start has nothing to read back.
        if let Err(error) = self
            .checkpoint_with("PRAGMA wal_checkpoint(TRUNCATE)")
            .await
        {
            tracing::warn!(%error, file = %self.file.display(), "the last checkpoint was not made");
        }
        self.writer.close().await;
    }

    pub(crate) async fn writer(&self) -> Result<PoolConnection<Sqlite>, Error> {
        self.writer.acquire().await.map_err(told)
    }

    /// These chats, whatever their state.
    pub(crate) async fn chats_by_key(&self, keys: &[ChatKey]) -> Result<Vec<ChatRow>, Error> {
        read::chats(&mut *self.reader().await?, keys).await
    }

    pub(crate) async fn reader(&self) -> Result<PoolConnection<Sqlite>, Error> {
        self.readers.acquire().await.map_err(told)
    }

    async fn begin_immediate(&self) -> Result<Work, Error> {
        // Without IMMEDIATE the transaction would begin as a reader, and fail instead of wait where
        // somebody else has written by the time that it writes.
        let inner = self
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(told)?;
        Ok(Work {
            inner,
            owned: None,
            positions: Vec::new(),
            progress: Arc::clone(&self.progress),
            miscounted: HashSet::new(),
        })
    }
}

#[async_trait]
impl Store for Rows {
    async fn begin(
        &self,
        group: Group,
        partitions: &[PartitionId],
    ) -> Result<Box<dyn Transaction>, Error> {
        let mut work = self.begin_immediate().await?;
        for partition in partitions {
            let position = read::position(&mut work.inner, group, *partition).await?;
            work.positions.push(position);
        }
        work.owned = Some((group, partitions.to_vec()));
        Ok(Box::new(work))
    }

    async fn begin_free(&self) -> Result<Box<dyn Transaction>, Error> {
        Ok(Box::new(self.begin_immediate().await?))
    }

    async fn application(&self, token: AppToken) -> Result<Option<ApplicationRow>, Error> {
        read::application(&mut *self.reader().await?, token).await
    }

    async fn applications(
        &self,
        after: Option<AppToken>,
        limit: u32,
    ) -> Result<Vec<ApplicationRow>, Error> {
        read::applications_after(&mut *self.reader().await?, after, limit).await
    }

    async fn chat(&self, key: ChatKey) -> Result<Option<ChatRow>, Error> {
        read::chat(&mut *self.reader().await?, key).await
    }

    async fn chats(&self, token: AppToken, after: u32, limit: u32) -> Result<Vec<ChatRow>, Error> {
        read::chats_after(&mut *self.reader().await?, token, after, limit).await
    }

    async fn highest_chat(&self, token: AppToken) -> Result<u32, Error> {
        read::highest_chat(&mut *self.reader().await?, token).await
    }

    async fn message(&self, key: MessageKey) -> Result<Option<MessageRow>, Error> {
        read::message(&mut *self.reader().await?, key).await
    }

    async fn messages(
        &self,
        chat: ChatKey,
        span: Span,
        limit: u32,
    ) -> Result<Vec<MessageRow>, Error> {
        pages::messages_in(&mut *self.reader().await?, chat, span, limit).await
    }

    async fn messages_by_key(&self, keys: &[MessageKey]) -> Result<Vec<MessageRow>, Error> {
        read::messages_that_must_be(&mut *self.reader().await?, keys).await
    }

    async fn renumbered(&self, chat: ChatKey, uid: Uuid) -> Result<Option<u32>, Error> {
        let found = read::renumbered(&mut *self.reader().await?, &[(chat, uid)]).await?;
        Ok(found.first().map(|row| row.number))
    }

    async fn key(&self, hash: KeyHash) -> Result<Option<KeyRow>, Error> {
        read::key(&mut *self.reader().await?, hash).await
    }

    async fn position(&self, group: Group, partition: PartitionId) -> Result<Position, Error> {
        read::position(&mut *self.reader().await?, group, partition).await
    }

    async fn positions(&self, group: Group) -> Result<Vec<(PartitionId, Position)>, Error> {
        overview::positions(&mut *self.reader().await?, group).await
    }

    async fn totals(&self) -> Result<Totals, Error> {
        overview::totals(&mut *self.reader().await?).await
    }

    async fn unsettled_chats(
        &self,
        after: Option<ChatKey>,
        limit: u32,
    ) -> Result<Vec<ChatRow>, Error> {
        read::unsettled_chats(&mut *self.reader().await?, after, limit).await
    }

    async fn chat_tallies(&self, keys: &[ChatKey]) -> Result<Vec<(ChatRow, Tally)>, Error> {
        operate::chat_tallies(&mut *self.reader().await?, keys).await
    }

    async fn application_tallies(
        &self,
        tokens: &[AppToken],
    ) -> Result<Vec<(ApplicationRow, Tally)>, Error> {
        operate::application_tallies(&mut *self.reader().await?, tokens).await
    }

    async fn revisions(
        &self,
        chat: ChatKey,
        after: u32,
        limit: u32,
    ) -> Result<Vec<(u32, u64)>, Error> {
        operate::revisions(&mut *self.reader().await?, chat, after, limit).await
    }

    async fn changed_chats(
        &self,
        minute: u32,
        after: Option<ChatKey>,
        limit: u32,
    ) -> Result<Vec<(u32, ChatKey)>, Error> {
        operate::changed_chats(&mut *self.reader().await?, minute, after, limit).await
    }

    async fn note(&self, name: &str) -> Result<Option<Note>, Error> {
        operate::note(&mut *self.reader().await?, name).await
    }

    async fn put_note(&self, name: &str, version: u64, text: &str) -> Result<bool, Error> {
        operate::put_note(&mut *self.writer().await?, name, version, text).await
    }

    async fn letters(
        &self,
        partition: PartitionId,
        epoch: u32,
        from: u64,
        through: u64,
    ) -> Result<Vec<LetterRow>, Error> {
        operate::letters(&mut *self.reader().await?, partition, epoch, from, through).await
    }

    async fn decide(&self, letters: &[LetterRow], stale: Timestamp) -> Result<(), Error> {
        operate::decide(&mut *self.writer().await?, letters, stale).await
    }

    async fn letters_decided(
        &self,
        partition: PartitionId,
        epoch: u32,
        from: u64,
    ) -> Result<u64, Error> {
        operate::letters_decided(&mut *self.reader().await?, partition, epoch, from).await
    }

    async fn forget_keys(&self, before: Timestamp) -> Result<u64, Error> {
        let text = "DELETE FROM idempotency WHERE hash IN (SELECT hash FROM idempotency \
                    WHERE created_at < ?1 ORDER BY created_at LIMIT ?2) AND created_at < ?1";
        let mut forgotten = 0;
        loop {
            let removed = sqlx::query(text)
                .bind(before.as_micros())
                .bind(FORGET_KEYS)
                .execute(&mut *self.writer().await?)
                .await
                .map_err(told)?
                .rows_affected();
            forgotten += removed;
            if removed < u64::from(FORGET_KEYS) {
                return Ok(forgotten);
            }
        }
    }

    async fn check(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1 FROM log_epochs LIMIT 1")
            .fetch_optional(&mut *self.reader().await?)
            .await
            .map_err(told)?;
        Ok(())
    }
}
