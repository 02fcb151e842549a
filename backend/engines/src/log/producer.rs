//! Appending: one idempotent producer for the process, built anew when it dies.

use std::sync::Arc;
use std::time::Duration;

use chat_core::port::log::{Appended, Error, NewRecord, PartitionId};
use parking_lot::RwLock;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};
use rdkafka::{ClientConfig, Message};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};

use super::client::{self, DLQ_BYTES, Names, index, told};
use super::headers;

/// Most appends under way. More are refused at once: their callers' deadlines would be over before
/// their turn comes.
const QUEUE_RECORDS: usize = 16_384;
/// Bytes of appends under way.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// What the client needs to notice that a deadline is over: it looks once a second.
const NOTICE: Duration = Duration::from_millis(1_500);
/// How long a record waits for company. Under load records gather while earlier requests are under
/// way; alone, one should not wait.
const LINGER_MS: &str = "2";
/// How long leaving waits for what is under way.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

type Client = ThreadedProducer<Delivery>;

/// Appends records.
pub(super) struct Producer {
    config: ClientConfig,
    client: RwLock<Arc<Client>>,
    records: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// Hears what became of each record.
struct Delivery;

/// Who waits for a record, and the room that it takes.
struct Waiter {
    partition: PartitionId,
    reply: oneshot::Sender<Result<Appended, Failure>>,
    _room: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

/// An error, and whether the whole producer is lost.
struct Failure {
    error: Error,
    fatal: bool,
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
        let outcome = match result {
            Ok(message) => Ok(Appended {
                partition: waiter.partition,
                offset: u64::try_from(message.offset()).unwrap_or_default(),
            }),
            Err((error, _)) => Err(Failure::of(error)),
        };
        // Whoever no longer waits took the outcome for unknown.
        let _ = waiter.reply.send(outcome);
    }
}

impl Failure {
    fn of(error: &KafkaError) -> Self {
        Self {
            error: told(error),
            fatal: error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal),
        }
    }
}

impl Producer {
    /// A producer that gives up on a record in time for a deadline.
    pub(super) fn new(names: &Names, deadline: Duration) -> KafkaResult<Self> {
        let patience = deadline
            .saturating_sub(NOTICE)
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
        Ok(Self {
            client: RwLock::new(Arc::new(config.create_with_context(Delivery)?)),
            config,
            records: Arc::new(Semaphore::new(QUEUE_RECORDS)),
            bytes: Arc::new(Semaphore::new(QUEUE_BYTES)),
        })
    }

    /// Appends to a partition; returns when all in-sync replicas have the record.
    pub(super) async fn append(
        &self,
        topic: &str,
        partition: PartitionId,
        record: &NewRecord,
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
        });
        let client = Arc::clone(&self.client.read());
        let base = BaseRecord::with_opaque_to(topic, waiter)
            .partition(index(partition))
            .key(&record.key[..])
            .payload(&record.value[..])
            .headers(headers::encode(&record.headers));
        if let Err((error, _)) = client.send(base) {
            if client.client().fatal_error().is_some() {
                self.rebuild(&client);
            }
            return Err(told(&error));
        }
        match answer.await {
            Ok(Ok(appended)) => Ok(appended),
            Ok(Err(failure)) => {
                if failure.fatal || client.client().fatal_error().is_some() {
                    self.rebuild(&client);
                }
                Err(failure.error)
            }
            Err(_) => Err(Error::Unavailable("the producer was given up".into())),
        }
    }

    fn room(&self, size: usize) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), Error> {
        let full = |reason| {
            Error::Unavailable(match reason {
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

    /// After a fatal error a producer answers nothing but that error; what it had under way may or may
    /// not be in the log (CORRECTNESS, rule 25).
    fn rebuild(&self, dead: &Arc<Client>) {
        let mut client = self.client.write();
        if !Arc::ptr_eq(&client, dead) {
            return;
        }
        let reason = dead
            .client()
            .fatal_error()
            .map(|(code, reason)| format!("{code}: {reason}"));
        match self.config.create_with_context(Delivery) {
            Ok(new) => {
                tracing::error!(reason, "the producer died and is built anew");
                let old = std::mem::replace(&mut *client, Arc::new(new));
                // Its end waits for its threads.
                std::thread::spawn(move || drop(old));
            }
            Err(error) => {
                tracing::error!(reason, %error, "the producer died and cannot be built anew");
            }
        }
    }

    /// Takes nothing more and waits for what is under way.
    pub(super) async fn close(&self) {
        self.records.close();
        let client = Arc::clone(&self.client.read());
        let flushed =
            client::blocking(FLUSH_TIMEOUT * 2, move || client.flush(FLUSH_TIMEOUT)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!(
                "appends were under way when the log was closed; their outcome is unknown"
            );
        }
    }
}
