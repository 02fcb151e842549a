//! Topics: made by `migrate`, and never by accident; checked at every start.

use std::time::Duration;

use chat_core::port::log::Topic;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;

use super::client::{ASK_TIMEOUT, DLQ_BYTES, Names, TOPIC_BYTES, Words};
use super::reader::Reader;
use crate::config::Config;
use crate::error::Error;
use crate::store::Rows;

const SETTING: &str = "KAFKA_BROKERS";
/// How long the controller may take to make the topics.
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);
/// With three copies one broker may fail while acknowledgements still mean two.
const COPIES: usize = 3;
/// Of the topic of messages. More would let more workers share the work, and make smaller batches of the
/// same records: at 4,000 creates a second, 3 partitions cost the broker half of what 12 did.
const PARTITIONS_A_BROKER: u32 = 4;

/// Makes what is missing, and writes down what there is.
///
/// # Errors
/// The brokers do not answer, or a topic has another partition count than it had.
pub(super) async fn migrate(
    config: &Config,
    names: &Names,
    reader: &Reader,
    rows: &Rows,
) -> Result<(), Error> {
    let cluster = reader.cluster().await.map_err(|_| not_up(config))?;
    let brokers = reader.brokers().await.map_err(|_| not_up(config))?;
    for topic in Topic::ALL {
        // What its keys are spread over already, if the topic was lost; else what a new one gets.
        let known = rows.topic(topic).await.map_err(|error| database(&error))?;
        let wanted = known.map_or_else(
            || partitions(config, topic, brokers),
            |known| known.partitions,
        );
        if reader
            .count(topic)
            .await
            .map_err(|error| asked(&error))?
            .is_none()
        {
            create(config, names, topic, wanted, brokers).await?;
        }
        let count = wait_for(reader, topic).await?;
        rows.add_topic(topic, count, &cluster)
            .await
            .map_err(|error| database(&error))?;
    }
    check(names, reader, rows).await.map(drop)
}

/// Compares every topic with what `migrate` wrote down; returns the partition counts.
///
/// # Errors
/// A topic is missing or has another partition count.
pub(super) async fn check(
    names: &Names,
    reader: &Reader,
    rows: &Rows,
) -> Result<[u32; Topic::ALL.len()], Error> {
    let mut counts = [0; Topic::ALL.len()];
    for topic in Topic::ALL {
        let name = names.topic(topic);
        let known = rows.topic(topic).await.map_err(|error| {
            Error::not_up(
                "DATABASE_URL",
                error.to_string(),
                "run `chatd migrate` if this is its first start",
            )
        })?;
        let known = known.ok_or_else(|| {
            Error::not_up(
                SETTING,
                format!("the database knows no topic {name}"),
                "run `chatd migrate`",
            )
        })?;
        let found = reader.count(topic).await.map_err(|error| asked(&error))?;
        let found = found.ok_or_else(|| {
            Error::not_up(
                SETTING,
                format!("there is no topic {name}"),
                "run `chatd migrate`",
            )
        })?;
        if found != known.partitions {
            return Err(Error::wrong(
                SETTING,
                format!(
                    "topic {name} has {found} partitions, its keys are spread over {}",
                    known.partitions
                ),
                "give the topic its old partition count again, or start with another topic prefix and another database",
            ));
        }
        counts[topic as usize] = found;
    }
    Ok(counts)
}

fn partitions(config: &Config, topic: Topic, brokers: usize) -> u32 {
    match topic {
        Topic::Applications | Topic::Chats => config.topics.partitions,
        Topic::Messages => config.topics.messages_partitions.unwrap_or_else(|| {
            let brokers = u32::try_from(brokers.max(1)).unwrap_or(u32::MAX);
            brokers.saturating_mul(PARTITIONS_A_BROKER)
        }),
        // Few records, looked at by people: one place to look.
        Topic::ApplicationsDlq | Topic::ChatsDlq | Topic::MessagesDlq => 1,
    }
}

async fn create(
    config: &Config,
    names: &Names,
    topic: Topic,
    partitions: u32,
    brokers: usize,
) -> Result<(), Error> {
    let name = names.topic(topic);
    let copies = config
        .topics
        .replication
        .map_or(brokers.clamp(1, COPIES), |copies| copies as usize);
    let insync = if copies >= COPIES { "2" } else { "1" };
    let dead = topic.dead_letters() == topic;
    let bytes = if dead { DLQ_BYTES } else { TOPIC_BYTES }.to_string();
    // Dead letters wait for a person, not for a worker.
    let retention = if dead {
        "-1".to_owned()
    } else {
        config.topics.retention.as_millis().to_string()
    };
    let new = NewTopic::new(
        &name,
        i32::try_from(partitions).unwrap_or(i32::MAX),
        TopicReplication::Fixed(i32::try_from(copies).unwrap_or(i32::MAX)),
    )
    .set("cleanup.policy", "delete")
    .set("retention.ms", &retention)
    .set("retention.bytes", "-1")
    .set("message.timestamp.type", "LogAppendTime")
    .set("max.message.bytes", &bytes)
    .set("min.insync.replicas", insync)
    .set("unclean.leader.election.enable", "false");
    let admin: AdminClient<Words> = names
        .base()
        .create_with_context(Words)
        .map_err(|error| client(&error.to_string()))?;
    let options = AdminOptions::new()
        .request_timeout(Some(ASK_TIMEOUT))
        .operation_timeout(Some(CREATE_TIMEOUT));
    let created = admin
        .create_topics([&new], &options)
        .await
        .map_err(|error| {
            Error::not_up(
                SETTING,
                format!("topic {name} was not made: {error}"),
                "see the brokers' logs",
            )
        })?;
    for result in created {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                return Err(Error::wrong(
                    SETTING,
                    format!("topic {name} cannot be made: {code}"),
                    "allow the user to create topics, and ask for no more copies than there are brokers",
                ));
            }
        }
    }
    Ok(())
}

/// A topic that was just made is known to every broker a moment later.
async fn wait_for(reader: &Reader, topic: Topic) -> Result<u32, Error> {
    let deadline = tokio::time::Instant::now() + CREATE_TIMEOUT;
    loop {
        match reader.count(topic).await {
            Ok(Some(count)) => return Ok(count),
            Ok(None) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(None) => {
                return Err(Error::not_up(
                    SETTING,
                    "a topic that was made does not appear",
                    "see the brokers' logs",
                ));
            }
            Err(error) => return Err(asked(&error)),
        }
    }
}

/// No broker of the list answers.
pub(super) fn not_up(config: &Config) -> Error {
    Error::not_up(
        SETTING,
        format!("no broker answers at {}", config.kafka_brokers),
        "start Kafka, correct host and port, or give the KAFKA_… settings that its listener wants (security.protocol, sasl.…)",
    )
}

fn database(error: &chat_core::port::store::Error) -> Error {
    Error::not_up("DATABASE_URL", error.to_string(), "see the database's log")
}

fn asked(error: &chat_core::port::log::Error) -> Error {
    Error::not_up(SETTING, error.to_string(), "see the brokers' logs")
}

/// A setting that librdkafka does not take.
pub(super) fn client(problem: &str) -> Error {
    Error::wrong(
        SETTING,
        problem,
        "correct the KAFKA_… setting; the names are those of librdkafka",
    )
}
