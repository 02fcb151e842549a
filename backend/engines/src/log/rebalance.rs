//! What the group gives and takes, from the client's callbacks to the consumer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::Notify;

use super::client;

/// Partitions that came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Ours once they are assigned, which is left to the consumer: it has to look up where to begin.
    Assigned(Vec<u32>),
    /// No longer ours.
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
            if let Change::Assigned(indexes) = change {
                let mut list = TopicPartitionList::with_capacity(indexes.len());
                for index in indexes {
                    list.add_partition(topic, i32::try_from(index).unwrap_or(i32::MAX));
                }
                if let Err(error) = consumer.incremental_assign(&list) {
                    tracing::debug!(%error, "an assignment could not be answered");
                }
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
        let answered = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS
                if self.inner.leaving.load(Ordering::SeqCst) =>
            {
                consumer.incremental_assign(list)
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.push(Change::Assigned(indexes));
                Ok(())
            }
            _ => {
                self.push(Change::Revoked(indexes));
                consumer.incremental_unassign(list)
            }
        };
        if let Err(error) = answered {
            tracing::warn!(%error, "a change of the group could not be answered");
        }
    }
}
