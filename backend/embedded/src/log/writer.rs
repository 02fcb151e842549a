//! The one task that writes the log: whatever waits goes into one commit.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use chat_core::failpoint::{Failpoint, reach};
use chat_core::port::log::{Error, Topic};
use chat_wire::time::Timestamp;
use futures_util::FutureExt;
use sqlx::{AssertSqlSafe, Connection, SqlSafeStr, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::fault::{Alarm, Verdict, same};
use super::file::{self, OFFSETS, Place, base, id, offset, told};
use super::frames::gather;
use super::head::Head;
use super::read::Shared;
use super::topic::Segment;
use crate::damage::Quiet;

/// Most records in one commit.
const COMMIT_RECORDS: usize = 1_024;
/// Bytes at which a commit takes no further record.
const COMMIT_BYTES: usize = 4 * 1024 * 1024;
/// Most batches that one step of retention removes.
const PRUNE_BATCHES: u32 = 64;
/// Bytes at which a step of retention stops: a few milliseconds of freeing pages.
const PRUNE_BYTES: i64 = 2 * 1024 * 1024;
/// Free pages that are given back in one step.
const SHRINK_PAGES: u32 = 256;
/// Free pages that are kept for later appends.
const FREE_PAGES: i64 = 2_048;

/// A record on its way, and who waits for its offset.
pub(super) struct Append {
    pub(super) topic: Topic,
    pub(super) head: Head,
    pub(super) frame: Vec<u8>,
    pub(super) reply: oneshot::Sender<Result<u64, Error>>,
}

/// What the task is asked.
pub(super) enum Command {
    Append(Append),
    /// Removes the oldest batches that end at or below an offset and are older than a time; answers
    /// how many.
    Prune {
        topic: Topic,
        below: u64,
        before: Timestamp,
        reply: oneshot::Sender<Result<u64, Error>>,
    },
    /// Gives a few free pages back to the file system; answers whether more are left.
    Shrink {
        reply: oneshot::Sender<Result<bool, Error>>,
    },
    /// Takes nothing more, writes what waits, and lets go of the file.
    Close {
        reply: oneshot::Sender<()>,
    },
}

pub(super) struct Writer {
    place: Place,
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Command>,
    /// Bytes of the appends in the queue.
    queued: Arc<AtomicUsize>,
    /// `None` after a failure: what the database holds has to be read again first.
    connection: Option<SqliteConnection>,
    /// The next offset of each topic.
    next: [u64; Topic::ALL.len()],
    /// Who waits for the end.
    closing: Option<oneshot::Sender<()>>,
    quiet: Quiet,
}

impl Writer {
    pub(super) fn new(
        place: Place,
        shared: Arc<Shared>,
        queue: mpsc::Receiver<Command>,
        queued: Arc<AtomicUsize>,
        connection: SqliteConnection,
    ) -> Self {
        let next = Topic::ALL.map(|topic| shared.topic(topic).range().1);
        Self {
            place,
            shared,
            queue,
            queued,
            connection: Some(connection),
            next,
            closing: None,
            quiet: Quiet::default(),
        }
    }

    /// Runs until everybody who could ask is gone, or until it is closed. Where it ends in any other
    /// way, the process is told that it cannot go on.
    pub(super) async fn run(mut self) {
        let alarm = Alarm::new(Arc::clone(&self.shared.fault));
        while let Some(command) = self.queue.recv().await {
            let mut command = Some(command);
            while let Some(this) = command.take() {
                match this {
                    Command::Close { reply } => {
                        self.queue.close();
                        self.closing = Some(reply);
                    }
                    // Whoever waits for an answer that never comes is told that its end is not known.
                    other => match AssertUnwindSafe(self.obey(other)).catch_unwind().await {
                        Ok(next) => command = next,
                        Err(_) => self.recover(),
                    },
                }
            }
        }
        self.finish().await;
        alarm.disarm();
    }

    /// After a panic nothing in memory is believed: what the database holds is read again.
    fn recover(&mut self) {
        self.connection = None;
        // Saying so may have been what panicked.
        let said = std::panic::catch_unwind(|| {
            tracing::error!("the log's writer panicked; it reads its file again and goes on");
        });
        drop(said);
    }

    /// Does what it is asked; returns the command that came between.
    async fn obey(&mut self, command: Command) -> Option<Command> {
        match command {
            Command::Append(first) => return self.append(first).await,
            Command::Prune {
                topic,
                below,
                before,
                reply,
            } => {
                let removed = self.prune(topic, below, before).await;
                let _ = reply.send(removed);
            }
            Command::Shrink { reply } => {
                let more = self.shrink().await;
                let _ = reply.send(more);
            }
            Command::Close { .. } => {}
        }
        None
    }

    async fn finish(&mut self) {
        // After a failed sync the file is left alone: a checkpoint might keep what the disk has lost.
        if let Some(mut connection) = self.connection.take()
            && self.shared.fault.borrow().is_none()
        {
            // Cuts the WAL too: the next start has nothing to read back.
            let noted = file::note_closed(&mut connection).await;
            if let Err(error) = noted.and(connection.close().await) {
                tracing::warn!(%error, "the log was not closed cleanly; nothing is lost");
            }
        }
        if let Some(reply) = self.closing.take() {
            let _ = reply.send(());
        }
    }

    /// Commits this append and all that wait behind it; returns the command that came between.
    async fn append(&mut self, first: Append) -> Option<Command> {
        let mut bytes = first.frame.len();
        let mut group = vec![first];
        let mut other = None;
        while group.len() < COMMIT_RECORDS && bytes < COMMIT_BYTES {
            match self.queue.try_recv() {
                Ok(Command::Append(append)) => {
                    bytes += append.frame.len();
                    group.push(append);
                }
                Ok(command) => {
                    other = Some(command);
                    break;
                }
                Err(_) => break,
            }
        }
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
        match self.commit(&group).await {
            Ok(segments) => self.answer(group, segments),
            Err(error) => self.refuse(group, &error),
        }
        other
    }

    /// Tells everybody why nothing was appended.
    fn refuse(&mut self, group: Vec<Append>, error: &Error) {
        if let Some(unsaid) = self.quiet.say(Instant::now()) {
            tracing::error!(
                %error,
                unsaid,
                batch.len = group.len(),
                "the log took no append"
            );
        }
        for append in group {
            let _ = append.reply.send(Err(same(error)));
        }
    }

    /// Shows the records to readers, then tells each caller its offset.
    fn answer(&mut self, group: Vec<Append>, segments: Vec<(Topic, Segment)>) {
        let mut offsets = self.next;
        for (topic, segment) in segments {
            self.next[topic as usize] += segment.records;
            self.shared.topic(topic).publish(segment);
        }
        for append in group {
            let offset = &mut offsets[append.topic as usize];
            // Whoever gave up waiting does not want to know.
            let _ = append.reply.send(Ok(*offset));
            *offset += 1;
        }
    }

    /// Writes a batch for each topic, in one statement, which is one transaction and one sync.
    async fn commit(&mut self, group: &[Append]) -> Result<Vec<(Topic, Segment)>, Error> {
        self.ready().await?;
        let segments = self.segments(group, Timestamp::now());
        match self.insert(&segments).await {
            Ok(()) => Ok(segments),
            Err(error) => match Verdict::of(&error) {
                Verdict::RolledBack => Err(Error::NotAppended(error.to_string())),
                Verdict::Lost => Err(self.fail(&error)),
                Verdict::Unknown => {
                    // Its own thread may still be at it: only when it has ended the database can say.
                    if let Some(connection) = self.connection.take() {
                        let _ = connection.close_hard().await;
                    }
                    let before = self.next;
                    let again = self.ready().await;
                    again.map_err(|_| Error::Unavailable(error.to_string()))?;
                    if before == self.next {
                        return Err(Error::NotAppended(error.to_string()));
                    }
                    // It is there: whoever reads finds it, and only its callers do not know their offsets.
                    Err(Error::Unavailable(error.to_string()))
                }
            },
        }
    }

    async fn insert(&mut self, segments: &[(Topic, Segment)]) -> Result<(), sqlx::Error> {
        let text = Arc::clone(&INSERTS[segments.len() - 1]);
        let mut insert = sqlx::query(AssertSqlSafe(text).into_sql_str());
        for (topic, segment) in segments {
            insert = insert
                .bind(id(*topic, segment.first))
                .bind(i64::try_from(segment.records).unwrap_or(i64::MAX))
                .bind(segment.appended_at.as_micros())
                .bind(segment.frames.to_vec())
                .bind(segment.heads.to_vec());
        }
        let connection = self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)?;
        reach(Failpoint::LogQueueCommit);
        insert.execute(connection).await?;
        reach(Failpoint::LogCommitAnswer);
        Ok(())
    }

    /// What was durable may be durable no more: nothing is appended to this file again.
    fn fail(&self, error: &sqlx::Error) -> Error {
        let fault = format!("log.db cannot be written safely any more: {error}");
        self.shared.fault.send_replace(Some(fault.clone()));
        Error::Unavailable(fault)
    }

    fn segments(&self, group: &[Append], appended_at: Timestamp) -> Vec<(Topic, Segment)> {
        let mut segments = Vec::new();
        for topic in Topic::ALL {
            let mine = || group.iter().filter(move |append| append.topic == topic);
            if mine().next().is_none() {
                continue;
            }
            let first = self.next[topic as usize];
            let frames = mine().map(|append| (&append.head, append.frame.as_slice()));
            let segment = gather(topic, first, appended_at, frames);
            segments.push((topic, segment));
        }
        segments
    }

    /// Connects again after a failure, and goes on behind what the database holds. Nothing was appended
    /// where this fails.
    async fn ready(&mut self) -> Result<(), Error> {
        if let Some(fault) = self.shared.fault.borrow().clone() {
            return Err(Error::NotAppended(fault));
        }
        if self.connection.is_some() {
            return Ok(());
        }
        let read = async {
            let mut connection = self.place.connect().await?;
            let extents = file::extents(&mut connection).await?;
            Ok::<_, sqlx::Error>((connection, extents))
        };
        let (connection, extents) = read
            .await
            .map_err(|error| Error::NotAppended(error.to_string()))?;
        for topic in Topic::ALL {
            let extent = extents[topic as usize];
            self.next[topic as usize] = extent.next;
            self.shared.topic(topic).reset(extent);
        }
        self.connection = Some(connection);
        Ok(())
    }

    async fn prune(&mut self, topic: Topic, below: u64, before: Timestamp) -> Result<u64, Error> {
        self.ready().await?;
        let removed = self.prune_step(topic, below, before).await;
        if removed.is_err() {
            // A transaction may be open.
            self.connection = None;
        }
        removed.map_err(told)
    }

    async fn prune_step(
        &mut self,
        topic: Topic,
        below: u64,
        before: Timestamp,
    ) -> Result<u64, sqlx::Error> {
        let connection = self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)?;
        let oldest: Vec<(i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT id, records, appended_at, length(frames) FROM batches \
             WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
        )
        .bind(base(topic))
        .bind(id(topic, below).min(base(topic) + OFFSETS))
        .bind(PRUNE_BATCHES)
        .fetch_all(&mut *connection)
        .await?;
        let mut bytes = 0;
        let gone = oldest
            .iter()
            .take_while(|(id, records, appended_at, len)| {
                let room = bytes < PRUNE_BYTES;
                bytes += len;
                room && offset(topic, id + records) <= below && *appended_at < before.as_micros()
            })
            .collect::<Vec<_>>();
        let Some((last, records, ..)) = gone.last() else {
            return Ok(0);
        };
        let mut work = connection.begin_with("BEGIN IMMEDIATE").await?;
        // Without its last batch a topic does not know its next offset from the batches any more.
        file::keep_next(&mut work, topic, self.next[topic as usize]).await?;
        sqlx::query("DELETE FROM batches WHERE id >= ? AND id <= ?")
            .bind(base(topic))
            .bind(*last)
            .execute(&mut *work)
            .await?;
        reach(Failpoint::PruneDeleteCommit);
        work.commit().await?;
        let start = offset(topic, last + records);
        self.shared.topic(topic).pruned(start);
        Ok(gone.len() as u64)
    }

    async fn shrink(&mut self) -> Result<bool, Error> {
        self.ready().await?;
        let connection = self
            .connection
            .as_mut()
            .ok_or_else(|| told(sqlx::Error::WorkerCrashed))?;
        let free: i64 = sqlx::query_scalar("PRAGMA freelist_count")
            .fetch_one(&mut *connection)
            .await
            .map_err(told)?;
        if free <= FREE_PAGES {
            return Ok(false);
        }
        // A pragma takes no parameters.
        let text = format!("PRAGMA incremental_vacuum({SHRINK_PAGES})");
        sqlx::query(AssertSqlSafe(text).into_sql_str())
            .fetch_all(connection)
            .await
            .map_err(told)?;
        Ok(free - i64::from(SHRINK_PAGES) > FREE_PAGES)
    }
}

/// A statement for each number of topics that a commit may touch.
static INSERTS: LazyLock<Vec<Arc<str>>> = LazyLock::new(|| {
    (1..=Topic::ALL.len())
        .map(|topics| {
            let rows = vec!["(?,?,?,?,?)"; topics].join(",");
            Arc::from(format!(
                "INSERT INTO batches (id, records, appended_at, frames, heads) VALUES {rows}"
            ))
        })
        .collect()
});
