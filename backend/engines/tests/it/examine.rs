//! What the doctor finds in the engines.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chat_core::examine::LIMIT;
use chat_core::port::Ports;
use chat_core::port::log::{Headers, NewRecord, Topic};
use chat_engines::config::Config;
use chat_engines::open::connect;
use chat_wire::admin::doctor::{Examined, Finding};
use elasticsearch::Elasticsearch;
use elasticsearch::http::transport::Transport;
use elasticsearch::indices::IndicesPutSettingsParts;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use serde_json::json;
use sqlx::{Connection, MySqlConnection};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::namespace::Namespace;

/// How long anything that is awaited may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn find<'a>(checks: &'a [Examined], id: &str) -> &'a Examined {
    let found = checks.iter().find(|check| check.id == id);
    found.unwrap_or_else(|| panic!("{id} is not among {checks:?}"))
}

async fn finding(ports: &Ports, id: &str) -> Finding {
    find(&ports.life.examine().await, id).finding
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_migrate_made_has_not_failed() {
    let namespace = Namespace::fresh().await;
    let ports = connect(&namespace.config).await.unwrap();
    let checks = ports.life.examine().await;
    for id in [
        "mysql.reach",
        "mysql.version",
        "mysql.server",
        "mysql.flush",
        "mysql.binlog",
        "mysql.packet",
        "mysql.clock",
        "mysql.migrations",
        "redis.reach",
        "redis.version",
        "redis.role",
        "redis.eviction",
        "redis.replicas",
        "redis.persistence",
        "redis.clock",
        "kafka.reach",
        "kafka.brokers",
        "kafka.topics",
        "kafka.replication",
        "kafka.cleanup",
        "kafka.unclean_election",
        "kafka.timestamps",
        "kafka.insync",
        "kafka.auto_create",
        "kafka.retention",
        "elasticsearch.reach",
        "elasticsearch.version",
        "elasticsearch.health",
        "elasticsearch.mapping",
        "elasticsearch.replicas",
        "elasticsearch.writable",
        "elasticsearch.disk",
    ] {
        find(&checks, id);
    }
    for check in &checks {
        // How full its disk is belongs to the machine.
        let failed = check.finding == Finding::Failed;
        assert!(!failed || check.id == "elasticsearch.disk", "{check:?}");
        let well = matches!(check.finding, Finding::Ok | Finding::Skipped);
        assert_eq!(well, check.hint.is_none(), "{check:?}");
    }
    ports.life.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_changed_behind_our_back_is_told() {
    let namespace = Namespace::fresh().await;
    let config = &namespace.config;
    let ports = connect(config).await.unwrap();

    let mut database = MySqlConnection::connect(&config.database_url)
        .await
        .unwrap();
    sqlx::query("DELETE FROM _sqlx_migrations")
        .execute(&mut database)
        .await
        .unwrap();
    assert_eq!(finding(&ports, "mysql.migrations").await, Finding::Failed);

    block_writes(config).await;
    assert_eq!(
        finding(&ports, "elasticsearch.writable").await,
        Finding::Failed
    );

    alter(config, Topic::Chats, &[("cleanup.policy", "compact")]).await;
    eventually(&ports, "kafka.cleanup", Finding::Failed).await;

    sqlx::query("UPDATE log_topics SET partitions = 7 WHERE topic = 'messages'")
        .execute(&mut database)
        .await
        .unwrap();
    let topics = ports.life.examine().await;
    assert!(
        find(&topics, "kafka.topics")
            .detail
            .contains("spread over 7")
    );
    ports.life.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_wait_for_half_of_the_retention_are_told() {
    let namespace = Namespace::fresh().await;
    let ports = connect(&namespace.config).await.unwrap();
    assert_eq!(finding(&ports, "kafka.retention").await, Finding::Ok);
    let record = NewRecord {
        key: Bytes::from_static(b"key"),
        headers: Headers::default(),
        value: Bytes::from_static(b"value"),
    };
    ports.log.append(Topic::Messages, record).await.unwrap();
    // It waits, and is young.
    assert_eq!(finding(&ports, "kafka.retention").await, Finding::Ok);
    alter(
        &namespace.config,
        Topic::Messages,
        &[("retention.ms", "4000")],
    )
    .await;
    eventually(&ports, "kafka.retention", Finding::Failed).await;
    let checks = ports.life.examine().await;
    let told = &find(&checks, "kafka.retention").detail;
    assert!(told.contains("messages-store partition"), "{told}");
    assert!(told.contains("messages-index partition"), "{told}");
    ports.life.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_engine_is_told_in_time_and_holds_up_no_other() {
    let namespace = Namespace::fresh().await;
    let (mysql, redis, search) = (
        Relay::to(&namespace.config.database_url).await,
        Relay::to(&namespace.config.redis_url).await,
        Relay::to(&namespace.config.elasticsearch_url).await,
    );
    let config = Config {
        database_url: mysql.url.clone(),
        redis_url: redis.url.clone(),
        elasticsearch_url: search.url.clone(),
        ..namespace.config.clone()
    };
    let ports = connect(&config).await.unwrap();
    let checks = ports.life.examine().await;
    assert_eq!(find(&checks, "mysql.reach").finding, Finding::Ok);
    for (relay, name) in [
        (&redis, "redis"),
        (&search, "elasticsearch"),
        (&mysql, "mysql"),
    ] {
        relay.frozen.send_replace(true);
        let started = Instant::now();
        let checks = ports.life.examine().await;
        let elapsed = started.elapsed();
        // Its limit once: whoever asked again, or one after the other, would need it twice.
        assert!(elapsed < LIMIT * 2, "{name}: {elapsed:?}");
        let reach = find(&checks, &format!("{name}.reach"));
        assert_eq!(reach.finding, Finding::Failed, "{reach:?}");
        assert!(reach.hint.is_some());
        // Kafka's checks ask the database too.
        if name != "mysql" {
            assert_eq!(find(&checks, "kafka.reach").finding, Finding::Ok);
        }
        relay.frozen.send_replace(false);
    }
}

/// Passes everything on, until it is frozen: then nothing moves, and no connection ends.
struct Relay {
    url: String,
    frozen: watch::Sender<bool>,
}

impl Relay {
    /// One that leads to where the URL does.
    async fn to(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (login, place) = rest
            .rsplit_once('@')
            .map_or(("", rest), |(login, place)| (login, place));
        let (place, path) = place
            .split_once('/')
            .map_or((place, ""), |(place, path)| (place, path));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap();
        let at = if login.is_empty() { "" } else { "@" };
        let frozen = watch::Sender::new(false);
        let (place, freezes) = (place.to_owned(), frozen.subscribe());
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let (place, freezes) = (place.clone(), freezes.clone());
                tokio::spawn(pass(from, place, freezes));
            }
        });
        Self {
            url: format!("{scheme}://{login}{at}{own}/{path}"),
            frozen,
        }
    }
}

async fn pass(mut from: TcpStream, place: String, mut freezes: watch::Receiver<bool>) {
    if freezes.wait_for(|frozen| !frozen).await.is_err() {
        return;
    }
    let Ok(mut to) = TcpStream::connect(place).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut from, &mut to) => return,
        _ = freezes.wait_for(|frozen| *frozen) => {}
    }
    // Both ends stay open and hear nothing, as of a process that was stopped.
    let _ = freezes.wait_for(|frozen| !frozen).await;
}

async fn eventually(ports: &Ports, id: &str, wanted: Finding) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let checks = ports.life.examine().await;
        // What was changed is known to every broker a moment later.
        if checks
            .iter()
            .any(|check| check.id == id && check.finding == wanted)
        {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{id} never was {wanted:?}: {checks:?}"
        );
    }
}

async fn alter(config: &Config, topic: Topic, settings: &[(&str, &str)]) {
    let mut kafka = ClientConfig::new();
    kafka.set("bootstrap.servers", &config.kafka_brokers);
    let admin: AdminClient<DefaultClientContext> = kafka.create().unwrap();
    let name = format!("{}{}", config.topic_prefix, topic.name());
    let mut altered = AlterConfig::new(ResourceSpecifier::Topic(&name));
    for (name, value) in settings {
        altered = altered.set(name, value);
    }
    let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(10)));
    let results = admin.alter_configs(&[altered], &options).await.unwrap();
    assert!(results[0].is_ok(), "{results:?}");
}

async fn block_writes(config: &Config) {
    let transport = Transport::single_node(&config.elasticsearch_url).unwrap();
    let index = format!("{}messages-000001", config.index_prefix);
    let answer = Elasticsearch::new(transport)
        .indices()
        .put_settings(IndicesPutSettingsParts::Index(&[&index]))
        .body(json!({ "index.blocks.write": true }))
        .send()
        .await
        .unwrap();
    assert!(answer.status_code().is_success());
}
