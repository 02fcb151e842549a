//! Damage that somebody does by hand, as `/admin/drift` shows it.

use chat_client::admin::DriftQuery;
use chat_core::backend::Backend;
use chat_core::event::Event;
use chat_core::port::counters::{Counter, Take};
use chat_core::port::log::Topic;
use chat_core::port::search::{Document, IndexPosition};
use chat_core::port::store::{ChatKey, ChatRow, MessageKey, MessageRow, State, Writes};
use chat_core::reconcile::Wish;
use chat_wire::admin::drift::{Drift, DriftPage, Verdict};
use chat_wire::ids::{AppToken, MessageNumber};
use chat_wire::problem::Code;
use chat_wire::time::Timestamp;

use crate::harness::{Chat, Server, acknowledged, eventually, message};
use crate::mode;

/// No run but those of the test, and a deadline that is waited for without growing old.
pub(crate) const QUIET: [&str; 2] = ["--reconcile-every=0", "--create-deadline-ms=1000"];

pub(crate) const fn key(chat: Chat) -> ChatKey {
    ChatKey {
        token: chat.token,
        chat: chat.number,
    }
}

pub(crate) fn number(number: u32) -> MessageNumber {
    MessageNumber::new(number).unwrap()
}

pub(crate) async fn row(backend: &Backend, chat: ChatKey) -> ChatRow {
    backend.ports().store.chat(chat).await.unwrap().unwrap()
}

async fn write(backend: &Backend, writes: Writes) {
    let mut tx = backend.ports().store.begin_free().await.unwrap();
    tx.write(writes).await.unwrap();
    tx.commit(&[]).await.unwrap();
}

/// Sets the count column to a lie.
pub(crate) async fn falsify_count(backend: &Backend, chat: ChatKey) {
    let mut row = row(backend, chat).await;
    row.messages_count += 7;
    let update_chats = vec![row];
    write(
        backend,
        Writes {
            update_chats,
            ..Writes::default()
        },
    )
    .await;
}

pub(crate) async fn falsify_chats_count(backend: &Backend, token: AppToken) {
    let store = &backend.ports().store;
    let mut row = store.application(token).await.unwrap().unwrap();
    row.chats_count += 7;
    let update_applications = vec![row];
    write(
        backend,
        Writes {
            update_applications,
            ..Writes::default()
        },
    )
    .await;
}

/// Stores a message that no counter gave a number to, behind all others.
pub(crate) async fn smuggle(backend: &Backend, chat: ChatKey) {
    let mut row = row(backend, chat).await;
    row.highest += 1;
    row.settled_through = row.highest;
    row.messages_count += 1;
    let smuggled = MessageRow {
        key: MessageKey {
            chat,
            number: number(row.highest),
        },
        uid: Some(uuid::Uuid::now_v7()),
        generation: 1,
        sender: None,
        body: "smuggled".into(),
        state: State::Live,
        sent_at: None,
        created_at: Timestamp::now(),
        updated_at: None,
        revision: 1 << 39,
    };
    write(
        backend,
        Writes {
            update_chats: vec![row],
            insert_messages: vec![smuggled],
            ..Writes::default()
        },
    )
    .await;
}

/// Takes a number and never uses it.
pub(crate) async fn burn(backend: &Backend, chat: ChatKey) {
    let take = Take {
        counter: Counter::Messages(chat),
        count: 1,
        keyed: None,
    };
    backend.ports().counters.take(take).await.unwrap();
}

/// Takes the document of a message away.
pub(crate) async fn unindex(backend: &Backend, chat: ChatKey, nth: u32) {
    let name = MessageKey {
        chat,
        number: number(nth),
    };
    let row = backend.ports().store.message(name).await.unwrap().unwrap();
    let gone = Document {
        key: name,
        revision: row.revision,
        created_at: row.created_at,
        body: None,
    };
    backend.ports().search.repair(vec![gone]).await.unwrap();
}

/// Indexes a message that does not exist.
pub(crate) async fn orphan(backend: &Backend, chat: ChatKey) {
    let orphan = Document {
        key: MessageKey {
            chat,
            number: number(4_000_000),
        },
        revision: 77,
        created_at: Timestamp::now(),
        body: Some("nobody said this".into()),
    };
    backend.ports().search.index(vec![orphan]).await.unwrap();
}

pub(crate) async fn drift(server: &Server, chat: Chat) -> Drift {
    let query = DriftQuery {
        token: Some(chat.token),
        chat: Some(chat.number),
        limit: 10,
        ..DriftQuery::default()
    };
    let page = server.admin.drift(&query).await.unwrap();
    assert_eq!(page.summary.compared, 1);
    page.rows.into_iter().next().unwrap()
}

/// Waits until a chat has a verdict; numbers that are lost are known as such after the deadline.
pub(crate) async fn judged(server: &Server, chat: Chat, verdict: Verdict) -> Drift {
    eventually(verdict.as_str(), async || {
        let drift = drift(server, chat).await;
        (drift.verdict == verdict).then_some(drift)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_well_is_ok() {
    let server = Server::with(&QUIET).await;
    let chat = server.chat().await;
    server.say_all(chat, &["one", "two", "three"]).await;
    server.settled().await;
    let drift = judged(&server, chat, Verdict::Ok).await;
    assert_eq!(
        (drift.counter, drift.highest, drift.rows, drift.live),
        (Some(3), 3, 3, 3)
    );
    assert_eq!(
        (drift.count, drift.in_log, drift.documents),
        (3, Some(0), Some(3))
    );
    let page: DriftPage = server.admin_get("/admin/drift").send().await.is(200);
    assert_eq!((page.rows.len(), page.summary.drifted()), (1, 0));
    let application = &page.rows[0];
    assert_eq!((application.counter, application.live), (Some(1), 1));
    assert_eq!(application.documents, Some(3));
    // A deleted message keeps its row and loses its document.
    let gone = server.delete(chat.message(2)).send().await;
    assert_eq!(gone.status, 202);
    server.settled().await;
    let drift = judged(&server, chat, Verdict::Ok).await;
    assert_eq!((drift.rows, drift.live, drift.documents), (3, 2, Some(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_sorted_and_filtered() {
    let server = Server::with(&QUIET).await;
    let token = server.app().await;
    let mut chats = Vec::new();
    for _ in 0..6 {
        let chat = server.chat_of(token).await;
        server.say_all(chat, &["a", "b"]).await;
        chats.push(chat);
    }
    server.settled().await;
    falsify_count(server.backend(), key(chats[2])).await;
    unindex(server.backend(), key(chats[4]), 1).await;
    let base = format!("/admin/drift?token={}", token.reveal());
    let page = async |query: &str| -> DriftPage {
        server
            .admin_get(format!("{base}{query}"))
            .send()
            .await
            .is(200)
    };
    let whole = page("").await;
    assert_eq!((whole.summary.compared, whole.summary.drifted()), (6, 2));
    let numbers = |page: &DriftPage| -> Vec<u32> {
        page.rows
            .iter()
            .map(|row| row.chat.unwrap().get())
            .collect()
    };
    assert_eq!(numbers(&whole), [5, 3, 1, 2, 4, 6]);
    assert_eq!(numbers(&page("&drifted=true").await), [5, 3]);
    assert_eq!(numbers(&page("&verdict=count_stale").await), [3]);
    let mut walked = Vec::new();
    let mut after = String::new();
    loop {
        let some = page(&format!("&limit=4{after}")).await;
        walked.extend(numbers(&some));
        match some.next_after {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(walked, [5, 3, 1, 2, 4, 6]);
    let all: DriftPage = server.admin_get("/admin/drift").send().await.is(200);
    assert_eq!(all.rows[0].verdict, Verdict::Unindexed);
    assert_eq!(all.rows[0].chats_drifted, 2);

    for (query, code) in [
        ("/admin/drift?token=x", Code::UnknownApplication),
        ("/admin/drift?chat=1", Code::InvalidValue),
        ("/admin/drift?after=x", Code::InvalidValue),
        ("/admin/drift?verdict=bad", Code::InvalidParameter),
    ] {
        let refused = server.admin_get(query).send().await;
        assert_eq!(refused.problem().code, code, "{query}");
    }
    let unknown = server.admin_get(format!("{base}&chat=99")).send().await;
    assert_eq!(unknown.problem().code, Code::UnknownChat);
}

/// Without workers what was said waits in the log: that is no drift, and becomes none with time.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_the_log_is_in_flight() {
    let alone = Alone::open().await;
    let backend = &alone.backend;
    let token = acknowledged(async |key| {
        let name = "alone".to_owned();
        backend.create_application(name, Some(key)).await
    })
    .await;
    let chat = acknowledged(async |key| backend.create_chat(token, Some(key)).await).await;
    let chat = ChatKey { token, chat };
    let say = async |bodies: &[&str]| {
        acknowledged(async |key| {
            let messages = bodies.iter().map(|body| message(body)).collect();
            backend.create_messages(chat, messages, Some(key)).await
        })
        .await
    };
    say(&["one", "two"]).await;
    // The rows come, and more is said behind them.
    alone.apply().await;
    say(&["three"; 5]).await;
    let wish = Wish {
        token: Some(token),
        chat: Some(chat.chat),
        limit: 1,
        ..Wish::default()
    };
    let look = async || backend.drift(&wish).await.unwrap().rows.remove(0);
    let began = tokio::time::Instant::now();
    let deadline = backend.settings().create_deadline;
    while began.elapsed() < deadline * 3 {
        let drift = look().await;
        assert_eq!(drift.verdict, Verdict::InFlight, "{drift:?}");
        assert_eq!((drift.counter, drift.rows), (Some(7), 2));
        assert!(drift.in_log.unwrap() >= 1);
        tokio::time::sleep(deadline / 4).await;
    }
    let order = chat_wire::admin::reconcile::Order {
        execute: true,
        ..Default::default()
    };
    let work = backend.begin_run(order).await.unwrap();
    let run = backend.carry_out(work).await;
    assert_eq!((run.summary.drifted(), run.planned), (0, 0), "{run:?}");
    assert!(run.summary.in_flight >= 1, "{run:?}");
    alone.apply().await;
    assert_eq!(look().await.verdict, Verdict::Ok);
    alone.close().await;
}

/// The rules without workers.
struct Alone {
    backend: Backend,
    running: Option<chat_server::boot::Running>,
    _data: tempfile::TempDir,
}

impl Alone {
    async fn open() -> Self {
        let data = tempfile::tempdir().unwrap();
        let config = mode::config(data.path(), &QUIET);
        if mode::on_engines() {
            mode::prepare(&config).await.unwrap();
            let role = chat_server::boot::Role::Api;
            let running = chat_server::boot::Running::start(config, role)
                .await
                .unwrap();
            return Self {
                backend: running.backend().clone(),
                running: Some(running),
                _data: data,
            };
        }
        let place = chat_embedded::open::Config::new(data.path());
        let ports = chat_embedded::open::open(&place).await.unwrap();
        let settings = chat_core::backend::Settings {
            create_deadline: config.create_deadline(),
        };
        Self {
            backend: Backend::new(ports, settings),
            running: None,
            _data: data,
        }
    }

    /// What the workers would do, once.
    async fn apply(&self) {
        use chat_core::apply::{Batch, Numbers, apply};
        use chat_core::index;
        use chat_core::port::log::{Group, PartitionId, PollLimits};
        let ports = self.backend.ports();
        let limits = PollLimits {
            records: 1_000,
            bytes: 1 << 20,
            wait_ms: 0,
        };
        for group in Group::ALL {
            let topic: Topic = group.topic();
            let partition = PartitionId { topic, index: 0 };
            let position = ports.store.position(group, partition).await.unwrap();
            let records = ports.log.read(partition, position.next, limits).await;
            let records = records.unwrap();
            if records.is_empty() {
                continue;
            }
            assert!(records.iter().all(|record| Event::decode(record).is_ok()));
            let epoch = ports.log.epoch(topic).await.unwrap();
            let (batch, _) = Batch::decode(group, partition, epoch, position.next, records);
            if group == Group::MessagesIndex {
                let batches = std::slice::from_ref(&batch);
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
            apply(
                ports.store.as_ref(),
                std::slice::from_ref(&batch),
                &Numbers::new(),
            )
            .await
            .unwrap();
        }
    }

    async fn close(self) {
        match self.running {
            Some(running) => running.stop().await,
            None => self.backend.ports().life.close().await,
        }
    }
}
