//! What both databases share: how they are opened, how errors are told, statements for many rows.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqlSafeStr, SqlStr};

/// How long a connection waits for a lock of another one. Writers queue before SQLite is asked, so
/// only a checkpoint is ever waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a caller waits for a connection: behind a writer, or behind many readers.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pages in the WAL at which a commit moves them into the database: 16 MiB. At SQLite's own 1,000
/// a busy writer would sync the database several times a second.
const WAL_PAGES: u32 = 4_000;

/// How a database is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuning {
    /// Page cache of the connection, in KiB.
    pub(crate) cache_kib: u32,
    /// Rows that the connection's thread may read ahead of whoever asked.
    pub(crate) rows_ahead: usize,
}

/// Where SQLite keeps what is committed and not moved into a database yet.
pub(crate) fn wal_of(file: &Path) -> PathBuf {
    let mut wal = file.as_os_str().to_owned();
    wal.push("-wal");
    PathBuf::from(wal)
}

/// The options of every connection that writes.
pub(crate) fn writing(file: &Path, tuning: Tuning) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        // Freed pages go back to the file system, in steps that housekeeping chooses.
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        // A commit returns when the WAL is on disk: NORMAL would lose the last ones with the power.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(false)
        .pragma("wal_autocheckpoint", WAL_PAGES.to_string())
        .pragma("cache_size", format!("-{}", tuning.cache_kib))
        // Finds damaged pages when they are read, before the damage spreads.
        .pragma("cell_size_check", "on")
        .row_buffer_size(tuning.rows_ahead)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging()
}

/// The options of every connection that only reads; the file exists.
pub(crate) fn reading(file: &Path, tuning: Tuning) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .read_only(true)
        .foreign_keys(false)
        .pragma("cache_size", format!("-{}", tuning.cache_kib))
        .pragma("cell_size_check", "on")
        .row_buffer_size(tuning.rows_ahead)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging()
}

/// More than the different statements there are, so that each is compiled once a connection.
const STATEMENTS: usize = 64;

/// A pool that opens its connections when they are needed and keeps them.
pub(crate) fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // There is no network between us, and each release pings.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_release(|connection, _| {
            Box::pin(async move {
                // Where SQLite has rolled back by itself (the disk is full), sqlx still counts the
                // transaction, and every later one would be refused: such a connection goes. The
                // ping comes first because a rollback may be waiting in the connection's queue.
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
}

/// What kind of failure an error is; each port has words of its own for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It may work later.
    Unavailable(String),
    /// It never will.
    Refused(String),
    /// The file is damaged, or holds what this program never wrote.
    Corrupt(String),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let text = error.to_string();
        match error {
            sqlx::Error::Database(database) => {
                // Result codes of SQLite, <https://sqlite.org/rescode.html>; the low byte is the family.
                let code = database.code().and_then(|code| code.parse::<u32>().ok());
                match code.map(|code| code & 0xff) {
                    // TOOBIG, CONSTRAINT, MISMATCH.
                    Some(18..=20) => Self::Refused(text),
                    // CORRUPT, NOTADB.
                    Some(11 | 26) => Self::Corrupt(text),
                    // BUSY, IOERR, FULL, CANTOPEN and whatever else passes.
                    _ => Self::Unavailable(text),
                }
            }
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. } => Self::Corrupt(text),
            _ => Self::Unavailable(text),
        }
    }
}

/// One statement over many rows, in a few fixed sizes: each is compiled once and then found again,
/// where a size for every batch would fill the cache and be compiled every time.
pub(crate) struct Bulk {
    sizes: [(usize, Arc<str>); 4],
}

/// Rows a statement. The largest stays below SQLite's 32,766 placeholders at 12 columns.
const SIZES: [usize; 4] = [512, 64, 8, 1];

impl Bulk {
    /// `head` + `row, row, …` + `tail`.
    pub(crate) fn new(head: &str, row: &str, tail: &str) -> Self {
        Self {
            sizes: SIZES.map(|rows| {
                let rows_text = vec![row; rows].join(",");
                (rows, Arc::from(format!("{head}{rows_text}{tail}")))
            }),
        }
    }

    /// Cuts so many rows into statements, the largest first.
    pub(crate) fn cut(&self, rows: usize) -> impl Iterator<Item = (SqlStr, Range<usize>)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let (size, text) = self.sizes.iter().find(|(size, _)| *size <= rows - at)?;
            let these = at..at + size;
            at += size;
            Some((AssertSqlSafe(Arc::clone(text)).into_sql_str(), these))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_known_sizes() {
        let bulk = Bulk::new("VALUES ", "(?)", ";");
        let pieces: Vec<usize> = bulk.cut(1_000).map(|(_, piece)| piece.len()).collect();
        assert_eq!(pieces, [512, 64, 64, 64, 64, 64, 64, 64, 8, 8, 8, 8, 8]);
        let together: Vec<usize> = bulk.cut(1_000).flat_map(|(_, piece)| piece).collect();
        assert_eq!(together, (0..1_000).collect::<Vec<_>>());
        let (text, _) = bulk.cut(1).next().unwrap();
        assert_eq!(text.as_str(), "VALUES (?);");
        assert_eq!(bulk.cut(0).count(), 0);
    }
}
