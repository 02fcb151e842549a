//! The job of the three store groups: apply events, and put aside what will never apply.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::apply::{
    self, Batch, Conflict, Decoded, Homeless, Numbers, Outcome, Poison, Range, Report,
};
use chat_core::backend::Backend;
use chat_core::error::Error;
use chat_core::event::Event;
use chat_core::failpoint::{Failpoint, reach};
use chat_core::index;
use chat_core::letters::Burial;
use chat_core::port::counters::{Counter, Grant, Take, Taken};
use chat_core::port::log::{Group, PartitionId, PollLimits, Record, Topic};
use chat_core::port::search::IndexPosition;
use chat_core::port::store::{self, ChatKey};
use futures_util::future::join_all;

use crate::telemetry::{GroupName, Metrics};
use crate::workers::batch::Work;
use crate::workers::run::{Failure, Job, Pace};

/// Records of one transaction.
const BATCH_RECORDS: usize = 4_000;
/// Rows are read back at once by whoever wrote them, so the pause is short; where thousands come in a second, what
/// a commit costs beside its rows is worth a longer one.
const PACE: Pace = Pace {
    steps: &[
        (16, Duration::from_millis(25)),
        (128, Duration::from_millis(75)),
    ],
};
/// Rounds in which numbers are taken for messages that found theirs taken.
const HOUSING_ROUNDS: usize = 8;

/// Where an apply looks for the rows that it may meet.
#[derive(Debug, Clone, Copy)]
enum Look {
    /// Only up to each chat's highest number.
    ByHighest,
    /// At the rows themselves.
    AtRows,
}

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

    /// Applies batches; what cannot be applied because another record took its place comes back.
    async fn apply(&self, batches: &[Batch]) -> Result<Vec<Conflict>, Failure> {
        self.apply_in(batches, Look::ByHighest).await
    }

    async fn apply_in(&self, batches: &[Batch], look: Look) -> Result<Vec<Conflict>, Failure> {
        let ports = self.backend.ports();
        let store = ports.store.as_ref();
        let mut numbers = Numbers::new();
        for _ in 0..HOUSING_ROUNDS {
            let applied = match look {
                Look::ByHighest => apply::apply(store, batches, &numbers).await?,
                Look::AtRows => apply::apply_verified(store, batches, &numbers).await?,
            };
            match applied {
                Outcome::Applied(report) => {
                    reach(Failpoint::ApplyCommitSignal);
                    self.count(&report);
                    for chat in &report.displaced {
                        self.backend.reconciler().suspect(*chat);
                    }
                    // A hint that nobody waits for here: the next batch should not.
                    let signals = Arc::clone(&ports.signals);
                    tokio::spawn(async move { signals.publish(&report.subjects).await });
                    return Ok(Vec::new());
                }
                Outcome::Gaps(gaps) => return Err(Failure::Gaps(gaps)),
                Outcome::Conflicts(conflicts) => return Ok(conflicts),
                Outcome::NeedsNumbers(homeless) => {
                    for homeless in homeless {
                        if numbers.contains_key(&homeless) {
                            // The counter gives out what is taken: it stands below the rows.
                            let counter = Counter::Messages(homeless.chat);
                            let raised = self.backend.raise(counter, 0).await;
                            raised.map_err(Failure::Rules)?;
                        }
                        if homeless.is_displaced
                            && let Err(error) = self.index_lacks(homeless.chat).await
                        {
                            tracing::warn!(%error, "the index does not note that it will lack a message");
                        }
                        let range = self.range_for(homeless).await?;
                        self.answer_anew(homeless, range.first).await?;
                        numbers.insert(homeless, range);
                        reach(Failpoint::RenumberTakeApply);
                    }
                }
            }
        }
        Err(store::Error::Unavailable("messages find no free number".into()).into())
    }

    /// Notes that the index will lack a message of this chat whose number changes, until a reconciliation has
    /// indexed the rows again: no record tells the index of its new number.
    async fn index_lacks(&self, chat: ChatKey) -> Result<(), Failure> {
        let ports = self.backend.ports();
        let key = Event::message_key(chat);
        let partition = ports.log.partition_of(Topic::Messages, &key).await?;
        let known = ports.search.positions().await.map_err(Error::from)?;
        if let Some(own) = known.into_iter().find(|own| own.partition == partition) {
            let nothing = index::stage(ports, Vec::new()).await?;
            let lacking = IndexPosition {
                whole: false,
                ..own
            };
            index::publish(ports, nothing, &[lacking]).await?;
        }
        Ok(())
    }

    /// Lets the idempotency key of a create be answered with the numbers that it gets now. Before they
    /// are stored: a key that names numbers without rows names no other message.
    async fn answer_anew(&self, homeless: Homeless, first: u32) -> Result<(), Failure> {
        let Some(key) = homeless.key else {
            return Ok(());
        };
        let grant = Grant {
            first,
            count: homeless.count,
            uid: homeless.uid,
            generation: homeless.generation,
        };
        let counters = &self.backend.ports().counters;
        let restored = counters.restore_key(homeless.chat.token, key, grant).await;
        restored.map_err(|error| Failure::Rules(error.into()))
    }

    /// Numbers of the counter, never the store's maximum plus one (invariant: renumber-from-counter).
    async fn range_for(&self, homeless: Homeless) -> Result<Range, Failure> {
        let take = Take {
            counter: Counter::Messages(homeless.chat),
            count: homeless.count,
            keyed: None,
        };
        match self.backend.ports().counters.take(take).await {
            Ok(Taken::Granted { first, generation }) => Ok(Range { first, generation }),
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
            first,
            records: decoded,
            reserved,
            seen,
            ..
        } = batch;
        // Each begins where the one before it ended, so that what is poison between them is passed too.
        let single = |records: Vec<Decoded>, reserved: Vec<Decoded>, offset: u64| {
            let at = seen.binary_search_by_key(&offset, |(offset, _)| *offset);
            Batch {
                group,
                partition,
                epoch,
                first,
                records,
                reserved,
                touched: Vec::new(),
                next: offset + 1,
                last_uid: at.ok().map(|at| seen[at].1),
                seen: seen.clone(),
                newer: None,
            }
        };
        let mut reserved = reserved.into_iter().peekable();
        for one in decoded {
            let offset = one.offset;
            // In the order of the log: a position that has passed a reservation never comes back to it.
            while let Some(before) = reserved.next_if(|before| before.offset < offset) {
                let offset = before.offset;
                self.reserve(single(Vec::new(), vec![before], offset))
                    .await?;
            }
            let alone = [single(vec![one.clone()], Vec::new(), offset)];
            let mut applied = self.apply(&alone).await;
            if let Err(Failure::Store(store::Error::Refused(_))) = applied {
                // Perhaps a row is there that the chat's highest number denies.
                applied = self.apply_in(&alone, Look::AtRows).await;
            }
            let reason = match applied {
                Ok(conflicts) => match conflicts.into_iter().next() {
                    Some(conflict) => conflict.reason,
                    None => continue,
                },
                Err(Failure::Store(error)) if !error.retryable() => error.to_string(),
                Err(other) => return Err(other),
            };
            let Some(record) = records.iter().find(|record| record.offset == offset) else {
                continue;
            };
            let poison = Poison {
                record: record.clone(),
                reason,
            };
            let dead = self.bury(partition, epoch, vec![poison]).await?;
            let own = match &one.event {
                Event::MessagesCreated(_) | Event::ChatCreated(_) => vec![one],
                _ => Vec::new(),
            };
            self.reserve(single(Vec::new(), own, offset)).await?;
            self.count_dead(dead);
        }
        for last in reserved {
            let offset = last.offset;
            self.reserve(single(Vec::new(), vec![last], offset)).await?;
        }
        Ok(())
    }

    /// Moves the position over a dead letter, and keeps its numbers its own.
    async fn reserve(&self, mut batch: Batch) -> Result<(), Failure> {
        match self.apply(std::slice::from_ref(&batch)).await {
            Err(Failure::Store(error)) if !error.retryable() => {
                // Its numbers become void like any that never came; nobody waits behind it.
                tracing::error!(%error, "the store refuses to reserve a dead letter's numbers");
                batch.reserved.clear();
                self.apply(&[batch]).await.map(drop)
            }
            reserved => reserved.map(drop),
        }
    }

    /// Appends to the dead-letter topic; durable before the records' position moves. Returns how many
    /// letters they are.
    async fn bury(
        &self,
        partition: PartitionId,
        epoch: u32,
        poison: Vec<Poison>,
    ) -> Result<u64, Failure> {
        let burial = self.backend.bury(self.group, partition, epoch, poison);
        let Burial { letters, dead } = burial.await?;
        let some = !letters.is_empty();
        if some {
            reach(Failpoint::BurialNoteAppend);
        }
        let log = &self.backend.ports().log;
        // All of them at once: the good records wait behind them. One that fails ends none of the others.
        let appended = join_all(letters.into_iter().map(|letter| {
            tracing::error!(
                topic = partition.topic.name(),
                partition = partition.index,
                origin.offset = letter.headers.origin.map(|origin| origin.offset),
                reason = letter.headers.reason,
                "a record can never be applied and becomes a dead letter"
            );
            log.append(partition.topic.dead_letters(), letter)
        }))
        .await;
        for outcome in appended {
            outcome?;
        }
        if some {
            reach(Failpoint::BurialAppendPosition);
        }
        Ok(dead)
    }

    /// Counts letters whose records the position has passed: each once, however often they were told.
    fn count_dead(&self, letters: u64) {
        if letters == 0 {
            return;
        }
        let group = self.group.name();
        self.metrics.count(group, "dead", letters);
        self.metrics
            .dead_letters
            .get_or_create(&GroupName { group })
            .inc_by(letters);
    }

    fn count(&self, report: &Report) {
        let count = |outcome, events| self.metrics.count(self.group.name(), outcome, events);
        count("created", report.created);
        count("changed", report.changed);
        count("repeated", report.repeated);
        count("renumbered", report.renumbered);
        count("superseded", report.superseded);
        count("key_conflict", report.key_conflicts);
    }

    /// A batch of one partition in a transaction of its own, and where the store refuses that, record by
    /// record.
    async fn apply_alone(&self, batch: Batch, records: &[Record]) -> Result<(), Failure> {
        let batch = [batch];
        match self.apply(&batch).await {
            Err(Failure::Store(error)) if !error.retryable() => {}
            Ok(conflicts) if !conflicts.is_empty() => {}
            other => return other.map(drop),
        }
        let [batch] = batch;
        // Poison at the end of the batch moves the position too.
        let rest = Batch {
            group: self.group,
            partition: batch.partition,
            epoch: batch.epoch,
            first: batch.first,
            records: Vec::new(),
            reserved: Vec::new(),
            touched: Vec::new(),
            next: batch.next,
            last_uid: batch.last_uid,
            seen: batch.seen.clone(),
            newer: None,
        };
        self.apply_one_by_one(batch, records).await?;
        self.apply(&[rest]).await.map(drop)
    }
}

#[async_trait]
impl Job for StoreJob {
    /// For each partition what can be applied, and what never will be.
    type Ready = Vec<(Batch, Vec<Poison>)>;

    fn group(&self) -> Group {
        self.group
    }

    fn limits(&self) -> PollLimits {
        PollLimits {
            records: BATCH_RECORDS,
            bytes: self.backend.ports().store.batch_bytes(),
            wait_ms: 0,
        }
    }

    fn pace(&self) -> Pace {
        PACE
    }

    async fn prepare(&self, work: &[Work]) -> Result<Self::Ready, Failure> {
        let epoch = self.backend.ports().log.epoch(self.group.topic()).await?;
        let decode = |work: &Work| {
            let records = work.records.clone();
            let (mut batch, poison) =
                Batch::decode(self.group, work.partition, epoch, work.first, records);
            batch.follow(work.before);
            (batch, poison)
        };
        Ok(work.iter().map(decode).collect())
    }

    /// Everything in one transaction; where the store refuses that, each partition has its own.
    async fn handle(&self, work: &[Work], ready: Self::Ready) -> Result<(), Failure> {
        let mut batches = Vec::with_capacity(ready.len());
        let mut dead = 0;
        for (batch, poison) in ready {
            dead += self.bury(batch.partition, batch.epoch, poison).await?;
            batches.push(batch);
        }
        let newer = batches.iter().find_map(|batch| batch.newer);
        let refused = match self.apply(&batches).await {
            Err(Failure::Store(error)) if !error.retryable() => true,
            applied => !applied?.is_empty(),
        };
        if refused {
            for (batch, Work { records, .. }) in batches.into_iter().zip(work) {
                self.apply_alone(batch, records).await?;
            }
        }
        self.count_dead(dead);
        newer.map_or(Ok(()), |schema| Err(Failure::Newer(schema)))
    }
}
