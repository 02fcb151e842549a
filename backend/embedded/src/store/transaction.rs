//! One transaction: the writer's connection from `BEGIN IMMEDIATE` to the end.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use chat_core::key::KeyHash;
use chat_core::port::log::{Group, PartitionId};
use chat_core::port::store::{
    ApplicationRow, ChatKey, ChatRow, Error, KeyRow, MessageKey, MessageRow, Position,
    RenumberedRow, Tally, Transaction, Writes,
};
use chat_wire::ids::AppToken;
use sqlx::sqlite::SqliteArguments;
use sqlx::{SqlSafeStr, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::rows::{APPLICATION, CHAT_WRITTEN, KEY, MESSAGE, RENUMBERED, Values, told};
use super::{counts, operate, read, sums};
use crate::progress::Progress;
use crate::sqlite::Bulk;

/// What owns the writer's connection; sqlx rolls back when it is dropped.
pub(super) struct Work {
    pub(super) inner: sqlx::Transaction<'static, Sqlite>,
    pub(super) owned: Option<(Group, Vec<PartitionId>)>,
    pub(super) positions: Vec<Position>,
    pub(super) progress: Arc<Progress>,
    /// Chats whose counts are not what was written. They are counted again when their row is written, so
    /// that wrong counts never get a checksum that says they are right.
    pub(super) miscounted: HashSet<ChatKey>,
}

/// Fails where a row with this key exists.
fn insert(table: &str, columns: &str) -> Bulk {
    let row = vec!["?"; columns.split(", ").count()].join(",");
    let head = format!("INSERT INTO {table} ({columns}) VALUES ");
    Bulk::new(&head, &format!("({row})"), "")
}

/// Replaces the whole row where one with this key exists.
fn put(table: &str, columns: &str, keys: usize) -> Bulk {
    let names: Vec<&str> = columns.split(", ").collect();
    let row = vec!["?"; names.len()].join(",");
    let (key, rest) = names.split_at(keys);
    let sets: Vec<String> = rest
        .iter()
        .map(|name| format!("{name} = excluded.{name}"))
        .collect();
    let tail = format!(
        " ON CONFLICT ({}) DO UPDATE SET {}",
        key.join(", "),
        sets.join(", ")
    );
    let head = format!("INSERT INTO {table} ({columns}) VALUES ");
    Bulk::new(&head, &format!("({row})"), &tail)
}

static INSERT_APPLICATIONS: LazyLock<Bulk> = LazyLock::new(|| insert("applications", APPLICATION));
static INSERT_CHATS: LazyLock<Bulk> = LazyLock::new(|| insert("chats", CHAT_WRITTEN));
static INSERT_MESSAGES: LazyLock<Bulk> = LazyLock::new(|| insert("messages", MESSAGE));
static PUT_RENUMBERED: LazyLock<Bulk> = LazyLock::new(|| put("renumbered", RENUMBERED, 3));
static PUT_APPLICATIONS: LazyLock<Bulk> = LazyLock::new(|| put("applications", APPLICATION, 1));
static PUT_CHATS: LazyLock<Bulk> = LazyLock::new(|| put("chats", CHAT_WRITTEN, 2));
static PUT_MESSAGES: LazyLock<Bulk> = LazyLock::new(|| put("messages", MESSAGE, 3));
static PUT_KEYS: LazyLock<Bulk> = LazyLock::new(|| put("idempotency", KEY, 1));

#[async_trait]
impl Transaction for Work {
    fn positions(&self) -> &[Position] {
        &self.positions
    }

    async fn applications(&mut self, tokens: &[AppToken]) -> Result<Vec<ApplicationRow>, Error> {
        let found = read::applications_as_stored(&mut self.inner, tokens).await?;
        if self.owned.is_some() {
            return counts::applications(&mut self.inner, found).await;
        }
        Ok(found.into_iter().map(|found| found.row).collect())
    }

    async fn chats(&mut self, keys: &[ChatKey]) -> Result<Vec<ChatRow>, Error> {
        let found = read::chats_as_stored(&mut self.inner, keys).await?;
        let wrong = found.iter().filter(|found| !found.sound);
        self.miscounted.extend(wrong.map(|found| found.row.key));
        if self.owned.is_some() {
            return counts::chats(&mut self.inner, found).await;
        }
        // Whoever owns no position repairs, and wants to see what is wrong.
        Ok(found.into_iter().map(|found| found.row).collect())
    }

    async fn messages(&mut self, keys: &[MessageKey]) -> Result<Vec<MessageRow>, Error> {
        read::messages(&mut self.inner, keys).await
    }

    async fn numbers_after(
        &mut self,
        chat: ChatKey,
        after: u32,
        limit: u32,
    ) -> Result<Vec<u32>, Error> {
        read::numbers_after(&mut self.inner, chat, after, limit).await
    }

    async fn tally(&mut self, chat: ChatKey) -> Result<Tally, Error> {
        operate::tally(&mut self.inner, chat).await
    }

    async fn tally_chats(&mut self, token: AppToken) -> Result<Tally, Error> {
        operate::tally_chats(&mut self.inner, token).await
    }

    async fn keys(&mut self, hashes: &[KeyHash]) -> Result<Vec<KeyRow>, Error> {
        read::keys(&mut self.inner, hashes).await
    }

    async fn renumbered(
        &mut self,
        messages: &[(ChatKey, Uuid)],
    ) -> Result<Vec<RenumberedRow>, Error> {
        read::renumbered(&mut self.inner, messages).await
    }

    async fn write(&mut self, writes: Writes) -> Result<(), Error> {
        let written = writes.update_chats.iter().map(|row| row.key);
        let recount: Vec<ChatKey> = written
            .filter(|key| self.miscounted.contains(key))
            .collect();
        let on = &mut *self.inner;
        let Writes {
            insert_applications,
            update_applications,
            insert_chats,
            update_chats,
            insert_messages,
            update_messages,
            put_keys,
            put_renumbered,
        } = writes;
        let application = |values: &mut Values, row| values.application(row);
        let chat = |values: &mut Values, row: ChatRow| {
            values.chat(&row);
            Ok(())
        };
        let message = |values: &mut Values, row| values.message(row);
        run(on, &INSERT_APPLICATIONS, insert_applications, application).await?;
        run(on, &PUT_APPLICATIONS, update_applications, application).await?;
        run(on, &INSERT_CHATS, insert_chats, chat).await?;
        run(on, &PUT_CHATS, update_chats, chat).await?;
        run(on, &INSERT_MESSAGES, insert_messages, message).await?;
        run(on, &PUT_MESSAGES, update_messages, message).await?;
        run(on, &PUT_KEYS, put_keys, |values, row: KeyRow| {
            values.key(&row);
            Ok(())
        })
        .await?;
        run(
            on,
            &PUT_RENUMBERED,
            put_renumbered,
            |values, row: RenumberedRow| {
                values.renumbered(&row);
                Ok(())
            },
        )
        .await?;
        if !recount.is_empty() {
            let counted = counts::recount(on, &recount).await?;
            run(on, &PUT_CHATS, counted, chat).await?;
        }
        Ok(())
    }

    async fn commit(mut self: Box<Self>, positions: &[Position]) -> Result<(), Error> {
        if let Some((group, partitions)) = &self.owned {
            for (partition, position) in partitions.iter().zip(positions) {
                put_position(&mut self.inner, *group, *partition, *position).await?;
            }
        }
        self.inner.commit().await.map_err(told)?;
        // The embedded log has one partition a topic.
        if let (Some((group, _)), [position, ..]) = (&self.owned, positions) {
            self.progress.applied(*group, position.next);
        }
        Ok(())
    }
}

/// Writes how far a group has come.
pub(crate) async fn put_position(
    on: &mut SqliteConnection,
    group: Group,
    partition: PartitionId,
    position: Position,
) -> Result<(), Error> {
    let text = "INSERT INTO log_positions (group_name, topic, partition, next, epoch, last_uid, \
                checksum) VALUES (?,?,?,?,?,?,?) ON CONFLICT (group_name, topic, partition) DO UPDATE \
                SET next = excluded.next, epoch = excluded.epoch, last_uid = excluded.last_uid, \
                checksum = excluded.checksum";
    let mut values = Values::with_capacity(7);
    values
        .text(Some(group.name().to_owned()))
        .text(Some(partition.topic.name().to_owned()))
        .int(partition.index)
        .wide(position.next)?
        .int(position.epoch)
        .uid(position.last_uid)
        .int(sums::position(group, partition, &position));
    sqlx::query_with::<_, SqliteArguments>(text.into_sql_str(), values.into_inner())
        .execute(on)
        .await
        .map_err(told)?;
    Ok(())
}

async fn run<T>(
    on: &mut SqliteConnection,
    bulk: &Bulk,
    rows: Vec<T>,
    bind: impl Fn(&mut Values, T) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut rest = rows.into_iter();
    for (text, Range { start, end }) in bulk.cut(rest.len()) {
        let mut values = Values::with_capacity(14 * (end - start));
        for row in rest.by_ref().take(end - start) {
            bind(&mut values, row)?;
        }
        sqlx::query_with::<_, SqliteArguments>(text, values.into_inner())
            .execute(&mut *on)
            .await
            .map_err(told)?;
    }
    Ok(())
}
