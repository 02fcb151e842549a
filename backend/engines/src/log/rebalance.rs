//! What the group gives and takes, from the client's callbacks to the consumer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::Notify;

use super::client;

/// Partitions that come or go, once the consumer has answered: it has to look up where to begin, and to bring
/// to an end what is at work. The group waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Ours once they are assigned.
    Assigned(Vec<u32>),
    /// Ours until they are given back.
    Revoked(Vec<u32>),
}

/// Changes in order.
#[derive(Clone, Default)]
pub(super) struct Rebalance {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    changes: Mutex<VecDeque<Change>>,
    changed: Notify,
    leaving: AtomicBool,
}

impl Rebalance {
    /// The next change, if there is one. It stays the next one until it was [`Rebalance::served`]:
    /// whoever serves it may be interrupted, and the group waits for the answer all the same.
    pub(super) fn next(&self) -> Option<Change> {
        self.inner.changes.lock().front().cloned()
    }

    /// The next change was answered.
    pub(super) fn served(&self) {
        self.inner.changes.lock().pop_front();
    }

    /// Waits for a change.
    pub(super) async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    /// Answers what was asked and not answered: a group that waits for us lets nobody go.
    pub(super) fn leave<C: Consumer<Self>>(&self, consumer: &C, topic: &str) {
        self.inner.leaving.store(true, Ordering::SeqCst);
        while let Some(change) = self.next() {
            self.served();
            let answered = match change {
                Change::Assigned(indexes) => assign(consumer, &list(topic, &indexes)),
                Change::Revoked(indexes) => unassign(consumer, &list(topic, &indexes)),
            };
            if let Err(error) = answered {
                tracing::debug!(%error, "a change of the group could not be answered");
            }
        }
    }

    fn push(&self, change: Change) {
        self.inner.changes.lock().push_back(change);
        self.inner.changed.notify_one();
    }
}

impl ClientContext for Rebalance {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka consumer");
    }
}

impl ConsumerContext for Rebalance {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let elements = list.elements();
        let indexes = elements
            .iter()
            .filter_map(|element| u32::try_from(element.partition()).ok());
        let indexes: Vec<u32> = indexes.collect();
        let comes = matches!(event, RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS);
        let answered = match (self.inner.leaving.load(Ordering::SeqCst), comes) {
            (true, true) => consumer.incremental_assign(list),
            (true, false) => consumer.incremental_unassign(list),
            (false, true) => return self.push(Change::Assigned(indexes)),
            (false, false) => return self.push(Change::Revoked(indexes)),
        };
        if let Err(error) = answered {
            tracing::warn!(%error, "a change of the group could not be answered");
        }
    }
}

/// These partitions, wherever they are read from.
pub(super) fn list(topic: &str, indexes: &[u32]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(indexes.len());
    for index in indexes {
        list.add_partition(topic, i32::try_from(*index).unwrap_or(i32::MAX));
    }
    list
}

/// Tells the client which partitions are ours, those aside of which it was told before: whoever told
/// it then did not wait for the answer.
pub(super) fn assign<C: Consumer<Rebalance>>(
    client: &C,
    list: &TopicPartitionList,
) -> KafkaResult<()> {
    let known = client.assignment()?;
    let mut new = TopicPartitionList::with_capacity(list.count());
    for element in list.elements() {
        let (topic, partition) = (element.topic(), element.partition());
        if known.find_partition(topic, partition).is_none() {
            new.add_partition_offset(topic, partition, element.offset())?;
        }
    }
    client.incremental_assign(&new)
}

/// Gives partitions back, those aside that were given back before: the client refuses all of them because of
/// one that it does not have.
pub(super) fn unassign<C: Consumer<Rebalance>>(
    client: &C,
    list: &TopicPartitionList,
) -> KafkaResult<()> {
    let known = client.assignment()?;
    let mut old = TopicPartitionList::with_capacity(list.count());
    for element in list.elements() {
        let (topic, partition) = (element.topic(), element.partition());
        if known.find_partition(topic, partition).is_some() {
            old.add_partition(topic, partition);
        }
    }
    client.incremental_unassign(&old)
}
