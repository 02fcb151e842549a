//! A database, topics, keys and an index that no other test uses.

use std::time::Duration;

use chat_core::port::log::{PartitionId, Topic};
use chat_engines::config::{Config, Topics};
use chat_engines::open::migrate;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sqlx::migrate::MigrateDatabase;
use sqlx::mysql::MySql;

/// The four settings, in the order of [`Config::new`].
const SETTINGS: [&str; 4] = [
    "DATABASE_URL",
    "REDIS_URL",
    "KAFKA_BROKERS",
    "ELASTICSEARCH_URL",
];

/// Removes what it made when it is dropped.
pub(crate) struct Namespace {
    pub(crate) config: Config,
}

impl Namespace {
    /// A new one, migrated.
    pub(crate) async fn fresh() -> Self {
        let namespace = Self::bare();
        migrate(&namespace.config).await.unwrap();
        namespace
    }

    /// A new one in which nothing was made.
    pub(crate) fn bare() -> Self {
        let [database, redis, kafka, elasticsearch] = urls();
        let name = uuid::Uuid::new_v4().simple().to_string();
        let name = &name[..10];
        let (server, _) = database
            .rsplit_once('/')
            .expect("the URL ends with the database's name");
        Self {
            config: Config {
                database_connections: 8,
                redis_prefix: format!("t{name}:"),
                topic_prefix: format!("t{name}."),
                topics: Topics {
                    partitions: 1,
                    messages_partitions: Some(3),
                    replication: None,
                    retention: Duration::from_secs(24 * 3600),
                },
                index_prefix: format!("t{name}-"),
                index_replicas: 0,
                ..Config::new(format!("{server}/chat_{name}"), redis, kafka, elasticsearch)
            },
        }
    }

    /// Removes a topic with all its records; returns when the brokers have forgotten it.
    pub(crate) async fn delete_topic(&self, topic: Topic) {
        Self::delete_topics(&self.config, &[topic]).await;
        let name = format!("{}{}", self.config.topic_prefix, topic.name());
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while self.has_topic(name.clone()).await {
            assert!(tokio::time::Instant::now() < deadline, "{name} stays");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Whether the brokers know a topic.
    async fn has_topic(&self, name: String) -> bool {
        let mut kafka = ClientConfig::new();
        kafka.set("bootstrap.servers", &self.config.kafka_brokers);
        // A question about the topic by its name could make it anew.
        let names = tokio::task::spawn_blocking(move || {
            let client: BaseConsumer = kafka.create().unwrap();
            let metadata = client.fetch_metadata(None, Duration::from_secs(10));
            let metadata = metadata.unwrap();
            metadata.topics().iter().any(|topic| topic.name() == name)
        });
        names.await.unwrap()
    }

    /// Removes the records of a partition below an offset, as retention would.
    pub(crate) async fn delete_records(&self, partition: PartitionId, before: i64) {
        let mut kafka = ClientConfig::new();
        kafka.set("bootstrap.servers", &self.config.kafka_brokers);
        let admin: AdminClient<DefaultClientContext> = kafka.create().unwrap();
        let topic = format!("{}{}", self.config.topic_prefix, partition.topic.name());
        let mut list = TopicPartitionList::new();
        let index = i32::try_from(partition.index).unwrap();
        list.add_partition_offset(&topic, index, Offset::Offset(before))
            .unwrap();
        let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(10)));
        let deleted = admin.delete_records(&list, &options).await.unwrap();
        for element in deleted.elements() {
            element.error().unwrap();
        }
    }

    /// Makes an index whose mapping has another version.
    pub(crate) async fn make_index(&self, alias: &str, version: u64) {
        let url = &self.config.elasticsearch_url;
        let client = elasticsearch::Elasticsearch::new(
            elasticsearch::http::transport::Transport::single_node(url).unwrap(),
        );
        let index = format!("{alias}-000001");
        let made = client
            .indices()
            .create(elasticsearch::indices::IndicesCreateParts::Index(&index))
            .body(serde_json::json!({
                "settings": { "number_of_replicas": 0 },
                "mappings": { "_meta": { "chat_schema": version } },
                "aliases": { alias: {} },
            }))
            .send()
            .await
            .unwrap();
        assert!(made.status_code().is_success());
    }

    async fn delete_topics(config: &Config, topics: &[Topic]) {
        let mut kafka = ClientConfig::new();
        kafka.set("bootstrap.servers", &config.kafka_brokers);
        let admin: AdminClient<DefaultClientContext> = kafka.create().unwrap();
        let names = topics
            .iter()
            .map(|topic| format!("{}{}", config.topic_prefix, topic.name()));
        let names: Vec<String> = names.collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(10)));
        let _ = admin.delete_topics(&names, &options).await;
    }

    async fn remove(config: Config) {
        let _ = MySql::drop_database(&config.database_url).await;
        let url = &config.elasticsearch_url;
        let client = elasticsearch::Elasticsearch::new(
            elasticsearch::http::transport::Transport::single_node(url).unwrap(),
        );
        // Some tests use more than one prefix; all of them begin alike.
        for prefix in ["", "late-", "old-"] {
            let template = format!("{}{prefix}messages", config.index_prefix);
            let index = format!("{template}-000001");
            let parts = elasticsearch::indices::IndicesDeleteParts::Index(&[&index]);
            let _ = client.indices().delete(parts).send().await;
            let parts = elasticsearch::indices::IndicesDeleteIndexTemplateParts::Name(&template);
            let _ = client.indices().delete_index_template(parts).send().await;
        }
        Self::delete_topics(&config, &Topic::ALL).await;
        let client = redis::Client::open(config.redis_url.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let pattern = format!("{}*", config.redis_prefix);
        let keys: Vec<String> = redis::cmd("KEYS")
            .arg(pattern)
            .query_async(&mut connection)
            .await
            .unwrap();
        if !keys.is_empty() {
            redis::cmd("DEL")
                .arg(keys)
                .exec_async(&mut connection)
                .await
                .unwrap();
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let config = self.config.clone();
        let removed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(Self::remove(config));
        });
        // A second panic while one is under way would end the process.
        let _ = removed.join();
    }
}

/// The four URLs; without them there is nothing to test.
fn urls() -> [String; 4] {
    let found = SETTINGS.map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let missing: Vec<&str> = SETTINGS
        .iter()
        .zip(&found)
        .filter_map(|(name, value)| value.is_none().then_some(*name))
        .collect();
    if missing.is_empty() {
        return found.map(Option::unwrap);
    }
    let told = format!(
        "THE ENGINES ARE NOT TESTED: {} not set; run `scripts/engines up` and `source <(scripts/engines env)`",
        missing.join(", ")
    );
    assert!(std::env::var_os("CI").is_none(), "{told}");
    skip(&told)
}

/// Ends the test program as if it had passed: every test in it wants the engines.
#[expect(clippy::print_stderr, reason = "whoever runs the tests has to see it")]
fn skip(told: &str) -> ! {
    eprintln!("\n{told}\n");
    std::process::exit(0)
}
