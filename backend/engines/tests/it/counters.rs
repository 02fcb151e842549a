//! Counters whose server restarts, changes its role, or forgets keys.

use std::time::Duration;

use chat_core::backend::{Backend, Settings};
use chat_core::error::Error;
use chat_core::key::StoredKey;
use chat_core::port::Ports;
use chat_core::port::counters::{Counter, Keyed, Opened, Take, Taken};
use chat_core::port::store::ChatKey;
use chat_engines::open::{connect, migrate};
use chat_wire::ids::AppToken;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::namespace::Namespace;
use crate::redis_server::Redis;

const TOKEN: AppToken = AppToken::from_bytes([6; 16]);
const CHATS: Counter = Counter::Chats(TOKEN);
/// Longer than any test.
const LONG_MS: u64 = 600_000;
/// Over as soon as it is given.
const SHORT_MS: u64 = 1;
/// A change is noticed within seconds.
const NOTICED: Duration = Duration::from_secs(15);

fn keyed(name: &str, lease_ms: u64) -> Keyed {
    Keyed {
        key: StoredKey::new(Some(TOKEN), "/chats", name, b"{}"),
        uid: Uuid::new_v4(),
        lease_ms,
        absent_in_store: false,
    }
}

async fn take(ports: &Ports, keyed: Option<Keyed>) -> Taken {
    let take = Take {
        counter: CHATS,
        count: 1,
        keyed,
    };
    ports.counters.take(take).await.unwrap()
}

/// Takes with a key that the store does not know.
async fn take_absent(ports: &Ports, mut keyed: Keyed) -> Taken {
    keyed.absent_in_store = true;
    let deadline = Instant::now() + NOTICED;
    loop {
        match take(ports, Some(keyed)).await {
            Taken::InFlight => assert!(Instant::now() < deadline, "the lease does not end"),
            other => return other,
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// A namespace whose counters are on a server of the test's own.
async fn on(redis: &Redis) -> Namespace {
    let mut namespace = Namespace::bare();
    namespace.config.redis_url = redis.url();
    migrate(&namespace.config).await.unwrap();
    namespace
}

async fn command(namespace: &Namespace, words: &[&str]) -> redis::Value {
    let client = redis::Client::open(namespace.config.redis_url.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::Cmd::new();
    command.arg(words);
    command.query_async(&mut connection).await.unwrap()
}

fn application(namespace: &Namespace, token: AppToken) -> String {
    format!(
        "{}application:{{{}}}",
        namespace.config.redis_prefix,
        token.reveal()
    )
}

/// A key that is gone has no row that counts any more: it is kept for longer than its row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_kept_longer_than_its_row_counts() {
    let namespace = Namespace::fresh().await;
    let ports = connect(&namespace.config).await.unwrap();
    ports.counters.open(TOKEN, None).await.unwrap();
    let first = keyed("one", LONG_MS);
    take(&ports, Some(first)).await;
    let name = format!(
        "{}key:{{{}}}|{:?}",
        namespace.config.redis_prefix,
        TOKEN.reveal(),
        first.key.hash
    );
    let day_ms = 24 * 3_600 * 1_000;
    for _ in 0..2 {
        let redis::Value::Int(left) = command(&namespace, &["PTTL", &name]).await else {
            panic!("the key is gone");
        };
        assert!(left > day_ms + 3_000 * 1_000, "{left}");
        ports.counters.acknowledge(TOKEN, first.key).await.unwrap();
    }
}

/// Where keys may have been evicted, one that is unknown is looked for in the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_evicts_knows_no_key_for_sure() {
    let Some(redis) = Redis::fresh().await else {
        return;
    };
    let namespace = on(&redis).await;
    let ports = connect(&namespace.config).await.unwrap();
    ports.counters.open(TOKEN, None).await.unwrap();
    let first = take(&ports, Some(keyed("one", LONG_MS))).await;
    assert!(
        matches!(first, Taken::Granted { first: 1, .. }),
        "{first:?}"
    );
    redis.run(&["CONFIG", "SET", "maxmemory", "1gb"]).await;
    redis
        .run(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"])
        .await;
    let deadline = Instant::now() + NOTICED;
    let mut nth = 0;
    while take(&ports, Some(keyed(&format!("key {nth}"), LONG_MS))).await != Taken::AskStore {
        assert!(Instant::now() < deadline, "the store is not asked");
        nth += 1;
        sleep(Duration::from_millis(20)).await;
    }
    let asked = take_absent(&ports, keyed("another", LONG_MS)).await;
    assert!(matches!(asked, Taken::Granted { .. }), "{asked:?}");
}

/// A server that was a replica for a while has the numbers of another one, which went on without ours: nobody
/// believes them, also not whoever used the same connection before and after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_of_another_server_are_not_believed() {
    let (Some(redis), Some(other)) = (Redis::fresh().await, Redis::fresh().await) else {
        return;
    };
    let namespace = on(&redis).await;
    let ports = connect(&namespace.config).await.unwrap();
    ports.counters.open(TOKEN, None).await.unwrap();
    take(&ports, None).await;
    other.follow(&redis).await;
    other.run(&["REPLICAOF", "NO", "ONE"]).await;
    for _ in 0..4 {
        take(&ports, None).await;
    }
    redis.follow(&other).await;
    redis.run(&["REPLICAOF", "NO", "ONE"]).await;
    // Whoever believed it last did so before the copy was made.
    sleep(Duration::from_millis(600)).await;
    assert_eq!(take(&ports, None).await, Taken::Unknown(CHATS));
}

/// What a recovery did not find is given to others, and so not to the lease that had it before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_on_numbers_that_were_lost_gets_others() {
    let namespace = Namespace::fresh().await;
    let ports = connect(&namespace.config).await.unwrap();
    ports.counters.open(TOKEN, None).await.unwrap();
    for _ in 0..3 {
        take(&ports, None).await;
    }
    let before = keyed("one", SHORT_MS);
    let granted = take(&ports, Some(before)).await;
    assert!(
        matches!(granted, Taken::Granted { first: 4, .. }),
        "{granted:?}"
    );
    // As on a replica that never heard of the fourth.
    let name = application(&namespace, TOKEN);
    command(
        &namespace,
        &["HSET", &name, "l", "3", "c", "3", "s", "another"],
    )
    .await;
    ports.counters.restore(CHATS, 3, 2).await.unwrap();
    let other = take(&ports, None).await;
    assert!(
        matches!(other, Taken::Granted { first: 4, .. }),
        "{other:?}"
    );
    let retry = take_absent(&ports, keyed("one", LONG_MS)).await;
    let expected = Taken::Granted {
        first: 5,
        generation: 2,
    };
    assert_eq!(retry, expected);
}

/// The counters' server is another one between the two steps of a create of an application: its retry goes on with
/// the token of the first try.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_of_an_application_goes_on_after_a_failover() {
    let namespace = Namespace::fresh().await;
    let ports = connect(&namespace.config).await.unwrap();
    let key = StoredKey::new(
        None,
        "/applications",
        "0c3b0b5e-2f3e-4f44-9a53-3b1d0c7f4c11",
        b"{}",
    );
    let mut first = Keyed {
        key,
        uid: Uuid::new_v4(),
        lease_ms: SHORT_MS,
        absent_in_store: false,
    };
    if ports.counters.open(TOKEN, Some(first)).await.unwrap() == Opened::AskStore {
        first.absent_in_store = true;
        ports.counters.open(TOKEN, Some(first)).await.unwrap();
    }
    let name = application(&namespace, TOKEN);
    command(&namespace, &["HSET", &name, "s", "another"]).await;

    let settings = Settings {
        create_deadline: Duration::from_secs(3),
    };
    let backend = Backend::new(connect(&namespace.config).await.unwrap(), settings);
    let deadline = Instant::now() + NOTICED;
    let token = loop {
        match backend.create_application("one".into(), Some(key)).await {
            Ok(token) => break token,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(token, TOKEN);
    assert_eq!(backend.create_chat(token, None).await.unwrap().get(), 1);
    let again = backend.create_application("one".into(), Some(key)).await;
    assert_eq!(again.unwrap(), TOKEN);
}

/// Whoever was given a number before a restart of Redis has appended it soon after: a chat that is used much later
/// is not kept waiting for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_chat_is_not_fenced_long_after_a_restart() {
    let Some(mut redis) = Redis::fresh().await else {
        return;
    };
    let namespace = on(&redis).await;
    let create_deadline = Duration::from_secs(2);
    let settings = Settings { create_deadline };
    let backend = Backend::new(connect(&namespace.config).await.unwrap(), settings);
    let token = backend
        .create_application("one".into(), None)
        .await
        .unwrap();
    let mut chats = Vec::new();
    for _ in 0..2 {
        let chat = backend.create_chat(token, None).await.unwrap();
        chats.push(ChatKey { token, chat });
    }
    let create = async |chat: ChatKey| {
        let message = chat_wire::messages::NewMessage {
            body: "a message".into(),
            sender: None,
            sent_at: None,
        };
        let created = backend.create_messages(chat, vec![message], None).await;
        created.map(|created| created.range.first.get())
    };
    for chat in &chats {
        assert_eq!(create(*chat).await.unwrap(), 1);
    }
    redis.restart().await;

    let deadline = Instant::now() + NOTICED;
    let mut fenced = 0;
    let number = loop {
        match create(chats[0]).await {
            Ok(number) => break number,
            Err(Error::Fenced) => fenced += 1,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        assert!(Instant::now() < deadline, "the recovery does not end");
        sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(number, 2);
    assert!(fenced > 0, "who still appended was not waited for");
    // The restart is longer ago than a create may take by now.
    assert_eq!(create(chats[1]).await.unwrap(), 2);
}
