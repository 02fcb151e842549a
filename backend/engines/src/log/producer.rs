//! Appending: one idempotent producer for the process, built anew when it dies.
//!
//! Of each partition one set of records is under way, and what comes meanwhile goes together in the next. The
//! client would do much the same by itself: it begins a request of a partition only while fewer than five of its
//! records are under way (librdkafka 2.12, `rd_kafka_toppar_producer_serve`), so under load each waits for the
//! one before. But while records wait in it longer than `linger.ms`, its thread looks for them without a pause.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chat_core::port::log::{Appended, Error, NewRecord, PartitionId, Topic};
use parking_lot::{Mutex, RwLock};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};
use rdkafka::{ClientConfig, Message};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::client::{self, DLQ_BYTES, Names, index, told_at_once, told_later};
use super::headers;
use crate::lanes::Lanes;

/// Most appends under way. More are refused at once: their callers' deadlines would be over before
/// their turn comes.
const QUEUE_RECORDS: u32 = 16_384;
/// Bytes of appends under way.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// What the client needs to notice that a deadline is over: it looks once a second.
const NOTICE: Duration = Duration::from_millis(1_500);
/// How long a record waits for company in the client: as long as it takes to hand some dozens over. Its thread
/// sleeps for whole milliseconds, so a record alone waits for one; with none at all the first records of a
/// set would go without the others. A larger set is sent in parts as it comes.
const LINGER_MS: &str = "0.1";
/// How long a set is waited for at most before the next one is handed over: what waits longer than that waits
/// in the client, which gives up on it in time.
const HOLD: Duration = Duration::from_millis(100);
/// Where records come faster than they go, this is from the begin of a set to that of the partition's next for
/// each other partition that has one under way: the broker pays by the request more than by the record.
const PACE: Duration = Duration::from_millis(1);
/// The same at most, however many have one under way.
const PACE_MAX: Duration = Duration::from_millis(5);
/// A set of so many records is worth a request, and whoever sends more once it is durable should not wait for
/// anything else.
const MANY: usize = 32;
/// How long a partition may give up on every record before the producer is built anew. A broker that lost its
/// data knows neither the producer's id nor its sequence numbers, and the client may never come to terms with it
/// (librdkafka 2.12: records time out for minutes, without a fatal error).
const STUCK: Duration = Duration::from_secs(10);
/// How long leaving waits for what is under way.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

type Client = ThreadedProducer<Delivery>;

/// Appends records.
pub(super) struct Producer {
    config: ClientConfig,
    client: RwLock<Client>,
    failing: Arc<Failing>,
    /// The topics' names, made once and not for every append.
    topics: [String; Topic::ALL.len()],
    lanes: Lanes<PartitionId, Pending>,
    records: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// Hears what became of each record.
struct Delivery {
    failing: Arc<Failing>,
}

/// Since when each partition has given up on every record.
#[derive(Default)]
struct Failing(Mutex<HashMap<PartitionId, Instant>>);

impl Failing {
    fn note(&self, partition: PartitionId, failed: bool) {
        let mut failing = self.0.lock();
        match failed {
            true => drop(failing.entry(partition).or_insert_with(Instant::now)),
            false => drop(failing.remove(&partition)),
        }
    }

    /// For how long some partition has been failing, at most.
    fn longest(&self) -> Duration {
        let failing = self.0.lock();
        let longest = failing.values().map(Instant::elapsed).max();
        longest.unwrap_or_default()
    }

    fn forget(&self) {
        self.0.lock().clear();
    }
}

/// Who waits for a record, and the room that it takes.
struct Waiter {
    partition: PartitionId,
    reply: oneshot::Sender<Result<Appended, Error>>,
    _room: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    /// The set that it went with: nothing is ever sent there, it ends with the last who holds it.
    set: Option<Arc<oneshot::Sender<()>>>,
}

/// A record whose turn has not come.
struct Pending {
    record: NewRecord,
    waiter: Box<Waiter>,
}

/// Records that were handed over together.
struct Set {
    began: Instant,
    /// How many, with those that nobody waited for any more.
    records: usize,
    /// Ends when each of them has its outcome.
    done: oneshot::Receiver<()>,
}

impl ClientContext for Delivery {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka producer");
    }
}

impl ProducerContext for Delivery {
    type DeliveryOpaque = Box<Waiter>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiter: Box<Waiter>) {
        self.failing.note(waiter.partition, result.is_err());
        let outcome = match result {
            Ok(message) => Ok(Appended {
                partition: waiter.partition,
                offset: u64::try_from(message.offset()).unwrap_or_default(),
            }),
            Err((error, _)) => Err(told_later(error)),
        };
        // Whoever no longer waits took the outcome for unknown.
        let _ = waiter.reply.send(outcome);
    }
}

impl Producer {
    /// A producer that gives up on a record in time for a deadline.
    pub(super) fn new(names: &Names, deadline: Duration) -> KafkaResult<Arc<Self>> {
        let patience = deadline
            .saturating_sub(NOTICE + HOLD)
            .max(Duration::from_millis(500));
        let mut config = names.base();
        // What is waited for is one write to all in-sync replicas, exactly once and in order.
        config.set("acks", "all");
        config.set("enable.idempotence", "true");
        config.set("message.timeout.ms", patience.as_millis().to_string());
        config.set("message.max.bytes", (DLQ_BYTES + 16 * 1024).to_string());
        config.set(
            "queue.buffering.max.messages",
            (2 * QUEUE_RECORDS).to_string(),
        );
        config.set(
            "queue.buffering.max.kbytes",
            (4 * QUEUE_BYTES / 1024).to_string(),
        );
        if config.get("linger.ms").is_none() {
            config.set("linger.ms", LINGER_MS);
        }
        let failing = Arc::new(Failing::default());
        let delivery = Delivery {
            failing: Arc::clone(&failing),
        };
        Ok(Arc::new(Self {
            client: RwLock::new(config.create_with_context(delivery)?),
            config,
            failing,
            topics: Topic::ALL.map(|topic| names.topic(topic)),
            lanes: Lanes::default(),
            records: Arc::new(Semaphore::new(QUEUE_RECORDS as usize)),
            bytes: Arc::new(Semaphore::new(QUEUE_BYTES)),
        }))
    }

    /// Appends to a partition; returns when all in-sync replicas have the record.
    pub(super) async fn append(
        self: &Arc<Self>,
        partition: PartitionId,
        record: NewRecord,
    ) -> Result<Appended, Error> {
        let size = record.key.len() + record.value.len();
        if size > DLQ_BYTES {
            return Err(Error::Refused(format!(
                "a record of {size} bytes is above the limit of {DLQ_BYTES}"
            )));
        }
        let (reply, answer) = oneshot::channel();
        let waiter = Box::new(Waiter {
            partition,
            reply,
            _room: self.room(size)?,
            set: None,
        });
        if let Some(first) = self.lanes.join(partition, Pending { record, waiter }) {
            // Whoever began it may go away; those who wait would do so for ever.
            tokio::spawn(Arc::clone(self).serve(partition, first));
        }
        answer
            .await
            .unwrap_or_else(|_| Err(Error::Unavailable("the producer was given up".into())))
    }

    /// Hands those over who wait, set by set, until nobody does.
    async fn serve(self: Arc<Self>, partition: PartitionId, first: Pending) {
        let _serving = self.lanes.serving(partition);
        let mut waiting = vec![first];
        while !waiting.is_empty() {
            // Numbers are given out to many at once: the others who got theirs just now are about to come.
            tokio::task::yield_now().await;
            waiting.extend(self.lanes.more(partition));
            let set = self.hand_over(partition, waiting);
            // Either end means the same: it is the turn of the next.
            let _ = timeout(HOLD, set.done).await;
            if (2..MANY).contains(&set.records) {
                let others = self.lanes.under_way().saturating_sub(1);
                let others = u32::try_from(others).unwrap_or(u32::MAX);
                sleep_until(set.began + PACE.saturating_mul(others).min(PACE_MAX)).await;
            }
            waiting = self.lanes.next(partition, usize::MAX);
        }
    }

    /// Hands records to the client, in their order; to a new one where it has died.
    fn hand_over(&self, partition: PartitionId, waiting: Vec<Pending>) -> Set {
        self.rebuild();
        let client = self.client.read();
        let began = Instant::now();
        let records = waiting.len();
        let (held, done) = oneshot::channel();
        let held = Arc::new(held);
        for Pending { record, mut waiter } in waiting {
            // Whoever no longer waits took the outcome for unknown, so there need not be any.
            if waiter.reply.is_closed() {
                continue;
            }
            waiter.set = Some(Arc::clone(&held));
            let base = BaseRecord::with_opaque_to(&self.topics[partition.topic as usize], waiter)
                .partition(index(partition))
                .key(&record.key[..])
                .payload(&record.value[..])
                .headers(headers::encode(&record.headers));
            if let Err((error, refused)) = client.send(base) {
                let _ = refused
                    .delivery_opaque
                    .reply
                    .send(Err(told_at_once(&error)));
            }
        }
        Set {
            began,
            records,
            done,
        }
    }

    fn room(&self, size: usize) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), Error> {
        let full = |reason| {
            Error::NotAppended(match reason {
                TryAcquireError::Closed => "the log is closed".into(),
                TryAcquireError::NoPermits => "too many appends wait for the brokers".into(),
            })
        };
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let record = Arc::clone(&self.records)
            .try_acquire_owned()
            .map_err(full)?;
        let bytes = Arc::clone(&self.bytes)
            .try_acquire_many_owned(size)
            .map_err(full)?;
        Ok((record, bytes))
    }

    /// Why a client is of no use any more: after a fatal error it answers nothing but that error, and one that has
    /// given up on everything for long may never recover.
    fn trouble(&self, client: &Client) -> Option<String> {
        if let Some((code, reason)) = client.client().fatal_error() {
            return Some(format!("{code}: {reason}"));
        }
        let longest = self.failing.longest();
        let is_stuck = longest >= STUCK;
        is_stuck.then(|| format!("no record was acknowledged for {} s", longest.as_secs()))
    }

    /// Has another producer take the place of one that is of no use any more. What it had under way may or may not
    /// be in the log, so its outcome is unknown and not failed.
    fn rebuild(&self) {
        if self.trouble(&self.client.read()).is_none() {
            return;
        }
        let mut client = self.client.write();
        // Another partition's turn may have come before.
        let Some(reason) = self.trouble(&client) else {
            return;
        };
        self.failing.forget();
        let delivery = Delivery {
            failing: Arc::clone(&self.failing),
        };
        match self.config.create_with_context(delivery) {
            Ok(new) => {
                tracing::error!(
                    reason,
                    "the producer is of no use any more, and is built anew"
                );
                let old = std::mem::replace(&mut *client, new);
                // Its end waits for its threads.
                std::thread::spawn(move || drop(old));
            }
            Err(error) => {
                tracing::error!(reason, %error, "the producer is of no use any more, and cannot be built anew");
            }
        }
    }

    /// Takes nothing more and waits for what is under way.
    pub(super) async fn close(&self) {
        self.bytes.close();
        // Whoever asks for all places gets each that comes back, so nobody else gets any.
        let every = self.records.acquire_many(QUEUE_RECORDS);
        let all = timeout(FLUSH_TIMEOUT, every).await;
        self.records.close();
        if all.is_err() {
            tracing::warn!(
                "appends were under way when the log was closed; their outcome is unknown"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use chat_core::port::log::Headers;
    use futures_util::future::join_all;

    use super::*;

    const PLACE: PartitionId = PartitionId {
        topic: Topic::Messages,
        index: 0,
    };

    fn producer() -> Arc<Producer> {
        Producer::new(&Names::mock(), Duration::from_secs(5)).unwrap()
    }

    fn record(number: usize) -> NewRecord {
        NewRecord {
            key: Bytes::from_static(b"key"),
            headers: Headers::default(),
            value: number.to_string().into(),
        }
    }

    #[tokio::test]
    async fn records_of_a_partition_are_appended_in_their_order() {
        let producer = producer();
        let appends = (0..300).map(|number| producer.append(PLACE, record(number)));
        let offsets: Vec<_> = join_all(appends)
            .await
            .into_iter()
            .map(|appended| appended.unwrap().offset)
            .collect();
        assert_eq!(offsets, (0..300).collect::<Vec<_>>());
        assert_eq!(producer.records.available_permits(), QUEUE_RECORDS as usize);
        assert_eq!(producer.bytes.available_permits(), QUEUE_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn a_partition_that_gives_up_on_everything_is_stuck_after_a_while() {
        let failing = Failing::default();
        let other = PartitionId { index: 1, ..PLACE };
        failing.note(PLACE, true);
        tokio::time::advance(STUCK / 2).await;
        failing.note(other, true);
        tokio::time::advance(STUCK / 2).await;
        // Others that succeed say nothing of this one.
        failing.note(other, false);
        failing.note(PLACE, true);
        assert_eq!(failing.longest(), STUCK);
        failing.note(PLACE, false);
        assert_eq!(failing.longest(), Duration::ZERO);
    }

    #[tokio::test]
    async fn who_does_not_wait_any_more_is_not_appended() {
        let producer = producer();
        let first = producer.append(PLACE, record(0)).await.unwrap();
        let mut given_up = Box::pin(producer.append(PLACE, record(1)));
        assert!(futures_util::poll!(&mut given_up).is_pending());
        drop(given_up);
        let next = producer.append(PLACE, record(2)).await.unwrap();
        assert_eq!(next.offset, first.offset + 1);
    }

    #[tokio::test]
    async fn a_record_that_the_client_does_not_take_is_nowhere() {
        let producer = producer();
        let room = Arc::clone(&producer.records).acquire_many_owned(QUEUE_RECORDS);
        let room = room.await.unwrap();
        let refused = producer.append(PLACE, record(0)).await.unwrap_err();
        assert!(matches!(refused, Error::NotAppended(_)), "{refused}");
        drop(room);
        producer.append(PLACE, record(1)).await.unwrap();
        // The mock cluster makes topics with four partitions.
        let nowhere = PartitionId { index: 99, ..PLACE };
        let refused = producer.append(nowhere, record(2)).await.unwrap_err();
        assert!(refused.retryable(), "{refused}");
    }

    #[tokio::test]
    async fn closing_waits_for_what_is_under_way_and_takes_nothing_more() {
        let producer = producer();
        let mut appends: Vec<_> = (0..50)
            .map(|number| Box::pin(producer.append(PLACE, record(number))))
            .collect();
        for append in &mut appends {
            assert!(futures_util::poll!(append).is_pending());
        }
        producer.close().await;
        let refused = producer.append(PLACE, record(50)).await.unwrap_err();
        assert!(matches!(&refused, Error::NotAppended(reason) if reason == "the log is closed"));
        for append in appends {
            append.await.unwrap();
        }
    }
}
