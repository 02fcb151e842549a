//! Damage to the files of the embedded default: its databases through SQLite beside the running
//! process, its index while nothing runs.

use std::path::Path;
use std::time::Duration;

use chat_core::port::search::Document;
use chat_core::port::store::{ChatKey, MessageKey};
use chat_wire::ids::{AppToken, MessageNumber};
use chat_wire::time::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Executor as _};

use super::{Damage, Place};
use crate::Failure;

/// How long the process may hold the database.
const BUSY: Duration = Duration::from_secs(30);
/// The message whose row is removed.
const REMOVED: u32 = 5;
/// The message that loses its document.
const UNINDEXED: u32 = 3;
/// A message that never was.
const ORPHAN: u32 = 4_000_000;

/// The rows, beside the process that has them open.
pub(super) async fn rows(damage: Damage, place: Place, data: &Path) -> Result<(), Failure> {
    let (hex, chat) = (place.token.reveal(), place.chat);
    let chats = format!("WHERE application_token = x'{hex}' AND number = {chat}");
    let sql = match damage {
        Damage::CountFalsified => {
            format!("UPDATE chats SET messages_count = messages_count + 7 {chats}")
        }
        Damage::NumberBurned => format!(
            "DELETE FROM messages WHERE application_token = x'{hex}' AND chat_number = {chat} \
             AND number = {REMOVED}"
        ),
        Damage::CounterForged => format!(
            "UPDATE chats SET highest = highest + 1, settled_through = highest + 1, \
             messages_count = messages_count + 1 {chats}; \
             INSERT INTO messages SELECT application_token, number, highest, randomblob(16), 1, \
             NULL, 'smuggled', 0, NULL, created_at, NULL, 1 << 39, NULL FROM chats {chats}"
        ),
        Damage::CounterLowered
        | Damage::CounterDeleted
        | Damage::DocumentDeleted
        | Damage::DocumentOrphaned => {
            return Err(format!("no rows are about {damage:?}").into());
        }
    };
    write(data, &sql).await
}

pub(super) async fn falsify_all(token: AppToken, data: &Path) -> Result<(), Failure> {
    let hex = token.reveal();
    let set = "UPDATE chats SET messages_count = messages_count + 7";
    write(data, &format!("{set} WHERE application_token = x'{hex}'")).await
}

pub(super) async fn falsify_chats_count(token: AppToken, data: &Path) -> Result<(), Failure> {
    let hex = token.reveal();
    let set = "UPDATE applications SET chats_count = chats_count + 7";
    write(data, &format!("{set} WHERE token = x'{hex}'")).await
}

/// The index, which only one process can write: nothing else may run.
pub(super) async fn index(damage: Damage, place: Place, data: &Path) -> Result<(), Failure> {
    let config = chat_embedded::open::Config::new(data);
    let ports = chat_embedded::open::open(&config).await?;
    let chat = ChatKey {
        token: place.token,
        chat: place.chat,
    };
    let name = |number| -> Result<MessageKey, Failure> {
        let number = MessageNumber::new(number).ok_or("no message has the number 0")?;
        Ok(MessageKey { chat, number })
    };
    let document = match damage {
        Damage::DocumentDeleted => {
            let key = name(UNINDEXED)?;
            let row = ports.store.message(key).await?.ok_or("a row is missing")?;
            Document {
                key,
                revision: row.revision,
                created_at: row.created_at,
                body: None,
            }
        }
        _ => Document {
            key: name(ORPHAN)?,
            revision: 77,
            created_at: Timestamp::now(),
            body: Some("nobody said this".to_owned()),
        },
    };
    ports.search.repair(vec![document]).await?;
    ports.life.close().await;
    Ok(())
}

/// The database of rows, locked for writing.
pub(crate) struct Locked(SqliteConnection);

impl Locked {
    /// Locks it.
    pub(super) async fn take(data: &Path) -> Result<Self, Failure> {
        let mut store = open(data).await?;
        store.execute("BEGIN IMMEDIATE").await?;
        Ok(Self(store))
    }

    /// Unlocks it; nothing was written.
    pub(super) async fn release(mut self) -> Result<(), Failure> {
        self.0.execute("ROLLBACK").await?;
        Ok(self.0.close().await?)
    }
}

/// Statements in one transaction.
pub(super) async fn write(data: &Path, sql: &str) -> Result<(), Failure> {
    let mut store = open(data).await?;
    let sql = format!("BEGIN IMMEDIATE; {sql}; COMMIT");
    store.execute(sqlx::AssertSqlSafe(sql)).await?;
    Ok(store.close().await?)
}

/// The database of rows.
async fn open(data: &Path) -> Result<SqliteConnection, Failure> {
    let options = SqliteConnectOptions::new()
        .filename(data.join("store.db"))
        .busy_timeout(BUSY);
    Ok(SqliteConnection::connect_with(&options).await?)
}
