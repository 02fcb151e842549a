//! The store port on MySQL and MariaDB: a pool of connections, one transaction a batch.

mod bulk;
mod examine;
mod failure;
mod lease;
mod operate;
mod overview;
mod owners;
mod pool;
mod read;
mod rows;
mod schema;
mod server;
pub(crate) mod topics;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::key::KeyHash;
use chat_core::port::log::{Group, PartitionId};
use chat_core::port::store::{
    ApplicationRow, ChatKey, ChatRow, Error, KeyRow, LetterRow, MessageKey, MessageRow, Note,
    Position, Span, Store, Tally, Totals, Transaction,
};
use chat_wire::ids::AppToken;
use chat_wire::time::Timestamp;
use sqlx::SqlSafeStr;
use sqlx::mysql::MySqlArguments;
use tokio::time::timeout;
use uuid::Uuid;

use self::lease::{Lease, within};
use self::owners::Owners;
use self::pool::Pool;
use self::read::Lock;
use self::rows::Values;
use self::transaction::{Work, command};

/// Keys that are removed in one statement, so that nobody waits long for its locks.
const FORGET_KEYS: u32 = 1_000;
/// Bytes of the log for one transaction: a batch of short messages is as many as a worker takes, and then whole
/// statements.
const BATCH_BYTES: usize = 2 * 1024 * 1024;
/// How long closing waits for whoever holds a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The rows of one database.
pub(crate) struct Rows {
    pool: Arc<Pool>,
    owners: Arc<Owners>,
}

/// Runs a read on a connection of its own, which goes back only when the answer was read to the end.
macro_rules! reading {
    ($self:ident, $on:ident => $read:expr) => {{
        let mut lease = Lease::of(&$self.pool).await?;
        let $on = &mut *lease;
        let found = within($read).await?;
        lease.release();
        Ok(found)
    }};
}

impl Rows {
    /// Opens the database that `url` names.
    pub(crate) async fn connect(url: &str, connections: u32) -> Result<Self, crate::error::Error> {
        Ok(Self {
            pool: schema::pool(url, connections).await?,
            owners: Arc::default(),
        })
    }

    /// Brings the tables up to date.
    pub(crate) async fn migrate(url: &str) -> Result<(), crate::error::Error> {
        schema::migrate(url).await
    }

    /// Lets go of all connections.
    pub(crate) async fn close(&self) {
        self.owners.close();
        if timeout(CLOSE_TIMEOUT, self.pool.close()).await.is_err() {
            tracing::warn!(
                "a transaction is still under way; its connection closes with the process"
            );
        }
    }
}

#[async_trait]
impl Store for Rows {
    fn batch_bytes(&self) -> usize {
        BATCH_BYTES
    }

    async fn begin(
        &self,
        group: Group,
        partitions: &[PartitionId],
    ) -> Result<Box<dyn Transaction>, Error> {
        let (lease, positions) = self.owners.begin(&self.pool, group, partitions).await?;
        Ok(Box::new(Work {
            lease,
            owned: Some((group, partitions.to_vec())),
            positions,
            owners: Arc::clone(&self.owners),
            missed: false,
        }))
    }

    async fn begin_free(&self) -> Result<Box<dyn Transaction>, Error> {
        let mut lease = Lease::of(&self.pool).await?;
        within(command(&mut lease, "BEGIN")).await?;
        Ok(Box::new(Work {
            lease,
            owned: None,
            positions: Vec::new(),
            owners: Arc::clone(&self.owners),
            missed: false,
        }))
    }

    async fn application(&self, token: AppToken) -> Result<Option<ApplicationRow>, Error> {
        let found: Result<Vec<_>, Error> =
            reading!(self, on => read::applications(on, &[token], Lock::None));
        Ok(found?.pop())
    }

    async fn applications(
        &self,
        after: Option<AppToken>,
        limit: u32,
    ) -> Result<Vec<ApplicationRow>, Error> {
        reading!(self, on => read::applications_after(on, after, limit))
    }

    async fn chat(&self, key: ChatKey) -> Result<Option<ChatRow>, Error> {
        let found: Result<Vec<_>, Error> =
            reading!(self, on => read::chats(on, &[key], Lock::None));
        Ok(found?.pop())
    }

    async fn chats(&self, token: AppToken, after: u32, limit: u32) -> Result<Vec<ChatRow>, Error> {
        reading!(self, on => read::chats_after(on, token, after, limit))
    }

    async fn highest_chat(&self, token: AppToken) -> Result<u32, Error> {
        reading!(self, on => read::highest_chat(on, token))
    }

    async fn message(&self, key: MessageKey) -> Result<Option<MessageRow>, Error> {
        let found: Result<Vec<_>, Error> = reading!(self, on => read::messages(on, &[key]));
        Ok(found?.pop())
    }

    async fn messages(
        &self,
        chat: ChatKey,
        span: Span,
        limit: u32,
    ) -> Result<Vec<MessageRow>, Error> {
        reading!(self, on => read::messages_in(on, chat, span, limit))
    }

    async fn messages_by_key(&self, keys: &[MessageKey]) -> Result<Vec<MessageRow>, Error> {
        reading!(self, on => read::messages(on, keys))
    }

    async fn renumbered(&self, chat: ChatKey, uid: Uuid) -> Result<Option<u32>, Error> {
        let found: Result<Vec<_>, Error> =
            reading!(self, on => read::renumbered(on, &[(chat, uid)]));
        Ok(found?.first().map(|row| row.number))
    }

    async fn key(&self, hash: KeyHash) -> Result<Option<KeyRow>, Error> {
        let found: Result<Vec<_>, Error> = reading!(self, on => read::keys(on, &[hash]));
        Ok(found?.pop())
    }

    async fn position(&self, group: Group, partition: PartitionId) -> Result<Position, Error> {
        self.position_of(group, partition).await
    }

    async fn positions(&self, group: Group) -> Result<Vec<(PartitionId, Position)>, Error> {
        reading!(self, on => overview::positions(on, group))
    }

    async fn totals(&self) -> Result<Totals, Error> {
        reading!(self, on => overview::totals(on))
    }

    async fn unsettled_chats(
        &self,
        after: Option<ChatKey>,
        limit: u32,
    ) -> Result<Vec<ChatRow>, Error> {
        reading!(self, on => read::unsettled_chats(on, after, limit))
    }

    async fn chat_tallies(&self, keys: &[ChatKey]) -> Result<Vec<(ChatRow, Tally)>, Error> {
        reading!(self, on => operate::chat_tallies(on, keys))
    }

    async fn application_tallies(
        &self,
        tokens: &[AppToken],
    ) -> Result<Vec<(ApplicationRow, Tally)>, Error> {
        reading!(self, on => operate::application_tallies(on, tokens))
    }

    async fn revisions(
        &self,
        chat: ChatKey,
        after: u32,
        limit: u32,
    ) -> Result<Vec<(u32, u64)>, Error> {
        reading!(self, on => operate::revisions(on, chat, after, limit))
    }

    async fn changed_chats(
        &self,
        minute: u32,
        after: Option<ChatKey>,
        limit: u32,
    ) -> Result<Vec<(u32, ChatKey)>, Error> {
        reading!(self, on => operate::changed_chats(on, minute, after, limit))
    }

    async fn note(&self, name: &str) -> Result<Option<Note>, Error> {
        reading!(self, on => operate::note(on, name))
    }

    async fn put_note(&self, name: &str, version: u64, text: &str) -> Result<bool, Error> {
        reading!(self, on => operate::put_note(on, name, version, text))
    }

    async fn letters(
        &self,
        partition: PartitionId,
        epoch: u32,
        from: u64,
        through: u64,
    ) -> Result<Vec<LetterRow>, Error> {
        reading!(self, on => operate::letters(on, partition, epoch, from, through))
    }

    async fn decide(&self, letters: &[LetterRow], stale: Timestamp) -> Result<(), Error> {
        reading!(self, on => operate::decide(on, letters, stale))
    }

    async fn letters_decided(
        &self,
        partition: PartitionId,
        epoch: u32,
        from: u64,
    ) -> Result<u64, Error> {
        reading!(self, on => operate::letters_decided(on, partition, epoch, from))
    }

    async fn forget_keys(&self, before: Timestamp) -> Result<u64, Error> {
        let text = "DELETE FROM idempotency WHERE created_at < ? ORDER BY created_at LIMIT ?";
        let mut forgotten = 0;
        loop {
            let removed: Result<u64, Error> = reading!(self, on => async {
                let mut values = Values::default();
                values.time(Some(before)).number(FORGET_KEYS);
                sqlx::query_with::<_, MySqlArguments>(text.into_sql_str(), values.into_inner())
                    .execute(on)
                    .await
                    .map(|done| done.rows_affected())
                    .map_err(failure::told)
            });
            let removed = removed?;
            forgotten += removed;
            if removed < u64::from(FORGET_KEYS) {
                return Ok(forgotten);
            }
        }
    }

    async fn raise_generation(&self, token: AppToken, seen: u32) -> Result<u32, Error> {
        self.next_generation(token, seen).await
    }

    async fn check(&self) -> Result<(), Error> {
        let text = "SELECT 1 FROM log_topics LIMIT 1";
        let found: Result<Vec<()>, Error> = reading!(self, on => {
            read::all(on, text.into_sql_str(), Values::default(), |_| Ok(()))
        });
        found.map(drop)
    }
}
