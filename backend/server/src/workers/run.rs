//! The one loop that all workers share: poll a batch, do the job, move on.
//!
//! Where more waits than a batch holds, the next one is fetched and made ready while this one is made durable:
//! the worker reads and computes while it would otherwise wait for the engines.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::apply::Gap;
use chat_core::failpoint::{Failpoint, reach};
use chat_core::port::log::{self, Consumer, Group, PartitionId, PollLimits, Polled};
use chat_core::port::store::Position;
use chat_core::port::{Ports, store};
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::telemetry::{GroupName, Metrics};
use crate::workers::batch::{ReadPositions, Work, is_full, part, room, size};
use crate::workers::overload::Overload;

/// Milliseconds that a poll waits for records.
const POLL_WAIT_MS: u64 = 500;
/// Records that are taken at once while a batch is being made durable: what it waits for is noticed in between.
const SLICE: usize = 500;
/// How often a worker without records compares where it reads with where the store says that it is.
const COMPARE_EVERY: Duration = Duration::from_secs(1);
/// First pause after a failure.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// A worker rests at most so long: a group that shares out anew waits for all its members.
const REST_MAX: Duration = Duration::from_secs(5);
/// How often it looks meanwhile whether it may go on.
const REST_LOOK: Duration = Duration::from_millis(100);
/// Longest pause after a failure.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// A batch of many records is followed by no other until some time has passed since it began: what comes
/// meanwhile shares one commit. Where little comes, each record is handled at once; where more waits than
/// half a batch holds, nobody pauses.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// From so many records on, so long from the begin of a batch to that of the next one; more records and
    /// longer from step to step.
    pub steps: &'static [(usize, Duration)],
}

impl Pace {
    /// How long to wait after a batch of so many records that has taken so long already.
    fn rest(&self, records: usize, took: Duration) -> Duration {
        let reached = |(least, _): &&(usize, Duration)| records >= *least;
        match self.steps.iter().rev().find(reached) {
            Some((_, interval)) => interval.saturating_sub(took),
            None => Duration::ZERO,
        }
    }
}

/// What a worker does with batches.
#[async_trait]
pub trait Job: Send + Sync {
    /// A batch that was made ready.
    type Ready: Send + 'static;

    /// The group that it works for.
    fn group(&self) -> Group;

    /// How much it wants at once.
    fn limits(&self) -> PollLimits;

    /// When the next batch may begin.
    fn pace(&self) -> Pace;

    /// Where a partition is read on, whose stored position this is. The truth about the position is in
    /// the store, not in the log; what a job writes elsewhere may be further behind.
    async fn resume(&self, _partition: PartitionId, stored: Position) -> Result<u64, Failure> {
        Ok(stored.next)
    }

    /// Does what can be done of a batch while the one before it is still being handled. It may be done in vain
    /// and done again: what shows of it is right without any of the batch being done.
    async fn prepare(&self, work: &[Work]) -> Result<Self::Ready, Failure>;

    /// Does all of it and makes it durable, together with the positions. After an error the same work is
    /// made ready and handled again.
    async fn handle(&self, work: &[Work], ready: Self::Ready) -> Result<(), Failure>;
}

/// Why a job did not do a batch.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The log.
    #[error(transparent)]
    Log(#[from] log::Error),
    /// Anything that the rules met.
    #[error(transparent)]
    Rules(#[from] chat_core::error::Error),
    /// A batch does not begin where the group is: the store, or the index, was put back to an earlier
    /// state. Nothing was written; what lies between is read again.
    #[error("batches do not begin where their group is: {0:?}")]
    Gaps(Vec<Gap>),
    /// A newer program wrote the next record. It is no poison: what it says may have been acknowledged.
    #[error(
        "the next record has schema {0}, which a newer chatd wrote: update this one; the worker waits until then"
    )]
    Newer(u32),
    /// The worker was told to stop in the middle; nothing is lost.
    #[error("the worker was told to stop")]
    Stopped,
}

/// A pause that doubles.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self(BACKOFF_MIN)
    }

    /// Waits, unless the worker is to stop.
    pub(crate) async fn pause(&mut self, stop: &CancellationToken) {
        let pause = self.0;
        self.0 = (self.0 * 2).min(BACKOFF_MAX);
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Runs a job until it is told to stop; looks at `stop` between batches.
pub async fn run(
    ports: Ports,
    job: impl Job + 'static,
    metrics: &Arc<Metrics>,
    overload: &Overload,
    stop: CancellationToken,
) {
    let job = Arc::new(job);
    let group = job.group();
    let mut backoff = Backoff::new();
    while !stop.is_cancelled() {
        match ports.log.join(group).await {
            Ok(mut consumer) => {
                backoff = Backoff::new();
                let met = consume(&ports, &job, consumer.as_mut(), metrics, overload, &stop).await;
                if let Err(error) = met {
                    tracing::error!(group = group.name(), %error, "the worker joins its group anew");
                }
                consumer.leave().await;
            }
            Err(error) => {
                tracing::warn!(group = group.name(), %error, "the worker waits for the log");
            }
        }
        if !stop.is_cancelled() {
            metrics
                .retries
                .get_or_create(&GroupName {
                    group: group.name(),
                })
                .inc();
            backoff.pause(&stop).await;
        }
    }
}

/// What a worker has fetched beyond the batch at hand.
struct Ahead<R> {
    /// A batch, ready where that went well.
    batch: Option<(Vec<Work>, Option<R>)>,
    /// What was met behind it, to be seen to when it is done.
    met: Option<Polled>,
}

impl<R> Ahead<R> {
    const NOTHING: Self = Self {
        batch: None,
        met: None,
    };
}

async fn consume<J: Job + 'static>(
    ports: &Ports,
    job: &Arc<J>,
    consumer: &mut dyn Consumer,
    metrics: &Arc<Metrics>,
    overload: &Overload,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let limits = PollLimits {
        wait_ms: POLL_WAIT_MS,
        ..job.limits()
    };
    let pace = job.pace();
    let mut ahead = Ahead::NOTHING;
    let mut read = ReadPositions::default();
    let mut compared_at = Instant::now();
    while !stop.is_cancelled() {
        let rests = yields(job.group()) && overload.rest_times() > 0;
        if let Some((work, ready)) = ahead.batch.take() {
            let began = Instant::now();
            let looks_ahead = is_full(&work, limits) && ahead.met.is_none() && !rests;
            let (this, metrics) = (Arc::clone(job), Arc::clone(metrics));
            let stopped = stop.clone();
            let done = async move {
                let done = persist(this.as_ref(), &work, ready, &metrics, &stopped).await;
                done.map(|()| work)
            };
            let (work, met) = if looks_ahead {
                // On another processor: what it waits for should not wait for the records of the next one.
                let done = tokio::spawn(done);
                let (done, fetched) =
                    tokio::join!(done, fetch(job, limits, consumer, &mut read, stop));
                (joined(done)?, fetched)
            } else {
                (done.await, Ok(ahead))
            };
            let work = match work {
                Ok(work) => work,
                Err(Failure::Gaps(gaps)) if gaps.iter().all(|gap| gap.is_of_one_log) => {
                    // What was fetched meanwhile lies behind the gap too.
                    read_again(ports, job.as_ref(), consumer, &mut read).await?;
                    ahead = Ahead::NOTHING;
                    if let Ok(Ahead { met, .. }) = met {
                        ahead.met = met;
                    }
                    continue;
                }
                Err(other) => return Err(other),
            };
            reach(Failpoint::BatchDoneOffset);
            for Work {
                partition, records, ..
            } in &work
            {
                if let Some(last) = records.last() {
                    consumer.commit(*partition, last.offset + 1).await?;
                }
            }
            ahead = met?;
            let took = began.elapsed();
            let pause = async {
                if rests {
                    rest(overload, took).await;
                } else if !is_full(&work, limits) {
                    tokio::time::sleep(pace.rest(size(&work).0, took)).await;
                }
            };
            tokio::select! {
                biased;
                () = pause => {}
                () = stop.cancelled() => {}
            }
            continue;
        }
        let limits = match rests {
            true => part(limits),
            false => limits,
        };
        let polled = match ahead.met.take() {
            Some(polled) => polled,
            None => tokio::select! {
                biased;
                polled = consumer.poll(limits) => polled?,
                () = stop.cancelled() => return Ok(()),
            },
        };
        if compared_at.elapsed() >= COMPARE_EVERY {
            compared_at = Instant::now();
            let is_idle = matches!(polled, Polled::Idle);
            compare(ports, job.as_ref(), consumer, &mut read, is_idle).await?;
        }
        ahead = heed(ports, job.as_ref(), consumer, &mut read, limits, polled).await?;
    }
    Ok(())
}

/// Leaves the processors to others, as long as it should behind a batch that took so long.
async fn rest(overload: &Overload, took: Duration) {
    let began = Instant::now();
    loop {
        let most = (took * overload.rest_times()).min(REST_MAX);
        let left = most.saturating_sub(began.elapsed());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(REST_LOOK)).await;
    }
}

/// Sees to what a poll met; the records of it become a batch.
async fn heed<J: Job>(
    ports: &Ports,
    job: &J,
    consumer: &mut dyn Consumer,
    read: &mut ReadPositions,
    limits: PollLimits,
    polled: Polled,
) -> Result<Ahead<J::Ready>, Failure> {
    match polled {
        Polled::Assigned(partitions) => {
            for partition in partitions {
                let position = ports.store.position(job.group(), partition).await?;
                let next = job.resume(partition, position).await?;
                seek(job.group(), consumer, read, (partition, next), &position).await?;
            }
        }
        Polled::Gone {
            partition,
            asked,
            start,
        } => stopped(job.group(), partition, asked, start),
        Polled::Revoked(gone) => read.forget(&gone),
        Polled::Idle => {}
        Polled::Records(records) => {
            let mut work = Vec::new();
            read.add(&mut work, records);
            let met = gather(&mut work, limits, consumer, read).await?;
            return Ok(Ahead {
                batch: (!work.is_empty()).then_some((work, None)),
                met,
            });
        }
    }
    Ok(Ahead::NOTHING)
}

/// Reads a partition on from somewhere.
async fn seek(
    group: Group,
    consumer: &mut dyn Consumer,
    read: &mut ReadPositions,
    (partition, next): (PartitionId, u64),
    stored: &Position,
) -> Result<(), Failure> {
    read.seek(partition, next, stored);
    match consumer.seek(partition, next).await {
        Err(log::Error::OutOfRange { asked, start }) if asked < start => {
            stopped(group, partition, asked, start);
        }
        sought => sought?,
    }
    Ok(())
}

/// Reads every partition again from where the job resumes: what it writes beside the store was put back to an
/// earlier state. To apply a record again changes nothing.
async fn read_again<J: Job>(
    ports: &Ports,
    job: &J,
    consumer: &mut dyn Consumer,
    read: &mut ReadPositions,
) -> Result<(), Failure> {
    for (partition, behind) in read.all() {
        let stored = ports.store.position(job.group(), partition).await?;
        let next = job.resume(partition, stored).await?;
        if next != behind.next {
            tracing::error!(
                group = job.group().name(),
                topic = partition.topic.name(),
                partition = partition.index,
                from = next,
                to = behind.next,
                "the index has not what was read: it was put back to an earlier state; the records in \
                 between are read again"
            );
        }
        seek(job.group(), consumer, read, (partition, next), &stored).await?;
    }
    Ok(())
}

/// Compares where each partition is read with where the store says that the group is. Records come behind
/// a gap only if any come at all, so a worker without records has to look by itself; and a store that says
/// that it is beyond the end of the log, or at a record of another log, passes over records without a word.
async fn compare<J: Job>(
    ports: &Ports,
    job: &J,
    consumer: &mut dyn Consumer,
    read: &mut ReadPositions,
    is_idle: bool,
) -> Result<(), Failure> {
    let group = job.group();
    let epoch = ports.log.epoch(group.topic()).await?;
    let stored = ports.store.positions(group).await?;
    let ranges = ports.log.ranges(group.topic()).await?;
    for (partition, behind) in read.all() {
        let found = stored.iter().find(|(of, _)| *of == partition);
        let stored = found.map_or(Position::START, |(_, position)| *position);
        let end = ranges.get(partition.index as usize).map(|(_, end)| *end);
        let is_beyond = end.is_some_and(|end| stored.next > end);
        let gap = Gap {
            partition,
            stored,
            first: behind.next,
            epoch,
            is_of_one_log: false,
        };
        if stored.next > 0
            && (stored.epoch != epoch || is_beyond || behind.is_of_another_log(&stored))
        {
            return Err(Failure::Gaps(vec![gap]));
        }
        if !is_idle {
            continue;
        }
        if job.resume(partition, stored).await? < behind.next {
            // Only what the job writes elsewhere is read again without comparing log and position.
            if stored.next < behind.next {
                return Err(Failure::Gaps(vec![gap]));
            }
            return read_again(ports, job, consumer, read).await;
        }
    }
    Ok(())
}

/// Takes what has come already and makes it ready. Nobody is asked for more, and no change of the group is
/// answered: a partition goes to somebody else only between batches.
async fn fetch<J: Job + 'static>(
    job: &Arc<J>,
    limits: PollLimits,
    consumer: &mut dyn Consumer,
    read: &mut ReadPositions,
    stop: &CancellationToken,
) -> Result<Ahead<J::Ready>, Failure> {
    let mut work = Vec::new();
    while let Some(left) = room(&work, limits) {
        let slice = PollLimits {
            records: left.records.min(SLICE),
            ..left
        };
        let records = consumer.waiting(slice).await?;
        if records.is_empty() {
            break;
        }
        read.add(&mut work, records);
        tokio::task::yield_now().await;
    }
    if work.is_empty() {
        return Ok(Ahead::NOTHING);
    }
    let job = Arc::clone(job);
    let prepared = tokio::spawn(async move {
        // What goes wrong is met again when it is the batch's turn, and seen to there.
        let ready = job.prepare(&work).await.ok();
        (work, ready)
    });
    let prepared = tokio::select! {
        biased;
        prepared = prepared => prepared,
        // It may go on for a moment, which harms nothing: it is done again after the next start.
        () = stop.cancelled() => return Ok(Ahead::NOTHING),
    };
    Ok(Ahead {
        batch: Some(joined(prepared)?),
        met: None,
    })
}

/// What a task of its own came to.
fn joined<T>(ended: Result<T, JoinError>) -> Result<T, Failure> {
    ended.map_err(|failure| match failure.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        // The process ends.
        Err(_) => Failure::Stopped,
    })
}

/// Whether a worker may fall behind while there are more requests than can be answered, and leaves the
/// processors to those who serve them. Messages may: their lag is bounded, because beyond its limit creates
/// are shed, and whoever waits to see theirs is served by getting it in at all.
pub(crate) const fn yields(group: Group) -> bool {
    matches!(group, Group::MessagesStore | Group::MessagesIndex)
}

/// Adds what is there already of other partitions, and says what else was met. What belongs to
/// somebody else by then is left to them.
async fn gather(
    work: &mut Vec<Work>,
    limits: PollLimits,
    consumer: &mut dyn Consumer,
    read: &mut ReadPositions,
) -> Result<Option<Polled>, Failure> {
    while let Some(left) = room(work, limits) {
        match consumer.poll(left).await? {
            Polled::Records(more) => read.add(work, more),
            Polled::Idle => break,
            Polled::Revoked(gone) => {
                work.retain(|one| !gone.contains(&one.partition));
                read.forget(&gone);
                return Ok(Some(Polled::Revoked(gone)));
            }
            met => return Ok(Some(met)),
        }
    }
    Ok(None)
}

/// Says that a partition is read no further, because what comes next is gone. Going on behind the gap
/// would lose records in silence, so somebody has to decide it (invariant: gone-records-stop).
fn stopped(group: Group, partition: PartitionId, asked: u64, start: u64) {
    tracing::error!(
        group = group.name(),
        topic = partition.topic.name(),
        partition = partition.index,
        asked,
        start,
        "the partition has stopped: retention removed records before they were applied; find out what is lost, \
         then set `next` of the group's row in log_positions to `start` and start the worker again, and keep \
         records longer than the longest outage"
    );
}

/// Does a batch, however often it takes.
async fn persist<J: Job>(
    job: &J,
    work: &[Work],
    mut ready: Option<J::Ready>,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let (records, _) = size(work);
    let label = GroupName {
        group: job.group().name(),
    };
    let mut backoff = Backoff::new();
    loop {
        let started = Instant::now();
        let done = async {
            let ready = match ready.take() {
                Some(ready) => ready,
                None => job.prepare(work).await?,
            };
            job.handle(work, ready).await
        };
        match done.await {
            Ok(()) => {
                let size = u32::try_from(records).unwrap_or(u32::MAX);
                metrics
                    .batch_records
                    .get_or_create(&label)
                    .observe(f64::from(size));
                metrics
                    .batch_seconds
                    .get_or_create(&label)
                    .observe(started.elapsed().as_secs_f64());
                return Ok(());
            }
            Err(failure @ (Failure::Stopped | Failure::Gaps(_))) => return Err(failure),
            Err(error) => {
                metrics.retries.get_or_create(&label).inc();
                tracing::warn!(
                    group = label.group,
                    batch.len = records,
                    %error,
                    "a batch failed and is tried again"
                );
                backoff.pause(stop).await;
                if stop.is_cancelled() {
                    return Err(Failure::Stopped);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_is_that_of_the_highest_step_and_counts_from_the_begin() {
        const STEPS: &[(usize, Duration)] = &[
            (16, Duration::from_millis(25)),
            (128, Duration::from_millis(75)),
        ];
        let ms = Duration::from_millis;
        let pace = Pace { steps: STEPS };
        assert_eq!(pace.rest(15, ms(0)), Duration::ZERO);
        assert_eq!(pace.rest(16, ms(10)), ms(15));
        assert_eq!(pace.rest(127, ms(30)), Duration::ZERO);
        assert_eq!(pace.rest(128, ms(30)), ms(45));
        assert_eq!(pace.rest(4_000, ms(80)), Duration::ZERO);
    }
}
