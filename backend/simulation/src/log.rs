//! The simulated log port: a producer whose outcome may stay unknown, and a group that rebalances.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::port::log::{
    Appended, Consumer, Error, Group, Log, LogId, NewRecord, PartitionId, PollLimits, Polled,
    Record, Topic,
};
use chat_core::port::store::Position;
use rand::Rng;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::world::{CREATE_DEADLINE, Incarnation, Link, Outage, State};

/// A member that is silent for so long is taken for dead.
const SESSION: Duration = Duration::from_secs(3);
/// The producer gives a record up after so long, which is before the create's deadline.
const MESSAGE_TIMEOUT: Duration = Duration::from_millis(800);

/// One member of a group.
#[derive(Debug)]
struct MemberState {
    id: u64,
    process: Arc<Incarnation>,
    seen: Instant,
}

/// The log.
#[derive(Debug)]
pub struct LogState {
    /// Records of each partition; the offset is the index.
    pub partitions: BTreeMap<PartitionId, Vec<Record>>,
    /// Which log this is.
    pub id: LogId,
    /// Grows whenever records are lost: consumers notice it.
    pub losses: u64,
    /// Uids of records that are gone.
    pub lost: BTreeSet<Uuid>,
    members: BTreeMap<Group, Vec<MemberState>>,
    owners: BTreeMap<(Group, u32), u64>,
    ids: u64,
    /// It does not answer.
    pub down: Outage,
    /// It answers that it takes nothing.
    pub full: Outage,
}

/// Partitions of each topic.
#[must_use]
pub const fn partitions(topic: Topic) -> u32 {
    match topic {
        Topic::Messages => 2,
        _ => 1,
    }
}

/// The partition of a key.
#[must_use]
pub fn partition_of(topic: Topic, key: &[u8]) -> PartitionId {
    let hash = key.iter().fold(0xcbf2_9ce4_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    PartitionId {
        topic,
        index: (hash >> 7) % partitions(topic),
    }
}

impl LogState {
    /// An empty log.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut all = BTreeMap::new();
        for topic in Topic::ALL {
            for index in 0..partitions(topic) {
                all.insert(PartitionId { topic, index }, Vec::new());
            }
        }
        Self {
            partitions: all,
            id: LogId::of_name(&format!("log {seed}")),
            losses: 0,
            lost: BTreeSet::new(),
            members: BTreeMap::new(),
            owners: BTreeMap::new(),
            ids: 0,
            down: Outage::default(),
            full: Outage::default(),
        }
    }

    /// The offset of the next record.
    #[must_use]
    pub fn end(&self, partition: PartitionId) -> u64 {
        self.partitions.get(&partition).map_or(0, Vec::len) as u64
    }

    /// Loses the last records of a partition.
    pub fn truncate(&mut self, partition: PartitionId, records: usize) -> usize {
        let Some(all) = self.partitions.get_mut(&partition) else {
            return 0;
        };
        let keep = all.len().saturating_sub(records);
        let gone = all.split_off(keep);
        self.lost
            .extend(gone.iter().filter_map(|record| record.headers.uid));
        self.losses += u64::from(!gone.is_empty());
        gone.len()
    }

    fn append(
        &mut self,
        partition: PartitionId,
        record: NewRecord,
        now: chat_wire::time::Timestamp,
    ) -> u64 {
        let all = self.partitions.entry(partition).or_default();
        let offset = all.len() as u64;
        all.push(Record {
            partition,
            offset,
            appended_at: now,
            key: record.key,
            headers: record.headers,
            value: record.value,
        });
        offset
    }

    /// The partitions that a member should have.
    fn wanted(&self, group: Group, id: u64) -> BTreeSet<u32> {
        let members = self
            .members
            .get(&group)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let Some(rank) = members.iter().position(|member| member.id == id) else {
            return BTreeSet::new();
        };
        (0..partitions(group.topic()))
            .filter(|index| *index as usize % members.len() == rank)
            .collect()
    }

    fn expire(&mut self, group: Group) -> bool {
        let members = self.members.entry(group).or_default();
        let before = members.len();
        members.retain(|member| !member.process.is_dead() && member.seen.elapsed() < SESSION);
        let gone = members.len() != before;
        let alive: BTreeSet<u64> = members.iter().map(|member| member.id).collect();
        self.owners
            .retain(|(of, _), owner| *of != group || alive.contains(owner));
        gone
    }

    /// Changes the order of members, so that partitions move.
    pub fn shuffle(&mut self, group: Group) {
        if let Some(members) = self.members.get_mut(&group) {
            let by = usize::from(members.len() > 1);
            members.rotate_left(by);
        }
    }
}

/// The log as one process reaches it.
#[derive(Debug, Clone)]
pub struct SimLog {
    /// The way there.
    pub link: Link,
}

/// What becomes of an append.
enum Fate {
    Normal,
    Lost,
    Late(Duration),
    AckLost,
    Twice,
    Refused,
}

impl SimLog {
    fn fate(state: &mut State) -> Fate {
        if state.log.full.lasts() {
            return Fate::Refused;
        }
        let noise = state.noise;
        let dice: f64 = state.rng.random();
        if dice < noise.append_lost {
            Fate::Lost
        } else if dice < noise.append_lost + noise.append_late {
            let most = CREATE_DEADLINE.as_millis() as u64;
            Fate::Late(Duration::from_millis(state.rng.random_range(0..most)))
        } else if dice < noise.append_lost + noise.append_late + noise.ack_lost {
            Fate::AckLost
        } else if state.rng.random_bool(noise.append_twice) {
            Fate::Twice
        } else {
            Fate::Normal
        }
    }

    fn range_of(&self, partition: PartitionId) -> Result<(u64, u64), Error> {
        self.link.world.with(|state| {
            if state.log.down.lasts() {
                return Err(Error::Unavailable("no broker answers".into()));
            }
            Ok((0, state.log.end(partition)))
        })
    }

    async fn asked<T>(&self, look: impl FnOnce(&mut State) -> T + Send) -> Result<T, Error> {
        self.link.call().await;
        let found = self.link.world.with(|state| {
            if state.log.down.lasts() {
                return Err(Error::Unavailable("no broker answers".into()));
            }
            Ok(look(state))
        });
        self.link.reply().await;
        found
    }
}

/// What happens beyond the process: it goes on when the caller goes away.
async fn produce(
    link: Link,
    partition: PartitionId,
    record: NewRecord,
    answer: oneshot::Sender<Result<Appended, Error>>,
) {
    let began = Instant::now();
    let unavailable = |reason: &str| Err(Error::Unavailable(reason.into()));
    link.call().await;
    while link.world.with(|state| state.log.down.lasts()) {
        if began.elapsed() > MESSAGE_TIMEOUT {
            let _ = answer.send(unavailable("the record timed out"));
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let fate = link.world.with(SimLog::fate);
    let appended = match fate {
        Fate::Refused => Err(Error::NotAppended("the disk is full".into())),
        Fate::Lost => {
            tokio::time::sleep(MESSAGE_TIMEOUT).await;
            unavailable("the record timed out")
        }
        Fate::Late(by) => {
            tokio::time::sleep(by).await;
            Ok(put(&link, partition, record))
        }
        Fate::AckLost => {
            put(&link, partition, record);
            tokio::time::sleep(MESSAGE_TIMEOUT).await;
            unavailable("the acknowledgement did not come")
        }
        Fate::Twice => {
            let first = put(&link, partition, record.clone());
            put(&link, partition, record);
            Ok(first)
        }
        Fate::Normal => Ok(put(&link, partition, record)),
    };
    link.reply().await;
    // Nobody waits where the caller's deadline is over.
    let _ = answer.send(appended);
}

fn put(link: &Link, partition: PartitionId, record: NewRecord) -> Appended {
    let now = link.world.true_time();
    let name = record.headers.event.clone();
    let uid = record.headers.uid;
    let offset = link
        .world
        .with(|state| state.log.append(partition, record, now));
    link.note(|| {
        let name = name.as_deref().unwrap_or("garbage");
        let uid = uid.map_or_else(String::new, short);
        format!(
            "log: {} {name} {uid} at {}-{}@{offset}",
            "appended",
            partition.topic.name(),
            partition.index
        )
    });
    link.world.news.notify_waiters();
    Appended { partition, offset }
}

/// The part of a uid that differs.
#[must_use]
pub fn short(uid: Uuid) -> String {
    format!("u{}", (uid.as_u128() >> 16) & 0xffff)
}

#[async_trait]
impl Log for SimLog {
    async fn append(&self, topic: Topic, record: NewRecord) -> Result<Appended, Error> {
        let partition = partition_of(topic, &record.key);
        let (answer, appended) = oneshot::channel();
        tokio::spawn(produce(self.link.clone(), partition, record, answer));
        let Ok(appended) = appended.await else {
            return Err(Error::Unavailable("the producer is gone".into()));
        };
        self.link.alive().await;
        appended
    }

    async fn join(&self, group: Group) -> Result<Box<dyn Consumer>, Error> {
        let process = Arc::clone(&self.link.process);
        let (id, losses) = self
            .asked(|state| {
                state.log.ids += 1;
                let id = state.log.ids;
                state
                    .log
                    .members
                    .entry(group)
                    .or_default()
                    .push(MemberState {
                        id,
                        process,
                        seen: Instant::now(),
                    });
                (id, state.log.losses)
            })
            .await?;
        self.link.world.news.notify_waiters();
        Ok(Box::new(SimConsumer {
            link: self.link.clone(),
            group,
            id,
            losses,
            assigned: BTreeMap::new(),
        }))
    }

    async fn partitions(&self, topic: Topic) -> Result<u32, Error> {
        Ok(partitions(topic))
    }

    async fn partition_of(&self, topic: Topic, key: &[u8]) -> Result<PartitionId, Error> {
        Ok(partition_of(topic, key))
    }

    async fn range(&self, partition: PartitionId) -> Result<(u64, u64), Error> {
        self.link.call().await;
        let found = self.range_of(partition);
        self.link.reply().await;
        found
    }

    async fn ranges(&self, topic: Topic) -> Result<Vec<(u64, u64)>, Error> {
        self.asked(|state| {
            (0..partitions(topic))
                .map(|index| (0, state.log.end(PartitionId { topic, index })))
                .collect()
        })
        .await
    }

    async fn members(&self, group: Group) -> Result<u32, Error> {
        self.asked(|state| {
            let members = state.log.members.get(&group).map_or(0, Vec::len);
            u32::try_from(members).unwrap_or(u32::MAX)
        })
        .await
    }

    async fn read(
        &self,
        partition: PartitionId,
        from: u64,
        limits: PollLimits,
    ) -> Result<Vec<Record>, Error> {
        let most = self.link.world.chance(|rng| rng.random_range(1..20_usize));
        self.asked(|state| {
            let all = state.log.partitions.get(&partition);
            let all = all.map(Vec::as_slice).unwrap_or_default();
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            if from > all.len() {
                return Err(Error::OutOfRange {
                    asked: from as u64,
                    start: 0,
                });
            }
            let records = all.get(from..).unwrap_or_default();
            Ok(records
                .iter()
                .take(most.min(limits.records))
                .cloned()
                .collect())
        })
        .await?
    }

    async fn probe(&self, _partition: PartitionId) -> Result<bool, Error> {
        self.asked(|state| match state.log.full.lasts() {
            true => Err(Error::NotAppended("the disk is full".into())),
            false => Ok(true),
        })
        .await?
    }

    async fn identity(&self) -> Result<LogId, Error> {
        self.asked(|state| state.log.id).await
    }

    async fn epoch(&self, topic: Topic) -> Result<u32, Error> {
        self.asked(|state| state.store.rows.epoch(topic)).await
    }

    async fn raise_epoch(&self, topic: Topic, above: u32) -> Result<u32, Error> {
        self.asked(|state| {
            state
                .store
                .writable()
                .map_err(|error| Error::Unavailable(error.to_string()))?;
            Ok(state.store.change(|rows, commit| {
                let epoch = rows.epoch(topic).max(above + 1);
                rows.set_epoch(commit, topic, Some(epoch));
                epoch
            }))
        })
        .await?
    }

    async fn check(&self) -> Result<(), Error> {
        self.asked(|_| ()).await
    }
}

/// One member of a group.
#[derive(Debug)]
struct SimConsumer {
    link: Link,
    group: Group,
    id: u64,
    losses: u64,
    /// Where each partition is read next, once it was sought.
    assigned: BTreeMap<u32, Option<u64>>,
}

enum Step {
    Met(Polled),
    Nothing,
}

impl SimConsumer {
    const fn partition(&self, index: u32) -> PartitionId {
        PartitionId {
            topic: self.group.topic(),
            index,
        }
    }

    /// What changed about who has which partitions, if anything did.
    fn rebalance(&mut self, state: &mut State) -> Result<Option<Polled>, Error> {
        let gone = state.log.expire(self.group);
        if gone {
            self.link.world.news.notify_waiters();
        }
        let members = state.log.members.entry(self.group).or_default();
        match members.iter_mut().find(|member| member.id == self.id) {
            Some(member) => member.seen = Instant::now(),
            None => members.push(MemberState {
                id: self.id,
                process: Arc::clone(&self.link.process),
                seen: Instant::now(),
            }),
        }
        let wanted = state.log.wanted(self.group, self.id);
        let owned = |state: &State, index: u32| state.log.owners.get(&(self.group, index)).copied();
        let lost: Vec<u32> = self
            .assigned
            .keys()
            .filter(|index| !wanted.contains(index) || owned(state, **index) != Some(self.id))
            .copied()
            .collect();
        if !lost.is_empty() {
            for index in &lost {
                self.assigned.remove(index);
                if owned(state, *index) == Some(self.id) {
                    state.log.owners.remove(&(self.group, *index));
                }
            }
            self.link.world.news.notify_waiters();
            let lost = lost.into_iter().map(|index| self.partition(index));
            return Ok(Some(Polled::Revoked(lost.collect())));
        }
        let new: Vec<u32> = wanted
            .into_iter()
            .filter(|index| !self.assigned.contains_key(index) && owned(state, *index).is_none())
            .collect();
        if new.is_empty() {
            return Ok(None);
        }
        for index in &new {
            identify(state, self.group, self.partition(*index))?;
            state.log.owners.insert((self.group, *index), self.id);
            self.assigned.insert(*index, None);
        }
        let new = new.into_iter().map(|index| self.partition(index));
        Ok(Some(Polled::Assigned(new.collect())))
    }

    fn step(&mut self, state: &mut State, limits: PollLimits) -> Result<Step, Error> {
        if state.log.down.lasts() {
            return Ok(Step::Nothing);
        }
        if state.log.losses != self.losses {
            return Err(Error::Unavailable("the offset is out of range".into()));
        }
        if let Some(change) = self.rebalance(state)? {
            return Ok(Step::Met(change));
        }
        let records = self.take(state, limits);
        Ok(match records.is_empty() {
            true => Step::Nothing,
            false => Step::Met(Polled::Records(records)),
        })
    }

    fn take(&mut self, state: &mut State, limits: PollLimits) -> Vec<Record> {
        let topic = self.group.topic();
        for (index, next) in &mut self.assigned {
            let Some(next) = next else { continue };
            let all = &state.log.partitions[&PartitionId {
                topic,
                index: *index,
            }];
            let twice = state.rng.random_bool(state.noise.told_twice);
            if twice {
                *next = next.saturating_sub(state.rng.random_range(1..4));
            }
            let from = usize::try_from(*next).unwrap_or(usize::MAX);
            let most = limits.records.min(state.rng.random_range(1..12_usize));
            let records: Vec<Record> = all.iter().skip(from).take(most).cloned().collect();
            if let Some(last) = records.last() {
                *next = last.offset + 1;
                return records;
            }
        }
        Vec::new()
    }
}

/// What the adapter does when a partition is assigned: it compares the position with the log.
fn identify(state: &mut State, group: Group, partition: PartitionId) -> Result<(), Error> {
    state
        .store
        .available()
        .map_err(|error| Error::Unavailable(error.to_string()))?;
    let position = state.store.rows.position(group, partition);
    let epoch = state.store.rows.epoch(partition.topic);
    if position.next == 0 && position.epoch <= epoch {
        return Ok(());
    }
    let all = &state.log.partitions[&partition];
    let last = position.next.checked_sub(1);
    let last = last.and_then(|last| all.get(last as usize));
    let is_another = last.is_some_and(|last| !last.may_be(position.last_uid));
    // A worker that read the epoch before the store forgot it commits a position of that epoch afterwards.
    let why = if position.epoch > epoch {
        "its epoch is above the topic's, which was put back"
    } else if position.next > all.len() as u64 {
        "it ends before what was applied"
    } else if is_another {
        "another record stands where the last applied one was"
    } else {
        if position.epoch < epoch {
            state
                .store
                .writable()
                .map_err(|error| Error::Unavailable(error.to_string()))?;
            state.store.change(|rows, commit| {
                let adopted = Position { epoch, ..position };
                rows.set_position(commit, (group, partition), Some(adopted));
            });
        }
        return Ok(());
    };
    state
        .store
        .writable()
        .map_err(|error| Error::Unavailable(error.to_string()))?;
    let topic = partition.topic;
    state.store.change(|rows, commit| {
        let epoch = rows.epoch(topic).max(position.epoch + 1);
        rows.set_epoch(commit, topic, Some(epoch));
        for of in Group::ALL {
            if of.topic() == topic && rows.position(of, partition).epoch < epoch {
                let start = Position {
                    next: 0,
                    epoch,
                    last_uid: None,
                };
                rows.set_position(commit, (of, partition), Some(start));
            }
        }
        tracing::error!(
            topic = topic.name(),
            partition = partition.index,
            epoch,
            why,
            "the log is not the one that was applied"
        );
    });
    Ok(())
}

#[async_trait]
impl Consumer for SimConsumer {
    async fn poll(&mut self, limits: PollLimits) -> Result<Polled, Error> {
        let deadline = Instant::now() + Duration::from_millis(limits.wait_ms);
        let link = self.link.clone();
        loop {
            link.alive().await;
            let news = link.world.news.notified();
            let step = link.world.with(|state| self.step(state, limits))?;
            match step {
                Step::Met(polled) => {
                    link.reply().await;
                    return Ok(polled);
                }
                Step::Nothing if Instant::now() >= deadline => return Ok(Polled::Idle),
                Step::Nothing => {
                    let left = deadline - Instant::now();
                    // Either end means the same: look again.
                    let _ = timeout(left, news).await;
                }
            }
        }
    }

    async fn waiting(&mut self, limits: PollLimits) -> Result<Vec<Record>, Error> {
        let link = self.link.clone();
        link.alive().await;
        Ok(link.world.with(|state| {
            if state.log.down.lasts() || state.log.losses != self.losses {
                return Vec::new();
            }
            self.take(state, limits)
        }))
    }

    async fn seek(&mut self, partition: PartitionId, offset: u64) -> Result<(), Error> {
        self.link.call().await;
        match self.assigned.get_mut(&partition.index) {
            Some(next) if partition.topic == self.group.topic() => {
                *next = Some(offset);
                Ok(())
            }
            _ => Err(Error::Unavailable(
                "the partition belongs to somebody else by now".into(),
            )),
        }
    }

    async fn commit(&mut self, _partition: PartitionId, _next: u64) -> Result<(), Error> {
        self.link.alive().await;
        Ok(())
    }

    async fn leave(self: Box<Self>) {}
}

impl Drop for SimConsumer {
    fn drop(&mut self) {
        let (group, id) = (self.group, self.id);
        self.link.world.with(|state| {
            if let Some(members) = state.log.members.get_mut(&group) {
                members.retain(|member| member.id != id);
            }
            state.log.owners.retain(|_, owner| *owner != id);
        });
        self.link.world.news.notify_waiters();
    }
}
