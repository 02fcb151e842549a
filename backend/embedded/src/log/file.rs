//! `log.db`: how it is opened, and what stands in it.

use std::path::{Path, PathBuf};

use chat_core::port::log::{Error, Topic};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use uuid::Uuid;

use super::frame::code;
use crate::sqlite::{self, Failure, Tuning};

/// Offsets of a topic: as many as a revision has room for.
pub(super) const OFFSETS: i64 = 1 << 40;
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
}

/// The error of the port for one of SQLite's.
pub(super) fn told(error: sqlx::Error) -> Error {
    match Failure::from(error) {
        // A commit that says so was rolled back; the append may be tried again.
        Failure::Unavailable(text) | Failure::Corrupt(text) => Error::Unavailable(text),
        Failure::Refused(text) => Error::Refused(text),
    }
}

/// Whether the disk, or what the file may take of it, is full.
pub(super) fn is_full(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    // `SQLITE_FULL`.
    code.as_deref() == Some("13")
}

/// The number that a topic's first offset has in the database.
pub(super) const fn base(topic: Topic) -> i64 {
    code(topic) as i64 * OFFSETS
}

/// The number of a place in the database.
pub(super) fn id(topic: Topic, offset: u64) -> i64 {
    let offset = i64::try_from(offset).unwrap_or(OFFSETS);
    base(topic) + offset.min(OFFSETS)
}

/// The offset of a number in the database.
pub(super) fn offset(topic: Topic, id: i64) -> u64 {
    u64::try_from(id - base(topic)).unwrap_or(0)
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
        // A pool for a moment: the migrator's future is not `Send` over a bare connection.
        let pool = sqlite::pool(1).connect_with(self.options()).await?;
        sqlx::migrate!("../../migrations/sqlite/log")
            .run(&pool)
            .await?;
        let mut connection = pool.acquire().await?.detach();
        let id = identity(&mut connection).await?;
        let topics = extents(&mut connection).await?;
        Ok((connection, Found { id, topics }))
    }
}

/// Reads who the log is; a new one is given its identity.
async fn identity(connection: &mut SqliteConnection) -> Result<[u8; 16], sqlx::Error> {
    let found: Option<Vec<u8>> = sqlx::query_scalar("SELECT log_id FROM identity")
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(found) = found {
        return found
            .try_into()
            .map_err(|_| sqlx::Error::Decode("the log's identity has not 16 bytes".into()));
    }
    let mut work = connection.begin_with("BEGIN IMMEDIATE").await?;
    for topic in Topic::ALL {
        sqlx::query("INSERT INTO topics (topic, next_offset, epoch) VALUES (?, 0, 0)")
            .bind(code(topic))
            .execute(&mut *work)
            .await?;
    }
    let id = Uuid::new_v4().into_bytes();
    sqlx::query("INSERT INTO identity (log_id) VALUES (?)")
        .bind(&id[..])
        .execute(&mut *work)
        .await?;
    work.commit().await?;
    Ok(id)
}

/// Reads what each topic holds, from the database alone.
pub(super) async fn extents(
    connection: &mut SqliteConnection,
) -> Result<[Extent; Topic::ALL.len()], sqlx::Error> {
    let mut extents = [Extent {
        start: 0,
        next: 0,
        epoch: 0,
    }; Topic::ALL.len()];
    for topic in Topic::ALL {
        let (kept, epoch): (i64, i64) =
            sqlx::query_as("SELECT next_offset, epoch FROM topics WHERE topic = ?")
                .bind(code(topic))
                .fetch_one(&mut *connection)
                .await?;
        let mut edge = async |order: &'static str| -> Result<Option<(i64, i64)>, sqlx::Error> {
            sqlx::query_as(order)
                .bind(base(topic))
                .bind(base(topic) + OFFSETS)
                .fetch_optional(&mut *connection)
                .await
        };
        let first =
            edge("SELECT id, records FROM batches WHERE id >= ? AND id < ? ORDER BY id LIMIT 1")
                .await?;
        let last = edge(
            "SELECT id, records FROM batches WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 1",
        )
        .await?;
        let kept = u64::try_from(kept).unwrap_or(0);
        let next = last
            .map_or(0, |(id, records)| offset(topic, id + records))
            .max(kept);
        extents[topic as usize] = Extent {
            start: first.map_or(next, |(id, _)| offset(topic, id)),
            next,
            epoch: u32::try_from(epoch).unwrap_or(0),
        };
    }
    Ok(extents)
}

/// Writes the epochs that log and store have agreed upon.
pub(crate) async fn put_epochs(
    connection: &mut SqliteConnection,
    epochs: &[u32; Topic::ALL.len()],
) -> Result<(), sqlx::Error> {
    let mut work = connection.begin_with("BEGIN IMMEDIATE").await?;
    for topic in Topic::ALL {
        sqlx::query("UPDATE topics SET epoch = ? WHERE topic = ?")
            .bind(epochs[topic as usize])
            .bind(code(topic))
            .execute(&mut *work)
            .await?;
    }
    work.commit().await
}
