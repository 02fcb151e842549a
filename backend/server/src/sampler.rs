//! The sampler: looks at every group's lag, keeps a window of looks, and judges.
//!
//! Offsets are asked for afresh whenever somebody asks; members and ages may be a second old. Whoever
//! asks while a look is under way waits for the next one, which all who wait share: however many ask,
//! one look is under way at a time.

mod ages;
mod report;

use std::sync::Arc;
use std::time::Duration;

use chat_core::lag::look::{Look, Seen, Stand};
use chat_core::lag::watch::Watch;
use chat_core::port::Ports;
use chat_core::port::log::{Group, PartitionId, Topic};
use chat_core::port::store::Position;
use chat_wire::admin::lag::Lag;
use chat_wire::time::Timestamp;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use self::ages::Ages;
pub(crate) use self::report::worst;
use crate::pressure::Lags;

/// How long one question of a look may take before its answer is unknown.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// How old the members of a group may be when they are shown.
const MEMBERS_FOR: Duration = Duration::from_secs(1);

/// An answer, or why there is none.
type Answer<T> = Result<T, String>;

/// When the members of a group were counted, and how many there were.
type Counted = (Instant, Answer<u32>);

/// Where groups and topics stand.
struct Offsets {
    /// When they were asked for.
    at_ms: u64,
    /// In the order of [`Group::ALL`].
    positions: Vec<Answer<Vec<(PartitionId, Position)>>>,
    /// Of applications, chats and messages.
    ranges: Vec<Answer<Vec<(u64, u64)>>>,
}

/// The groups' lag, watched.
pub struct Sampler {
    ports: Ports,
    every: Duration,
    began: Instant,
    /// In the order of [`Group::ALL`].
    watches: Mutex<Vec<Watch>>,
    members: Mutex<[Option<Counted>; Group::ALL.len()]>,
    ages: Ages,
    /// The last look that somebody asked for, and when it began.
    last: tokio::sync::Mutex<Option<(Instant, Arc<Lag>)>>,
}

impl Sampler {
    /// Keeps a look every so often, once it runs.
    #[must_use]
    pub fn new(ports: Ports, every: Duration) -> Self {
        let every_ms = millis(every);
        Self {
            ports,
            every,
            began: Instant::now(),
            watches: Mutex::new(Group::ALL.map(|_| Watch::new(every_ms)).to_vec()),
            members: Mutex::default(),
            ages: Ages::default(),
            last: tokio::sync::Mutex::default(),
        }
    }

    /// Keeps looks until it is told to stop.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(self.every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.keep() => {}
            }
        }
    }

    /// What a look finds that begins now.
    pub async fn now(&self) -> Arc<Lag> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some((began, lag)) = &*last
            && *began >= asked
        {
            return Arc::clone(lag);
        }
        let began = Instant::now();
        let lag = Arc::new(self.report(&self.look().await));
        *last = Some((began, Arc::clone(&lag)));
        lag
    }

    /// The lag of every group in records, in the order of [`Group::ALL`], and nothing else of a look.
    pub async fn lags(&self) -> Lags {
        let looks = self.put_together(self.offsets().await, |_| Ok(0)).await;
        let mut lags = Lags::default();
        for (lag, look) in lags.iter_mut().zip(looks) {
            *lag = look.lag();
        }
        lags
    }

    async fn keep(&self) {
        let looks = self.look().await;
        let mut watches = self.watches.lock();
        for (watch, look) in watches.iter_mut().zip(&looks) {
            watch.keep(look);
        }
    }

    fn report(&self, looks: &[Look]) -> Lag {
        let mut watches = self.watches.lock();
        let groups = Group::ALL.into_iter().zip(watches.iter_mut()).zip(looks);
        let groups = groups.map(|((group, watch), look)| {
            let judged = watch.judge(look);
            watch.note(look);
            report::group(group, look, judged)
        });
        let groups: Vec<_> = groups.collect();
        Lag {
            sampled_at: Timestamp::now(),
            interval_ms: millis(self.every),
            status: worst(&groups),
            groups,
        }
    }

    /// One look at every group, in the order of [`Group::ALL`].
    async fn look(&self) -> Vec<Look> {
        let members = join_all(Group::ALL.map(|group| self.members(group)));
        let (offsets, members) = tokio::join!(self.offsets(), members);
        let members = |group: Group| members[group as usize].clone();
        let mut looks = self.put_together(offsets, members).await;
        self.ages.fill(&self.ports, &self.watches, &mut looks).await;
        looks
    }

    async fn offsets(&self) -> Offsets {
        // The positions first: what comes in between makes the lag too high and never too low.
        let positions = join_all(Group::ALL.map(|group| self.positions(group))).await;
        let at_ms = millis(self.began.elapsed());
        let topics = [Topic::Applications, Topic::Chats, Topic::Messages];
        let ranges = join_all(topics.map(|topic| self.ranges(topic))).await;
        Offsets {
            at_ms,
            positions,
            ranges,
        }
    }

    async fn put_together(
        &self,
        offsets: Offsets,
        members: impl Fn(Group) -> Answer<u32>,
    ) -> Vec<Look> {
        let mut looks = Vec::with_capacity(Group::ALL.len());
        for (group, positions) in Group::ALL.into_iter().zip(&offsets.positions) {
            let ranges = match group.topic() {
                Topic::Applications => &offsets.ranges[0],
                Topic::Chats => &offsets.ranges[1],
                _ => &offsets.ranges[2],
            };
            let count = self.ports.log.partitions(group.topic()).await;
            let count = count.unwrap_or_default();
            looks.push(look(
                offsets.at_ms,
                count,
                positions,
                ranges,
                members(group),
            ));
        }
        looks
    }

    async fn positions(&self, group: Group) -> Answer<Vec<(PartitionId, Position)>> {
        ask("the store", self.ports.store.positions(group)).await
    }

    async fn ranges(&self, topic: Topic) -> Answer<Vec<(u64, u64)>> {
        ask("the log", self.ports.log.ranges(topic)).await
    }

    async fn members(&self, group: Group) -> Answer<u32> {
        let known = self.members.lock()[group as usize].clone();
        if let Some((at, members)) = known
            && at.elapsed() < MEMBERS_FOR
        {
            return members;
        }
        let members = ask("the log", self.ports.log.members(group)).await;
        self.members.lock()[group as usize] = Some((Instant::now(), members.clone()));
        members
    }
}

/// Waits for an answer, and not for ever.
async fn ask<T, E: std::fmt::Display>(
    whom: &str,
    answer: impl Future<Output = Result<T, E>>,
) -> Answer<T> {
    match timeout(ASK_TIMEOUT, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!(
            "{whom} does not answer: no answer within {} s",
            ASK_TIMEOUT.as_secs()
        )),
    }
}

/// Puts the answers together; what was not answered is unknown.
fn look(
    at_ms: u64,
    partitions: u32,
    positions: &Answer<Vec<(PartitionId, Position)>>,
    ranges: &Answer<Vec<(u64, u64)>>,
    members: Answer<u32>,
) -> Look {
    let unset = match positions {
        Ok(_) => Stand::Nowhere,
        Err(_) => Stand::Unknown,
    };
    let mut seen: Vec<Seen> = (0..partitions as usize)
        .map(|index| Seen {
            range: ranges
                .as_ref()
                .ok()
                .and_then(|ranges| ranges.get(index))
                .copied(),
            stand: unset,
            oldest_age_ms: None,
        })
        .collect();
    for (partition, position) in positions.iter().flatten() {
        if let Some(seen) = seen.get_mut(partition.index as usize) {
            seen.stand = Stand::At(position.next);
        }
    }
    let problem = [
        ranges.as_ref().err(),
        positions.as_ref().err(),
        members.as_ref().err(),
    ];
    Look {
        at_ms,
        members: members.as_ref().ok().copied(),
        partitions: seen,
        problem: problem.into_iter().flatten().next().cloned(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
