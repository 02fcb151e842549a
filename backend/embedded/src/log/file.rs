//! `log.db`: how it is opened, and what stands in it.

use std::path::{Path, PathBuf};

use chat_core::port::log::{Error, PartitionId, PollLimits, Record, Topic};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use uuid::Uuid;

use super::frame::code;
pub(crate) use super::frame::{OFFSETS, base};
pub(super) use super::frame::{id, offset};
use super::head::{BATCH_BYTES, BatchHead};
use crate::checksum::Checksum;
use crate::sqlite::{self, Failure, Tuning};

/// Bytes of a page, SQLite's default; only to turn a size into pages.
const PAGE_BYTES: u64 = 4_096;
/// Appends go to the right edge of the tree, so little has to be kept.
const WRITER: Tuning = Tuning {
    cache_kib: 2 * 1024,
    rows_ahead: 1,
};
/// A row may be a commit of several MiB: none is read before it is wanted.
pub(super) const READER: Tuning = Tuning {
    cache_kib: 1024,
    rows_ahead: 1,
};

/// Where the log is and how large it may get.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// `log.db`.
    pub(crate) file: PathBuf,
    /// No limit but the disk's where there is none.
    pub(crate) bytes_max: Option<u64>,
}

/// What one topic holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// First offset that exists; `next` where none does.
    pub(crate) start: u64,
    /// Offset of the next record.
    pub(crate) next: u64,
    /// As the log remembers it; the store may know better.
    pub(crate) epoch: u32,
}

/// The log as it was found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Which log this is.
    pub(crate) id: [u8; 16],
    /// In the order of [`Topic::ALL`].
    pub(crate) topics: [Extent; Topic::ALL.len()],
    /// The file is of a log that was open, and its write-ahead log is not beside it: it was copied or restored
    /// without it, and what was committed since its last checkpoint is not in it.
    pub(crate) lacks_wal: bool,
}

/// The error of the port for one of SQLite's.
pub(super) fn told(error: sqlx::Error) -> Error {
    match Failure::from(error) {
        // A commit that says so was rolled back; the append may be tried again.
        Failure::Unavailable(text) | Failure::Corrupt(text) => Error::Unavailable(text),
        Failure::Refused(text) => Error::Refused(text),
    }
}

impl Place {
    pub(crate) fn in_dir(dir: &Path, bytes_max: Option<u64>) -> Self {
        Self {
            file: dir.join("log.db"),
            bytes_max,
        }
    }

    fn options(&self) -> SqliteConnectOptions {
        let mut options = sqlite::writing(&self.file, WRITER);
        if let Some(bytes) = self.bytes_max {
            options = options.pragma("max_page_count", (bytes / PAGE_BYTES).max(1).to_string());
        }
        options
    }

    /// A connection that writes.
    pub(super) async fn connect(&self) -> Result<SqliteConnection, sqlx::Error> {
        SqliteConnection::connect_with(&self.options()).await
    }

    /// Opens or makes the log and brings it up to date.
    pub(crate) async fn open(
        &self,
    ) -> Result<(SqliteConnection, Found), sqlx::migrate::MigrateError> {
        // Before SQLite makes one.
        let had_wal = sqlite::wal_of(&self.file).exists();
        // A pool for a moment: the migrator's future is not `Send` over a bare connection.
        let pool = sqlite::pool(1).connect_with(self.options()).await?;
        sqlx::migrate!("../../migrations/sqlite/log")
            .run(&pool)
            .await?;
        let mut connection = pool.acquire().await?.detach();
        let id = identity(&mut connection).await?;
        let topics = extents(&mut connection).await?;
        let was_open = note_open(&mut connection).await?;
        let found = Found {
            id,
            topics,
            lacks_wal: was_open && !had_wal,
        };
        Ok((connection, found))
    }
}

/// `PRAGMA user_version` of a log that is open. It stands in the file itself, so that a copy of the file without
/// its write-ahead log is known for what it is.
const OPEN: i64 = 1;

/// Notes in the file that the log is open; returns whether it was when it was written last.
async fn note_open(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let found: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *connection)
        .await?;
    if found != OPEN {
        sqlx::query("PRAGMA user_version = 1")
            .execute(&mut *connection)
            .await?;
        checkpoint(connection).await?;
    }
    Ok(found == OPEN)
}

/// Notes that the log is closed, and moves all that is committed into its file.
pub(super) async fn note_closed(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("PRAGMA user_version = 0")
        .execute(&mut *connection)
        .await?;
    checkpoint(connection).await
}

async fn checkpoint(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_all(connection)
        .await?;
    Ok(())
}

/// Reads who the log is, and whether that has a checksum; nothing where it is new.
pub(crate) async fn read_identity(
    connection: &mut SqliteConnection,
) -> Result<Option<([u8; 16], bool)>, sqlx::Error> {
    let found: Option<(Vec<u8>, Option<i64>)> =
        sqlx::query_as("SELECT log_id, checksum FROM identity")
            .fetch_optional(&mut *connection)
            .await?;
    let Some((found, checksum)) = found else {
        return Ok(None);
    };
    let id = found
        .try_into()
        .map_err(|_| damaged("the log's identity"))?;
    if checksum.is_some_and(|checksum| checksum != of_identity(&id)) {
        return Err(damaged("the log's identity"));
    }
    Ok(Some((id, checksum.is_some())))
}

/// Reads who the log is; a new one is given its identity.
async fn identity(connection: &mut SqliteConnection) -> Result<[u8; 16], sqlx::Error> {
    if let Some((id, is_protected)) = read_identity(connection).await? {
        if !is_protected {
            put_identity(connection, &id).await?;
        }
        return Ok(id);
    }
    let mut work = connection.begin_with("BEGIN IMMEDIATE").await?;
    for topic in Topic::ALL {
        put_topic(&mut work, topic, 0, 0).await?;
    }
    let id = Uuid::new_v4().into_bytes();
    sqlx::query("INSERT INTO identity (log_id) VALUES (?)")
        .bind(&id[..])
        .execute(&mut *work)
        .await?;
    put_identity(&mut work, &id).await?;
    work.commit().await?;
    Ok(id)
}

/// Sets the identity of a log that has one.
pub(crate) async fn put_identity(
    on: &mut SqliteConnection,
    id: &[u8; 16],
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE identity SET log_id = ?, checksum = ?")
        .bind(&id[..])
        .bind(of_identity(id))
        .execute(on)
        .await
        .map(drop)
}

/// The checksum of the row of `identity`.
fn of_identity(id: &[u8; 16]) -> i64 {
    Checksum::new(b'i').fixed(id).column()
}

/// What a row of `topics` says: the next offset, as far as retention wrote it down, and the epoch.
pub(crate) async fn topic_row(
    on: &mut SqliteConnection,
    topic: Topic,
) -> Result<(u64, u32), sqlx::Error> {
    let (next, epoch, checksum): (i64, i64, Option<i64>) =
        sqlx::query_as("SELECT next_offset, epoch, checksum FROM topics WHERE topic = ?")
            .bind(code(topic))
            .fetch_one(on)
            .await?;
    let wrong = checksum.is_some_and(|checksum| checksum != of_topic(topic, next, epoch));
    match (u64::try_from(next), u32::try_from(epoch)) {
        (Ok(next), Ok(epoch)) if !wrong => Ok((next, epoch)),
        _ => Err(damaged("a row of the table topics")),
    }
}

/// The checksum of a row of `topics`.
fn of_topic(topic: Topic, next: i64, epoch: i64) -> i64 {
    let checksum = Checksum::new(b't').int(code(topic));
    checksum.int(next).int(epoch).column()
}

/// Writes a row of `topics`.
pub(crate) async fn put_topic(
    on: &mut SqliteConnection,
    topic: Topic,
    next: u64,
    epoch: u32,
) -> Result<(), sqlx::Error> {
    let next = i64::try_from(next).unwrap_or(OFFSETS);
    sqlx::query(
        "INSERT OR REPLACE INTO topics (topic, next_offset, epoch, checksum) VALUES (?,?,?,?)",
    )
    .bind(code(topic))
    .bind(next)
    .bind(epoch)
    .bind(of_topic(topic, next, epoch.into()))
    .execute(on)
    .await
    .map(drop)
}

/// Writes down that no offset below this one is given again.
pub(super) async fn keep_next(
    on: &mut SqliteConnection,
    topic: Topic,
    next: u64,
) -> Result<(), sqlx::Error> {
    let (kept, epoch) = topic_row(on, topic).await?;
    put_topic(on, topic, kept.max(next), epoch).await
}

fn damaged(what: &str) -> sqlx::Error {
    sqlx::Error::Decode(
        format!("{what} is damaged: run `chatd check`, then `chatd salvage`").into(),
    )
}

/// Reads what each topic holds, from the database alone.
pub(crate) async fn extents(
    connection: &mut SqliteConnection,
) -> Result<[Extent; Topic::ALL.len()], sqlx::Error> {
    let mut extents = [Extent {
        start: 0,
        next: 0,
        epoch: 0,
    }; Topic::ALL.len()];
    for topic in Topic::ALL {
        let (kept, epoch) = topic_row(connection, topic).await?;
        let first: Option<i64> = sqlx::query_scalar(
            "SELECT id FROM batches WHERE id >= ? AND id < ? ORDER BY id LIMIT 1",
        )
        .bind(base(topic))
        .bind(base(topic) + OFFSETS)
        .fetch_optional(&mut *connection)
        .await?;
        let next = last_end(connection, topic)
            .await?
            .map_or(kept, |end| end.max(kept));
        extents[topic as usize] = Extent {
            start: first.map_or(next, |id| offset(topic, id)),
            next,
            epoch,
        };
    }
    Ok(extents)
}

/// Where the last batch of a topic ends: the next offset depends on it, so it is compared with what the
/// batch says about itself.
async fn last_end(
    connection: &mut SqliteConnection,
    topic: Topic,
) -> Result<Option<u64>, sqlx::Error> {
    let last: Option<(i64, i64, Option<Vec<u8>>)> = sqlx::query_as(
        "SELECT id, records, substr(heads, 1, ?3) FROM batches \
         WHERE id >= ?1 AND id < ?2 ORDER BY id DESC LIMIT 1",
    )
    .bind(base(topic))
    .bind(base(topic) + OFFSETS)
    .bind(i64::try_from(BATCH_BYTES).unwrap_or(i64::MAX))
    .fetch_optional(connection)
    .await?;
    let Some((id, records, head)) = last else {
        return Ok(None);
    };
    let records = match head.map(|head| BatchHead::read(&head)) {
        Some(Some(head)) if head.id != id => return Err(damaged("the last batch of a topic")),
        Some(Some(head)) => i64::from(head.records),
        Some(None) | None => records,
    };
    Ok(Some(offset(topic, id + records)))
}

/// The record at an offset; `None` where it cannot be read.
pub(crate) async fn record_at(
    on: &mut SqliteConnection,
    topic: Topic,
    offset: u64,
) -> Result<Option<Record>, Error> {
    let one = PollLimits {
        records: 1,
        bytes: 1,
        wait_ms: 0,
    };
    let segments = super::read::stored(on, topic, (offset, offset + 1), one).await?;
    let partition = PartitionId { topic, index: 0 };
    let found = super::topic::records(partition, segments, (offset, offset + 1), one);
    // Damage here is met again by whoever has to read it.
    let records = found.unwrap_or_default();
    let mut records = records.into_iter();
    Ok(records.next().filter(|record| record.offset == offset))
}

/// Writes the epochs that log and store have agreed upon.
pub(crate) async fn put_epochs(
    connection: &mut SqliteConnection,
    epochs: &[u32; Topic::ALL.len()],
) -> Result<(), sqlx::Error> {
    let mut work = connection.begin_with("BEGIN IMMEDIATE").await?;
    for topic in Topic::ALL {
        let (kept, _) = topic_row(&mut work, topic).await?;
        put_topic(&mut work, topic, kept, epochs[topic as usize]).await?;
    }
    work.commit().await
}
