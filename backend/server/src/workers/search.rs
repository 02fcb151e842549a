//! The job of the index group: rows that the store has, into the index.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::apply::{self, Batch, Gap, Numbers, Outcome};
use chat_core::backend::Backend;
use chat_core::error::Error;
use chat_core::failpoint::{Failpoint, reach};
use chat_core::index::{self, Recorded, Staged};
use chat_core::port::log::{Group, PartitionId, PollLimits};
use chat_core::port::search::IndexPosition;
use chat_core::port::store::Position;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metrics;
use crate::workers::batch::Work;
use crate::workers::run::{Failure, Job, Pace};

/// Records of one commit of the index.
const BATCH_RECORDS: usize = 16_000;
/// A visible change of the index makes a segment, which is merged with others again and again: with
/// many messages a second, waiting for more of them costs less than anything else saves.
const PACE: Pace = Pace {
    steps: &[(64, Duration::from_millis(300))],
};
/// Pause between two looks at the store's position.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How often rows are read again that do not say what their records say.
const TRIES: u32 = 200;

/// How often a job that waits for the store looks whether the log still has its records.
const LOOK_AT_LOG: Duration = Duration::from_millis(500);

/// Indexes messages.
pub struct SearchJob {
    backend: Backend,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

impl SearchJob {
    /// `stop` ends its wait for the store.
    #[must_use]
    pub const fn new(backend: Backend, metrics: Arc<Metrics>, stop: CancellationToken) -> Self {
        Self {
            backend,
            metrics,
            stop,
        }
    }
}

impl SearchJob {
    /// What the index is to record with these batches: how far it will have read. It must have read
    /// what lies before them: an index that was restored meanwhile lacks documents that nobody would
    /// miss any more.
    async fn next_positions(&self, batches: &[Batch]) -> Result<Vec<IndexPosition>, Failure> {
        let ports = self.backend.ports();
        let log = ports.log.identity().await?;
        let known = ports.search.positions().await.map_err(Error::from)?;
        let (mut positions, mut gaps) = (Vec::with_capacity(batches.len()), Vec::new());
        for batch in batches {
            let partition = batch.partition;
            let own = known.iter().find(|own| own.partition == partition);
            let same = own.filter(|own| own.log == log && own.epoch == batch.epoch);
            let (next, whole) = match (own, same) {
                (_, Some(own)) => (own.next, own.whole),
                // An empty index that reads from the very beginning lacks nothing.
                (None, None) => (0, batch.epoch == 0),
                (Some(_), None) => (0, false),
            };
            // An index that knows a later epoch than the store remembers says so when the partition is compared.
            let is_forgotten = own.is_some_and(|own| own.log == log && own.epoch > batch.epoch);
            if batch.first > next || is_forgotten {
                gaps.push(Gap {
                    partition,
                    stored: Position {
                        next,
                        epoch: batch.epoch,
                        last_uid: None,
                    },
                    first: batch.first,
                    epoch: batch.epoch,
                    is_of_one_log: !is_forgotten,
                });
            }
            positions.push(IndexPosition {
                partition,
                log,
                epoch: batch.epoch,
                next: batch.next.max(next),
                whole,
            });
        }
        match gaps.is_empty() {
            true => Ok(positions),
            false => Err(Failure::Gaps(gaps)),
        }
    }

    /// Fails where the store will never say that it has applied these batches: their epoch is over, or
    /// the log has lost their records.
    async fn still_there(&self, batches: &[Batch]) -> Result<(), Failure> {
        let ports = self.backend.ports();
        let epoch = ports.log.epoch(self.group().topic()).await?;
        let ranges = ports.log.ranges(self.group().topic()).await?;
        let is_gone = |batch: &&Batch| {
            let range = ranges.get(batch.partition.index as usize);
            batch.epoch != epoch || range.is_some_and(|(_, end)| batch.next > *end)
        };
        let gap = |batch: &Batch| Gap {
            partition: batch.partition,
            stored: Position {
                next: batch.first,
                epoch: epoch + 1,
                last_uid: None,
            },
            first: batch.first,
            epoch: batch.epoch,
            is_of_one_log: false,
        };
        let gaps: Vec<Gap> = batches.iter().filter(is_gone).map(gap).collect();
        match gaps.is_empty() {
            true => Ok(()),
            false => Err(Failure::Gaps(gaps)),
        }
    }

    /// Has the index begin anew in a partition, because it cannot be believed or lacks what the log does
    /// not have any more.
    async fn begin_anew(
        &self,
        partition: PartitionId,
        epoch: u32,
        next: u64,
    ) -> Result<(), Failure> {
        let ports = self.backend.ports();
        let position = IndexPosition {
            partition,
            log: ports.log.identity().await?,
            epoch,
            next,
            whole: false,
        };
        let nothing = index::stage(ports, Vec::new()).await?;
        index::publish(ports, nothing, &[position]).await?;
        Ok(())
    }
}

/// Records, and what the index was given because of them.
pub struct Ready {
    batches: Vec<Batch>,
    staged: Staged,
}

#[async_trait]
impl Job for SearchJob {
    type Ready = Ready;

    fn group(&self) -> Group {
        Group::MessagesIndex
    }

    fn limits(&self) -> PollLimits {
        PollLimits {
            records: BATCH_RECORDS,
            bytes: self.backend.ports().search.batch_bytes(),
            wait_ms: 0,
        }
    }

    fn pace(&self) -> Pace {
        PACE
    }

    /// The index may be further behind than the store remembers, or belong to another log.
    async fn resume(&self, partition: PartitionId, stored: Position) -> Result<u64, Failure> {
        let ports = self.backend.ports();
        let log = ports.log.identity().await?;
        let epoch = ports.log.epoch(partition.topic).await?;
        let range = ports.log.range(partition).await?;
        let known = ports.search.positions().await.map_err(Error::from)?;
        let own = known.iter().find(|own| own.partition == partition);
        let next = match index::recorded(own, log, epoch, range) {
            Recorded::Through(next) => next,
            Recorded::Lacking(next) => {
                let is_known =
                    own.is_some_and(|own| !own.whole && own.next == next && own.epoch == epoch);
                if !is_known {
                    tracing::error!(
                        topic = partition.topic.name(),
                        partition = partition.index,
                        log.start = range.0,
                        "the search index lacks messages whose records the log does not have any more; \
                         searches are not complete until a full reconciliation has indexed the rows again"
                    );
                    self.begin_anew(partition, epoch, next).await?;
                }
                next
            }
            Recorded::Foreign { epoch: theirs } => {
                // Documents of every partition carry revisions of the topic's epochs.
                let of_topic = known
                    .iter()
                    .filter(|read| read.partition.topic == partition.topic);
                let highest = of_topic.map(|read| read.epoch).max().unwrap_or(theirs);
                let raised = ports
                    .log
                    .raise_epoch(partition.topic, highest.max(theirs))
                    .await?;
                tracing::error!(
                    topic = partition.topic.name(),
                    partition = partition.index,
                    log.end = range.1,
                    indexed = own.map(|own| own.next),
                    epoch = raised,
                    "the search index has read more than the log holds, or another log: log and store \
                     were put back to an earlier state, or the index is not theirs; going on in a new \
                     epoch, and searches are not complete until a full reconciliation has indexed the \
                     rows again"
                );
                self.begin_anew(partition, raised, range.0).await?;
                range.0
            }
        };
        Ok(next.min(stored.next).max(range.0))
    }

    /// Waits until the store has what the records say, reads it there (invariant: index-from-rows), and gives
    /// it to the index: what is found early is a row all the same, and by its revision nothing older replaces it.
    async fn prepare(&self, work: &[Work]) -> Result<Self::Ready, Failure> {
        let ports = self.backend.ports();
        let epoch = ports.log.epoch(self.group().topic()).await?;
        let decoded = work.iter().map(|work| {
            let records = work.records.clone();
            // The store group alone writes dead letters (invariant: poison-blocks-nobody).
            let (mut batch, _poison) =
                Batch::decode(self.group(), work.partition, epoch, work.first, records);
            batch.follow(work.before);
            batch
        });
        let batches: Vec<Batch> = decoded.collect();
        let mut looked_at = Instant::now();
        let mut tries = 0;
        let documents = loop {
            if index::ready(ports, &batches).await? {
                let found = index::applied_documents(ports, &batches).await?;
                // A store that goes back in between has not what it had applied.
                let is_still_ready = index::ready(ports, &batches).await?;
                if let Some(found) = found.filter(|_| is_still_ready) {
                    break found;
                }
                tries += 1;
                if tries >= TRIES && is_still_ready {
                    tracing::error!(
                        "rows of applied records are damaged or missing; the others are indexed without them"
                    );
                    break index::documents(ports, &batches).await?;
                }
            }
            if looked_at.elapsed() >= LOOK_AT_LOG {
                looked_at = Instant::now();
                self.still_there(&batches).await?;
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                () = self.stop.cancelled() => return Err(Failure::Stopped),
            }
        };
        let staged = index::stage(ports, documents).await?;
        Ok(Ready { batches, staged })
    }

    async fn handle(&self, _: &[Work], ready: Self::Ready) -> Result<(), Failure> {
        let ports = self.backend.ports();
        let Ready { batches, staged } = ready;
        let positions = self.next_positions(&batches).await?;
        reach(Failpoint::IndexStagePublish);
        let report = index::publish(ports, staged, &positions).await?;
        reach(Failpoint::IndexPublishPosition);
        // All of it is searchable: only now the positions may move (invariant: visible-before-position).
        match apply::apply(ports.store.as_ref(), &batches, &Numbers::new()).await? {
            Outcome::Gaps(gaps) => return Err(Failure::Gaps(gaps)),
            Outcome::Applied(_) | Outcome::NeedsNumbers(_) | Outcome::Conflicts(_) => {}
        }
        let count = |outcome, events| self.metrics.count(self.group().name(), outcome, events);
        count("indexed", report.indexed);
        count("newer", report.newer);
        count("refused", report.refused.len() as u64);
        for (key, reason) in &report.refused {
            tracing::error!(
                chat.number = key.chat.chat.get(),
                message.number = key.number.get(),
                reason,
                "the index refuses a message; it is stored and cannot be found"
            );
        }
        let newer = batches.iter().find_map(|batch| batch.newer);
        newer.map_or(Ok(()), |schema| Err(Failure::Newer(schema)))
    }
}
