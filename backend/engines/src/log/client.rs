//! What all Kafka clients of ours share: settings, names, and where librdkafka's words go.

use std::time::Duration;

use chat_core::limits;
use chat_core::port::log::{Error, PartitionId, Topic};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::config::Config;

/// Most bytes of a record in a topic: the largest value, its key, headers and framing.
pub(super) const TOPIC_BYTES: usize = limits::RECORD_BYTES + 24 * 1024;
/// What a dead letter adds to its record at most.
const DEAD_LETTER_BYTES: usize = 64 * 1024;
/// Most bytes of a dead letter.
pub(super) const DLQ_BYTES: usize = TOPIC_BYTES + DEAD_LETTER_BYTES;
/// How long one question to the brokers may take.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// What librdkafka calls a commit that the group refuses.
const COMMIT_FAILED: &str = "COMMITFAIL";

/// Names and settings.
#[derive(Clone)]
pub(super) struct Names {
    prefix: String,
    base: ClientConfig,
}

impl Names {
    pub(super) fn new(config: &Config) -> Self {
        let mut base = ClientConfig::new();
        base.set("client.id", "chatd");
        base.set("broker.address.ttl", "1000");
        // A broker that comes back should be noticed within the time that a create may take.
        base.set("reconnect.backoff.ms", "50");
        base.set("reconnect.backoff.max.ms", "1000");
        base.set("socket.keepalive.enable", "true");
        base.set("socket.connection.setup.timeout.ms", "3000");
        base.set("topic.metadata.refresh.interval.ms", "30000");
        base.set_log_level(RDKafkaLogLevel::Warning);
        for (key, value) in &config.kafka {
            base.set(key, value);
        }
        base.set("bootstrap.servers", &config.kafka_brokers);
        Self {
            prefix: config.topic_prefix.clone(),
            base,
        }
    }

    /// Of a cluster that librdkafka itself plays.
    #[cfg(test)]
    pub(super) fn mock() -> Self {
        let mut base = ClientConfig::new();
        base.set("test.mock.num.brokers", "1");
        Self {
            prefix: String::new(),
            base,
        }
    }

    /// Settings that every client has, to add to.
    pub(super) fn base(&self) -> ClientConfig {
        self.base.clone()
    }

    /// The topic's name in Kafka.
    pub(super) fn topic(&self, topic: Topic) -> String {
        format!("{}{}", self.prefix, topic.name())
    }

    /// What readers outside of any group call themselves.
    pub(super) fn reader(&self) -> String {
        format!("{}reader", self.prefix)
    }

    /// A group's name in Kafka.
    pub(super) fn group(&self, group: chat_core::port::log::Group) -> String {
        format!("{}{}", self.prefix, group.name())
    }
}

/// Passes librdkafka's words on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Words;

impl ClientContext for Words {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client");
    }
}

/// A line of librdkafka's log.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        // Commits are for display, and fail whenever the group shares out its partitions anew.
        _ if facility == COMMIT_FAILED => tracing::debug!(message, "kafka client"),
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(facility, message, "kafka client"),
        _ => tracing::debug!(facility, message, "kafka client"),
    }
}

/// Tells an error of the client as one of the port. None of them is the record's own fault: its size is checked
/// before the client has it, so whoever finds it too large has a limit that is not the one that `migrate` set.
pub(super) fn told(error: &KafkaError) -> Error {
    Error::Unavailable(error.to_string())
}

/// Tells why the client did not take a record: it never left this process.
pub(super) fn told_at_once(error: &KafkaError) -> Error {
    Error::NotAppended(error.to_string())
}

/// Tells an error of a record that the client had. What the brokers refuse by its size or its form they refuse each
/// time, so no earlier attempt can have succeeded; whatever else is told may come after one that did, because
/// the answer to it was lost.
pub(super) fn told_later(error: &KafkaError) -> Error {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::InvalidRecord,
        ) => Error::NotAppended(format!(
            "{error}: the topic has not the settings of `chatd migrate`"
        )),
        _ => told(error),
    }
}

/// How long a question may take whose answer is shown to somebody who waits for it.
pub(super) const GLANCE_TIMEOUT: Duration = Duration::from_secs(2);

/// The index of a partition as librdkafka counts.
pub(super) fn index(partition: PartitionId) -> i32 {
    i32::try_from(partition.index).unwrap_or(i32::MAX)
}

/// Runs what blocks, and does not wait for ever.
pub(super) async fn blocking<T: Send + 'static>(
    within: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    match tokio::time::timeout(within, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(failure)) => match failure.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Unavailable("the process ends".into())),
        },
        Err(_) => Err(Error::Unavailable(format!(
            "the brokers gave no answer within {} s",
            within.as_secs()
        ))),
    }
}
