//! Damage with the engines' own tools, found and mended by one run: counters deleted and set lower in
//! Redis, counts falsified in MySQL, documents deleted and added in Elasticsearch.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chat_core::apply::{Batch, Numbers, Outcome, apply};
use chat_core::backend::{Backend, Settings};
use chat_core::error::Error;
use chat_core::index;
use chat_core::key::StoredKey;
use chat_core::port::Ports;
use chat_core::port::counters::Counter;
use chat_core::port::log::{Group, PartitionId, PollLimits};
use chat_core::port::search::IndexPosition;
use chat_core::port::store::{ChatKey, MessageKey};
use chat_core::reconcile::Wish;
use chat_engines::open::connect;
use chat_wire::admin::drift::{Drift, Verdict};
use chat_wire::admin::reconcile::{Order, Phase};
use chat_wire::ids::{AppToken, MessageNumber};
use chat_wire::messages::NewMessage;
use elasticsearch::http::transport::Transport;
use elasticsearch::params::VersionType;
use elasticsearch::{DeleteParts, Elasticsearch, IndexParts};
use sqlx::{Connection as _, Executor as _};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::namespace::Namespace;

const DEADLINE: Duration = Duration::from_millis(500);
/// How long anything that is awaited may take.
const PATIENCE: Duration = Duration::from_secs(30);
const READ: PollLimits = PollLimits {
    records: 5_000,
    bytes: 8 << 20,
    wait_ms: 0,
};
const EXECUTE: Order = Order {
    token: None,
    chat: None,
    full: false,
    execute: true,
};

/// What the workers do, once around.
async fn work(ports: &Ports) {
    for group in Group::ALL {
        let topic = group.topic();
        for index in 0..ports.log.partitions(topic).await.unwrap() {
            let partition = PartitionId { topic, index };
            let next = ports.store.position(group, partition).await.unwrap().next;
            let records = ports.log.read(partition, next, READ).await.unwrap();
            if records.is_empty() {
                continue;
            }
            let epoch = ports.log.epoch(topic).await.unwrap();
            let (batch, poison) = Batch::decode(group, partition, epoch, next, records);
            assert!(poison.is_empty());
            if group == Group::MessagesIndex {
                let batches = std::slice::from_ref(&batch);
                if !index::ready(ports, batches).await.unwrap() {
                    continue;
                }
                let documents = index::documents(ports, batches).await.unwrap();
                let staged = index::stage(ports, documents).await.unwrap();
                let read = IndexPosition {
                    partition,
                    log: ports.log.identity().await.unwrap(),
                    epoch,
                    next: batch.next,
                    whole: true,
                };
                index::publish(ports, staged, &[read]).await.unwrap();
            }
            let applied = apply(
                ports.store.as_ref(),
                std::slice::from_ref(&batch),
                &Numbers::new(),
            )
            .await;
            match applied.unwrap() {
                Outcome::Applied(report) => assert_eq!(report.renumbered, 0),
                other => panic!("numbers were given twice, or records were passed over: {other:?}"),
            }
        }
    }
}

struct System {
    namespace: Namespace,
    backend: Backend,
    stop: Arc<AtomicBool>,
    worker: Option<tokio::task::JoinHandle<()>>,
}

impl System {
    async fn start() -> Self {
        let namespace = Namespace::fresh().await;
        let ports = connect(&namespace.config).await.unwrap();
        let settings = Settings {
            create_deadline: DEADLINE,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let worker = {
            let (ports, stop) = (ports.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Acquire) {
                    work(&ports).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
        };
        Self {
            namespace,
            backend: Backend::new(ports, settings),
            stop,
            worker: Some(worker),
        }
    }

    async fn stop(mut self) {
        self.stop.store(true, Ordering::Release);
        self.worker.take().unwrap().await.unwrap();
    }

    async fn application(&self) -> AppToken {
        acknowledged(async |key| {
            let name = "one".to_owned();
            self.backend.create_application(name, Some(key)).await
        })
        .await
    }

    async fn chat(&self, token: AppToken) -> ChatKey {
        let create = async |key| self.backend.create_chat(token, Some(key)).await;
        let chat = acknowledged(create).await;
        ChatKey { token, chat }
    }

    async fn say(&self, chat: ChatKey, count: usize) -> u32 {
        let created = acknowledged(async |key| {
            let messages = vec![message("a message"); count];
            let create = self.backend.create_messages(chat, messages, Some(key));
            create.await
        });
        created.await.range.first.get()
    }

    /// Waits for a verdict.
    async fn judged(&self, chat: ChatKey, verdict: Verdict) -> Drift {
        let wish = Wish {
            token: Some(chat.token),
            chat: Some(chat.chat),
            limit: 1,
            ..Wish::default()
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            // A chat without a row is not there yet.
            if let Ok(page) = self.backend.drift(&wish).await {
                let drift = page.rows.into_iter().next().unwrap();
                if drift.verdict == verdict {
                    return drift;
                }
                assert!(Instant::now() < deadline, "{verdict:?}: {drift:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn redis(&self, command: &str, chat: ChatKey, rest: &[&str]) {
        let url = self.namespace.config.redis_url.as_str();
        let client = redis::Client::open(url).unwrap();
        let mut redis = client.get_multiplexed_async_connection().await.unwrap();
        let (prefix, token) = (&self.namespace.config.redis_prefix, chat.token.reveal());
        redis::cmd(command)
            .arg(format!("{prefix}chat:{{{token}}}|{}", chat.chat))
            .arg(rest)
            .exec_async(&mut redis)
            .await
            .unwrap();
    }

    async fn mysql(&self, statement: &'static str) {
        let url = &self.namespace.config.database_url;
        let mut mysql = sqlx::MySqlConnection::connect(url).await.unwrap();
        mysql.execute(statement).await.unwrap();
        mysql.close().await.unwrap();
    }

    /// Deletes a document under this version, or under one of the index's own, or writes one that no
    /// message has.
    async fn elasticsearch(&self, chat: ChatKey, number: u32, hand: Hand) {
        let config = &self.namespace.config;
        let transport = Transport::single_node(&config.elasticsearch_url).unwrap();
        let client = Elasticsearch::new(transport);
        let index = format!("{}messages-000001", config.index_prefix);
        let token = chat.token.reveal();
        let scope = format!("{token}|{}", chat.chat);
        let id = format!("{scope}|{number}");
        let answer = match hand {
            Hand::Deletes(version) => {
                let parts = DeleteParts::IndexId(&index, &id);
                let delete = client.delete(parts).routing(&token);
                match version {
                    Some(version) => {
                        let delete = delete.version(i64::try_from(version).unwrap());
                        delete.version_type(VersionType::ExternalGte).send().await
                    }
                    None => delete.send().await,
                }
            }
            Hand::Adds => {
                let parts = IndexParts::IndexId(&index, &id);
                let body = serde_json::json!({
                    "token": token, "scope": scope, "chat": chat.chat.get(), "number": number,
                    "created_at": 1, "deleted": false, "grams": "a ab abc b bc c",
                });
                let index = client.index(parts).routing(&token);
                index.body(body).send().await
            }
        };
        assert!(answer.unwrap().status_code().is_success());
        let parts = elasticsearch::indices::IndicesRefreshParts::Index(&[&index]);
        client.indices().refresh(parts).send().await.unwrap();
    }
}

/// Creates with a key of its own, and asks again as a client does: a broker on a busy machine takes
/// longer than this deadline now and then.
async fn acknowledged<T>(mut create: impl AsyncFnMut(StoredKey) -> Result<T, Error>) -> T {
    let key = StoredKey::new(None, "", &uuid::Uuid::now_v7().to_string(), b"");
    let deadline = Instant::now() + PATIENCE;
    loop {
        match create(key).await {
            Ok(created) => return created,
            Err(error @ (Error::NotAcknowledged | Error::NotAppended(_) | Error::KeyInFlight)) => {
                assert!(Instant::now() < deadline, "{error}");
            }
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[derive(Clone, Copy)]
enum Hand {
    Deletes(Option<u64>),
    Adds,
}

fn message(body: &str) -> NewMessage {
    NewMessage {
        body: body.into(),
        sender: None,
        sent_at: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_damage_is_found_and_mended() {
    let system = System::start().await;
    let backend = &system.backend;
    let token = system.application().await;
    let mut chats = Vec::new();
    for _ in 0..6 {
        let chat = system.chat(token).await;
        system.say(chat, 10).await;
        chats.push(chat);
    }
    for chat in &chats {
        system.judged(*chat, Verdict::Ok).await;
    }
    // A counter is older than the deadline by now, so that a missing one is not still being made.
    tokio::time::sleep(DEADLINE * 2).await;
    let [deleted, lowered, believed, stale, missing, orphaned] = chats[..] else {
        unreachable!()
    };
    system.redis("DEL", deleted, &[]).await;
    system.redis("HSET", lowered, &["l", "4"]).await;
    system.redis("HSET", believed, &["l", "4", "c", "4"]).await;
    system
        .mysql("UPDATE chats SET messages_count = 99 WHERE number = 4")
        .await;
    // Of this one the index remembers for a minute that it was deleted under a version above the row's.
    system.elasticsearch(missing, 3, Hand::Deletes(None)).await;
    system.elasticsearch(orphaned, 777, Hand::Adds).await;
    for (chat, verdict) in [
        (deleted, Verdict::CounterBehind),
        (lowered, Verdict::CounterBehind),
        (believed, Verdict::CounterBehind),
        (stale, Verdict::CountStale),
        (missing, Verdict::Unindexed),
        (orphaned, Verdict::Unindexed),
    ] {
        system.judged(chat, verdict).await;
    }
    let work = backend.begin_run(EXECUTE).await.unwrap();
    let run = backend.carry_out(work).await;
    assert_eq!(
        (run.phase, run.planned, run.done),
        (Phase::Finished, 6, 6),
        "{run:?}"
    );
    for chat in chats {
        let drift = system.judged(chat, Verdict::Ok).await;
        assert_eq!((drift.counter, drift.rows, drift.live), (Some(10), 10, 10));
        assert_eq!(system.say(chat, 1).await, 11);
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_that_are_lost_under_traffic_come_back_and_reissue_nothing() {
    let system = System::start().await;
    let backend = &system.backend;
    let token = system.application().await;
    let mut chats = Vec::new();
    for _ in 0..3 {
        let chat = system.chat(token).await;
        system.say(chat, 10).await;
        chats.push(chat);
    }
    for chat in &chats {
        system.judged(*chat, Verdict::Ok).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let said = Arc::new(AtomicUsize::new(0));
    let mut writers = JoinSet::new();
    for nth in 0..6 {
        let (backend, stop, chat) = (backend.clone(), Arc::clone(&stop), chats[nth % 3]);
        let said = Arc::clone(&said);
        writers.spawn(async move {
            let mut given = Vec::new();
            while !stop.load(Ordering::Acquire) {
                let messages = vec![message("said meanwhile")];
                match backend.create_messages(chat, messages, None).await {
                    Ok(created) => {
                        given.push((chat, created.range.first.get()));
                        said.fetch_add(1, Ordering::AcqRel);
                    }
                    Err(Error::Fenced | Error::NotAcknowledged | Error::NotAppended(_)) => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            given
        });
    }
    let mut highest = 0;
    for round in 0..2 {
        tokio::time::sleep(DEADLINE).await;
        let counter = Counter::Messages(chats[2]);
        let last = backend.ports().counters.last(counter).await.unwrap();
        assert!(last >= Some(highest), "no counter is lowered");
        highest = last.unwrap_or(highest);
        if round == 0 {
            system.redis("DEL", chats[0], &[]).await;
            let name = MessageKey {
                chat: chats[2],
                number: MessageNumber::new(5).unwrap(),
            };
            let row = backend.ports().store.message(name).await.unwrap().unwrap();
            let hand = Hand::Deletes(Some(row.revision));
            system.elasticsearch(chats[2], 5, hand).await;
        } else {
            system.redis("HSET", chats[1], &["l", "2"]).await;
        }
        let full = Order {
            full: true,
            ..EXECUTE
        };
        let work = backend.begin_run(full).await.unwrap();
        let run = backend.carry_out(work).await;
        assert_eq!((run.phase, run.failed), (Phase::Finished, 0), "{run:?}");
        // Each run meets traffic, however slow the machine is.
        let deadline = Instant::now() + PATIENCE;
        while said.load(Ordering::Acquire) < 25 * (round + 1) {
            assert!(Instant::now() < deadline, "there is no traffic");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    stop.store(true, Ordering::Release);
    let given: Vec<(ChatKey, u32)> = writers.join_all().await.into_iter().flatten().collect();
    let numbers: HashSet<(ChatKey, u32)> = given.iter().copied().collect();
    assert_eq!(numbers.len(), given.len(), "a number was given twice");
    let work = backend.begin_run(EXECUTE).await.unwrap();
    let run = backend.carry_out(work).await;
    assert_eq!(run.failed, 0, "{run:?}");
    for chat in chats {
        let drift = system.judged(chat, Verdict::Ok).await;
        let of_this = given.iter().filter(|(of, _)| *of == chat).count();
        // What was not acknowledged in time may be stored all the same; what was, is.
        assert!(drift.live >= of_this as u64 + 10, "{drift:?}");
    }
    system.stop().await;
}
