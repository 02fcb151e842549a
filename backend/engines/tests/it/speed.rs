//! How fast the ports are by themselves; run by hand: `cargo test --release -p chat-engines --test it
//! -- --ignored --nocapture speed`.
#![expect(clippy::print_stderr, reason = "the figures are the point")]

use std::sync::Arc;
use std::time::Duration;

use chat_core::port::counters::{Counter, Take};
use chat_core::port::log::{Group, Headers, NewRecord, PartitionId, PollLimits, Topic};
use chat_core::port::search::Document;
use chat_core::port::store::{ChatKey, MessageKey, MessageRow, Position, State, Writes};
use chat_engines::open::connect;
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::time::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use crate::namespace::Namespace;

const BODY: &str =
    "some words that people write to each other, about eighty characters of them, yes";

fn rate(what: &str, count: u32, since: Instant) {
    let took = since.elapsed();
    eprintln!(
        "{what}: {count} in {took:?}, {:.0}/s",
        f64::from(count) / took.as_secs_f64()
    );
}

fn record(nth: u32) -> NewRecord {
    NewRecord {
        key: format!("0123456789abcdef0123456789abcdef|{}", nth % 200).into(),
        headers: Headers {
            event: Some("message.created".into()),
            uid: Some(Uuid::now_v7()),
            schema: Some(1),
            ..Headers::default()
        },
        value: vec![b'x'; 300].into(),
    }
}

fn key(number: u32) -> MessageKey {
    let token = AppToken::from_bytes([1; 16]);
    let chat = ChatKey {
        token,
        chat: ChatNumber::new(1 + number % 200).unwrap(),
    };
    MessageKey {
        chat,
        number: MessageNumber::new(1 + number / 200).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn speed_of_log_and_counters() {
    let namespace = Namespace::fresh().await;
    let ports = connect(&namespace.config).await.unwrap();
    let token = AppToken::from_bytes([1; 16]);
    ports.counters.open(token, None).await.unwrap();
    let take = Take {
        counter: Counter::Chats(token),
        count: 1,
        keyed: None,
    };
    let began = Instant::now();
    for _ in 0..500 {
        ports.counters.take(take).await.unwrap();
    }
    rate("takes, one at a time", 500, began);
    let began = Instant::now();
    for nth in 0..500 {
        ports
            .log
            .append(Topic::Messages, record(nth))
            .await
            .unwrap();
    }
    rate("appends, one at a time", 500, began);
    for with_log in [false, true] {
        let began = Instant::now();
        let tasks: Vec<_> = (0..128)
            .map(|task| {
                let ports = ports.clone();
                tokio::spawn(async move {
                    for nth in 0..400 {
                        ports.counters.take(take).await.unwrap();
                        if with_log {
                            let record = record(task * 400 + nth);
                            ports.log.append(Topic::Messages, record).await.unwrap();
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let what = if with_log {
            "takes and appends, 128 at once"
        } else {
            "takes, 128 at once"
        };
        rate(what, 128 * 400, began);
    }
    let limits = PollLimits {
        records: 4_000,
        bytes: 2 << 20,
        wait_ms: 0,
    };
    for round in 0..4 {
        let partition = PartitionId {
            topic: Topic::Messages,
            index: 0,
        };
        let began = Instant::now();
        let (_, end) = ports.log.range(partition).await.unwrap();
        eprintln!("range: {:?}", began.elapsed());
        let began = Instant::now();
        let read = ports.log.read(partition, 0, limits).await.unwrap();
        eprintln!(
            "read {round}: {} of {end} in {:?}",
            read.len(),
            began.elapsed()
        );
    }
    let mut consumer = ports.log.join(Group::MessagesStore).await.unwrap();
    let (mut count, began) = (0, Instant::now());
    let limits = PollLimits {
        wait_ms: 1_000,
        ..limits
    };
    while count < 128 * 400 {
        match consumer.poll(limits).await.unwrap() {
            chat_core::port::log::Polled::Assigned(partitions) => {
                eprintln!("assigned after {:?}", began.elapsed());
                for partition in partitions {
                    consumer.seek(partition, 0).await.unwrap();
                }
            }
            chat_core::port::log::Polled::Records(records) => {
                count += u32::try_from(records.len()).unwrap();
            }
            _ => {}
        }
    }
    rate("consumed", count, began);
    let began = Instant::now();
    consumer.leave().await;
    eprintln!("left in {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn speed_of_store_and_search() {
    let namespace = Namespace::fresh().await;
    let ports = Arc::new(connect(&namespace.config).await.unwrap());
    let partition = PartitionId {
        topic: Topic::Messages,
        index: 0,
    };
    let now = Timestamp::now();
    let batches: u32 = 25;
    let began = Instant::now();
    for batch in 0..batches {
        let mut tx = ports
            .store
            .begin(Group::MessagesStore, partition)
            .await
            .unwrap();
        let mut rows: Vec<MessageRow> = (batch * 4_000..(batch + 1) * 4_000)
            .map(|number| MessageRow {
                key: key(number),
                uid: Some(Uuid::now_v7()),
                generation: 1,
                sender: Some("somebody".into()),
                body: BODY.into(),
                state: State::Live,
                sent_at: None,
                created_at: now,
                updated_at: None,
                revision: u64::from(number) + 1,
            })
            .collect();
        rows.sort_unstable_by_key(|row| row.key);
        tx.write(Writes {
            insert_messages: rows,
            ..Writes::default()
        })
        .await
        .unwrap();
        tx.commit(Position {
            next: u64::from(batch) + 1,
            ..Position::START
        })
        .await
        .unwrap();
    }
    rate("rows in batches of 4,000", batches * 4_000, began);
    let began = Instant::now();
    for batch in 0..batches {
        let mut keys: Vec<MessageKey> = (batch * 4_000..(batch + 1) * 4_000).map(key).collect();
        keys.sort_unstable();
        assert_eq!(
            ports.store.messages_by_key(&keys).await.unwrap().len(),
            4_000
        );
    }
    rate("rows read by key", batches * 4_000, began);
    let began = Instant::now();
    for batch in 0..10 {
        let documents = (batch * 4_000..(batch + 1) * 4_000)
            .map(|number| Document {
                key: key(number),
                revision: u64::from(number) + 1,
                created_at: now,
                body: Some(format!("{BODY} {number}")),
            })
            .collect();
        ports.search.index(documents).await.unwrap();
    }
    rate("documents in batches of 4,000", 40_000, began);
    tokio::time::sleep(Duration::from_millis(1)).await;
}
