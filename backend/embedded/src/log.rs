//! The log port on SQLite: group commits of whole batches, and consumers that wait in memory.

pub(crate) mod batches;
mod consumer;
mod fault;
pub(crate) mod file;
mod frame;
mod frames;
mod head;
mod probe;
mod read;
mod topic;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use chat_core::limits;
use chat_core::port::log::{
    Appended, Consumer, Error, Group, Log, LogId, NewRecord, PartitionId, PollLimits, Record, Topic,
};
use chat_wire::time::Timestamp;
use sqlx::pool::PoolConnection;
use sqlx::{Sqlite, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use self::consumer::Member;
use self::file::{Found, Place, READER, told};
use self::head::Head;
use self::read::Shared;
use self::writer::{Append, Command, Writer};
use crate::sqlite;

/// Most appends that wait for a commit. More are refused at once: their callers' deadlines would be
/// over before their turn comes.
const QUEUE_RECORDS: usize = 8_192;
/// Bytes of appends that wait for a commit.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// Largest key and value together, in bytes: the largest record, and room for what a dead letter adds.
const RECORD_BYTES: usize = limits::RECORD_BYTES + 64 * 1024;
/// Connections that read: for whoever fell behind, or looks at dead letters.
const READERS: u32 = 2;

/// The events of one data directory.
pub(crate) struct Events {
    place: Place,
    shared: Arc<Shared>,
    queue: mpsc::Sender<Command>,
    queued: Arc<AtomicUsize>,
}

impl Events {
    /// Takes over a log that was opened, with the epochs that the store agreed to.
    pub(crate) fn start(
        place: Place,
        connection: SqliteConnection,
        found: &Found,
        epochs: &[u32; Topic::ALL.len()],
    ) -> Self {
        let readers = sqlite::pool(READERS).connect_lazy_with(sqlite::reading(&place.file, READER));
        let shared = Arc::new(Shared::new(found, epochs, readers));
        let (queue, commands) = mpsc::channel(QUEUE_RECORDS);
        let queued = Arc::new(AtomicUsize::new(0));
        let writer = Writer::new(
            place.clone(),
            Arc::clone(&shared),
            commands,
            Arc::clone(&queued),
            connection,
        );
        tokio::spawn(writer.run());
        Self {
            place,
            shared,
            queue,
            queued,
        }
    }

    /// Waits until nothing can be appended any more, ever; says why.
    pub(crate) async fn failed(&self) -> String {
        let mut fault = self.shared.fault.subscribe();
        let found = fault.wait_for(Option::is_some).await;
        found
            .ok()
            .and_then(|found| found.clone())
            .unwrap_or_default()
    }

    /// The offset that the next record of a topic will get.
    pub(crate) fn end(&self, topic: Topic) -> u64 {
        self.shared.topic(topic).range().1
    }

    /// A connection that reads, for whoever examines the file.
    pub(crate) async fn reader(&self) -> Result<PoolConnection<Sqlite>, Error> {
        self.shared.readers.acquire().await.map_err(told)
    }

    /// Whether the oldest batch of a topic is one that retention may remove.
    pub(crate) async fn prunable(
        &self,
        topic: Topic,
        below: u64,
        before: Timestamp,
    ) -> Result<bool, Error> {
        let (start, _) = self.shared.topic(topic).range();
        if start >= below {
            return Ok(false);
        }
        let mut reader = self.shared.readers.acquire().await.map_err(told)?;
        let oldest: Option<(i64, i64, i64)> = sqlx::query_as(
            "SELECT id, records, appended_at FROM batches WHERE id >= ? ORDER BY id LIMIT 1",
        )
        .bind(file::base(topic))
        .fetch_optional(&mut *reader)
        .await
        .map_err(told)?;
        Ok(oldest.is_some_and(|(id, records, appended_at)| {
            id + records <= file::id(topic, below) && appended_at < before.as_micros()
        }))
    }

    /// One step of retention; answers how many batches went.
    pub(crate) async fn prune(
        &self,
        topic: Topic,
        below: u64,
        before: Timestamp,
    ) -> Result<u64, Error> {
        let command = |reply| Command::Prune {
            topic,
            below,
            before,
            reply,
        };
        self.ask(command).await?
    }

    /// One step of giving free pages back; answers whether there is more to do.
    pub(crate) async fn shrink(&self) -> Result<bool, Error> {
        self.ask(|reply| Command::Shrink { reply }).await?
    }

    /// Writes what waits and lets go of the file.
    pub(crate) async fn close(&self) {
        self.shared.readers.close().await;
        // An error means that it is closed.
        let _ = self.ask(|reply| Command::Close { reply }).await;
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.queue
            .send(command(reply))
            .await
            .map_err(|_| closed())?;
        answer.await.map_err(|_| unanswered())
    }

    fn enqueue(&self, append: Append) -> Result<(), Error> {
        let bytes = append.frame.len();
        let full = || Error::NotAppended("too many appends wait for the disk".into());
        if self.queued.fetch_add(bytes, Ordering::Relaxed) > QUEUE_BYTES {
            self.queued.fetch_sub(bytes, Ordering::Relaxed);
            return Err(full());
        }
        self.queue
            .try_send(Command::Append(append))
            .map_err(|error| {
                self.queued.fetch_sub(bytes, Ordering::Relaxed);
                match error {
                    mpsc::error::TrySendError::Full(_) => full(),
                    mpsc::error::TrySendError::Closed(_) => closed(),
                }
            })
    }
}

fn closed() -> Error {
    Error::NotAppended("the log is closed".into())
}

fn unanswered() -> Error {
    Error::Unavailable("the log's writer was interrupted; what it did is not known".into())
}

#[async_trait]
impl Log for Events {
    async fn append(&self, topic: Topic, record: NewRecord) -> Result<Appended, Error> {
        let bytes = record.key.len() + record.value.len();
        if bytes > RECORD_BYTES {
            return Err(Error::Refused(format!(
                "a record of {bytes} bytes is above the limit of {RECORD_BYTES}"
            )));
        }
        let (reply, answer) = oneshot::channel();
        let frame = frame::encode(&record);
        self.enqueue(Append {
            topic,
            head: Head::new(&record, frame.len()),
            frame,
            reply,
        })?;
        let offset = answer.await.map_err(|_| unanswered())??;
        Ok(Appended {
            partition: PartitionId { topic, index: 0 },
            offset,
        })
    }

    async fn join(&self, group: Group) -> Result<Box<dyn Consumer>, Error> {
        Ok(Box::new(Member::join(Arc::clone(&self.shared), group)))
    }

    async fn partitions(&self, _topic: Topic) -> Result<u32, Error> {
        Ok(1)
    }

    async fn partition_of(&self, topic: Topic, _key: &[u8]) -> Result<PartitionId, Error> {
        Ok(PartitionId { topic, index: 0 })
    }

    async fn range(&self, partition: PartitionId) -> Result<(u64, u64), Error> {
        Ok(self.shared.partition(partition)?.range())
    }

    async fn ranges(&self, topic: Topic) -> Result<Vec<(u64, u64)>, Error> {
        Ok(vec![self.shared.topic(topic).range()])
    }

    async fn members(&self, group: Group) -> Result<u32, Error> {
        let members = self.shared.members[group as usize].borrow().len();
        Ok(u32::try_from(members).unwrap_or(u32::MAX))
    }

    async fn read(
        &self,
        partition: PartitionId,
        from: u64,
        limits: PollLimits,
    ) -> Result<Vec<Record>, Error> {
        self.shared.read(partition, from, limits).await
    }

    async fn identity(&self) -> Result<LogId, Error> {
        Ok(self.shared.id)
    }

    async fn epoch(&self, topic: Topic) -> Result<u32, Error> {
        Ok(self.shared.topic(topic).epoch)
    }

    async fn raise_epoch(&self, topic: Topic, above: u32) -> Result<u32, Error> {
        // Log, store and index are compared when the directory is opened, and nothing replaces one of
        // them afterwards.
        Err(Error::Refused(format!(
            "the index knows epoch {above} of topic {}: stop chatd and start it again, which compares them",
            topic.name()
        )))
    }

    async fn probe(&self, _partition: PartitionId) -> Result<bool, Error> {
        if let Some(fault) = self.shared.fault.borrow().clone() {
            return Err(Error::NotAppended(fault));
        }
        if self.queue.is_closed() {
            return Err(closed());
        }
        probe::probe(&self.place).await.map_err(told)?;
        Ok(true)
    }

    async fn check(&self) -> Result<(), Error> {
        if let Some(fault) = self.shared.fault.borrow().clone() {
            return Err(Error::Unavailable(fault));
        }
        if self.queue.is_closed() {
            return Err(closed());
        }
        let mut reader = self.shared.readers.acquire().await.map_err(told)?;
        sqlx::query("SELECT 1 FROM identity")
            .fetch_one(&mut *reader)
            .await
            .map_err(told)?;
        Ok(())
    }
}
