//! Work on a data directory that nobody has open: finding all damage in it, and copying what is intact.

mod events;
mod index;
mod report;
mod rows;
mod salvage;
mod scan;

use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};

pub use self::report::{Damage, Report};
pub use self::salvage::{Salvaged, salvage};
use crate::lock::{self, Lock};

/// Lines of one integrity check that are listed.
const INTEGRITY_LINES: usize = 100;

/// Why a directory cannot be examined.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there, or cannot be read.
    #[error("{file} cannot be read: {error}")]
    File {
        /// Which file or directory.
        file: PathBuf,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// A process has it.
    #[error("{dir} is in use by {holder}: stop that chatd first")]
    Held {
        /// The data directory.
        dir: PathBuf,
        /// Who.
        holder: String,
    },
    /// The database cannot be opened at all, or is not of this version.
    #[error("{file} cannot be opened: {reason}")]
    Database {
        /// The database.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The copy cannot be written.
    #[error("the copy in {dir} cannot be written: {reason}")]
    Target {
        /// The new directory.
        dir: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A data directory that is ours as long as this lives.
struct Premises {
    dir: PathBuf,
    _lock: Lock,
}

impl Premises {
    fn take(dir: &Path) -> Result<Self, Error> {
        let dir = dir.to_owned();
        // Taking the lock would make the directory look like one of ours.
        let log = dir.join("log.db");
        std::fs::metadata(&log).map_err(|error| Error::File { file: log, error })?;
        match Lock::acquire(&dir) {
            Ok(lock) => Ok(Self { dir, _lock: lock }),
            Err(lock::Error::Held(holder)) => Err(Error::Held { dir, holder }),
            Err(lock::Error::Io(error)) => Err(Error::File { file: dir, error }),
        }
    }

    /// Opens a database as it is, and refuses one of another version: `latest` is the last migration
    /// that this program knows.
    async fn open(&self, name: &str, latest: i64) -> Result<SqliteConnection, Error> {
        let file = self.dir.join(name);
        let broken = |reason: String| Error::Database {
            file: file.clone(),
            reason,
        };
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(false)
            .read_only(true)
            .foreign_keys(false)
            .pragma("cell_size_check", "on")
            .statement_cache_capacity(16);
        let mut connection = SqliteConnection::connect_with(&options)
            .await
            .map_err(|error| broken(error.to_string()))?;
        let version: i64 =
            sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
                .fetch_one(&mut connection)
                .await
                .map_err(|error| broken(error.to_string()))?;
        match version.cmp(&latest) {
            std::cmp::Ordering::Equal => Ok(connection),
            std::cmp::Ordering::Less => Err(broken(
                "it is of an older version: start this chatd on it once, then check it".to_owned(),
            )),
            std::cmp::Ordering::Greater => Err(broken("it is of a newer version".to_owned())),
        }
    }

    async fn log(&self) -> Result<SqliteConnection, Error> {
        self.open("log.db", 2).await
    }

    async fn store(&self) -> Result<SqliteConnection, Error> {
        self.open("store.db", 4).await
    }
}

/// Reads everything in a data directory and lists what is not what was written. Nothing is changed.
///
/// # Errors
/// [`Error`] where the directory cannot be examined at all; damage is no error.
pub async fn check(dir: &Path) -> Result<Report, Error> {
    let premises = Premises::take(dir)?;
    let mut report = Report::default();
    let mut log = premises.log().await?;
    let mut store = premises.store().await?;
    integrity("log.db", &mut log, &mut report).await;
    integrity("store.db", &mut store, &mut report).await;
    events::check(&mut log, &mut store, &mut report).await;
    rows::check(&mut store, &mut report).await;
    index::check(&premises.dir, &mut store, &mut report).await;
    Ok(report)
}

/// What SQLite itself finds: the structure of its pages, and indices that contradict their tables.
async fn integrity(file: &'static str, on: &mut SqliteConnection, report: &mut Report) {
    let found: Result<Vec<String>, sqlx::Error> = sqlx::query_scalar("PRAGMA integrity_check(100)")
        .fetch_all(on)
        .await;
    let lines = found.unwrap_or_else(|error| vec![error.to_string()]);
    for line in lines
        .into_iter()
        .filter(|line| line != "ok")
        .take(INTEGRITY_LINES)
    {
        report.found(Damage::of(file).what(line));
    }
}
