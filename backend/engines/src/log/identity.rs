//! Whether a partition is still the one that was applied (invariant: log-identity).
//!
//! Two things tell: the uid at the last applied position, and where the partition ends. The
//! cluster's own name is kept beside the epoch; a cluster that was restored under a new name with its
//! records in place is the same log, so the name alone decides only where the records cannot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_core::port::log::{Error, Group, LogId, PartitionId, PollLimits, Topic};
use chat_core::port::store::{self, Position};
use parking_lot::Mutex;

use super::reader::Reader;
use crate::store::Rows;
use crate::store::topics::Known;

/// How long an epoch is believed without looking. Whoever is late by this is told so when its batch
/// is committed.
const EPOCH_BELIEVED: Duration = Duration::from_millis(500);

/// The epochs, and the check that raises them.
pub(super) struct Identity {
    rows: Arc<Rows>,
    reader: Arc<Reader>,
    topics: Mutex<[Option<(Known, Instant)>; Topic::ALL.len()]>,
}

/// What a look at a partition found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Same,
    /// It ends before the position, or has another record before it.
    Another(&'static str),
}

impl Identity {
    pub(super) fn new(rows: Arc<Rows>, reader: Arc<Reader>) -> Self {
        Self {
            rows,
            reader,
            topics: Mutex::default(),
        }
    }

    /// The name that the cluster had when its messages were found to be another log's: it stays where the same
    /// records are in a cluster of another name.
    pub(super) async fn log_id(&self) -> Result<LogId, Error> {
        let known = self.believed(Topic::Messages).await?;
        Ok(LogId::of_name(&known.cluster))
    }

    /// Raises the topic's epoch above one that was found elsewhere.
    pub(super) async fn raise(&self, topic: Topic, above: u32) -> Result<u32, Error> {
        let epoch = self.rows.raise_epoch_above(topic, above).await;
        let epoch = epoch.map_err(told)?;
        self.topics.lock()[topic as usize] = None;
        Ok(epoch)
    }

    /// The topic's epoch.
    pub(super) async fn epoch(&self, topic: Topic) -> Result<u32, Error> {
        Ok(self.believed(topic).await?.epoch)
    }

    async fn believed(&self, topic: Topic) -> Result<Known, Error> {
        if let Some((known, since)) = &self.topics.lock()[topic as usize]
            && since.elapsed() < EPOCH_BELIEVED
        {
            return Ok(known.clone());
        }
        let since = Instant::now();
        let known = self.known(topic).await?;
        self.topics.lock()[topic as usize] = Some((known.clone(), since));
        Ok(known)
    }

    async fn raise_from(
        &self,
        partition: PartitionId,
        seen: u32,
        start: u64,
    ) -> Result<u32, Error> {
        let cluster = self.reader.cluster().await?;
        let raised = self.rows.raise_epoch(partition, seen, &cluster, start);
        let epoch = raised.await.map_err(told)?;
        self.topics.lock()[partition.topic as usize] = None;
        Ok(epoch)
    }

    /// Where a group has to go on in a partition that it was just given. Raises the epoch first where
    /// the partition is not the one that was applied.
    pub(super) async fn position(
        &self,
        group: Group,
        partition: PartitionId,
    ) -> Result<Position, Error> {
        let position = self
            .rows
            .position_of(group, partition)
            .await
            .map_err(told)?;
        let known = self.known(partition.topic).await?;
        if position.next == 0 && position.epoch <= known.epoch {
            return Ok(position);
        }
        let (start, end) = self.reader.range(partition).await?;
        let cluster = self.reader.cluster().await?;
        let renamed = known.cluster != cluster;
        let verdict = if position.epoch > known.epoch {
            Verdict::Another("its epoch is above the topic's, which was put back")
        } else {
            self.verdict(partition, position, (start, end), renamed)
                .await?
        };
        let Verdict::Another(why) = verdict else {
            if position.epoch == known.epoch {
                return Ok(position);
            }
            // The epoch was raised because of something else: this partition is what it was.
            let adopted = self.rows.adopt_epoch(group, partition, known.epoch).await;
            return adopted.map_err(told);
        };
        let epoch = self.raise_from(partition, position.epoch, start).await?;
        tracing::error!(
            topic = partition.topic.name(),
            partition = partition.index,
            group = group.name(),
            applied = position.next,
            log.start = start,
            log.end = end,
            epoch,
            why,
            "the log is not the one that was applied: the topic was re-created or truncated, and what \
             was acknowledged but not yet applied is lost; going on from its start in a new epoch"
        );
        self.rows.position_of(group, partition).await.map_err(told)
    }

    async fn verdict(
        &self,
        partition: PartitionId,
        position: Position,
        (start, end): (u64, u64),
        renamed: bool,
    ) -> Result<Verdict, Error> {
        if position.next > end {
            return Ok(Verdict::Another("it ends before what was applied"));
        }
        let unknowable = if renamed {
            Verdict::Another("the cluster has another name, and the last applied record is gone")
        } else {
            Verdict::Same
        };
        let (Some(uid), Some(last)) = (position.last_uid, position.next.checked_sub(1)) else {
            return Ok(unknowable);
        };
        if last < start {
            return Ok(unknowable);
        }
        let one = PollLimits {
            records: 1,
            bytes: 1,
            wait_ms: 0,
        };
        let found = self.reader.read(partition, last, one).await?;
        Ok(match found.first() {
            Some(record) if record.offset == last && record.may_be(Some(uid)) => Verdict::Same,
            Some(record) if record.offset == last => {
                Verdict::Another("another record stands where the last applied one was")
            }
            _ => unknowable,
        })
    }

    async fn known(&self, topic: Topic) -> Result<Known, Error> {
        let known = self.rows.topic(topic).await.map_err(told)?;
        known
            .ok_or_else(|| Error::Unavailable("the topic is not known: run `chatd migrate`".into()))
    }
}

/// The log cannot say who it is without the store.
fn told(error: store::Error) -> Error {
    Error::Unavailable(error.to_string())
}
