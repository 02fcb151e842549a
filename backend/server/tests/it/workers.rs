//! The workers, told what no client can tell them: garbage, repetitions, collisions, events out of order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use chat_core::applications::Read;
use chat_core::backend::Backend;
use chat_core::error::Error;
use chat_core::event::{ChatCreated, Event, Line, MessageDeleted, MessageEdited, MessagesCreated};
use chat_core::key::StoredKey;
use chat_core::messages::Cursor;
use chat_core::port::Ports;
use chat_core::port::counters::{
    self, Counter, Counters, Floor, Grant, Keyed, Opened, Take, Taken,
};
use chat_core::port::log::{Group, Headers, NewRecord, PartitionId, PollLimits, Topic};
use chat_core::port::store::{ChatKey, MessageKey, State};
use chat_core::search::Request;
use chat_server::boot::{Role, Running};
use chat_server::config::Config;
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::messages::Message;
use chat_wire::search::Sort;
use chat_wire::time::Timestamp;
use tempfile::TempDir;
use uuid::Uuid;

use crate::harness::{acknowledged, append, message};
use crate::mode;

/// How long anything may take to come true.
const DEADLINE: Duration = Duration::from_secs(30);
/// Short, so that settling is quick; who is not acknowledged within it asks again.
const CREATE_DEADLINE_MS: u64 = 1_000;

struct Server {
    running: Running,
    dir: TempDir,
}

impl Server {
    async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    async fn start_in(dir: TempDir) -> Self {
        let config = Config {
            create_deadline_ms: CREATE_DEADLINE_MS,
            stop_deadline_ms: 5_000,
            ..mode::config(dir.path(), &[])
        };
        mode::prepare(&config).await.unwrap();
        Self {
            running: Running::start(config, Role::All).await.unwrap(),
            dir,
        }
    }

    fn backend(&self) -> &Backend {
        self.running.backend()
    }

    async fn chat(&self) -> ChatKey {
        let backend = self.backend();
        let token = acknowledged(async |key| {
            let name = "workers".to_owned();
            backend.create_application(name, Some(key)).await
        })
        .await;
        let chat = acknowledged(async |key| backend.create_chat(token, Some(key)).await).await;
        ChatKey { token, chat }
    }

    async fn send(&self, chat: ChatKey, body: &str) -> MessageNumber {
        let created = acknowledged(async |key| {
            let messages = vec![message(body)];
            let create = self.backend().create_messages(chat, messages, Some(key));
            create.await
        });
        created.await.range.first
    }

    async fn append(&self, event: Event, uid: Uuid) {
        let log = &self.backend().ports().log;
        append(log.as_ref(), event.topic(), event.encode(uid)).await;
    }

    /// Waits until every group has read its topic to the end.
    async fn drained(&self) {
        let ports = self.backend().ports();
        until("the log is drained", async || {
            for group in Group::ALL {
                let partition = PartitionId {
                    topic: group.topic(),
                    index: 0,
                };
                let (_, end) = ports.log.range(partition).await.unwrap();
                if ports.store.position(group, partition).await.unwrap().next < end {
                    return false;
                }
            }
            true
        })
        .await;
    }

    async fn stored(&self, chat: ChatKey, number: u32) -> Option<Message> {
        let number = MessageNumber::new(number).unwrap();
        match self
            .backend()
            .message(MessageKey { chat, number })
            .await
            .unwrap()
        {
            Read::Stored(message) => Some(message),
            Read::Pending => None,
        }
    }

    async fn bodies(&self, chat: ChatKey) -> Vec<(u32, String)> {
        let page = self
            .backend()
            .messages(chat, Cursor::After(0), 1_000)
            .await
            .unwrap();
        let messages = page.messages.into_iter();
        messages
            .map(|message| (message.message_number.get(), message.body))
            .collect()
    }

    async fn found(&self, chat: ChatKey, text: &str) -> Vec<u32> {
        let request = Request {
            token: chat.token,
            chat: Some(chat.chat),
            text: text.into(),
            sort: Sort::Number,
            cursor: None,
            limit: 1_000,
        };
        let page = self.backend().search(request).await.unwrap();
        page.hits
            .iter()
            .map(|hit| hit.message.message_number.get())
            .collect()
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !holds().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not in time: {what}"
        );
        tokio::task::yield_now().await;
    }
}

fn created(chat: ChatKey, first: u32, uid: Uuid, body: &str) -> Event {
    Event::MessagesCreated(MessagesCreated {
        application_token: chat.token,
        chat_number: chat.chat,
        first: MessageNumber::new(first).unwrap(),
        created_at: Timestamp::now(),
        generation: 1,
        key: None,
        messages: vec![Line {
            uid,
            body: body.into(),
            sender: None,
            sent_at: None,
        }],
    })
}

fn edited(chat: ChatKey, number: u32, body: &str) -> Event {
    Event::MessageEdited(MessageEdited {
        application_token: chat.token,
        chat_number: chat.chat,
        message_number: MessageNumber::new(number).unwrap(),
        body: body.into(),
        at: Timestamp::now(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_buried_once_and_holds_up_nothing() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let log = &server.backend().ports().log;
    for nth in 0..30_u32 {
        server.send(chat, &format!("good {nth}")).await;
        if nth % 3 == 0 {
            let garbage = NewRecord {
                key: Bytes::from_static(b"\xff"),
                headers: Headers::default(),
                value: Bytes::from(format!("garbage {nth} \u{0}")),
            };
            append(log.as_ref(), Topic::Messages, garbage).await;
        }
    }
    server.drained().await;
    assert_eq!(server.bodies(chat).await.len(), 30);
    let whole = async |topic| {
        let limits = PollLimits {
            records: 1_000,
            bytes: 1 << 20,
            wait_ms: 0,
        };
        let partition = PartitionId { topic, index: 0 };
        log.read(partition, 0, limits).await.unwrap()
    };
    // What the log took, once or more often where it was slow to say so.
    let garbage: Vec<u64> = whole(Topic::Messages)
        .await
        .iter()
        .filter(|record| record.value.starts_with(b"garbage "))
        .map(|record| record.offset)
        .collect();
    assert!(garbage.len() >= 10, "{garbage:?}");
    let mut origins: Vec<u64> = Vec::new();
    for record in whole(Topic::MessagesDlq).await {
        assert!(record.value.starts_with(b"garbage "));
        assert_eq!(record.key, Bytes::from_static(b"\xff"));
        assert!(record.headers.reason.is_some());
        let origin = record.headers.origin.unwrap();
        assert_eq!(origin.partition.topic, Topic::Messages);
        origins.push(origin.offset);
    }
    origins.sort_unstable();
    assert_eq!(origins, garbage, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_told_again_changes_nothing() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let number = server.send(chat, "first words").await;
    server.drained().await;
    let key = MessageKey { chat, number };
    let row = server
        .backend()
        .ports()
        .store
        .message(key)
        .await
        .unwrap()
        .unwrap();
    server
        .append(edited(chat, 1, "second words"), Uuid::now_v7())
        .await;
    // The create once more, behind the edit: identity was written, and content is newer.
    server
        .append(
            created(chat, 1, row.uid.unwrap(), "first words"),
            row.uid.unwrap(),
        )
        .await;
    server.drained().await;
    assert_eq!(server.bodies(chat).await, [(1, "second words".to_owned())]);
    assert_eq!(server.found(chat, "second words").await, [1]);
    assert_eq!(server.found(chat, "first words").await, [0_u32; 0]);
    let counted = server
        .backend()
        .ports()
        .store
        .chat(chat)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(counted.messages_count, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_messages_with_one_number_are_both_kept() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server.send(chat, "the one that came first").await;
    let uid = Uuid::now_v7();
    for _ in 0..2 {
        // Twice: a redelivery must find where the message went.
        server
            .append(created(chat, 1, uid, "the one that came second"), uid)
            .await;
    }
    server.drained().await;
    let bodies = server.bodies(chat).await;
    assert_eq!(bodies.len(), 2, "{bodies:?}");
    assert_eq!(bodies[0], (1, "the one that came first".to_owned()));
    assert_eq!(bodies[1], (2, "the one that came second".to_owned()));
    assert_eq!(server.found(chat, "came second").await, [2]);
    assert_eq!(server.found(chat, "came first").await, [1]);
    assert_eq!(server.send(chat, "the next").await.get(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_may_come_before_their_chat() {
    let server = Server::start().await;
    let token = server.chat().await.token;
    let chat = ChatKey {
        token,
        chat: ChatNumber::new(2).unwrap(),
    };
    let uid = Uuid::now_v7();
    server.append(created(chat, 1, uid, "early"), uid).await;
    server.drained().await;
    assert_eq!(server.bodies(chat).await, [(1, "early".to_owned())]);
    // The chat has rows and no create: it reads as not stored yet, and is counted.
    assert_eq!(server.backend().chat(chat).await.unwrap(), Read::Pending);
    let event = Event::ChatCreated(ChatCreated {
        application_token: token,
        chat_number: chat.chat,
        created_at: Timestamp::now(),
        generation: 1,
        key: None,
    });
    let chat_uid = Uuid::now_v7();
    server.append(event.clone(), chat_uid).await;
    server.append(event, chat_uid).await;
    server.drained().await;
    let Read::Stored(stored) = server.backend().chat(chat).await.unwrap() else {
        panic!("the chat is stored");
    };
    assert_eq!(stored.messages_count, 1);
    let Read::Stored(application) = server.backend().application(token).await.unwrap() else {
        panic!("the application is stored");
    };
    assert_eq!(application.chats_count, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_before_their_create_are_not_lost() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server
        .append(
            edited(chat, 1, "edited before it was there"),
            Uuid::now_v7(),
        )
        .await;
    let deleted = Event::MessageDeleted(MessageDeleted {
        application_token: chat.token,
        chat_number: chat.chat,
        message_number: MessageNumber::new(2).unwrap(),
        at: Timestamp::now(),
    });
    server.append(deleted, Uuid::now_v7()).await;
    server.drained().await;
    assert_eq!(server.stored(chat, 1).await, None);
    for number in 1..=2 {
        let uid = Uuid::now_v7();
        server
            .append(created(chat, number, uid, "as it was sent"), uid)
            .await;
    }
    server.drained().await;
    let edited = server.stored(chat, 1).await.unwrap();
    assert_eq!(edited.body, "edited before it was there");
    let key = MessageKey {
        chat,
        number: MessageNumber::new(2).unwrap(),
    };
    assert!(matches!(
        server.backend().message(key).await,
        Err(Error::Gone)
    ));
    let row = server
        .backend()
        .ports()
        .store
        .message(key)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((row.state, row.body.as_str()), (State::Deleted, ""));
    let counted = server
        .backend()
        .ports()
        .store
        .chat(chat)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((counted.messages_count, counted.settled_through), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_never_used_becomes_void() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server.send(chat, "one").await;
    let take = Take {
        counter: Counter::Messages(chat),
        count: 2,
        keyed: None,
    };
    let taken = server.backend().ports().counters.take(take).await.unwrap();
    assert!(
        matches!(taken, Taken::Granted { first: 2, .. }),
        "{taken:?}"
    );
    assert_eq!(server.send(chat, "four").await.get(), 4);
    server.drained().await;
    // Until it is known that they will never come, nobody is shown what is behind them.
    until("the chat is settled", async || {
        server.bodies(chat).await.len() == 2
    })
    .await;
    assert_eq!(
        server.bodies(chat).await,
        [(1, "one".to_owned()), (4, "four".to_owned())]
    );
    for number in [2, 3] {
        let key = MessageKey {
            chat,
            number: MessageNumber::new(number).unwrap(),
        };
        assert!(matches!(
            server.backend().message(key).await,
            Err(Error::Gone)
        ));
    }
    // One that comes all the same finds its place.
    let uid = Uuid::now_v7();
    server.append(created(chat, 2, uid, "two, late"), uid).await;
    server.drained().await;
    assert_eq!(server.stored(chat, 2).await.unwrap().body, "two, late");
    assert_eq!(server.found(chat, "late").await, [2]);
    let counted = server
        .backend()
        .ports()
        .store
        .chat(chat)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(counted.messages_count, 3);
}

/// The counters of a server, which count how often somebody asks for the last number.
struct CountedLooks {
    counters: Arc<dyn Counters>,
    looks: AtomicUsize,
}

#[async_trait]
impl Counters for CountedLooks {
    async fn take(&self, take: Take) -> Result<Taken, counters::Error> {
        self.counters.take(take).await
    }

    async fn open(&self, token: AppToken, keyed: Option<Keyed>) -> Result<Opened, counters::Error> {
        self.counters.open(token, keyed).await
    }

    async fn open_chat(&self, chat: ChatKey) -> Result<(), counters::Error> {
        self.counters.open_chat(chat).await
    }

    async fn acknowledge(&self, token: AppToken, key: StoredKey) -> Result<(), counters::Error> {
        self.counters.acknowledge(token, key).await
    }

    async fn last(&self, counter: Counter) -> Result<Option<u32>, counters::Error> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.counters.last(counter).await
    }

    async fn restore(
        &self,
        counter: Counter,
        last: u32,
        generation: u32,
    ) -> Result<(), counters::Error> {
        self.counters.restore(counter, last, generation).await
    }

    async fn restore_key(
        &self,
        token: AppToken,
        key: StoredKey,
        grant: Grant,
    ) -> Result<(), counters::Error> {
        self.counters.restore_key(token, key, grant).await
    }

    async fn claim(
        &self,
        counter: Counter,
        lease_ms: u64,
    ) -> Result<Option<Duration>, counters::Error> {
        self.counters.claim(counter, lease_ms).await
    }

    fn floor(&self) -> Floor {
        self.counters.floor()
    }

    async fn check(&self) -> Result<(), counters::Error> {
        self.counters.check().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_application_costs_one_look() {
    const REQUESTS: usize = 100;
    let server = Server::start().await;
    let ports = server.backend().ports().clone();
    let counted = Arc::new(CountedLooks {
        counters: Arc::clone(&ports.counters),
        looks: AtomicUsize::new(0),
    });
    let ports = Ports {
        counters: Arc::clone(&counted) as Arc<dyn Counters>,
        ..ports
    };
    let backend = Backend::new(ports, *server.backend().settings());
    let token = AppToken::from_bytes([9; 16]);
    let chat = ChatKey {
        token,
        chat: ChatNumber::FIRST,
    };
    let began = Instant::now();
    for _ in 0..REQUESTS {
        let refused = backend.messages(chat, Cursor::After(0), 1).await;
        assert!(
            matches!(refused, Err(Error::UnknownApplication)),
            "{refused:?}"
        );
    }
    // Each request asks the counters once. A search through store and log asks them once more, and
    // what it finds is remembered for a second.
    let searches = counted.looks.load(Ordering::Relaxed) - REQUESTS;
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!(
        (1..=1 + seconds).contains(&searches),
        "{REQUESTS} requests in {seconds} s searched {searches} times"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_gone_is_made_again() {
    if mode::on_engines() {
        // The index has no directory here.
        return;
    }
    let server = Server::start().await;
    let chat = server.chat().await;
    for nth in 1..=20 {
        server.send(chat, &format!("needle {nth}")).await;
    }
    let key = MessageKey {
        chat,
        number: MessageNumber::FIRST,
    };
    server.backend().delete_message(key).await.unwrap();
    server.drained().await;
    let Server { running, dir } = server;
    running.stop().await;
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let server = Server::start_in(dir).await;
    assert_eq!(
        server.found(chat, "needle").await,
        (2..=20).collect::<Vec<_>>()
    );
    server.send(chat, "needle 21").await;
    server.drained().await;
    assert_eq!(server.found(chat, "needle 21").await, [21]);
}
