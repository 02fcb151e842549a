//! The settings of MySQL, Kafka, Redis and Elasticsearch.

use std::path::PathBuf;

use clap::Args;

use super::Error;

/// What a variable of librdkafka begins with here: `KAFKA_SASL_MECHANISM` is its `sasl.mechanism`.
const KAFKA: &str = "KAFKA_";
/// Variables of that beginning that mean something else: our own, and those of Kafka's start scripts.
const NOT_FOR_LIBRDKAFKA: [&str; 9] = [
    "KAFKA_BROKERS",
    "KAFKA_HOME",
    "KAFKA_OPTS",
    "KAFKA_HEAP_OPTS",
    "KAFKA_JMX_OPTS",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_LOG4J_OPTS",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_DEBUG",
];

/// MySQL, Kafka, Redis and Elasticsearch: all four URLs, or none for the embedded default.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Engines (all four URLs, or none for the embedded default)")]
pub struct Engines {
    /// mysql://USER:PASSWORD@HOST:PORT/DATABASE, for MySQL 8 and 9 and MariaDB from 10.11 on
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        global = true
    )]
    pub database_url: Option<String>,

    /// redis://USER:PASSWORD@HOST:PORT/DB; rediss:// with TLS
    #[arg(
        long,
        env = "REDIS_URL",
        hide_env_values = true,
        value_name = "URL",
        global = true
    )]
    pub redis_url: Option<String>,

    /// HOST:PORT of a Kafka broker, more of them after commas
    #[arg(long, env = "KAFKA_BROKERS", value_name = "LIST", global = true)]
    pub kafka_brokers: Option<String>,

    /// https://USER:PASSWORD@HOST:PORT, for Elasticsearch 8 and 9 and OpenSearch
    #[arg(
        long,
        env = "ELASTICSEARCH_URL",
        hide_env_values = true,
        value_name = "URL",
        global = true
    )]
    pub elasticsearch_url: Option<String>,

    /// PEM file of the authority that signed Elasticsearch's certificate, where no public one did
    #[arg(long, env = "ELASTICSEARCH_CA", value_name = "FILE", global = true)]
    pub elasticsearch_ca: Option<PathBuf>,

    /// A setting of librdkafka by its own name; as a variable KAFKA_SASL_MECHANISM and so on
    #[arg(long, value_name = "NAME=VALUE", global = true)]
    pub kafka: Vec<String>,

    /// Connections to the database that one process may hold
    #[arg(long, env = "CHATD_DATABASE_CONNECTIONS", default_value_t = 16, global = true,
          value_parser = clap::value_parser!(u32).range(2..=1_000))]
    pub database_connections: u32,

    /// Before the name of every topic and group, so that several systems can share the brokers
    #[arg(
        long,
        env = "CHATD_TOPIC_PREFIX",
        default_value = "",
        hide_default_value = true,
        global = true
    )]
    pub topic_prefix: String,

    /// Before every key in Redis
    #[arg(
        long,
        env = "CHATD_REDIS_PREFIX",
        default_value = "",
        hide_default_value = true,
        global = true
    )]
    pub redis_prefix: String,

    /// Before the name of every index, in lower case
    #[arg(
        long,
        env = "CHATD_INDEX_PREFIX",
        default_value = "",
        hide_default_value = true,
        global = true
    )]
    pub index_prefix: String,

    /// Partitions that `migrate` gives to the topic of messages, fixed from then on: four for each broker
    #[arg(long, env = "CHATD_MESSAGES_PARTITIONS", global = true,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub messages_partitions: Option<u32>,

    /// Partitions that `migrate` gives to the topics of applications and chats; fixed from then on
    #[arg(long, env = "CHATD_TOPIC_PARTITIONS", default_value_t = 6, global = true,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub topic_partitions: u32,

    /// Copies of each partition that `migrate` makes: 3 where there are three brokers, else as many as there are
    #[arg(long, env = "CHATD_TOPIC_REPLICATION", global = true,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub topic_replication: Option<u32>,

    /// Shards that `migrate` gives to the index
    #[arg(long, env = "CHATD_INDEX_SHARDS", default_value_t = 1, global = true,
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub index_shards: u32,

    /// Copies of each shard of the index that `migrate` makes
    #[arg(long, env = "CHATD_INDEX_REPLICAS", default_value_t = 1, global = true,
          value_parser = clap::value_parser!(u32).range(0..=100))]
    pub index_replicas: u32,
}

/// A setting of librdkafka, for a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    /// As a variable.
    pub variable: String,
    /// Masked: which of the names hold secrets changes with librdkafka's version.
    pub value: String,
    /// The flag that gave it; `None` for the environment.
    pub source: Option<&'static str>,
}

impl Engines {
    /// The URLs, with their variables.
    fn urls(&self) -> [(&'static str, Option<&str>); 4] {
        [
            ("DATABASE_URL", self.database_url.as_deref()),
            ("REDIS_URL", self.redis_url.as_deref()),
            ("KAFKA_BROKERS", self.kafka_brokers.as_deref()),
            ("ELASTICSEARCH_URL", self.elasticsearch_url.as_deref()),
        ]
        .map(|(name, url)| (name, url.filter(|url| !url.is_empty())))
    }

    /// Whether the engines are to be used.
    #[must_use]
    pub fn given(&self) -> bool {
        self.urls().iter().all(|(_, url)| url.is_some())
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let urls = self.urls();
        let names = |set: bool| -> Vec<&'static str> {
            let of = urls.iter().filter(|(_, url)| url.is_some() == set);
            of.map(|(name, _)| *name).collect()
        };
        let (given, missing) = (names(true), names(false));
        if !given.is_empty() && cfg!(not(feature = "engines")) {
            return Err(Error::WithoutEngines(given));
        }
        if !given.is_empty() && !missing.is_empty() {
            return Err(Error::SomeEngines { given, missing });
        }
        for setting in &self.kafka {
            let name = setting.split_once('=').map(|(name, _)| name.trim());
            if name.is_none_or(str::is_empty) {
                // The value may be a secret; what stands before it is not.
                let shown = setting.split('=').next().unwrap_or_default();
                return Err(Error::Kafka(shown.to_owned()));
            }
        }
        Ok(())
    }

    /// What was given for librdkafka, by its own names: the environment first, then flags.
    fn librdkafka(
        &self,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Vec<(String, String, bool)> {
        let mut settings: Vec<(String, String, bool)> = environment
            .filter(|(name, _)| !NOT_FOR_LIBRDKAFKA.contains(&name.as_str()))
            .filter_map(|(name, value)| {
                let name = name.strip_prefix(KAFKA)?;
                Some((name.to_ascii_lowercase().replace('_', "."), value, false))
            })
            .collect();
        settings.sort();
        let flags = self.kafka.iter().filter_map(|setting| {
            let (name, value) = setting.split_once('=')?;
            Some((name.trim().to_owned(), value.to_owned(), true))
        });
        settings.extend(flags);
        settings
    }

    pub(super) fn shown(&self) -> Vec<Shown> {
        let settings = self.librdkafka(std::env::vars());
        let shown = settings.into_iter().map(|(name, _, flag)| Shown {
            variable: format!("{KAFKA}{}", name.to_ascii_uppercase().replace('.', "_")),
            value: "********".to_owned(),
            source: flag.then_some("--kafka"),
        });
        shown.collect()
    }
}

#[cfg(feature = "engines")]
impl super::Config {
    /// The settings as the engines' adapters want them; `None` where the embedded default is to run.
    #[must_use]
    pub fn for_engines(&self) -> Option<chat_engines::config::Config> {
        use chat_engines::config::{Config, Topics};

        let engines = &self.engines;
        let [
            Some(database),
            Some(redis),
            Some(kafka),
            Some(elasticsearch),
        ] = engines.urls().map(|(_, url)| url)
        else {
            return None;
        };
        let defaults = Config::new(database, redis, kafka, elasticsearch);
        let retention = self
            .log_retention_hours
            .map_or(defaults.topics.retention, |hours| {
                std::time::Duration::from_secs(u64::from(hours) * 3600)
            });
        let settings = engines.librdkafka(std::env::vars());
        Some(Config {
            database_connections: engines.database_connections,
            redis_prefix: engines.redis_prefix.clone(),
            kafka: settings
                .into_iter()
                .map(|(name, value, _)| (name, value))
                .collect(),
            topic_prefix: engines.topic_prefix.clone(),
            topics: Topics {
                partitions: engines.topic_partitions,
                messages_partitions: engines.messages_partitions,
                replication: engines.topic_replication,
                retention,
            },
            elasticsearch_ca: engines.elasticsearch_ca.clone(),
            index_prefix: engines.index_prefix.clone(),
            index_shards: engines.index_shards,
            index_replicas: engines.index_replicas,
            create_deadline: self.create_deadline(),
            ..defaults
        })
    }
}

/// A secret setting as a person may see it: of a URL everything but the password.
pub(super) fn masked(variable: &str, value: &str) -> String {
    if variable.ends_with("_URL") {
        #[cfg(feature = "engines")]
        return chat_engines::config::masked(value);
    }
    let _ = value;
    "********".to_owned()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::Cli;
    use super::*;

    fn parse(args: &[&str]) -> Engines {
        let args = [&["chatd"], args].concat();
        Cli::try_parse_from(args).unwrap().config.engines
    }

    #[test]
    fn all_four_urls_or_none() {
        assert!(parse(&[]).check().is_ok() && !parse(&[]).given());
        let some = parse(&["--redis-url", "redis://h", "--kafka-brokers", "h:1"]);
        let error = some.check().unwrap_err().to_string();
        assert!(
            error.starts_with("REDIS_URL, KAFKA_BROKERS set, DATABASE_URL, ELASTICSEARCH_URL not"),
            "{error}"
        );
        let empty = parse(&["--redis-url", ""]);
        assert!(empty.check().is_ok());
    }

    #[test]
    fn variables_become_names_of_librdkafka_and_flags_win() {
        let engines = parse(&["--kafka", "sasl.mechanism=PLAIN"]);
        let environment = [
            ("KAFKA_SASL_MECHANISM", "SCRAM-SHA-256"),
            ("KAFKA_BROKERS", "h:1"),
            ("KAFKA_HEAP_OPTS", "-Xmx1g"),
            ("HOME", "/"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            engines.librdkafka(environment.into_iter()),
            [
                (
                    "sasl.mechanism".to_owned(),
                    "SCRAM-SHA-256".to_owned(),
                    false
                ),
                ("sasl.mechanism".to_owned(), "PLAIN".to_owned(), true),
            ]
        );
        let error = parse(&["--kafka", "sasl.password"]).check().unwrap_err();
        assert!(error.to_string().contains("NAME=VALUE"), "{error}");
    }
}
