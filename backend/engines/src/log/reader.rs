//! Reading outside of any group: ranges, single stretches of a partition, facts about the cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chat_core::port::log::{Error, Group, PartitionId, PollLimits, Record, Topic};
use chat_wire::time::Timestamp;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer as _, DefaultConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::client::{ASK_TIMEOUT, GLANCE_TIMEOUT, Names, blocking, index, told};
use super::headers;

/// Idle readers that are kept.
const IDLE: usize = 4;
/// How long partitions may not be found before other clients ask for them.
const LOST: Duration = Duration::from_secs(5);
/// How long one stretch may take to come.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that is in no group and may be assigned any partition.
type Client = BaseConsumer<DefaultConsumerContext>;

/// Reads whatever partition it is asked for.
pub(super) struct Reader {
    names: Names,
    config: ClientConfig,
    /// Asks questions and reads nothing.
    asker: Mutex<Arc<Client>>,
    /// Since when partitions were not found; `None` since one was.
    lost_since: Mutex<Option<Instant>>,
    /// With the topic that each has read: a client that turns to another topic waits up to a second
    /// for its own timer to look where that one is, and a new client looks at once.
    idle: Arc<Mutex<Vec<(Topic, Client)>>>,
}

/// A topic as the brokers see it.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) partitions: Vec<Part>,
}

/// A partition as the brokers see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) has_leader: bool,
    pub(super) replicas: usize,
    pub(super) in_sync: usize,
}

impl Reader {
    pub(super) fn new(names: &Names) -> KafkaResult<Self> {
        let mut config = names.base();
        // The client assigns nothing without a name, although it joins no group and commits nothing.
        config.set("group.id", names.reader());
        config.set("enable.auto.commit", "false");
        config.set("auto.offset.reset", "error");
        config.set("allow.auto.create.topics", "false");
        // The end is told by an empty answer, so an empty answer should not be waited for.
        config.set("enable.partition.eof", "true");
        config.set("fetch.wait.max.ms", "5");
        config.set("queued.max.messages.kbytes", "8192");
        Ok(Self {
            names: names.clone(),
            asker: Mutex::new(Arc::new(config.create()?)),
            lost_since: Mutex::default(),
            config,
            idle: Arc::default(),
        })
    }

    fn asker(&self) -> Arc<Client> {
        Arc::clone(&self.asker.lock())
    }

    /// Has other clients take the place of those that have not found a partition for long: brokers that lost their
    /// data have leaders of earlier epochs, and a client passes over these as long as it remembers later ones
    /// (librdkafka 2.12, `rd_kafka_toppar_leader_update`).
    fn note_found(&self, found: bool) {
        let mut lost_since = self.lost_since.lock();
        if found {
            *lost_since = None;
            return;
        }
        let since = *lost_since.get_or_insert_with(Instant::now);
        if since.elapsed() < LOST {
            return;
        }
        *lost_since = None;
        match self.config.create() {
            Ok(new) => {
                tracing::warn!(
                    "the brokers were not understood for long; they are asked by a new client"
                );
                let old = std::mem::replace(&mut *self.asker.lock(), Arc::new(new));
                let idle = std::mem::take(&mut *self.idle.lock());
                // The end of a client waits for its threads.
                std::thread::spawn(move || drop((old, idle)));
            }
            Err(error) => tracing::warn!(%error, "no new client can be made to ask the brokers"),
        }
    }

    /// The name that the cluster gave itself.
    pub(super) async fn cluster(&self) -> Result<String, Error> {
        let asker = self.asker();
        let cluster = blocking(ASK_TIMEOUT * 2, move || {
            asker.client().fetch_cluster_id(ASK_TIMEOUT)
        })
        .await?;
        cluster.ok_or_else(|| Error::Unavailable("no broker answers".into()))
    }

    /// How many brokers there are.
    pub(super) async fn brokers(&self) -> Result<usize, Error> {
        let asker = self.asker();
        let metadata = blocking(ASK_TIMEOUT * 2, move || {
            asker.fetch_metadata(None, ASK_TIMEOUT)
        })
        .await?;
        metadata
            .map(|metadata| metadata.brokers().len())
            .map_err(|error| told(&error))
    }

    /// How many partitions a topic has in Kafka; `None` where it does not exist.
    pub(super) async fn count(&self, topic: Topic) -> Result<Option<u32>, Error> {
        let asker = self.asker();
        let name = self.names.topic(topic);
        let metadata = blocking(ASK_TIMEOUT * 2, move || {
            asker.fetch_metadata(Some(&name), ASK_TIMEOUT)
        })
        .await?
        .map_err(|error| told(&error))?;
        let Some(found) = metadata.topics().first() else {
            return Ok(None);
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(u32::try_from(found.partitions().len())
                .ok()
                .filter(|count| *count > 0)),
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition,
            ) => Ok(None),
            Some(code) => Err(Error::Unavailable(format!(
                "topic {}: {code}",
                found.name()
            ))),
        }
    }

    /// The numbers of the brokers, and what our topics look like to them.
    pub(super) async fn shapes(&self) -> Result<(Vec<i32>, Vec<Shape>), Error> {
        let asker = self.asker();
        let metadata = blocking(ASK_TIMEOUT, move || asker.fetch_metadata(None, ASK_TIMEOUT));
        let metadata = metadata.await?.map_err(|error| told(&error))?;
        let ours = Topic::ALL.map(|topic| self.names.topic(topic));
        let topics = metadata.topics().iter();
        let topics = topics.filter(|topic| ours.iter().any(|name| name == topic.name()));
        let shapes = topics.map(|topic| Shape {
            name: topic.name().to_owned(),
            partitions: topic
                .partitions()
                .iter()
                .map(|partition| Part {
                    has_leader: partition.leader() >= 0,
                    replicas: partition.replicas().len(),
                    in_sync: partition.isr().len(),
                })
                .collect(),
        });
        let brokers = metadata.brokers().iter().map(|broker| broker.id());
        Ok((brokers.collect(), shapes.collect()))
    }

    /// For each partition the offset of its first record that is not older than `since`, in
    /// milliseconds since 1970; its end where none is.
    pub(super) async fn first_since(
        &self,
        partitions: &[PartitionId],
        since: i64,
    ) -> Result<Vec<(PartitionId, u64)>, Error> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            let name = self.names.topic(partition.topic);
            list.add_partition_offset(&name, index(*partition), Offset::Offset(since))
                .map_err(|error| told(&error))?;
        }
        let asker = self.asker();
        let found = blocking(ASK_TIMEOUT, move || {
            asker.offsets_for_times(list, ASK_TIMEOUT)
        });
        let found = found.await?.map_err(|error| told(&error))?;
        let mut begins = Vec::new();
        for partition in partitions {
            let name = self.names.topic(partition.topic);
            let offset = match found.find_partition(&name, index(*partition)) {
                Some(one) => one.offset(),
                None => continue,
            };
            begins.push((
                *partition,
                match offset {
                    Offset::Offset(offset) => u64::try_from(offset).unwrap_or(0),
                    // No record is so young.
                    _ => self.range(*partition).await?.1,
                },
            ));
        }
        Ok(begins)
    }

    /// First offset that exists and the next one, asked of the brokers now.
    pub(super) async fn range(&self, partition: PartitionId) -> Result<(u64, u64), Error> {
        let asker = self.asker();
        let name = self.names.topic(partition.topic);
        let range = blocking(ASK_TIMEOUT * 2, move || {
            asker.fetch_watermarks(&name, index(partition), ASK_TIMEOUT)
        })
        .await?;
        let range = range.map_err(|error| told(&error));
        self.note_found(range.is_ok());
        let (start, end) = range?;
        Ok((
            u64::try_from(start).unwrap_or(0),
            u64::try_from(end).unwrap_or(0),
        ))
    }

    /// The same of all partitions of a topic: two questions to each broker that leads some of them.
    pub(super) async fn ranges(&self, topic: Topic, count: u32) -> Result<Vec<(u64, u64)>, Error> {
        let name = self.names.topic(topic);
        let ask = |offset| {
            let (asker, name) = (self.asker(), name.clone());
            blocking(GLANCE_TIMEOUT * 2, move || {
                edges(&asker, &name, count, offset)
            })
        };
        let (starts, ends) = tokio::try_join!(ask(Offset::Beginning), ask(Offset::End))?;
        self.note_found(starts.is_ok() && ends.is_ok());
        let (starts, ends) = (starts?, ends?);
        let both = starts.into_iter().zip(ends);
        // The two were asked at once: what retention removed meanwhile is no record that exists.
        Ok(both.map(|(start, end)| (start.min(end), end)).collect())
    }

    /// Members of a group, as its coordinator knows them.
    pub(super) async fn members(&self, group: Group) -> Result<u32, Error> {
        let asker = self.asker();
        let name = self.names.group(group);
        let found = blocking(GLANCE_TIMEOUT * 2, move || {
            let list = asker.fetch_group_list(Some(&name), GLANCE_TIMEOUT)?;
            let members = list.groups().iter().find(|group| group.name() == name);
            Ok(members.map_or(0, |group| group.members().len()))
        })
        .await?;
        found
            .map(|members| u32::try_from(members).unwrap_or(u32::MAX))
            .map_err(|error: KafkaError| told(&error))
    }

    /// Records from an offset on; empty at the end.
    pub(super) async fn read(
        &self,
        partition: PartitionId,
        from: u64,
        limits: PollLimits,
    ) -> Result<Vec<Record>, Error> {
        let (start, end) = self.range(partition).await?;
        if from < start {
            return Err(Error::OutOfRange { asked: from, start });
        }
        if from >= end {
            return Ok(Vec::new());
        }
        let name = self.names.topic(partition.topic);
        let idle = Arc::clone(&self.idle);
        let config = self.config.clone();
        blocking(READ_TIMEOUT * 2, move || {
            let parked = {
                let mut idle = idle.lock();
                let at = idle.iter().position(|(topic, _)| *topic == partition.topic);
                at.map(|at| idle.swap_remove(at).1)
            };
            let client = match parked {
                Some(client) => client,
                None => config.create().map_err(|error| told(&error))?,
            };
            let stretch = stretch(&client, &name, partition, from, end, limits)?;
            // Only one that did well is used again.
            client.unassign().map_err(|error| told(&error))?;
            let evicted = {
                let mut idle = idle.lock();
                idle.push((partition.topic, client));
                (idle.len() > IDLE).then(|| idle.remove(0))
            };
            // Its end waits for its threads, and nobody should wait for the lock meanwhile.
            drop(evicted);
            Ok(stretch)
        })
        .await?
    }
}

/// Where each partition of a topic begins or ends.
///
/// The question for offsets by time takes the two times that no record has, -2 and -1, for the first
/// offset and the next one, and asks for all partitions of a broker at once.
fn edges(client: &Client, name: &str, count: u32, edge: Offset) -> Result<Vec<u64>, Error> {
    let partitions = usize::try_from(count).unwrap_or(usize::MAX);
    let mut list = TopicPartitionList::with_capacity(partitions);
    for index in 0..i32::try_from(count).unwrap_or(i32::MAX) {
        list.add_partition_offset(name, index, edge)
            .map_err(|error| told(&error))?;
    }
    let found = client
        .offsets_for_times(list, GLANCE_TIMEOUT)
        .map_err(|error| told(&error))?;
    let mut edges = vec![None; partitions];
    for element in found.elements() {
        element.error().map_err(|error| told(&error))?;
        let at = usize::try_from(element.partition()).ok();
        let offset = element.offset().to_raw();
        if let Some(edge) = at.and_then(|at| edges.get_mut(at)) {
            *edge = offset.and_then(|offset| u64::try_from(offset).ok());
        }
    }
    let unknown = || Error::Unavailable(format!("{name}: a partition was not answered for"));
    edges
        .into_iter()
        .map(|edge| edge.ok_or_else(unknown))
        .collect()
}

/// Reads until a limit or the end that was known when we began.
fn stretch(
    client: &Client,
    name: &str,
    partition: PartitionId,
    from: u64,
    end: u64,
    limits: PollLimits,
) -> Result<Vec<Record>, Error> {
    let assignment = at(name, partition, from)?;
    client.assign(&assignment).map_err(|error| told(&error))?;
    let deadline = Instant::now() + READ_TIMEOUT;
    let (mut records, mut bytes) = (Vec::new(), 0);
    while records.len() < limits.records && bytes < limits.bytes {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match client.poll(left) {
            Some(Ok(message)) => {
                let record = record(partition, &message);
                if record.offset < from {
                    continue;
                }
                let last = record.offset + 1 >= end;
                bytes += record.key.len() + record.value.len();
                records.push(record);
                if last {
                    return Ok(records);
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(records),
            Some(Err(error)) => match error.rdkafka_error_code() {
                // The client mends its connections itself, as long as there is time.
                Some(
                    RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::OperationTimedOut,
                ) => {}
                _ => return Err(told(&error)),
            },
            None => {}
        }
    }
    if records.is_empty() && limits.records > 0 {
        return Err(Error::Unavailable(
            "the brokers sent no record that they have".into(),
        ));
    }
    Ok(records)
}

/// A list of one partition at an offset.
pub(super) fn at(
    name: &str,
    partition: PartitionId,
    offset: u64,
) -> Result<TopicPartitionList, Error> {
    let mut list = TopicPartitionList::with_capacity(1);
    let offset = Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
    list.add_partition_offset(name, index(partition), offset)
        .map_err(|error| told(&error))?;
    Ok(list)
}

/// A record as the port has it.
pub(super) fn record(partition: PartitionId, message: &BorrowedMessage<'_>) -> Record {
    let appended_at = message
        .timestamp()
        .to_millis()
        .and_then(|millis| Timestamp::from_micros(millis.saturating_mul(1_000)).ok());
    Record {
        partition,
        offset: u64::try_from(message.offset()).unwrap_or_default(),
        // The same at every read, also of a record without a time: the fingerprint is made of it.
        appended_at: appended_at.unwrap_or(Timestamp::UNIX_EPOCH),
        key: message
            .key()
            .map(Bytes::copy_from_slice)
            .unwrap_or_default(),
        headers: headers::decode(message.headers()),
        value: message
            .payload()
            .map(Bytes::copy_from_slice)
            .unwrap_or_default(),
    }
}
