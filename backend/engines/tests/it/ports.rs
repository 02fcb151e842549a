//! What is these adapters' own: fences, epochs, frozen owners.

use std::time::Duration;

use chat_core::backend::{Backend, Settings};
use chat_core::error::Error;
use chat_core::event::Event;
use chat_core::port::counters::{Counter, Take, Taken};
use chat_core::port::log::{Group, PartitionId, PollLimits, Polled, Topic};
use chat_core::port::store::{ChatKey, Position};
use chat_engines::open::connect;
use tokio::time::Instant;
use uuid::Uuid;

use crate::namespace::Namespace;

fn one(counter: Counter) -> Take {
    Take {
        counter,
        count: 1,
        keyed: None,
    }
}

async fn redis(namespace: &Namespace) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(namespace.config.redis_url.as_str()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// A counter that somebody sets lower, or that another server wrote, is unknown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_that_went_back_is_unknown() {
    let namespace = Namespace::fresh().await;
    let ports = connect(&namespace.config).await.unwrap();
    let token = chat_wire::ids::AppToken::from_bytes(*Uuid::new_v4().as_bytes());
    let chats = Counter::Chats(token);
    ports.counters.open(token, None).await.unwrap();
    for _ in 0..3 {
        ports.counters.take(one(chats)).await.unwrap();
    }
    let name = format!(
        "{}application:{{{}}}",
        namespace.config.redis_prefix,
        token.reveal()
    );
    let mut redis = redis(&namespace).await;
    for (field, value) in [("l", "1"), ("s", "another")] {
        redis::cmd("HSET")
            .arg(&name)
            .arg(field)
            .arg(value)
            .exec_async(&mut redis)
            .await
            .unwrap();
        assert_eq!(
            ports.counters.take(one(chats)).await.unwrap(),
            Taken::Unknown(chats)
        );
        assert_eq!(ports.counters.last(chats).await.unwrap(), None);
        ports.counters.restore(chats, 3, 2).await.unwrap();
        assert_eq!(ports.counters.last(chats).await.unwrap(), Some(3));
    }
}

/// What stands in Redis under the namespace's prefix is lost.
async fn empty(namespace: &Namespace) {
    let mut redis = redis(namespace).await;
    let pattern = format!("{}*", namespace.config.redis_prefix);
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg(pattern)
        .query_async(&mut redis)
        .await
        .unwrap();
    redis::cmd("DEL")
        .arg(keys)
        .exec_async(&mut redis)
        .await
        .unwrap();
}

fn message(nth: u32) -> chat_wire::messages::NewMessage {
    chat_wire::messages::NewMessage {
        body: format!("message {nth}"),
        sender: None,
        sent_at: None,
    }
}

/// Long enough to tell one recovery from two, whatever else the machine does.
const CREATE_DEADLINE: Duration = Duration::from_secs(6);

async fn backend(namespace: &Namespace) -> Backend {
    let settings = Settings {
        create_deadline: CREATE_DEADLINE,
    };
    Backend::new(connect(&namespace.config).await.unwrap(), settings)
}

/// Redis emptied with unread records in the log: no number is given twice, and who was never there
/// is told so at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_reissues_nothing() {
    let namespace = Namespace::fresh().await;
    let backend = backend(&namespace).await;
    let token = backend
        .create_application("one".into(), None)
        .await
        .unwrap();
    let chat = ChatKey {
        token,
        chat: backend.create_chat(token, None).await.unwrap(),
    };
    for nth in 1..=5 {
        let created = backend
            .create_messages(chat, vec![message(nth)], None)
            .await
            .unwrap();
        assert_eq!(created.range.first.get(), nth);
    }
    empty(&namespace).await;

    let stranger = ChatKey {
        token: chat_wire::ids::AppToken::from_bytes([9; 16]),
        ..chat
    };
    let began = Instant::now();
    let unknown = backend
        .create_messages(stranger, vec![message(0)], None)
        .await;
    assert!(
        matches!(unknown, Err(Error::UnknownApplication)),
        "{unknown:?}"
    );
    // At once: the wait of a recovery is not for who was never there.
    assert!(began.elapsed() < CREATE_DEADLINE, "{:?}", began.elapsed());

    let began = Instant::now();
    let created = loop {
        match backend.create_messages(chat, vec![message(6)], None).await {
            Err(Error::Fenced) => tokio::time::sleep(Duration::from_millis(50)).await,
            other => break other.unwrap(),
        }
        assert!(
            began.elapsed() < CREATE_DEADLINE * 5,
            "the recovery does not end"
        );
    };
    // The deadline, a margin of 1 s, and the reading, once: the chat was not kept waiting for its
    // application first.
    assert!(
        began.elapsed() < CREATE_DEADLINE * 2,
        "{:?}",
        began.elapsed()
    );
    assert_eq!(created.range.first.get(), 6);
    let number = backend.create_chat(token, None).await.unwrap();
    assert_eq!(number.get(), 2);
}

/// The key of an application's create outlives Redis while no worker has read the event, also where
/// the server was known for longer than keys live.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_an_application_outlives_an_emptied_redis() {
    let namespace = Namespace::fresh().await;
    drop(backend(&namespace).await);
    let mut redis = redis(&namespace).await;
    let marks: Vec<String> = redis::cmd("KEYS")
        .arg(format!("{}server:*", namespace.config.redis_prefix))
        .query_async(&mut redis)
        .await
        .unwrap();
    redis::cmd("SET")
        .arg(&marks[0])
        .arg(1)
        .exec_async(&mut redis)
        .await
        .unwrap();
    let backend = backend(&namespace).await;
    let key = |body: &[u8]| {
        let text = "f4a3cf4e-4c9c-4a52-9d2a-6a1f3f4b7c11";
        chat_core::key::StoredKey::new(None, "/applications", text, body)
    };
    let create = async |body: &[u8]| {
        backend
            .create_application("one".into(), Some(key(body)))
            .await
    };
    let token = create(b"{}").await.unwrap();
    empty(&namespace).await;
    assert_eq!(create(b"{}").await.unwrap(), token);
    let other = create(b"{ }").await;
    assert!(matches!(other, Err(Error::KeyReused)), "{other:?}");
}

/// A topic that was made anew is noticed, its epoch raised, and it is read from its beginning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_made_anew_begins_an_epoch() {
    let namespace = Namespace::fresh().await;
    let ports = connect(&namespace.config).await.unwrap();
    let event = Event::ApplicationRenamed(chat_core::event::ApplicationRenamed {
        application_token: chat_wire::ids::AppToken::from_bytes([1; 16]),
        name: "a name".into(),
        at: chat_wire::time::Timestamp::now(),
    });
    let at = ports
        .log
        .append(Topic::Applications, event.encode(Uuid::from_u128(1)))
        .await
        .unwrap();
    let partition = at.partition;
    // What was applied had another uid, as it is after the topic was removed and made again.
    let tx = ports
        .store
        .begin(Group::ApplicationsStore, &[partition])
        .await
        .unwrap();
    let stored = Position {
        next: at.offset + 1,
        epoch: 0,
        last_uid: Some(Uuid::from_u128(2)),
    };
    tx.commit(&[stored]).await.unwrap();
    assert_eq!(ports.log.epoch(Topic::Applications).await.unwrap(), 0);

    let mut consumer = ports.log.join(Group::ApplicationsStore).await.unwrap();
    let limits = PollLimits {
        records: 10,
        bytes: 1 << 20,
        wait_ms: 500,
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    let records = loop {
        assert!(Instant::now() < deadline, "nothing was read");
        match consumer.poll(limits).await.unwrap() {
            Polled::Assigned(partitions) => {
                for partition in partitions {
                    let group = Group::ApplicationsStore;
                    let position = ports.store.position(group, partition).await.unwrap();
                    consumer.seek(partition, position.next).await.unwrap();
                }
            }
            Polled::Records(records) => break records,
            Polled::Idle | Polled::Revoked(_) | Polled::Gone { .. } => {}
        }
    };
    assert_eq!(records[0].offset, at.offset);
    assert_eq!(ports.log.epoch(Topic::Applications).await.unwrap(), 1);
    let position = ports
        .store
        .position(Group::ApplicationsStore, partition)
        .await
        .unwrap();
    assert_eq!((position.next, position.epoch), (at.offset, 1));
    // A batch of the epoch before comes too late.
    let tx = ports
        .store
        .begin(Group::ApplicationsStore, &[partition])
        .await
        .unwrap();
    assert!(tx.commit(&[stored]).await.unwrap_err().retryable());
    consumer.leave().await;
}

/// What the index says of epochs counts too: the new one is above all that were ever used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_is_raised_above_every_one_that_was_used() {
    let namespace = Namespace::fresh().await;
    let ports = connect(&namespace.config).await.unwrap();
    let topic = Topic::Messages;
    let identity = ports.log.identity().await.unwrap();
    assert_eq!(ports.log.epoch(topic).await.unwrap(), 0);
    assert_eq!(ports.log.raise_epoch(topic, 6).await.unwrap(), 7);
    assert_eq!(ports.log.epoch(topic).await.unwrap(), 7);
    assert_eq!(ports.log.raise_epoch(topic, 2).await.unwrap(), 7);
    assert_eq!(ports.log.raise_epoch(topic, 7).await.unwrap(), 8);
    assert_eq!(ports.log.epoch(Topic::Chats).await.unwrap(), 0);
    assert_eq!(ports.log.identity().await.unwrap(), identity);
}

/// The same for a topic that was really removed and made again, under a consumer that is reading it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_removed_is_read_anew() {
    let namespace = Namespace::fresh().await;
    let ports = connect(&namespace.config).await.unwrap();
    let append = async |uid: u128| {
        let event = Event::ApplicationRenamed(chat_core::event::ApplicationRenamed {
            application_token: chat_wire::ids::AppToken::from_bytes([1; 16]),
            name: "a name".into(),
            at: chat_wire::time::Timestamp::now(),
        });
        let record = event.encode(Uuid::from_u128(uid));
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match ports.log.append(Topic::Applications, record.clone()).await {
                Ok(at) => return at,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    for uid in 1..=5 {
        append(uid).await;
    }
    assert_eq!(next_uid(&ports, 0).await, Uuid::from_u128(1));
    let partition = PartitionId {
        topic: Topic::Applications,
        index: 0,
    };
    let tx = ports
        .store
        .begin(Group::ApplicationsStore, &[partition])
        .await
        .unwrap();
    let stored = Position {
        next: 5,
        epoch: 0,
        last_uid: Some(Uuid::from_u128(5)),
    };
    tx.commit(&[stored]).await.unwrap();

    namespace.delete_topic(Topic::Applications).await;
    chat_engines::open::migrate(&namespace.config)
        .await
        .unwrap();
    append(11).await;
    assert_eq!(next_uid(&ports, 1).await, Uuid::from_u128(11));
}

/// Joins, reads the first record that comes, looks at the epoch, leaves.
async fn next_uid(ports: &chat_core::port::Ports, epoch: u32) -> Uuid {
    let group = Group::ApplicationsStore;
    let limits = PollLimits {
        records: 10,
        bytes: 1 << 20,
        wait_ms: 500,
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        assert!(Instant::now() < deadline, "nothing was read");
        let mut consumer = ports.log.join(group).await.unwrap();
        loop {
            match consumer.poll(limits).await {
                Ok(Polled::Assigned(partitions)) => {
                    for partition in partitions {
                        let position = ports.store.position(group, partition).await.unwrap();
                        consumer.seek(partition, position.next).await.unwrap();
                    }
                }
                Ok(Polled::Records(records)) => {
                    assert_eq!(ports.log.epoch(Topic::Applications).await.unwrap(), epoch);
                    consumer.leave().await;
                    return records[0].headers.uid.unwrap();
                }
                Ok(Polled::Idle | Polled::Revoked(_) | Polled::Gone { .. }) => {
                    assert!(Instant::now() < deadline, "nothing was read");
                }
                Err(_) => break,
            }
        }
        consumer.leave().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A worker that is frozen in its transaction is ended by its successor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_owner_is_ended() {
    let namespace = Namespace::fresh().await;
    let frozen = connect(&namespace.config).await.unwrap();
    let successor = connect(&namespace.config).await.unwrap();
    let partition = PartitionId {
        topic: Topic::Chats,
        index: 0,
    };
    // It holds another one beside, which nobody asks for.
    let beside = PartitionId {
        index: 1,
        ..partition
    };
    let held = frozen
        .store
        .begin(Group::ChatsStore, &[partition, beside])
        .await
        .unwrap();
    let began = Instant::now();
    loop {
        match successor.store.begin(Group::ChatsStore, &[partition]).await {
            Ok(tx) => {
                tx.commit(&[Position {
                    next: 7,
                    ..Position::START
                }])
                .await
                .unwrap();
                break;
            }
            Err(error) => assert!(error.retryable(), "{error}"),
        }
        assert!(
            began.elapsed() < Duration::from_secs(15),
            "the owner is not ended"
        );
    }
    let late = Position {
        next: 3,
        ..Position::START
    };
    let late = held.commit(&[late, late]).await;
    assert!(late.unwrap_err().retryable());
    let position = frozen
        .store
        .position(Group::ChatsStore, partition)
        .await
        .unwrap();
    assert_eq!(position.next, 7);
}

/// A poll that is given up while it takes over a partition loses nothing: the next one takes it over,
/// and whoever leaves instead is let go at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_that_is_given_up_loses_no_partition() {
    let namespace = Namespace::fresh().await;
    let ports = connect(&namespace.config).await.unwrap();
    let limits = PollLimits {
        records: 10,
        bytes: 1 << 20,
        wait_ms: 500,
    };
    for leaves in [false, true] {
        let mut consumer = ports.log.join(Group::ApplicationsStore).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        // A look into the store takes longer than the first of these.
        let mut patience = Duration::from_micros(50);
        while !leaves || patience < Duration::from_millis(50) {
            assert!(
                Instant::now() < deadline,
                "the partition is never taken over"
            );
            match tokio::time::timeout(patience, consumer.poll(limits)).await {
                Ok(Ok(Polled::Assigned(_))) => break,
                _ => patience = patience * 101 / 100,
            }
        }
        let began = Instant::now();
        consumer.leave().await;
        let took = began.elapsed();
        // A member that is not let go is waited for, 10 s.
        assert!(took < Duration::from_secs(9), "{took:?}");
    }
}

/// Takes that go together in one script are each answered as if they were alone: numbers of one's own
/// chat, a chat that is not there, and a counter that somebody spoilt, which is nobody else's trouble.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takes_that_go_together_are_answered_apart() {
    const TAKES: u32 = 200;
    let namespace = Namespace::fresh().await;
    let ports = connect(&namespace.config).await.unwrap();
    let token = chat_wire::ids::AppToken::from_bytes(*Uuid::new_v4().as_bytes());
    ports.counters.open(token, None).await.unwrap();
    let chat = move |number| ChatKey {
        token,
        chat: chat_wire::ids::ChatNumber::new(number).unwrap(),
    };
    for number in 1..=3 {
        let chats = Counter::Chats(token);
        assert!(matches!(
            ports.counters.take(one(chats)).await.unwrap(),
            Taken::Granted { .. }
        ));
        ports.counters.open_chat(chat(number)).await.unwrap();
    }
    let spoilt = format!(
        "{}chat:{{{}}}|3",
        namespace.config.redis_prefix,
        token.reveal()
    );
    let mut redis = redis(&namespace).await;
    redis::cmd("SET")
        .arg(&spoilt)
        .arg("no hash")
        .exec_async(&mut redis)
        .await
        .unwrap();
    // All at once, so that nearly all of them wait for the first.
    let takes = (0..TAKES).map(|nth| {
        let counters = std::sync::Arc::clone(&ports.counters);
        let number = nth % 4 + 1;
        tokio::spawn(async move {
            (
                number,
                counters.take(one(Counter::Messages(chat(number)))).await,
            )
        })
    });
    let takes: Vec<_> = takes.collect();
    let mut given: Vec<(u32, u32)> = Vec::new();
    for take in takes {
        let (number, taken) = take.await.unwrap();
        match (number, taken) {
            (1 | 2, Ok(Taken::Granted { first, .. })) => given.push((number, first)),
            (3, Err(chat_core::port::counters::Error::Unavailable(reason))) => {
                assert!(reason.contains("WRONGTYPE"), "{reason}");
            }
            (4, Ok(Taken::OutOfRange)) => {}
            (number, other) => panic!("chat {number}: {other:?}"),
        }
    }
    given.sort_unstable();
    let each = 1..=TAKES / 4;
    let expected = [1, 2]
        .into_iter()
        .flat_map(|number| each.clone().map(move |first| (number, first)));
    assert!(given.into_iter().eq(expected));
}
