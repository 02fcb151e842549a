//! The log port on Kafka: one idempotent producer, a consumer for each member, positions in the store.

mod buffer;
mod client;
mod consumer;
mod examine;
mod headers;
mod identity;
mod partitioner;
mod producer;
mod reader;
mod rebalance;
mod topics;

use std::sync::Arc;

use async_trait::async_trait;
use chat_core::port::log::{
    Appended, Consumer, Error, Group, Log, LogId, NewRecord, PartitionId, PollLimits, Record, Topic,
};

use self::client::{Names, told};
use self::consumer::Member;
use self::identity::Identity;
use self::producer::Producer;
use self::reader::Reader;
use crate::config::Config;
use crate::store::Rows;

/// The events of one cluster.
pub(crate) struct Events {
    names: Names,
    partitions: [u32; Topic::ALL.len()],
    producer: Arc<Producer>,
    reader: Arc<Reader>,
    identity: Arc<Identity>,
}

impl Events {
    /// Reaches the cluster and checks the topics.
    pub(crate) async fn connect(
        config: &Config,
        rows: Arc<Rows>,
    ) -> Result<Self, crate::error::Error> {
        let names = Names::new(config);
        let unusable = |error: rdkafka::error::KafkaError| topics::client(&setting(&error));
        let reader = Arc::new(Reader::new(&names).map_err(unusable)?);
        reader.cluster().await.map_err(|_| topics::not_up(config))?;
        let partitions = topics::check(&names, &reader, &rows).await?;
        Ok(Self {
            producer: Producer::new(&names, config.create_deadline).map_err(unusable)?,
            identity: Arc::new(Identity::new(rows, Arc::clone(&reader))),
            names,
            partitions,
            reader,
        })
    }

    /// Makes the topics that are missing.
    pub(crate) async fn migrate(config: &Config, rows: &Rows) -> Result<(), crate::error::Error> {
        let names = Names::new(config);
        let reader = Reader::new(&names).map_err(|error| topics::client(&setting(&error)))?;
        topics::migrate(config, &names, &reader, rows).await
    }

    /// Waits for what is under way.
    pub(crate) async fn close(&self) {
        self.producer.close().await;
    }

    fn place(&self, topic: Topic, key: &[u8]) -> PartitionId {
        PartitionId {
            topic,
            index: partitioner::partition(key, self.partitions[topic as usize]),
        }
    }
}

/// An error about a setting, without the value that may be a secret.
fn setting(error: &rdkafka::error::KafkaError) -> String {
    match error {
        rdkafka::error::KafkaError::ClientConfig(_, problem, name, _) => {
            format!("librdkafka does not take setting {name}: {problem}")
        }
        other => other.to_string(),
    }
}

#[async_trait]
impl Log for Events {
    async fn append(&self, topic: Topic, record: NewRecord) -> Result<Appended, Error> {
        let partition = self.place(topic, &record.key);
        self.producer.append(partition, record).await
    }

    async fn join(&self, group: Group) -> Result<Box<dyn Consumer>, Error> {
        let identity = Arc::clone(&self.identity);
        let reader = Arc::clone(&self.reader);
        let member = Member::join(&self.names, group, identity, reader);
        Ok(Box::new(member.map_err(|error| told(&error))?))
    }

    async fn partitions(&self, topic: Topic) -> Result<u32, Error> {
        Ok(self.partitions[topic as usize])
    }

    async fn partition_of(&self, topic: Topic, key: &[u8]) -> Result<PartitionId, Error> {
        Ok(self.place(topic, key))
    }

    async fn range(&self, partition: PartitionId) -> Result<(u64, u64), Error> {
        self.reader.range(partition).await
    }

    async fn ranges(&self, topic: Topic) -> Result<Vec<(u64, u64)>, Error> {
        let count = self.partitions[topic as usize];
        self.reader.ranges(topic, count).await
    }

    async fn members(&self, group: Group) -> Result<u32, Error> {
        self.reader.members(group).await
    }

    async fn read(
        &self,
        partition: PartitionId,
        from: u64,
        limits: PollLimits,
    ) -> Result<Vec<Record>, Error> {
        self.reader.read(partition, from, limits).await
    }

    async fn identity(&self) -> Result<LogId, Error> {
        self.identity.log_id().await
    }

    async fn epoch(&self, topic: Topic) -> Result<u32, Error> {
        self.identity.epoch(topic).await
    }

    async fn raise_epoch(&self, topic: Topic, above: u32) -> Result<u32, Error> {
        self.identity.raise(topic, above).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.reader.brokers().await.map(drop)
    }
}
