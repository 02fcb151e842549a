//! Opening a data directory: the lock, the two databases, the index, the counters.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::{System, TrustedClock};
use chat_core::failpoint::{Failpoint, reach};
use chat_core::port::log::{Group, Record};
use chat_core::port::search::IndexPosition;
use chat_core::port::{Ports, log, store};
use parking_lot::Mutex;
use sqlx::SqliteConnection;
use sqlx::migrate::MigrateError;

use crate::counters::{Numbers, tail};
use crate::examine::Premises;
use crate::life::Estate;
use crate::lock::{self, Lock};
use crate::log::Events;
use crate::log::file::{self, Found, Place};
use crate::progress::Progress;
use crate::rebuild::{self, MessageLog};
use crate::search::Index;
use crate::search::positions::read_recorded;
use crate::signals::Hints;
use crate::store::Rows;

/// How long records stay in the log after every group has passed them.
pub const RETENTION: Duration = Duration::from_secs(60 * 60);

/// Where and how.
#[derive(Debug, Clone)]
pub struct Config {
    /// Made where it does not exist. Holds `log.db`, `store.db`, `index/` and `chatd.lock`.
    pub data_dir: PathBuf,
    /// How long records stay in the log after every group has passed them.
    pub log_retention: Duration,
    /// Appends are refused (503) rather than let `log.db` grow above this. `None`: the disk decides.
    pub log_bytes_max: Option<u64>,
}

impl Config {
    /// The defaults, in this directory.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            log_retention: RETENTION,
            log_bytes_max: None,
        }
    }
}

/// Why a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be made or locked.
    #[error("the data directory {dir} cannot be used: {error}")]
    Directory {
        /// The data directory.
        dir: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// Another process has it.
    #[error(
        "the data directory {dir} is in use by {holder}: stop that chatd, or give this one \
         another directory with --data-dir"
    )]
    Held {
        /// The data directory.
        dir: PathBuf,
        /// The process and when it started, as it has written them down.
        holder: String,
    },
    /// A database cannot be opened, is damaged, or was made by a newer version.
    #[error("the database {file} cannot be opened: {error}")]
    Database {
        /// The database.
        file: PathBuf,
        /// What SQLite says.
        error: MigrateError,
    },
    /// The databases are open and do not answer as they should.
    #[error("the store cannot be read: {0}")]
    Store(#[from] store::Error),
    /// The databases are open and do not answer as they should.
    #[error("the log cannot be read: {0}")]
    Log(#[from] log::Error),
    /// The index cannot be opened.
    #[error("the search index in {dir} cannot be opened: {error}")]
    Index {
        /// The directory of the index.
        dir: PathBuf,
        /// What it says.
        error: rebuild::Error,
    },
}

impl From<tail::Error> for OpenError {
    fn from(error: tail::Error) -> Self {
        match error {
            tail::Error::Log(error) => Self::Log(error),
            tail::Error::Store(error) => Self::Store(error),
        }
    }
}

/// Opens or makes a data directory and brings its schema up to date.
///
/// Must be called within a tokio runtime, which runs the log's writer from then on.
///
/// # Errors
/// See [`OpenError`]; each says what it is about.
pub async fn open(config: &Config) -> Result<Ports, OpenError> {
    let dir = &config.data_dir;
    let lock = take(dir)?;
    let progress = Arc::new(Progress::default());
    // What the index has read tells whether the databases are older than it.
    let read = read_recorded(&dir.join("index"));
    let (rows, log, messages) = open_databases(config, &progress, &read).await?;
    let numbers = Numbers::rebuild(Arc::clone(&log), &rows, Arc::clone(&progress)).await?;
    let index = open_index(dir.join("index"), &rows, &messages, &numbers).await?;

    let (rows, numbers, index) = (Arc::new(rows), Arc::new(numbers), Arc::new(index));
    let estate = Estate {
        rows: Arc::clone(&rows),
        log: Arc::clone(&log),
        numbers: Arc::clone(&numbers),
        index: Arc::clone(&index),
        progress,
        clock: TrustedClock::new(Arc::new(System)),
        premises: Premises {
            dir: dir.clone(),
            log_bytes_max: config.log_bytes_max,
            retention: config.log_retention,
        },
        lock: Mutex::new(Some(lock)),
    };
    Ok(Ports {
        store: rows,
        log,
        counters: numbers,
        signals: Arc::new(Hints::default()),
        search: index,
        life: Arc::new(estate),
    })
}

/// Makes the directory ours.
fn take(dir: &Path) -> Result<Lock, OpenError> {
    let dir = dir.to_owned();
    let taken = std::fs::create_dir_all(&dir)
        .map_err(lock::Error::from)
        .and_then(|()| Lock::acquire(&dir));
    taken.map_err(|error| match error {
        lock::Error::Held(holder) => OpenError::Held { dir, holder },
        lock::Error::Io(error) => OpenError::Directory { dir, error },
    })
}

/// Opens both databases and lets them agree upon whose log it is; tells what the index has to be
/// compared with.
async fn open_databases(
    config: &Config,
    progress: &Arc<Progress>,
    read: &[IndexPosition],
) -> Result<(Rows, Arc<Events>, MessageLog), OpenError> {
    let place = Place::in_dir(&config.data_dir, config.log_bytes_max);
    let (mut connection, found) = place.open().await.map_err(|error| OpenError::Database {
        file: place.file.clone(),
        error,
    })?;
    let file = config.data_dir.join("store.db");
    let rows = Rows::open(&file, Arc::clone(progress))
        .await
        .map_err(|error| OpenError::Database { file, error })?;
    // The store first: it is what decides, and a crash in between is met again at the next start.
    let last = last_applied(&mut connection, &rows, &found).await?;
    let epochs = rows.agree(&found, read, &last).await?;
    rows.load_progress().await?;
    if found.topics.map(|topic| topic.epoch) != epochs {
        reach(Failpoint::EpochStoreLog);
        file::put_epochs(&mut connection, &epochs)
            .await
            .map_err(|error| OpenError::Database {
                file: place.file.clone(),
                error: error.into(),
            })?;
    }
    let messages = MessageLog::new(&found, &epochs);
    let log = Events::start(place, connection, &found, &epochs);
    Ok((rows, Arc::new(log), messages))
}

/// The records in the log that stand where each group says to have applied its last one.
async fn last_applied(
    connection: &mut SqliteConnection,
    rows: &Rows,
    found: &Found,
) -> Result<[Option<Record>; Group::ALL.len()], OpenError> {
    let positions = rows.all_positions().await?;
    let mut last = [const { None }; Group::ALL.len()];
    for group in Group::ALL {
        let topic = group.topic();
        let extent = found.topics[topic as usize];
        let next = positions[group as usize].next;
        if next > extent.start && next <= extent.next {
            last[group as usize] = file::record_at(connection, topic, next - 1).await?;
        }
    }
    Ok(last)
}

async fn open_index(
    dir: PathBuf,
    rows: &Rows,
    log: &MessageLog,
    numbers: &Numbers,
) -> Result<Index, OpenError> {
    rebuild::open(&dir, rows, log, numbers)
        .await
        .map_err(|error| OpenError::Index { dir, error })
}
