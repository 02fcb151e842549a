//! The index says itself how far it has read the log, and notices that it was put back.

use chat_core::port::Ports;
use chat_core::port::log::{LogId, PartitionId, Topic};
use chat_core::port::search::{Document, Error, IndexPosition, Staged};
use chat_core::port::store::{ChatKey, MessageKey};
use chat_engines::config::Config;
use chat_engines::open::{connect, migrate};
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::time::Timestamp;
use elasticsearch::http::Method;
use elasticsearch::http::headers::HeaderMap;
use elasticsearch::http::transport::Transport;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use crate::namespace::Namespace;

const CHAT: ChatKey = ChatKey {
    token: AppToken::from_bytes([5; 16]),
    chat: ChatNumber::FIRST,
};

fn at(index: u32, next: u64) -> IndexPosition {
    IndexPosition {
        partition: PartitionId {
            topic: Topic::Messages,
            index,
        },
        log: LogId::of_name("a log"),
        epoch: 0,
        next,
        whole: true,
    }
}

fn document(number: u32) -> Document {
    Document {
        key: MessageKey {
            chat: CHAT,
            number: MessageNumber::new(number).unwrap(),
        },
        revision: 1,
        created_at: Timestamp::now(),
        body: Some("a text".into()),
    }
}

async fn publish(
    ports: &Ports,
    documents: Vec<Document>,
    positions: &[IndexPosition],
) -> Result<(), Error> {
    let staged = ports.search.stage(documents).await?;
    ports.search.publish(staged, positions).await.map(drop)
}

async fn record(ports: &Ports, position: IndexPosition) -> Result<(), Error> {
    let nothing = Staged::Documents(Vec::new());
    ports.search.publish(nothing, &[position]).await.map(drop)
}

/// An index of several shards, with all ports.
async fn sharded() -> (Namespace, Ports) {
    let mut namespace = Namespace::bare();
    namespace.config.index_shards = 3;
    migrate(&namespace.config).await.unwrap();
    let ports = connect(&namespace.config).await.unwrap();
    (namespace, ports)
}

async fn send(config: &Config, method: Method, path: &str, body: Option<Value>) -> Value {
    let transport = Transport::single_node(&config.elasticsearch_url).unwrap();
    let body = body.map(|body| body.to_string());
    let answer = transport
        .send(method, path, HeaderMap::new(), None::<&()>, body, None)
        .await
        .unwrap();
    let status = answer.status_code();
    let answer = answer.text().await.unwrap();
    assert!(status.is_success(), "{answer}");
    serde_json::from_str(&answer).unwrap()
}

/// The index is removed and made anew.
async fn replace_index(config: &Config) {
    let index = format!("/{}messages-000001", config.index_prefix);
    send(config, Method::Delete, &index, None).await;
    migrate(config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_stand_beside_the_documents_and_are_none() {
    let (namespace, ports) = sharded().await;
    assert_eq!(ports.search.positions().await.unwrap(), []);
    let documents = (1..=20).map(document).collect();
    publish(&ports, documents, &[at(0, 7), at(2, 9)])
        .await
        .unwrap();
    assert_eq!(ports.search.count(CHAT.token, None).await.unwrap(), 20);
    assert_eq!(ports.search.list(CHAT, 0, 100).await.unwrap().len(), 20);
    publish(&ports, vec![document(21)], &[at(2, 11), at(1, 3)])
        .await
        .unwrap();
    let again = connect(&namespace.config).await.unwrap();
    let recorded = [at(0, 7), at(1, 3), at(2, 11)];
    assert_eq!(again.search.positions().await.unwrap(), recorded);
    assert_eq!(again.search.count(CHAT.token, None).await.unwrap(), 21);
    // Whoever owns a partition may have to read it again.
    record(&again, at(2, 4)).await.unwrap();
    let recorded = [at(0, 7), at(1, 3), at(2, 4)];
    assert_eq!(again.search.positions().await.unwrap(), recorded);
}

/// What a shard has is as old as its own position, whatever the other shards have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_shard_that_went_back_is_noticed() {
    let (namespace, ports) = sharded().await;
    record(&ports, at(0, 7)).await.unwrap();
    let alias = format!("{}messages", namespace.config.index_prefix);
    let found = send(
        &namespace.config,
        Method::Post,
        &format!("/{alias}/_search"),
        Some(json!({ "query": { "exists": { "field": "position" } } })),
    )
    .await;
    let hits = found["hits"]["hits"].as_array().unwrap();
    assert_eq!(hits.len(), 3);
    // As it is after an old copy of the shard was promoted.
    let (id, routing) = (&hits[1]["_id"], &hits[1]["_routing"]);
    let id = id.as_str().unwrap().replace('|', "%7C");
    let routing = routing.as_str().unwrap();
    let log = format!("{:?}", LogId::of_name("a log"));
    send(
        &namespace.config,
        Method::Put,
        &format!("/{alias}/_doc/{id}?routing={routing}&refresh=true"),
        Some(json!({ "position": "messages|0", "log": log, "epoch": 0, "next": 5, "whole": true })),
    )
    .await;
    // Somebody else's question changes nothing for whoever is about to record the next position.
    assert_eq!(ports.search.positions().await.unwrap(), [at(0, 5)]);
    let error = publish(&ports, vec![document(1)], &[at(0, 8)])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Displaced(_)), "{error}");
    let error = record(&ports, at(0, 8)).await.unwrap_err();
    assert!(matches!(error, Error::Displaced(_)), "{error}");
    assert_eq!(ports.search.positions().await.unwrap(), [at(0, 5)]);
    record(&ports, at(0, 6)).await.unwrap();
    assert_eq!(ports.search.positions().await.unwrap(), [at(0, 6)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_was_emptied_has_no_positions() {
    let (namespace, ports) = sharded().await;
    publish(&ports, vec![document(1)], &[at(0, 7)])
        .await
        .unwrap();
    replace_index(&namespace.config).await;
    let error = publish(&ports, vec![document(2)], &[at(0, 8)])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Displaced(_)), "{error}");
    // However long ago it was looked at.
    let deadline = Instant::now() + Duration::from_secs(3);
    while Instant::now() < deadline {
        let error = record(&ports, at(0, 9)).await.unwrap_err();
        assert!(matches!(error, Error::Displaced(_)), "{error}");
        sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(ports.search.positions().await.unwrap(), []);
    record(&ports, at(0, 1)).await.unwrap();
    assert_eq!(ports.search.positions().await.unwrap(), [at(0, 1)]);
}

/// Two owners of a partition, one of them late: what is recorded never hides anything, and neither is stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_owner_moves_no_position() {
    let (namespace, late) = sharded().await;
    record(&late, at(0, 5)).await.unwrap();
    let owner = connect(&namespace.config).await.unwrap();
    assert_eq!(owner.search.positions().await.unwrap(), [at(0, 5)]);
    record(&owner, at(0, 9)).await.unwrap();
    publish(&late, vec![document(1)], &[at(0, 7)])
        .await
        .unwrap();
    assert_eq!(late.search.count(CHAT.token, None).await.unwrap(), 1);
    record(&owner, at(0, 10)).await.unwrap();
    assert_eq!(owner.search.positions().await.unwrap(), [at(0, 10)]);
}

/// An index from before there were positions gets them without being filled again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_index_is_migrated_in_place() {
    let namespace = Namespace::fresh().await;
    let config = &namespace.config;
    let index = format!("/{}messages-000001", config.index_prefix);
    send(config, Method::Delete, &index, None).await;
    let fields = json!({
        "token": { "type": "keyword", "doc_values": false },
        "scope": { "type": "keyword", "doc_values": false },
        "chat": { "type": "long", "index": false },
        "number": { "type": "long", "index": false },
        "created_at": { "type": "long" },
        "deleted": { "type": "boolean", "doc_values": false },
        "grams": {
            "type": "text", "analyzer": "whitespace", "index_options": "docs", "norms": false
        },
    });
    // The template would add the new fields.
    let template = format!("/_index_template/{}messages", config.index_prefix);
    send(config, Method::Delete, &template, None).await;
    let made = json!({
        "settings": { "number_of_replicas": 0, "refresh_interval": "-1" },
        "mappings": {
            "_meta": { "chat_schema": 3 }, "dynamic": "strict", "_source": { "enabled": false },
            "_routing": { "required": true }, "properties": fields,
        },
        "aliases": { format!("{}messages", config.index_prefix): { "is_write_index": true } },
    });
    send(config, Method::Put, &index, Some(made)).await;
    let path = format!("{index}/_doc/1?routing=x");
    let token = CHAT.token.reveal();
    let one = json!({ "token": token, "deleted": false, "created_at": 1, "number": 1 });
    send(config, Method::Put, &path, Some(one)).await;

    let refused = match connect(config).await {
        Ok(_) => panic!("an older index is used"),
        Err(error) => error.to_string(),
    };
    assert!(refused.contains("chatd migrate"), "{refused}");
    migrate(config).await.unwrap();
    let ports = connect(config).await.unwrap();
    publish(&ports, vec![document(2)], &[at(0, 1)])
        .await
        .unwrap();
    assert_eq!(ports.search.positions().await.unwrap(), [at(0, 1)]);
    let all = format!("{index}/_count");
    let all = send(config, Method::Post, &all, None).await;
    // Both documents, and the position.
    assert_eq!(all["count"], 3);
}
