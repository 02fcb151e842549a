//! One member of a group. Kafka shares out the partitions; where to read on comes from the store.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::port::log::{Consumer, Error, Group, PartitionId, PollLimits, Polled, Record};
use futures_util::{FutureExt, StreamExt};
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, TopicPartitionList};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::client::{ASK_TIMEOUT, Names, blocking, told};
use super::identity::Identity;
use super::reader::{self, Reader};
use super::rebalance::{Change, Rebalance};

/// Records that wait here at most; the client itself holds more.
const BUFFER_RECORDS: usize = 32_768;
/// Bytes that wait here at most.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// A member that does not poll for so long is taken for dead by the group.
const MAX_POLL_INTERVAL_MS: &str = "60000";
/// A process that does not answer for so long is taken for dead by the group.
const SESSION_TIMEOUT_MS: &str = "10000";
/// How often a member that hears nothing looks whether there is something to hear.
const STALL_LOOK: Duration = Duration::from_secs(20);
/// How long leaving may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after an error that the client mends by itself.
const ERROR_PAUSE: Duration = Duration::from_millis(200);

type Client = StreamConsumer<Rebalance>;

/// One member of a group.
pub(super) struct Member {
    client: Option<Arc<Client>>,
    rebalance: Rebalance,
    topic: String,
    group: Group,
    identity: Arc<Identity>,
    reader: Arc<Reader>,
    parts: BTreeMap<u32, Part>,
    buffered: (usize, usize),
    /// Whose turn it is, so that a busy partition starves no other.
    turn: u32,
    stall: Stall,
}

/// A partition that is ours.
struct Part {
    /// Offset of the next record that the client will bring.
    next: u64,
    /// Whether records may be handed out.
    sought: bool,
    records: VecDeque<Record>,
}

/// Looks for a stream that has gone silent.
struct Stall {
    look_at: Instant,
    /// Where each partition stood and ended at the last look.
    seen: BTreeMap<u32, (u64, u64)>,
}

impl Member {
    pub(super) fn join(
        names: &Names,
        group: Group,
        identity: Arc<Identity>,
        reader: Arc<Reader>,
    ) -> KafkaResult<Self> {
        let topic = names.topic(group.topic());
        let mut config = names.base();
        config.set("group.id", names.group(group));
        config.set("partition.assignment.strategy", "cooperative-sticky");
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "error");
        config.set("allow.auto.create.topics", "false");
        config.set("session.timeout.ms", SESSION_TIMEOUT_MS);
        config.set("heartbeat.interval.ms", "3000");
        config.set("max.poll.interval.ms", MAX_POLL_INTERVAL_MS);
        config.set("fetch.error.backoff.ms", "100");
        // A full queue is filled again at once instead of a second later.
        config.set("fetch.queue.backoff.ms", "5");
        config.set("queued.max.messages.kbytes", "16384");
        let rebalance = Rebalance::default();
        let client: Client = config.create_with_context(rebalance.clone())?;
        client.subscribe(&[&topic])?;
        Ok(Self {
            client: Some(Arc::new(client)),
            rebalance,
            topic,
            group,
            identity,
            reader,
            parts: BTreeMap::new(),
            buffered: (0, 0),
            turn: 0,
            stall: Stall::new(),
        })
    }

    fn client(&self) -> Result<Arc<Client>, Error> {
        self.client
            .clone()
            .ok_or_else(|| Error::Unavailable("the consumer has left".into()))
    }

    const fn partition(&self, index: u32) -> PartitionId {
        PartitionId {
            topic: self.group.topic(),
            index,
        }
    }

    /// Takes over what the group gave, or gives back what it took.
    async fn change(&mut self, change: Change) -> Result<Polled, Error> {
        match change {
            Change::Revoked(indexes) => {
                for index in &indexes {
                    if let Some(part) = self.parts.remove(index) {
                        self.forget(&part.records);
                    }
                }
                Ok(Polled::Revoked(
                    indexes
                        .into_iter()
                        .map(|index| self.partition(index))
                        .collect(),
                ))
            }
            Change::Assigned(indexes) => {
                let mut list = TopicPartitionList::with_capacity(indexes.len());
                let mut parts = BTreeMap::new();
                for index in &indexes {
                    let partition = self.partition(*index);
                    let position = self.identity.position(self.group, partition).await;
                    let next = match position {
                        Ok(position) => position.next,
                        Err(error) => {
                            // The group waits for an answer, whatever it is.
                            self.rebalance.put_back(Change::Assigned(indexes));
                            return Err(error);
                        }
                    };
                    let one = reader::at(&self.topic, partition, next)?;
                    for element in one.elements() {
                        list.add_partition_offset(
                            &self.topic,
                            element.partition(),
                            element.offset(),
                        )
                        .map_err(|error| told(&error))?;
                    }
                    let part = Part {
                        next,
                        sought: false,
                        records: VecDeque::new(),
                    };
                    parts.insert(*index, part);
                }
                let client = self.client()?;
                blocking(ASK_TIMEOUT * 2, move || client.incremental_assign(&list))
                    .await?
                    .map_err(|error| told(&error))?;
                self.parts.append(&mut parts);
                self.stall = Stall::new();
                Ok(Polled::Assigned(
                    indexes
                        .into_iter()
                        .map(|index| self.partition(index))
                        .collect(),
                ))
            }
        }
    }

    /// The records of one partition, the next one in turn.
    fn take(&mut self, limits: PollLimits) -> Option<Vec<Record>> {
        let ready = |(_, part): &(&u32, &mut Part)| part.sought && !part.records.is_empty();
        let turn = self.turn;
        let index = {
            let mut after = self.parts.range_mut(turn..);
            let found = after.find(ready).map(|(index, _)| *index);
            found.or_else(|| {
                self.parts
                    .range_mut(..turn)
                    .find(ready)
                    .map(|(index, _)| *index)
            })
        }?;
        self.turn = index + 1;
        let waiting = &mut self.parts.get_mut(&index)?.records;
        let (mut count, mut bytes) = (0, 0);
        for record in waiting.iter().take(limits.records.max(1)) {
            if count > 0 && bytes >= limits.bytes {
                break;
            }
            count += 1;
            bytes += size(record);
        }
        let records: Vec<Record> = waiting.drain(..count).collect();
        self.buffered.0 -= count;
        self.buffered.1 -= bytes;
        Some(records)
    }

    fn forget(&mut self, records: &VecDeque<Record>) {
        self.buffered.0 -= records.len();
        self.buffered.1 -= records.iter().map(size).sum::<usize>();
    }

    /// Keeps a record that came, and whatever else is there already.
    fn gather(&mut self, client: &Client, first: &BorrowedMessage<'_>) -> Option<KafkaError> {
        self.keep(first);
        let mut stream = client.stream();
        while self.buffered.0 < BUFFER_RECORDS && self.buffered.1 < BUFFER_BYTES {
            match stream.next().now_or_never().flatten() {
                Some(Ok(message)) => self.keep(&message),
                Some(Err(error)) => return Some(error),
                None => return None,
            }
        }
        None
    }

    fn keep(&mut self, message: &BorrowedMessage<'_>) {
        let Ok(index) = u32::try_from(message.partition()) else {
            return;
        };
        let partition = self.partition(index);
        let Some(part) = self.parts.get_mut(&index) else {
            return;
        };
        let record = reader::record(partition, message);
        // What was under way before a seek is not asked for any more.
        if record.offset < part.next {
            return;
        }
        part.next = record.offset + 1;
        self.buffered.0 += 1;
        self.buffered.1 += size(&record);
        part.records.push_back(record);
    }

    /// Decides about an error: what the client mends by itself is only waited for.
    async fn failed(&mut self, error: KafkaError) -> Result<(), Error> {
        let code = match &error {
            KafkaError::MessageConsumption(code) => *code,
            _ => return Err(told(&error)),
        };
        match code {
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
                for (index, part) in &self.parts {
                    let (start, end) = self.reader.range(self.partition(*index)).await?;
                    if part.next < start {
                        return Err(Error::OutOfRange {
                            asked: part.next,
                            start,
                        });
                    }
                    if part.next > end {
                        // Joining anew finds out what happened to it.
                        return Err(told(&error));
                    }
                }
                Err(told(&error))
            }
            RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::Fatal => Err(told(&error)),
            _ => {
                tracing::debug!(group = self.group.name(), %error, "kafka consumer");
                tokio::time::sleep(ERROR_PAUSE).await;
                Ok(())
            }
        }
    }

    /// A stream that brings nothing although there is something says nothing about it either.
    async fn look_for_stall(&mut self) -> Result<(), Error> {
        if Instant::now() < self.stall.look_at {
            return Ok(());
        }
        self.stall.look_at = Instant::now() + STALL_LOOK;
        let mut seen = BTreeMap::new();
        for (index, part) in &self.parts {
            let (_, end) = self.reader.range(self.partition(*index)).await?;
            if let Some((next, before)) = self.stall.seen.get(index)
                && *next == part.next
                && *before > part.next
            {
                return Err(Error::Unavailable(format!(
                    "partition {index} has stood still at {next} for {} s with records to {before}",
                    STALL_LOOK.as_secs()
                )));
            }
            seen.insert(*index, (part.next, end));
        }
        self.stall.seen = seen;
        Ok(())
    }

    /// Ends the client on a thread of its own: its end waits for the brokers.
    fn part_ways(&mut self) -> Option<oneshot::Receiver<()>> {
        let client = self.client.take()?;
        let (done, left) = oneshot::channel();
        let rebalance = self.rebalance.clone();
        let topic = self.topic.clone();
        std::thread::spawn(move || {
            rebalance.leave(&*client, &topic);
            drop(client);
            // Nobody waits when the process ends.
            let _ = done.send(());
        });
        Some(left)
    }
}

impl Stall {
    fn new() -> Self {
        Self {
            look_at: Instant::now() + STALL_LOOK,
            seen: BTreeMap::new(),
        }
    }
}

fn size(record: &Record) -> usize {
    record.key.len() + record.value.len()
}

#[async_trait]
impl Consumer for Member {
    async fn poll(&mut self, limits: PollLimits) -> Result<Polled, Error> {
        let deadline = Instant::now() + Duration::from_millis(limits.wait_ms);
        let client = self.client()?;
        loop {
            // Served first, also while records wait: the group waits for the answer.
            if let Some(change) = self.rebalance.next() {
                return self.change(change).await;
            }
            if let Some(records) = self.take(limits) {
                self.stall.look_at = Instant::now() + STALL_LOOK;
                self.stall.seen.clear();
                // Events of the group are served by polling, whatever is in the buffer.
                if let Some(Ok(message)) = client.recv().now_or_never() {
                    self.keep(&message);
                }
                return Ok(Polled::Records(records));
            }
            let came = tokio::select! {
                biased;
                () = self.rebalance.changed() => continue,
                came = timeout_at(deadline, client.recv()) => came,
            };
            let error = match came {
                Err(_) => {
                    self.look_for_stall().await?;
                    return Ok(Polled::Idle);
                }
                Ok(Ok(message)) => self.gather(&client, &message),
                Ok(Err(error)) => Some(error),
            };
            if let Some(error) = error {
                self.failed(error).await?;
                if Instant::now() >= deadline {
                    return Ok(Polled::Idle);
                }
            }
        }
    }

    async fn seek(&mut self, partition: PartitionId, offset: u64) -> Result<(), Error> {
        let ours = self.parts.get_mut(&partition.index);
        let Some(part) = ours.filter(|_| partition.topic == self.group.topic()) else {
            return Err(Error::Unavailable(
                "the partition belongs to somebody else by now".into(),
            ));
        };
        let first = part
            .records
            .front()
            .map_or(part.next, |record| record.offset);
        if first == offset {
            part.sought = true;
            return Ok(());
        }
        let (start, _) = self.reader.range(partition).await?;
        if offset < start {
            return Err(Error::OutOfRange {
                asked: offset,
                start,
            });
        }
        let client = self.client()?;
        let list = reader::at(&self.topic, partition, offset)?;
        let sought = blocking(ASK_TIMEOUT * 2, move || {
            client.seek_partitions(list, ASK_TIMEOUT)
        })
        .await?
        .map_err(|error| told(&error))?;
        for element in sought.elements() {
            element.error().map_err(|error| told(&error))?;
        }
        if let Some(part) = self.parts.get_mut(&partition.index) {
            let stale = std::mem::take(&mut part.records);
            part.next = offset;
            part.sought = true;
            self.forget(&stale);
        }
        Ok(())
    }

    async fn commit(&mut self, partition: PartitionId, next: u64) -> Result<(), Error> {
        let list = reader::at(&self.topic, partition, next)?;
        // Sent in the background, and before the partition is given away. It is for display: what is
        // lost of it is made good by the next one.
        if let Err(error) = self.client()?.commit(&list, CommitMode::Async) {
            tracing::debug!(group = self.group.name(), %error, "a commit was not sent");
        }
        Ok(())
    }

    async fn leave(mut self: Box<Self>) {
        if let Some(left) = self.part_ways()
            && tokio::time::timeout(LEAVE_TIMEOUT, left).await.is_err()
        {
            tracing::warn!(
                group = self.group.name(),
                "leaving the group takes long and is not waited for"
            );
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.part_ways();
    }
}
