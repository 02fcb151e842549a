//! A log between the rules and the real one, whose appends do as the test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use chat_core::port::log::{
    Appended, Consumer, Error, Group, Log, LogId, NewRecord, PartitionId, PollLimits, Record, Topic,
};
use parking_lot::Mutex;

/// What becomes of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It is appended.
    Well,
    /// It is not, and the log says so.
    Full,
    /// Nobody knows, and it is not.
    Lost,
}

/// What it says while it is full.
pub(crate) const FULL: &str = "(code: 13) database or disk is full";

pub(crate) struct Interposed {
    log: Arc<dyn Log>,
    mood: Mutex<Mood>,
    /// Appends that came to it.
    pub(crate) appends: AtomicU64,
}

impl Interposed {
    pub(crate) fn over(log: Arc<dyn Log>) -> Arc<Self> {
        Arc::new(Self {
            log,
            mood: Mutex::new(Mood::Well),
            appends: AtomicU64::new(0),
        })
    }

    pub(crate) fn is(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }
}

#[async_trait]
impl Log for Interposed {
    async fn append(&self, topic: Topic, record: NewRecord) -> Result<Appended, Error> {
        self.appends.fetch_add(1, Ordering::Relaxed);
        let mood = *self.mood.lock();
        match mood {
            Mood::Well => self.log.append(topic, record).await,
            Mood::Full => Err(Error::NotAppended(FULL.into())),
            Mood::Lost => Err(Error::Unavailable("nobody knows".into())),
        }
    }

    async fn probe(&self, partition: PartitionId) -> Result<bool, Error> {
        let mood = *self.mood.lock();
        match mood {
            Mood::Well => self.log.probe(partition).await,
            Mood::Full => Err(Error::NotAppended(FULL.into())),
            Mood::Lost => Ok(false),
        }
    }

    async fn join(&self, group: Group) -> Result<Box<dyn Consumer>, Error> {
        self.log.join(group).await
    }

    async fn partitions(&self, topic: Topic) -> Result<u32, Error> {
        self.log.partitions(topic).await
    }

    async fn partition_of(&self, topic: Topic, key: &[u8]) -> Result<PartitionId, Error> {
        self.log.partition_of(topic, key).await
    }

    async fn range(&self, partition: PartitionId) -> Result<(u64, u64), Error> {
        self.log.range(partition).await
    }

    async fn ranges(&self, topic: Topic) -> Result<Vec<(u64, u64)>, Error> {
        self.log.ranges(topic).await
    }

    async fn members(&self, group: Group) -> Result<u32, Error> {
        self.log.members(group).await
    }

    async fn read(
        &self,
        partition: PartitionId,
        from: u64,
        limits: PollLimits,
    ) -> Result<Vec<Record>, Error> {
        self.log.read(partition, from, limits).await
    }

    async fn identity(&self) -> Result<LogId, Error> {
        self.log.identity().await
    }

    async fn epoch(&self, topic: Topic) -> Result<u32, Error> {
        self.log.epoch(topic).await
    }

    async fn raise_epoch(&self, topic: Topic, above: u32) -> Result<u32, Error> {
        self.log.raise_epoch(topic, above).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.log.check().await
    }
}
