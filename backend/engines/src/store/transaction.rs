//! One transaction: a connection from `BEGIN` to the end.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use chat_core::key::KeyHash;
use chat_core::port::log::{Group, PartitionId};
use chat_core::port::store::{
    ApplicationRow, ChatKey, ChatRow, Error, KeyRow, MessageKey, MessageRow, Position,
    RenumberedRow, Tally, Transaction, Writes,
};
use chat_wire::ids::AppToken;
use sqlx::mysql::MySqlArguments;
use sqlx::{MySqlConnection, SqlStr};
use uuid::Uuid;

use super::bulk::Bulk;
use super::failure::{told, told_insert};
use super::lease::{Lease, within};
use super::operate;
use super::owners::Owners;
use super::read::{self, Lock};
use super::rows::{APPLICATION, CHAT_WRITTEN, KEY, MESSAGE, RENUMBERED, Values};

/// A transaction under way. Dropping it closes the connection, and the server rolls back.
pub(super) struct Work {
    pub(super) lease: Lease,
    pub(super) owned: Option<(Group, Vec<PartitionId>)>,
    pub(super) positions: Vec<Position>,
    pub(super) owners: Arc<Owners>,
    /// Whether a look for rows that several workers may make found some of them missing.
    pub(super) missed: bool,
}

/// The owner aside: it stays.
const POSITION: &str = "group_name, topic, partition_index, next, epoch, last_uid";

/// Fails where a row with this key exists.
fn insert(table: &str, columns: &str) -> Bulk {
    let row = vec!["?"; columns.split(", ").count()].join(",");
    let head = format!("INSERT INTO {table} ({columns}) VALUES ");
    Bulk::new(&head, &format!("({row})"), "")
}

/// Replaces the whole row where one with this key exists. `VALUES()` is what MySQL and MariaDB share.
fn put(table: &str, columns: &str, keys: usize) -> Bulk {
    let names: Vec<&str> = columns.split(", ").map(str::trim).collect();
    let row = vec!["?"; names.len()].join(",");
    let sets: Vec<String> = names[keys..]
        .iter()
        .map(|name| format!("{name} = VALUES({name})"))
        .collect();
    let tail = format!(" ON DUPLICATE KEY UPDATE {}", sets.join(", "));
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
static PUT_POSITIONS: LazyLock<Bulk> = LazyLock::new(|| put("log_positions", POSITION, 3));

#[async_trait]
impl Transaction for Work {
    fn positions(&self) -> &[Position] {
        &self.positions
    }

    async fn applications(&mut self, tokens: &[AppToken]) -> Result<Vec<ApplicationRow>, Error> {
        let found = within(read::applications(&mut self.lease, tokens, Lock::Update)).await?;
        self.missed |= found.len() < tokens.len();
        Ok(found)
    }

    async fn chats(&mut self, keys: &[ChatKey]) -> Result<Vec<ChatRow>, Error> {
        let found = within(read::chats(&mut self.lease, keys, Lock::Update)).await?;
        self.missed |= found.len() < keys.len();
        Ok(found)
    }

    async fn messages(&mut self, keys: &[MessageKey]) -> Result<Vec<MessageRow>, Error> {
        within(read::messages(&mut self.lease, keys)).await
    }

    async fn numbers_after(
        &mut self,
        chat: ChatKey,
        after: u32,
        limit: u32,
    ) -> Result<Vec<u32>, Error> {
        within(read::numbers_after(&mut self.lease, chat, after, limit)).await
    }

    async fn tally(&mut self, chat: ChatKey) -> Result<Tally, Error> {
        within(operate::tally(&mut self.lease, chat)).await
    }

    async fn tally_chats(&mut self, token: AppToken) -> Result<Tally, Error> {
        within(operate::tally_chats(&mut self.lease, token)).await
    }

    async fn keys(&mut self, hashes: &[KeyHash]) -> Result<Vec<KeyRow>, Error> {
        within(read::keys(&mut self.lease, hashes)).await
    }

    async fn renumbered(
        &mut self,
        messages: &[(ChatKey, Uuid)],
    ) -> Result<Vec<RenumberedRow>, Error> {
        within(read::renumbered(&mut self.lease, messages)).await
    }

    async fn write(&mut self, writes: Writes) -> Result<(), Error> {
        let missed = self.missed;
        let on = &mut *self.lease;
        let write = async move {
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
            run(
                on,
                &INSERT_APPLICATIONS,
                &insert_applications,
                Values::application,
            )
            .await?;
            run(
                on,
                &PUT_APPLICATIONS,
                &update_applications,
                Values::application,
            )
            .await?;
            run(on, &INSERT_CHATS, &insert_chats, Values::chat).await?;
            run(on, &PUT_CHATS, &update_chats, Values::chat).await?;
            run(on, &INSERT_MESSAGES, &insert_messages, Values::message).await?;
            run(on, &PUT_MESSAGES, &update_messages, Values::message).await?;
            run(on, &PUT_KEYS, &put_keys, Values::key).await?;
            run(on, &PUT_RENUMBERED, &put_renumbered, Values::renumbered).await
        };
        within(async move { write.await.map_err(|error| told_insert(error, missed)) }).await
    }

    async fn commit(mut self: Box<Self>, positions: &[Position]) -> Result<(), Error> {
        if let Some((group, partitions)) = &self.owned {
            for ((partition, new), old) in partitions.iter().zip(positions).zip(&self.positions) {
                if new.epoch < old.epoch {
                    return Err(Error::Unavailable(format!(
                        "partition {} of {} is in epoch {} meanwhile, the batch was read in epoch {}",
                        partition.index,
                        partition.topic.name(),
                        old.epoch,
                        new.epoch
                    )));
                }
            }
            let rows: Vec<PositionRow> = partitions
                .iter()
                .zip(positions)
                .map(|(partition, position)| PositionRow(*group, *partition, *position))
                .collect();
            let on = &mut *self.lease;
            let put = async { run(on, &PUT_POSITIONS, &rows, position).await.map_err(told) };
            within(put).await?;
        }
        self.lease.commit().await?;
        let Self {
            lease,
            owned,
            owners,
            ..
        } = *self;
        match owned {
            Some((group, _)) => owners.park(group, lease),
            None => lease.release(),
        }
        Ok(())
    }
}

/// What a row needs in a statement, for the limit of bytes.
trait Sized {
    fn bytes(&self) -> usize;
}

/// How far a group has come in a partition. The row is there and locked, so it is always replaced.
struct PositionRow(Group, PartitionId, Position);

/// More than the fixed columns of any table need.
const ROW_BYTES: usize = 120;

impl Sized for ApplicationRow {
    fn bytes(&self) -> usize {
        ROW_BYTES + self.name.len()
    }
}

impl Sized for ChatRow {
    fn bytes(&self) -> usize {
        ROW_BYTES
    }
}

impl Sized for MessageRow {
    fn bytes(&self) -> usize {
        ROW_BYTES + self.body.len() + self.sender.as_ref().map_or(0, String::len)
    }
}

impl Sized for KeyRow {
    fn bytes(&self) -> usize {
        ROW_BYTES
    }
}

impl Sized for PositionRow {
    fn bytes(&self) -> usize {
        ROW_BYTES
    }
}

impl Sized for RenumberedRow {
    fn bytes(&self) -> usize {
        ROW_BYTES
    }
}

async fn run<T: Sized>(
    on: &mut MySqlConnection,
    bulk: &Bulk,
    rows: &[T],
    bind: impl Fn(&mut Values, &T),
) -> Result<(), sqlx::Error> {
    let mut next = statement(bulk, rows, &bind);
    while let Some((text, values, rest)) = next {
        let sent = sqlx::query_with::<_, MySqlArguments>(text, values).execute(&mut *on);
        // The next one is written while the server works on this one.
        let following = async { statement(bulk, rest, &bind) };
        let (done, following) = tokio::join!(sent, following);
        done?;
        next = following;
    }
    Ok(())
}

/// The statement for the first of these rows, and the rows that it leaves; `None` where there are none.
fn statement<'r, T: Sized>(
    bulk: &Bulk,
    rows: &'r [T],
    bind: &impl Fn(&mut Values, &T),
) -> Option<(SqlStr, MySqlArguments, &'r [T])> {
    let (text, size, bytes) = bulk.first(rows.iter().map(T::bytes), rows.len())?;
    let (these, rest) = rows.split_at(size);
    let mut values = Values::with_capacity(12 * size, bytes);
    for row in these {
        bind(&mut values, row);
    }
    Some((text, values.into_inner(), rest))
}

fn position(values: &mut Values, row: &PositionRow) {
    let PositionRow(group, partition, position) = row;
    values
        .place(*group, *partition)
        .wide(position.next)
        .number(position.epoch)
        .uid(position.last_uid);
}

/// A statement without arguments and without an answer, in the protocol that can carry `BEGIN`.
pub(super) async fn command(on: &mut MySqlConnection, text: &'static str) -> Result<(), Error> {
    sqlx::raw_sql(text).execute(on).await.map_err(told)?;
    Ok(())
}
