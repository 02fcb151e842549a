//! What can be set about the engines.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The four engines and what is ours in them.
#[derive(Clone)]
pub struct Config {
    /// `DATABASE_URL`: `mysql://USER:PASSWORD@HOST:PORT/DATABASE`, with sqlx's parameters (`?ssl-mode=VERIFY_IDENTITY&ssl-ca=…`).
    pub database_url: String,
    /// Connections to the database that this process may hold.
    pub database_connections: u32,
    /// `REDIS_URL`: `redis://USER:PASSWORD@HOST:PORT/DB`, `rediss://` with TLS.
    pub redis_url: String,
    /// Before every key and channel in Redis; empty for none.
    pub redis_prefix: String,
    /// `KAFKA_BROKERS`: `HOST:PORT`, more of them after commas.
    pub kafka_brokers: String,
    /// Settings of librdkafka by its own names (`sasl.mechanism`, `ssl.ca.location`, …). What the
    /// promises rest on (acknowledgements, idempotence, commits) cannot be overridden.
    pub kafka: BTreeMap<String, String>,
    /// Before every topic and group; empty for none.
    pub topic_prefix: String,
    /// What `migrate` makes of the topics.
    pub topics: Topics,
    /// `ELASTICSEARCH_URL`: `http://HOST:PORT`, with `USER:PASSWORD@` where that is wanted.
    pub elasticsearch_url: String,
    /// PEM file of the authority that signed Elasticsearch's certificate, where no public one did.
    pub elasticsearch_ca: Option<PathBuf>,
    /// Before every index, alias and template; empty for none. Elasticsearch wants lower case.
    pub index_prefix: String,
    /// Shards of a new index.
    pub index_shards: u32,
    /// Copies of each shard of a new index.
    pub index_replicas: u32,
    /// D: an append that is not acknowledged by then is not answered with success.
    pub create_deadline: Duration,
}

/// What `migrate` makes of the topics. Partition counts are fixed from then on.
#[derive(Debug, Clone)]
pub struct Topics {
    /// Partitions of `applications` and of `chats`.
    pub partitions: u32,
    /// Partitions of `messages`: as many workers of a kind can share the work. `None` means four for each
    /// broker: each more makes smaller batches of the same records, and the broker pays by the batch.
    pub messages_partitions: Option<u32>,
    /// Copies of each partition; `None` means 3 where there are three brokers, else as many as there are.
    pub replication: Option<u32>,
    /// How long records are kept: well above the longest outage of a worker.
    pub retention: Duration,
}

impl Config {
    /// The defaults, around the four URLs.
    #[must_use]
    pub fn new(
        database_url: impl Into<String>,
        redis_url: impl Into<String>,
        kafka_brokers: impl Into<String>,
        elasticsearch_url: impl Into<String>,
    ) -> Self {
        Self {
            database_url: database_url.into(),
            database_connections: 16,
            redis_url: redis_url.into(),
            redis_prefix: String::new(),
            kafka_brokers: kafka_brokers.into(),
            kafka: BTreeMap::new(),
            topic_prefix: String::new(),
            topics: Topics {
                partitions: 6,
                messages_partitions: None,
                replication: None,
                retention: Duration::from_secs(14 * 24 * 3600),
            },
            elasticsearch_url: elasticsearch_url.into(),
            elasticsearch_ca: None,
            index_prefix: String::new(),
            index_shards: 1,
            index_replicas: 1,
            create_deadline: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("database_url", &masked(&self.database_url))
            .field("database_connections", &self.database_connections)
            .field("redis_url", &masked(&self.redis_url))
            .field("redis_prefix", &self.redis_prefix)
            .field("kafka_brokers", &self.kafka_brokers)
            // Any of the values may be a secret; the names are not.
            .field("kafka", &self.kafka.keys())
            .field("topic_prefix", &self.topic_prefix)
            .field("topics", &self.topics)
            .field("elasticsearch_url", &masked(&self.elasticsearch_url))
            .field("elasticsearch_ca", &self.elasticsearch_ca)
            .field("index_prefix", &self.index_prefix)
            .field("index_shards", &self.index_shards)
            .field("index_replicas", &self.index_replicas)
            .field("create_deadline", &self.create_deadline)
            .finish()
    }
}

/// A URL without what stands between the user's name and the host, and without parameters.
#[must_use]
pub fn masked(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else {
        return "***".to_owned();
    };
    // A password may hold any character but the at sign, so the last one ends it.
    match rest.rsplit_once('@') {
        None => format!("{scheme}://{rest}"),
        Some((login, place)) => match login.split_once(':') {
            None => format!("{scheme}://{login}@{place}"),
            Some((user, _)) => format!("{scheme}://{user}:***@{place}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_printed() {
        let mut config = Config::new(
            "mysql://u:hush@h:1/d?password=hush",
            "redis://:hush@h/0",
            "h:2",
            "https://u:hu/sh@hush@h:3",
        );
        config.kafka.insert("sasl.password".into(), "hush".into());
        let printed = format!("{config:?}");
        assert!(!printed.contains("hush"), "{printed}");
        assert!(printed.contains("mysql://u:***@h:1/d"), "{printed}");
        assert_eq!(masked("redis://h:1"), "redis://h:1");
        assert_eq!(masked("hush"), "***");
    }
}
