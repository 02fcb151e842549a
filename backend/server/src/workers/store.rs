//! The job of the three store groups: apply events, and put aside what will never apply.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::apply::{self, Batch, Decoded, Homeless, Numbers, Outcome, Poison, Report};
use chat_core::backend::Backend;
use chat_core::event::Event;
use chat_core::port::counters::{Counter, Take, Taken};
use chat_core::port::log::{Group, Headers, NewRecord, Origin, PollLimits, Record};
use chat_core::port::store;
use futures_util::future::try_join_all;

use crate::telemetry::{GroupName, Metrics};
use crate::workers::run::{Failure, Job, Pace, Work};

/// Records of one transaction.
const BATCH_RECORDS: usize = 4_000;
/// Bytes of one transaction: what keeps memory small when every record is a batch of its own.
const BATCH_BYTES: usize = 1024 * 1024;
/// Rows are read back at once by whoever wrote them, so the pause is short.
const PACE: Pace = Pace {
    records: 16,
    interval: Duration::from_millis(25),
};
/// Rounds in which numbers are taken for messages that found theirs taken.
const HOUSING_ROUNDS: usize = 8;

/// Applies one topic to the store.
pub struct StoreJob {
    backend: Backend,
    group: Group,
    metrics: Arc<Metrics>,
}

impl StoreJob {
    /// For one of the groups that write the store.
    #[must_use]
    pub const fn new(backend: Backend, group: Group, metrics: Arc<Metrics>) -> Self {
        Self {
            backend,
            group,
            metrics,
        }
    }

    async fn apply(&self, batches: &[Batch]) -> Result<(), Failure> {
        let ports = self.backend.ports();
        let mut numbers = Numbers::new();
        for _ in 0..HOUSING_ROUNDS {
            match apply::apply(ports.store.as_ref(), batches, &numbers).await? {
                Outcome::Applied(report) => {
                    self.count(&report);
                    ports.signals.publish(&report.subjects).await;
                    return Ok(());
                }
                Outcome::NeedsNumbers(homeless) => {
                    for homeless in homeless {
                        if numbers.contains_key(&homeless) {
                            // The counter gives out what is taken: it stands below the rows.
                            let counter = Counter::Messages(homeless.chat);
                            let raised = self.backend.raise(counter, 0).await;
                            raised.map_err(Failure::Rules)?;
                        }
                        numbers.insert(homeless, self.number_for(homeless).await?);
                    }
                }
            }
        }
        Err(store::Error::Unavailable("messages find no free number".into()).into())
    }

    /// A number of the counter, never the store's maximum and one (rule 10).
    async fn number_for(&self, homeless: Homeless) -> Result<u32, Failure> {
        let take = Take {
            counter: Counter::Messages(homeless.chat),
            count: 1,
            keyed: None,
        };
        match self.backend.ports().counters.take(take).await {
            Ok(Taken::Granted { first, .. }) => Ok(first),
            Ok(_) => {
                Err(store::Error::Unavailable("the chat's counter is not known".into()).into())
            }
            Err(error) => Err(Failure::Rules(error.into())),
        }
    }

    /// Applies record by record, when the store refuses the batch as a whole: only the one that it
    /// refuses becomes a dead letter.
    async fn apply_one_by_one(&self, batch: Batch, records: &[Record]) -> Result<(), Failure> {
        let Batch {
            group,
            partition,
            epoch,
            records: decoded,
            ..
        } = batch;
        let single = |records: Vec<Decoded>, reserved: Vec<Decoded>, offset: u64, last_uid| Batch {
            group,
            partition,
            epoch,
            records,
            reserved,
            next: offset + 1,
            last_uid,
        };
        for one in decoded {
            let (offset, uid) = (one.offset, Some(one.uid));
            let reason = match self
                .apply(&[single(vec![one.clone()], Vec::new(), offset, uid)])
                .await
            {
                Ok(()) => continue,
                Err(Failure::Store(error)) if !error.retryable() => error.to_string(),
                Err(other) => return Err(other),
            };
            let Some(record) = records.iter().find(|record| record.offset == offset) else {
                continue;
            };
            self.bury(
                epoch,
                Poison {
                    record: record.clone(),
                    reason,
                },
            )
            .await?;
            let reserved = match &one.event {
                Event::MessagesCreated(_) => vec![one],
                _ => Vec::new(),
            };
            let reserved = single(Vec::new(), reserved, offset, uid);
            match self.apply(&[reserved]).await {
                Err(Failure::Store(error)) if !error.retryable() => {
                    // Its numbers become void like any that never came; nobody waits behind it.
                    tracing::error!(%error, "the store refuses to reserve a dead letter's numbers");
                    self.apply(&[single(Vec::new(), Vec::new(), offset, uid)])
                        .await?;
                }
                reserved => reserved?,
            }
        }
        Ok(())
    }

    /// Appends to the dead-letter topic; durable before the record's position moves.
    async fn bury(&self, epoch: u32, poison: Poison) -> Result<(), Failure> {
        let Poison { record, reason } = poison;
        tracing::error!(
            topic = record.partition.topic.name(),
            partition = record.partition.index,
            offset = record.offset,
            reason,
            "a record can never be applied and becomes a dead letter"
        );
        let origin = record.headers.origin.unwrap_or(Origin {
            epoch,
            partition: record.partition,
            offset: record.offset,
        });
        let dead = NewRecord {
            key: record.key,
            headers: Headers {
                origin: Some(origin),
                reason: Some(reason),
                ..record.headers
            },
            value: record.value,
        };
        let topic = record.partition.topic.dead_letters();
        self.backend.ports().log.append(topic, dead).await?;
        self.metrics.count(self.group.name(), "dead", 1);
        let group = self.group.name();
        self.metrics
            .dead_letters
            .get_or_create(&GroupName { group })
            .inc();
        Ok(())
    }

    fn count(&self, report: &Report) {
        let count = |outcome, events| self.metrics.count(self.group.name(), outcome, events);
        count("created", report.created);
        count("changed", report.changed);
        count("repeated", report.repeated);
        count("renumbered", report.renumbered);
        count("superseded", report.superseded);
    }

    /// A batch of one partition in a transaction of its own, and where the store refuses that, record by
    /// record.
    async fn apply_alone(&self, batch: Batch, records: &[Record]) -> Result<(), Failure> {
        let batch = [batch];
        match self.apply(&batch).await {
            Err(Failure::Store(error)) if !error.retryable() => {}
            other => return other,
        }
        let [batch] = batch;
        // Poison at the end of the batch moves the position too.
        let rest = Batch {
            group: self.group,
            partition: batch.partition,
            epoch: batch.epoch,
            records: Vec::new(),
            reserved: Vec::new(),
            next: batch.next,
            last_uid: batch.last_uid,
        };
        self.apply_one_by_one(batch, records).await?;
        self.apply(&[rest]).await
    }

    /// Buries what can never be applied. All of it at once: the good records wait behind it.
    async fn bury_all(&self, epoch: u32, poison: Vec<Poison>) -> Result<(), Failure> {
        let Some(first) = poison.first() else {
            return Ok(());
        };
        let partition = first.record.partition;
        let store = &self.backend.ports().store;
        let applied = store.position(self.group, partition).await?;
        // A batch that is told again after its commit buries nothing twice.
        let unburied = poison
            .into_iter()
            .filter(|poison| applied.epoch != epoch || poison.record.offset >= applied.next);
        try_join_all(unburied.map(|poison| self.bury(epoch, poison))).await?;
        Ok(())
    }
}

#[async_trait]
impl Job for StoreJob {
    fn group(&self) -> Group {
        self.group
    }

    fn limits(&self) -> PollLimits {
        PollLimits {
            records: BATCH_RECORDS,
            bytes: BATCH_BYTES,
            wait_ms: 0,
        }
    }

    fn pace(&self) -> Pace {
        PACE
    }

    /// Everything in one transaction; where the store refuses that, each partition has its own.
    async fn handle(&self, work: &[Work]) -> Result<(), Failure> {
        let epoch = self.backend.ports().log.epoch(self.group.topic()).await?;
        let mut batches = Vec::with_capacity(work.len());
        for Work { partition, records } in work {
            let (batch, poison) = Batch::decode(self.group, *partition, epoch, records.clone());
            self.bury_all(epoch, poison).await?;
            batches.push(batch);
        }
        match self.apply(&batches).await {
            Err(Failure::Store(error)) if !error.retryable() => {}
            other => return other,
        }
        for (batch, Work { records, .. }) in batches.into_iter().zip(work) {
            self.apply_alone(batch, records).await?;
        }
        Ok(())
    }
}
