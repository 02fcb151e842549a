//! One member of a group. Kafka shares out the partitions; where to read on comes from the store.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::port::log::{Consumer, Error, Group, PartitionId, PollLimits, Polled, Record};
use futures_util::{FutureExt, StreamExt};
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, TopicPartitionList};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::buffer::Buffer;
use super::client::{ASK_TIMEOUT, Names, blocking, told};
use super::identity::Identity;
use super::reader::{self, Reader};
use super::rebalance::{Change, Rebalance, assign, list, unassign};

/// A member that does not poll for so long is taken for dead by the group.
const MAX_POLL_INTERVAL_MS: &str = "60000";
/// A process that does not answer for so long is taken for dead by the group.
const SESSION_TIMEOUT_MS: &str = "10000";
/// A heartbeat is how a member hears that the group shares out anew, and until all have heard it a
/// partition that moves stands still.
const HEARTBEAT_MS: &str = "1000";
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
    buffer: Buffer,
    /// What was met beside records that nobody has asked for yet; the next poll sees to it.
    met: Option<KafkaError>,
    /// Partitions that have stopped, to be told of.
    gone: VecDeque<Polled>,
    stall: Stall,
}

/// Looks for a stream that has gone silent.
struct Stall {
    look_at: Instant,
    /// Where each partition stood and ended at the last look.
    seen: BTreeMap<u32, (u64, u64)>,
}

/// Bytes that a fetch waits for, and milliseconds that it waits at most: rows are read back at once by
/// whoever wrote them, documents are visible with the next refresh of the index anyway.
const fn fetch(group: Group) -> (&'static str, &'static str) {
    match group {
        Group::MessagesIndex => ("262144", "50"),
        Group::MessagesStore => ("65536", "10"),
        Group::ApplicationsStore | Group::ChatsStore => ("1", "500"),
    }
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
        // What is stored after the data is committed once a second, and before partitions are given
        // away. A commit for each batch would be a record for each batch in the broker's own log.
        config.set("enable.auto.commit", "true");
        config.set("auto.commit.interval.ms", "1000");
        config.set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "error");
        config.set("allow.auto.create.topics", "false");
        config.set("session.timeout.ms", SESSION_TIMEOUT_MS);
        config.set("heartbeat.interval.ms", HEARTBEAT_MS);
        config.set("max.poll.interval.ms", MAX_POLL_INTERVAL_MS);
        config.set("fetch.error.backoff.ms", "100");
        // A full queue is filled again at once instead of a second later.
        config.set("fetch.queue.backoff.ms", "5");
        config.set("queued.max.messages.kbytes", "16384");
        // Without a least amount the broker answers for every record that comes, and most of its time,
        // and of the worker's, goes into answers of one record. At low rates this is the longest delay.
        let (bytes, millis) = fetch(group);
        for (name, value) in [("fetch.min.bytes", bytes), ("fetch.wait.max.ms", millis)] {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
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
            buffer: Buffer::default(),
            met: None,
            gone: VecDeque::new(),
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

    /// Takes over what the group gave, or gives back what it took. Nothing of a change is kept before
    /// all of it is done.
    async fn change(&mut self, change: Change) -> Result<Polled, Error> {
        match change {
            Change::Revoked(indexes) => {
                let list = list(&self.topic, &indexes);
                let client = self.client()?;
                blocking(ASK_TIMEOUT * 2, move || unassign(&*client, &list))
                    .await?
                    .map_err(|error| told(&error))?;
                self.gone.retain(|gone| {
                    !matches!(gone, Polled::Gone { partition, .. } if indexes.contains(&partition.index))
                });
                for index in &indexes {
                    self.buffer.remove(*index);
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
                let mut parts = Vec::with_capacity(indexes.len());
                for index in &indexes {
                    let partition = self.partition(*index);
                    let position = self.identity.position(self.group, partition).await?;
                    let next = position.next;
                    let one = reader::at(&self.topic, partition, next)?;
                    for element in one.elements() {
                        list.add_partition_offset(
                            &self.topic,
                            element.partition(),
                            element.offset(),
                        )
                        .map_err(|error| told(&error))?;
                    }
                    parts.push((*index, next));
                }
                let client = self.client()?;
                blocking(ASK_TIMEOUT * 2, move || assign(&*client, &list))
                    .await?
                    .map_err(|error| told(&error))?;
                for (index, next) in parts {
                    self.buffer.add(index, next);
                }
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

    /// Keeps what is there already, up to so many records. Also hears of the events of the group, which come by
    /// polling.
    fn gather(&mut self, client: &Client, records: usize) -> Option<KafkaError> {
        let mut stream = client.stream();
        for _ in 0..records {
            if self.buffer.is_full() {
                break;
            }
            match stream.next().now_or_never().flatten() {
                Some(Ok(message)) => self.keep(&message),
                Some(Err(error)) => return Some(error),
                None => break,
            }
        }
        None
    }

    fn keep(&mut self, message: &BorrowedMessage<'_>) {
        if let Ok(index) = u32::try_from(message.partition()) {
            let record = reader::record(self.partition(index), message);
            self.buffer.keep(record);
        }
    }

    /// Decides about an error: what the client mends by itself is only waited for.
    async fn failed(&mut self, error: KafkaError) -> Result<(), Error> {
        let code = match &error {
            KafkaError::MessageConsumption(code) => *code,
            _ => return Err(told(&error)),
        };
        match code {
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
                // The error does not say whose it is. The client has stopped that partition by itself,
                // and goes on with the others.
                let positions: Vec<(u32, u64)> = self.buffer.positions().collect();
                let before = self.gone.len();
                for (index, asked) in positions {
                    let partition = self.partition(index);
                    let (start, _) = self.reader.range(partition).await?;
                    if asked < start {
                        self.buffer.stop(index);
                        self.gone.push_back(Polled::Gone {
                            partition,
                            asked,
                            start,
                        });
                    }
                }
                if self.gone.len() > before {
                    return Ok(());
                }
                // Joining anew finds out what happened.
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
        for (index, next) in self.buffer.positions() {
            let (_, end) = self.reader.range(self.partition(index)).await?;
            if let Some((stood, before)) = self.stall.seen.get(&index)
                && *stood == next
                && *before > next
            {
                return Err(Error::Unavailable(format!(
                    "partition {index} has stood still at {next} for {} s with records to {before}",
                    STALL_LOOK.as_secs()
                )));
            }
            seen.insert(index, (next, end));
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

#[async_trait]
impl Consumer for Member {
    async fn poll(&mut self, limits: PollLimits) -> Result<Polled, Error> {
        let deadline = Instant::now() + Duration::from_millis(limits.wait_ms);
        let client = self.client()?;
        loop {
            // Served first, also while records wait: the group waits for the answer.
            if let Some(change) = self.rebalance.next() {
                let polled = self.change(change).await?;
                self.rebalance.served();
                return Ok(polled);
            }
            // Before anything is handed out: a batch is what is there, not what came first.
            let met = self.met.take();
            if let Some(error) = met.or_else(|| self.gather(&client, limits.records)) {
                self.failed(error).await?;
                if Instant::now() >= deadline && self.gone.is_empty() {
                    return Ok(Polled::Idle);
                }
            }
            if self.rebalance.next().is_some() {
                continue;
            }
            if let Some(gone) = self.gone.pop_front() {
                return Ok(gone);
            }
            if let Some(records) = self.buffer.take(limits) {
                self.stall.look_at = Instant::now() + STALL_LOOK;
                self.stall.seen.clear();
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
                Ok(Ok(message)) => {
                    self.keep(&message);
                    None
                }
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

    async fn waiting(&mut self, limits: PollLimits) -> Result<Vec<Record>, Error> {
        if self.met.is_none() {
            let client = self.client()?;
            self.met = self.gather(&client, limits.records);
        }
        // A change that is known comes first.
        if self.rebalance.next().is_some() {
            return Ok(Vec::new());
        }
        Ok(self.buffer.take(limits).unwrap_or_default())
    }

    async fn seek(&mut self, partition: PartitionId, offset: u64) -> Result<(), Error> {
        let stands = self.buffer.stands_at(partition.index, offset);
        match stands.filter(|_| partition.topic == self.group.topic()) {
            None => {
                return Err(Error::Unavailable(
                    "the partition belongs to somebody else by now".into(),
                ));
            }
            Some(true) => {
                self.buffer.open(partition.index);
                return Ok(());
            }
            Some(false) => {}
        }
        let (start, _) = self.reader.range(partition).await?;
        if offset < start {
            // What the client brings from where it stands now is not what was asked for.
            self.buffer.add(partition.index, offset);
            self.buffer.stop(partition.index);
            return Err(Error::OutOfRange {
                asked: offset,
                start,
            });
        }
        let client = self.client()?;
        let list = reader::at(&self.topic, partition, offset)?;
        let stopped = self.buffer.is_stopped(partition.index);
        let sought = blocking(ASK_TIMEOUT * 2, move || {
            if stopped {
                // The client seeks in no partition that it has given up.
                client.incremental_unassign(&list)?;
                client.incremental_assign(&list)?;
                return Ok(list);
            }
            client.seek_partitions(list, ASK_TIMEOUT)
        })
        .await?
        .map_err(|error: KafkaError| told(&error))?;
        for element in sought.elements() {
            element.error().map_err(|error| told(&error))?;
        }
        self.buffer.add(partition.index, offset);
        self.buffer.open(partition.index);
        Ok(())
    }

    async fn commit(&mut self, partition: PartitionId, next: u64) -> Result<(), Error> {
        let list = reader::at(&self.topic, partition, next)?;
        // It is for display: what is lost of it is made good by the next one.
        if let Err(error) = self.client()?.store_offsets(&list) {
            tracing::debug!(group = self.group.name(), %error, "an offset was not stored");
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
