//! Bare use of the engines, to measure `chatd` against: the least that a create, a store worker and an
//! index worker could do, without any of the promises. `scripts/bench --engines` runs it.
//!
//! ```text
//! bare serve            HTTP: one script in Redis and one awaited record in Kafka a request
//! bare rows FILE        bodies of an NDJSON file into the table `messages`, 1,000 rows a statement
//! bare bulk FILE        the same bodies into the index, 1,000 documents a request
//! ```
//!
//! It takes the four URLs and the prefixes from the same variables as `chatd`, after `chatd migrate`.
#![expect(
    clippy::unwrap_used,
    reason = "a measurement that cannot go on has failed"
)]
#![expect(clippy::print_stdout, reason = "the figures are the point")]

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chat_core::text;
use elasticsearch::http::Method;
use elasticsearch::http::headers::{CONTENT_TYPE, HeaderMap, HeaderValue};
use elasticsearch::http::transport::Transport;
use futures_util::{StreamExt, TryStreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use redis::aio::ConnectionManager;
use sqlx::Connection;
use tikv_jemallocator::Jemalloc;
use uuid::Uuid;

/// As in `chatd`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Rows of a statement, and documents of a request.
const CHUNK: usize = 1_000;
/// Requests to the index under way at once, as `chatd` has.
const UNDER_WAY: usize = 2;
/// Chats that the bodies are spread over.
const CHATS: usize = 153;

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (Some("serve"), None) => serve().await,
        (Some("rows"), Some(file)) => rows(&bodies(&file)).await,
        (Some("bulk"), Some(file)) => bulk(&bodies(&file)).await,
        _ => println!("usage: bare serve | bare rows FILE | bare bulk FILE"),
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

fn prefix(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// The bodies of an uncompressed NDJSON file.
fn bodies(file: &str) -> Vec<String> {
    let lines = BufReader::new(std::fs::File::open(file).unwrap()).lines();
    let body = |line: String| {
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        value["body"].as_str().unwrap().to_owned()
    };
    lines.map(|line| body(line.unwrap())).collect()
}

struct Shop {
    redis: ConnectionManager,
    script: redis::Script,
    key: String,
    kafka: FutureProducer,
    topic: String,
}

async fn serve() {
    let client = redis::Client::open(variable("REDIS_URL")).unwrap();
    let kafka = ClientConfig::new()
        .set("bootstrap.servers", variable("KAFKA_BROKERS"))
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .create()
        .unwrap();
    let shop = Arc::new(Shop {
        redis: client.get_connection_manager().await.unwrap(),
        script: redis::Script::new("return redis.call('INCR', KEYS[1])"),
        key: format!("{}bare", prefix("CHATD_REDIS_PREFIX")),
        kafka,
        topic: format!("{}messages", prefix("CHATD_TOPIC_PREFIX")),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let shop = Arc::clone(&shop);
        tokio::spawn(async move {
            let service = service_fn(move |request| sell(Arc::clone(&shop), request));
            let http = hyper::server::conn::http1::Builder::new();
            // A client that goes away is no failure.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn sell(
    shop: Arc<Shop>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut redis = shop.redis.clone();
    let number: u64 = shop
        .script
        .key(&shop.key)
        .invoke_async(&mut redis)
        .await
        .unwrap();
    let record = FutureRecord::to(&shop.topic).key("bare").payload(&body[..]);
    shop.kafka
        .send(record, Duration::from_secs(5))
        .await
        .unwrap();
    let answer = format!("{{\"message_number\":{number}}}");
    let response = Response::builder()
        .status(202)
        .header("content-type", "application/json");
    Ok(response.body(Full::new(answer.into())).unwrap())
}

async fn rows(bodies: &[String]) {
    let mut connection = sqlx::MySqlConnection::connect(&variable("DATABASE_URL"))
        .await
        .unwrap();
    let token = Uuid::new_v4();
    let values = vec!["(?,?,?,?,1,NULL,?,0,NULL,?,NULL,?)"; CHUNK].join(",");
    let statement = format!("INSERT INTO messages VALUES {values}");
    let began = Instant::now();
    let mut done = 0;
    for (nth, chunk) in bodies.chunks_exact(CHUNK).enumerate() {
        let mut query = sqlx::query(sqlx::AssertSqlSafe(statement.clone()));
        for (place, body) in chunk.iter().enumerate() {
            let all = nth * CHUNK + place;
            query = query
                .bind(&token.as_bytes()[..])
                .bind((all % CHATS + 1) as u32)
                .bind((all / CHATS + 1) as u32)
                .bind(Uuid::now_v7().as_bytes().to_vec())
                .bind(body)
                .bind(1_700_000_000_000_000_i64)
                .bind(all as u64 + 1);
        }
        query.execute(&mut connection).await.unwrap();
        done += chunk.len();
    }
    tell(done, began);
}

async fn bulk(bodies: &[String]) {
    let transport = Transport::single_node(&variable("ELASTICSEARCH_URL")).unwrap();
    let alias = format!("{}messages", prefix("CHATD_INDEX_PREFIX"));
    let token = Uuid::new_v4().simple().to_string();
    let requests: Vec<Vec<u8>> = bodies
        .chunks(CHUNK)
        .enumerate()
        .map(|(nth, chunk)| lines(&token, nth * CHUNK, chunk))
        .collect();
    let (path, transport) = (&format!("/{alias}/_bulk?require_alias=true"), &transport);
    let began = Instant::now();
    let headers = HeaderMap::from_iter([(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    )]);
    let send = async |lines: Vec<u8>| {
        let answer = transport
            .send(
                Method::Post,
                path,
                headers.clone(),
                None::<&()>,
                Some(lines),
                None,
            )
            .await?;
        let answer: serde_json::Value = answer.json().await?;
        assert_eq!(answer["errors"], false, "{answer}");
        Ok::<_, elasticsearch::Error>(())
    };
    let sent = futures_util::stream::iter(requests).map(send);
    sent.buffered(UNDER_WAY).try_collect::<()>().await.unwrap();
    let path = format!("/{alias}/_refresh");
    let none = None::<&()>;
    let refreshed = transport.send(
        Method::Post,
        &path,
        HeaderMap::new(),
        none,
        None::<String>,
        None,
    );
    refreshed.await.unwrap();
    tell(bodies.len(), began);
}

/// One request: what `chatd` indexes of each body, made before the clock runs.
fn lines(token: &str, first: usize, bodies: &[String]) -> Vec<u8> {
    let mut lines = String::new();
    for (place, body) in bodies.iter().enumerate() {
        let all = first + place;
        let (chat, number) = (all % CHATS + 1, all / CHATS + 1);
        let grams = text::tokens(&text::normalize(body));
        let scope = format!("{token}|{chat}");
        let action = serde_json::json!({"index": {"_id": format!("{scope}|{number}"), "routing": token,
            "version": all + 1, "version_type": "external"}});
        let source = serde_json::json!({"token": token, "scope": scope, "chat": chat, "number": number,
            "created_at": 1_700_000_000_000_000_i64, "deleted": false,
            "grams": grams});
        lines.push_str(&format!("{action}\n{source}\n"));
    }
    lines.into_bytes()
}

fn tell(count: usize, began: Instant) {
    let rate = count as f64 / began.elapsed().as_secs_f64();
    println!("{rate:.0}");
}
