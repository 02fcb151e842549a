//! The one loop that all workers share: poll a batch, do the job, move on.
//!
//! Where more waits than a batch holds, the next one is fetched and made ready while this one is made durable:
//! the worker reads and computes while it would otherwise wait for the engines.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::port::log::{self, Consumer, Group, PartitionId, PollLimits, Polled, Record};
use chat_core::port::{Ports, store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::telemetry::{GroupName, Metrics};
use crate::workers::overload::Overload;

/// Milliseconds that a poll waits for records.
const POLL_WAIT_MS: u64 = 500;
/// First pause after a failure.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Of a batch a worker takes so small a part while it rests in between: many short rests keep its share as well as a few long ones.
const REST_PART: usize = 8;
/// And at most so long: a group that shares out anew waits for all its members.
const REST_MAX: Duration = Duration::from_secs(5);
/// How often it looks meanwhile whether it may go on.
const REST_LOOK: Duration = Duration::from_millis(100);
/// Longest pause after a failure.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Records of one partition that follow each other; there is at least one.
#[derive(Debug)]
pub struct Work {
    /// Whose they are.
    pub partition: PartitionId,
    /// In order of offset.
    pub records: Vec<Record>,
}

/// From how many partitions a batch is taken at most; all of them together stay within the limits.
const PARTITIONS: usize = 64;

/// A batch of many records is followed by no other until some time has passed since it began: what comes
/// meanwhile shares one commit. Where little comes, each record is handled at once; where more waits than
/// half a batch holds, nobody pauses.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Many, in records.
    pub records: usize,
    /// From the begin of a batch to that of the next one.
    pub interval: Duration,
}

impl Pace {
    /// How long to wait after a batch that has taken so long already.
    fn rest(&self, work: &[Work], limits: PollLimits, took: Duration) -> Duration {
        let (records, _) = size(work);
        match records >= self.records && !is_full(work, limits) {
            true => self.interval.saturating_sub(took),
            false => Duration::ZERO,
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

    /// Reads and computes what a batch needs, perhaps while the one before it is still being handled:
    /// nothing of it shows, and it may be done in vain.
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
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Runs a job until it is told to stop; looks at `stop` between batches.
pub async fn run(
    ports: Ports,
    job: impl Job + 'static,
    metrics: &Metrics,
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
    metrics: &Metrics,
    overload: &Overload,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let limits = PollLimits {
        wait_ms: POLL_WAIT_MS,
        ..job.limits()
    };
    let pace = job.pace();
    let mut ahead = Ahead::NOTHING;
    while !stop.is_cancelled() {
        let rests = yields(job.group()) && overload.rest_times() > 0;
        if let Some((work, ready)) = ahead.batch.take() {
            let began = Instant::now();
            let done = persist(job.as_ref(), &work, ready, metrics, stop);
            let met = if is_full(&work, limits) && ahead.met.is_none() && !rests {
                let (done, fetched) = tokio::join!(done, fetch(job, limits, consumer));
                done?;
                fetched
            } else {
                done.await?;
                Ok(ahead)
            };
            for Work { partition, records } in &work {
                if let Some(last) = records.last() {
                    consumer.commit(*partition, last.offset + 1).await?;
                }
            }
            ahead = met?;
            let took = began.elapsed();
            let pause = async {
                match rests {
                    true => rest(overload, took).await,
                    false => tokio::time::sleep(pace.rest(&work, limits, took)).await,
                }
            };
            tokio::select! {
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
                polled = consumer.poll(limits) => polled?,
                () = stop.cancelled() => return Ok(()),
            },
        };
        ahead = heed(ports, job.as_ref(), consumer, limits, polled).await?;
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

/// What a worker takes at once while it rests in between.
const fn part(limits: PollLimits) -> PollLimits {
    PollLimits {
        records: limits.records.div_ceil(REST_PART),
        bytes: limits.bytes.div_ceil(REST_PART),
        ..limits
    }
}

/// Sees to what a poll met; the records of it become a batch.
async fn heed<J: Job>(
    ports: &Ports,
    job: &J,
    consumer: &mut dyn Consumer,
    limits: PollLimits,
    polled: Polled,
) -> Result<Ahead<J::Ready>, Failure> {
    match polled {
        Polled::Assigned(partitions) => {
            for partition in partitions {
                // The truth about the position is in the store, not in the log (rule 1).
                let position = ports.store.position(job.group(), partition).await?;
                match consumer.seek(partition, position.next).await {
                    Err(log::Error::OutOfRange { asked, start }) if asked < start => {
                        stopped(job.group(), partition, asked, start);
                    }
                    sought => sought?,
                }
            }
        }
        Polled::Gone {
            partition,
            asked,
            start,
        } => stopped(job.group(), partition, asked, start),
        Polled::Revoked(_) | Polled::Idle => {}
        Polled::Records(records) => {
            let mut work = Vec::new();
            add(&mut work, records);
            let met = gather(&mut work, limits, consumer).await?;
            return Ok(Ahead {
                batch: (!work.is_empty()).then_some((work, None)),
                met,
            });
        }
    }
    Ok(Ahead::NOTHING)
}

/// Takes what has come already and makes it ready. Nobody is asked for more, and no change of the group is
/// answered: a partition goes to somebody else only between batches.
async fn fetch<J: Job + 'static>(
    job: &Arc<J>,
    limits: PollLimits,
    consumer: &mut dyn Consumer,
) -> Result<Ahead<J::Ready>, Failure> {
    let mut work = Vec::new();
    while let Some(left) = room(&work, limits) {
        let records = consumer.waiting(left).await?;
        if records.is_empty() {
            break;
        }
        add(&mut work, records);
    }
    if work.is_empty() {
        return Ok(Ahead::NOTHING);
    }
    let job = Arc::clone(job);
    // On another processor: statements of the batch at hand should not wait for it.
    let prepared = tokio::spawn(async move {
        // What goes wrong is met again when it is the batch's turn, and seen to there.
        let ready = job.prepare(&work).await.ok();
        (work, ready)
    });
    match prepared.await {
        Ok(batch) => Ok(Ahead {
            batch: Some(batch),
            met: None,
        }),
        Err(failure) if failure.is_panic() => std::panic::resume_unwind(failure.into_panic()),
        // The process ends.
        Err(_) => Err(Failure::Stopped),
    }
}

/// Whether a worker may fall behind while there are more requests than can be answered, and leaves the
/// processors to those who serve them. Messages may: their lag is bounded, because beyond its limit creates
/// are shed, and whoever waits to see theirs is served by getting it in at all.
pub(crate) const fn yields(group: Group) -> bool {
    matches!(group, Group::MessagesStore | Group::MessagesIndex)
}

/// Adds records of one partition to a batch.
fn add(work: &mut Vec<Work>, more: Vec<Record>) {
    let Some(partition) = more.first().map(|record| record.partition) else {
        return;
    };
    match work.iter_mut().find(|one| one.partition == partition) {
        Some(one) => one.records.extend(more),
        None => work.push(Work {
            partition,
            records: more,
        }),
    }
}

/// What a batch has room for, without waiting; `None` where it is full.
fn room(work: &[Work], limits: PollLimits) -> Option<PollLimits> {
    let (count, bytes) = size(work);
    let left = PollLimits {
        records: limits.records.saturating_sub(count),
        bytes: limits.bytes.saturating_sub(bytes),
        wait_ms: 0,
    };
    (work.len() < PARTITIONS && left.records > 0 && left.bytes > 0).then_some(left)
}

/// Records, and the bytes of their values.
fn size(work: &[Work]) -> (usize, usize) {
    let records = work.iter().flat_map(|one| &one.records);
    records.fold((0, 0), |(count, bytes), record| {
        (count + 1, bytes + record.value.len())
    })
}

/// Whether a batch is so large that more waits behind it.
fn is_full(work: &[Work], limits: PollLimits) -> bool {
    let (records, bytes) = size(work);
    2 * records >= limits.records || 2 * bytes >= limits.bytes
}

/// Adds what is there already of other partitions, and says what else was met. What belongs to
/// somebody else by then is left to them.
async fn gather(
    work: &mut Vec<Work>,
    limits: PollLimits,
    consumer: &mut dyn Consumer,
) -> Result<Option<Polled>, Failure> {
    while let Some(left) = room(work, limits) {
        match consumer.poll(left).await? {
            Polled::Records(more) => add(work, more),
            Polled::Idle => break,
            Polled::Revoked(gone) => {
                work.retain(|one| !gone.contains(&one.partition));
                return Ok(Some(Polled::Revoked(gone)));
            }
            met => return Ok(Some(met)),
        }
    }
    Ok(None)
}

/// Says that a partition is read no further, because what comes next is gone. Going on behind the gap
/// would lose records in silence, so somebody has to decide it (rule 15).
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
            Err(Failure::Stopped) => return Err(Failure::Stopped),
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
