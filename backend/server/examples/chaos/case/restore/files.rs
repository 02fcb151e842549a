//! The files of a data directory: copied, put back, taken away, and asked what they know.

use std::path::Path;

use chat_core::event::Event;
use chat_core::port::log::{PartitionId, PollLimits, Topic};
use chat_core::port::search::Search as _;
use chat_core::port::store::ChatKey;
use chat_wire::ids::{AppToken, ChatNumber};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Row as _};

use crate::Failure;
use crate::oracle::Known;

/// What one read of a log brings.
const READ: PollLimits = PollLimits {
    records: 10_000,
    bytes: 4 * 1024 * 1024,
    wait_ms: 0,
};
/// Documents of one look.
const DOCUMENTS: usize = 100_000;

/// What can be put back alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Log,
    Store,
    Index,
}

impl Part {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Store => "store",
            Self::Index => "index",
        }
    }

    /// Whether a file or directory of the data directory belongs to it. What SQLite keeps in `-shm` is
    /// of a running process.
    fn owns(self, file: &str) -> bool {
        match self {
            Self::Log => file.starts_with("log.db"),
            Self::Store => file.starts_with("store.db"),
            Self::Index => file.starts_with("index"),
        }
    }
}

/// What SQLite has committed and not moved into the database yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wal {
    Log,
    Store,
}

impl Wal {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Log => "log.db-wal",
            Self::Store => "store.db-wal",
        }
    }
}

/// Copies a directory with all that is in it.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Replaces these parts of a data directory by those of a copy.
pub(super) fn put_back(parts: &[Part], copied: &Path, data: &Path) -> Result<(), Failure> {
    for part in parts {
        remove_all(data, |file| part.owns(file))?;
        let mut found = 0;
        for entry in std::fs::read_dir(copied)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if !part.owns(&name) || name.ends_with("-shm") {
                continue;
            }
            let target = data.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                copy(&entry.path(), &target)?;
            } else {
                std::fs::copy(entry.path(), target)?;
            }
            found += 1;
        }
        if found == 0 {
            return Err(format!("the copy holds no {}", part.name()).into());
        }
    }
    Ok(())
}

/// Removes what `cp *.db` leaves behind; there must be something in it.
pub(super) fn remove(wals: &[Wal], data: &Path) -> Result<(), Failure> {
    for wal in wals {
        let size = std::fs::metadata(data.join(wal.name()))?.len();
        if size == 0 {
            return Err(format!("{} is empty: nothing is lost with it", wal.name()).into());
        }
        let shared = wal.name().replace("-wal", "-shm");
        remove_all(data, |file| file == wal.name() || file == shared)?;
    }
    Ok(())
}

fn remove_all(data: &Path, chosen: impl Fn(&str) -> bool) -> Result<(), Failure> {
    for entry in std::fs::read_dir(data)? {
        let entry = entry?;
        if !chosen(&entry.file_name().to_string_lossy()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What each part knows by itself; looked up in copies, because whoever opens a part changes it.
pub(super) async fn known(
    data: &Path,
    witness: &Path,
    token: AppToken,
    chats: &[ChatNumber],
) -> Result<Known, Failure> {
    let alone = |part: Part| {
        let dir = witness.join(part.name());
        std::fs::create_dir_all(&dir)?;
        put_back(&[part], data, &dir)?;
        Ok::<_, Failure>(dir)
    };
    let mut known = Known::default();
    log(&alone(Part::Log)?, token, &mut known).await?;
    store(&alone(Part::Store)?, token, &mut known).await?;
    index(&alone(Part::Index)?, token, chats, &mut known).await?;
    Ok(known)
}

async fn log(dir: &Path, token: AppToken, known: &mut Known) -> Result<(), Failure> {
    let ports = chat_embedded::open::open(&chat_embedded::open::Config::new(dir)).await?;
    let partition = PartitionId {
        topic: Topic::Messages,
        index: 0,
    };
    let (mut next, end) = ports.log.range(partition).await?;
    while next < end {
        let records = ports.log.read(partition, next, READ).await?;
        let Some(last) = records.last() else {
            break;
        };
        next = last.offset + 1;
        for record in &records {
            let Ok((_, Event::MessagesCreated(event))) = Event::decode(record) else {
                continue;
            };
            if event.application_token != token {
                continue;
            }
            for (number, line) in (event.first.get()..).zip(event.messages) {
                known.log.insert((event.chat_number, number), line.body);
            }
        }
    }
    ports.life.close().await;
    Ok(())
}

async fn store(dir: &Path, token: AppToken, known: &mut Known) -> Result<(), Failure> {
    let options = SqliteConnectOptions::new().filename(dir.join("store.db"));
    let mut rows = SqliteConnection::connect_with(&options).await?;
    let live =
        "SELECT chat_number, number, body FROM messages WHERE application_token = ? AND state = 0";
    let token = u128::from_str_radix(&token.reveal(), 16)?.to_be_bytes();
    for row in sqlx::query(live)
        .bind(&token[..])
        .fetch_all(&mut rows)
        .await?
    {
        let chat = ChatNumber::new(row.try_get(0)?).ok_or("a chat has the number 0")?;
        known.store.insert((chat, row.try_get(1)?), row.try_get(2)?);
    }
    Ok(rows.close().await?)
}

async fn index(
    dir: &Path,
    token: AppToken,
    chats: &[ChatNumber],
    known: &mut Known,
) -> Result<(), Failure> {
    let index = chat_embedded::search::Index::open(&dir.join("index")).await?;
    for chat in chats.iter().copied() {
        let listed = index.list(ChatKey { token, chat }, 0, DOCUMENTS).await?;
        let places = listed.iter().map(|one| (chat, one.number.get()));
        known.index.extend(places);
    }
    index.close().await;
    Ok(())
}
