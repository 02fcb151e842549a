//! An index that is gone, damaged or foreign is made again from the rows: it is only their projection.

use std::path::{Path, PathBuf};

use chat_core::apply;
use chat_core::failpoint::{Failpoint, reach};
use chat_core::index::document;
use chat_core::port::counters::Counter;
use chat_core::port::log::{Group, LogId, PartitionId, Topic};
use chat_core::port::search::{self, Document, IndexPosition, Search, Staged};
use chat_core::port::store::{self, ChatKey, MessageKey, MessageRow, Position, Span, Store};
use chat_wire::ids::MessageNumber;
use chat_wire::time::Timestamp;
use tokio::time::Instant;

use crate::counters::Numbers;
use crate::log::file::Found;
use crate::search::Index;
use crate::search::verify::{size_bytes, verify};
use crate::store::Rows;

/// An index of at most so many bytes is compared with its checksums when it is opened. Larger ones
/// would hold up the start; `verify` reads them whenever somebody asks.
const VERIFY_BYTES: u64 = 64 * 1024 * 1024;
/// What the directory of a damaged index is called, before the time.
const DAMAGED: &str = "index.damaged-";
/// Applications or chats of one look.
const PAGE: u32 = 1_000;
/// Messages of one commit of the index.
const BATCH: u32 = 10_000;

/// Why an index could not be made again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rows cannot be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The index cannot be written.
    #[error(transparent)]
    Search(#[from] search::Error),
    /// The directory cannot be read, set aside or put in place.
    #[error("the directory of the index cannot be used: {0}")]
    Directory(#[from] std::io::Error),
}

/// The topic that the index reads, as log and store have agreed upon it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessageLog {
    id: LogId,
    start: u64,
    next: u64,
    epoch: u32,
    /// It is not the log any more that it was when the directory was closed.
    is_changed: bool,
}

impl MessageLog {
    pub(crate) fn new(found: &Found, epochs: &[u32; Topic::ALL.len()]) -> Self {
        let extent = found.topics[Topic::Messages as usize];
        let epoch = epochs[Topic::Messages as usize];
        Self {
            id: LogId::from_bytes(found.id),
            start: extent.start,
            next: extent.next,
            epoch,
            is_changed: extent.epoch != epoch,
        }
    }
}

/// What to do about an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It has all that its group says, and perhaps the batch whose position was not committed.
    Current,
    /// A version that recorded no positions has made it.
    Unrecorded,
    /// It is older than the store, and the log still has what it lacks, from this offset on.
    Behind(u64),
    /// It holds what the store does not, or lacks what the log does not have any more.
    Stale(&'static str),
}

/// Compares what the index has recorded with the log, and with how far the store says that messages
/// are stored and indexed.
fn compare(
    read: Option<&IndexPosition>,
    log: &MessageLog,
    stored: Position,
    indexed: Position,
) -> Verdict {
    let Some(read) = read else {
        return match log.is_changed {
            true => {
                Verdict::Stale("the log has changed, and the index says nothing of what it read")
            }
            false => Verdict::Unrecorded,
        };
    };
    if read.log != log.id {
        return Verdict::Stale("the index has read another log");
    }
    if read.epoch != log.epoch {
        return Verdict::Stale("the index has read another epoch of the log");
    }
    if read.next > stored.next || read.next > log.next {
        return Verdict::Stale("the index has read more than the store has applied");
    }
    if !read.whole {
        return Verdict::Stale("the index lacks messages whose records the log has lost");
    }
    if read.next >= indexed.next {
        return Verdict::Current;
    }
    if read.next < log.start {
        return Verdict::Stale("the index is old, and the log has lost what the index lacks");
    }
    Verdict::Behind(read.next)
}

/// Opens the index in `dir`, and makes it again from the rows where it is missing, damaged, or does
/// not belong to the log and the store.
pub(crate) async fn open(
    dir: &Path,
    rows: &Rows,
    log: &MessageLog,
    numbers: &Numbers,
) -> Result<Index, Error> {
    let index = open_or_set_aside(dir).await?;
    let partition = PartitionId {
        topic: Topic::Messages,
        index: 0,
    };
    let stored = rows.position(Group::MessagesStore, partition).await?;
    let indexed = rows.position(Group::MessagesIndex, partition).await?;
    let position = IndexPosition {
        partition,
        log: log.id,
        epoch: log.epoch,
        next: indexed.next,
        whole: true,
    };
    let recorded = index.positions().await?;
    let read = recorded.iter().find(|read| read.partition == partition);
    if index.is_empty() {
        if rows.applications(None, 1).await?.is_empty() {
            record(&index, position).await?;
            return Ok(index);
        }
        return replace(index, dir, rows, position).await;
    }
    match compare(read, log, stored, indexed) {
        Verdict::Current => {}
        Verdict::Unrecorded => record(&index, position).await?,
        Verdict::Behind(next) => {
            tracing::error!(
                index.next = next,
                store.indexed = indexed.next,
                "the search index is older than the store; the log is read again from where it ends"
            );
            let position = Position {
                next,
                epoch: log.epoch,
                last_uid: None,
            };
            rows.rewind(Group::MessagesIndex, position).await?;
        }
        Verdict::Stale(reason) => {
            tracing::error!(
                reason,
                index.read = ?read,
                log = ?log,
                store.next = stored.next,
                store.indexed = indexed.next,
                "the search index does not belong to the log and the store, and is made again"
            );
            reserve(&index, rows, numbers).await?;
            return replace(index, dir, rows, position).await;
        }
    }
    Ok(index)
}

/// Keeps numbers from being issued again that only the index remembers, before the index forgets them: log and
/// store were restored to an earlier state without it.
async fn reserve(index: &Index, rows: &Rows, numbers: &Numbers) -> Result<(), Error> {
    let mut highest = index.highest().await?;
    // What the log holds beyond the store is counted already.
    highest.retain(|chat, number| {
        let counted = numbers.known(Counter::Messages(*chat));
        counted.is_none_or(|counted| counted < *number)
    });
    let reserved = apply::reserve(rows, &highest, Timestamp::now()).await?;
    if reserved == 0 {
        return Ok(());
    }
    for (chat, number) in highest {
        numbers.raise(Counter::Messages(chat), number);
        numbers.raise(Counter::Chats(chat.token), chat.chat.get());
    }
    tracing::error!(
        chats = reserved,
        "the search index holds messages that the log and the store have lost; their numbers are not issued again"
    );
    Ok(())
}

async fn record(index: &Index, position: IndexPosition) -> Result<(), Error> {
    let nothing = Staged::Documents(Vec::new());
    index.publish(nothing, &[position]).await?;
    Ok(())
}

/// Opens the index; a damaged one is moved out of the way, and an empty one takes its place.
async fn open_or_set_aside(dir: &Path) -> Result<Index, Error> {
    let damage = match size_bytes(dir)? {
        0..=VERIFY_BYTES => verify(dir).await?,
        _ => Vec::new(),
    };
    let damage = match damage.is_empty() {
        true => match Index::open(dir).await {
            Err(search::Error::Unusable(text)) => text,
            opened => return Ok(opened?),
        },
        false => format!("these files do not match their checksums: {damage:?}"),
    };
    let aside = set_aside(dir)?;
    tracing::error!(
        damage,
        aside = %aside.display(),
        "the search index cannot be used; it is set aside, and made again from the store"
    );
    Ok(Index::open(dir).await?)
}

/// Keeps the last damaged index for whoever wants to know how it came about, and no other: each is as
/// large as the index.
fn set_aside(dir: &Path) -> std::io::Result<PathBuf> {
    let parent = dir.parent().unwrap_or(dir);
    for entry in std::fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(DAMAGED) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    let aside = parent.join(format!("{DAMAGED}{}", Timestamp::now().as_micros()));
    std::fs::rename(dir, &aside)?;
    Ok(aside)
}

/// Makes the index again from the rows.
///
/// It grows beside its place and is moved there whole, with its position: a process that dies in the
/// middle leaves the former index or an empty one behind, and the next one begins anew.
async fn replace(
    index: Index,
    dir: &Path,
    rows: &Rows,
    position: IndexPosition,
) -> Result<Index, Error> {
    index.close().await;
    drop(index);
    let beside = dir.with_extension("rebuilding");
    if beside.exists() {
        std::fs::remove_dir_all(&beside)?;
    }
    let started = Instant::now();
    let index = Index::open(&beside).await?;
    let messages = fill(&index, rows).await?;
    record(&index, position).await?;
    index.close().await;
    drop(index);
    reach(Failpoint::RebuildFillRemove);
    std::fs::remove_dir_all(dir)?;
    reach(Failpoint::RebuildRemoveMove);
    std::fs::rename(&beside, dir)?;
    if messages > 0 {
        tracing::warn!(
            messages,
            duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "the search index is made again from the store"
        );
    }
    Ok(Index::open(dir).await?)
}

/// Walks through every row of every application, and indexes as many as make a good commit.
async fn fill(index: &Index, rows: &impl Store) -> Result<u64, Error> {
    let mut filler = Filler {
        index,
        waiting: Vec::new(),
        filled: 0,
    };
    let mut token = None;
    loop {
        let applications = rows.applications(token, PAGE).await?;
        for application in &applications {
            let mut after = 0;
            loop {
                let chats = rows.chats(application.token, after, PAGE).await?;
                for chat in &chats {
                    filler.chat(rows, chat.key, chat.highest).await?;
                }
                match chats.last() {
                    Some(last) if chats.len() == PAGE as usize => after = last.key.chat.get(),
                    _ => break,
                }
            }
        }
        match applications.last() {
            Some(last) if applications.len() == PAGE as usize => token = Some(last.token),
            _ => break,
        }
    }
    filler.flush().await?;
    Ok(filler.filled)
}

struct Filler<'a> {
    index: &'a Index,
    waiting: Vec<Document>,
    filled: u64,
}

impl Filler<'_> {
    async fn chat(&mut self, rows: &impl Store, chat: ChatKey, highest: u32) -> Result<(), Error> {
        let mut after = 0;
        while after < highest {
            let span = Span::After {
                after,
                through: highest,
            };
            let messages = match rows.messages(chat, span, BATCH).await {
                Err(store::Error::Corrupt(_)) => {
                    let through = highest.min(after.saturating_add(BATCH));
                    let intact = intact(rows, chat, after, through).await?;
                    after = through;
                    intact
                }
                messages => {
                    let messages = messages?;
                    let Some(last) = messages.last() else {
                        return Ok(());
                    };
                    after = last.key.number.get();
                    messages
                }
            };
            self.waiting
                .extend(messages.into_iter().filter_map(document));
            if self.waiting.len() >= BATCH as usize {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let documents = std::mem::take(&mut self.waiting);
        self.filled += documents.len() as u64;
        self.index.index(documents).await?;
        Ok(())
    }
}

/// The rows of these numbers, without those that are damaged: they are not shown either, and the others
/// can be found.
async fn intact(
    rows: &impl Store,
    chat: ChatKey,
    after: u32,
    through: u32,
) -> Result<Vec<MessageRow>, Error> {
    let (mut found, mut damaged) = (Vec::new(), 0_u64);
    for number in (after + 1..=through).filter_map(MessageNumber::new) {
        match rows.message(MessageKey { chat, number }).await {
            Err(store::Error::Corrupt(_)) => damaged += 1,
            row => found.extend(row?),
        }
    }
    tracing::error!(damaged, "messages whose rows are damaged are not indexed");
    Ok(found)
}
