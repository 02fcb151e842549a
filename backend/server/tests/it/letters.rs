//! Dead letters: listed, shown, replayed when the cause is gone, given up with a reason.

use bytes::Bytes;
use chat_client::admin::LetterQuery;
use chat_core::event::{Event, Line, MessagesCreated};
use chat_core::port::counters::{Counter, Take, Taken};
use chat_core::port::log::{Headers, NewRecord, Topic};
use chat_wire::admin::dlq::{Letter, LetterPage, LetterWithBytes, Order, State};
use chat_wire::ids::MessageNumber;
use chat_wire::problem::Code;
use chat_wire::time::Timestamp;
use sqlx::{Connection as _, Executor as _};
use uuid::Uuid;

use crate::drift::{key, row};
use crate::harness::{Chat, Server, append, eventually};
use crate::mode;

/// No run but those of the test.
const QUIET: [&str; 1] = ["--reconcile-every=0"];
const POISON: u32 = 100;
const GOOD: u32 = 10_000;
/// Longer than the store takes for a while, and well within the rules.
const SENDER: &str = "somebody with a long name";

/// A mistake of somebody who operates the store: it takes no sender above ten characters any more.
pub(crate) async fn forbid_long_senders(server: &Server) {
    if mode::on_engines() {
        mysql(
            server,
            "ALTER TABLE messages MODIFY sender VARCHAR(10) NULL",
        )
        .await;
    } else {
        sqlite(
            server,
            "CREATE TRIGGER short_senders BEFORE INSERT ON messages WHEN length(NEW.sender) > 10 \
             BEGIN SELECT RAISE(ABORT, 'the sender is too long'); END",
        )
        .await;
    }
}

pub(crate) async fn allow_long_senders(server: &Server) {
    if mode::on_engines() {
        mysql(
            server,
            "ALTER TABLE messages MODIFY sender VARCHAR(255) NULL",
        )
        .await;
    } else {
        sqlite(server, "DROP TRIGGER short_senders").await;
    }
}

async fn mysql(server: &Server, statement: &'static str) {
    let config = mode::config(server.data(), &[]);
    let url = config.engines.database_url.unwrap();
    let mut mysql = sqlx::MySqlConnection::connect(&url).await.unwrap();
    mysql.execute(statement).await.unwrap();
    mysql.close().await.unwrap();
}

async fn sqlite(server: &Server, statement: &'static str) {
    let file = server.data().join("store.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let mut sqlite = sqlx::SqliteConnection::connect_with(&options)
        .await
        .unwrap();
    sqlite.execute(statement).await.unwrap();
    sqlite.close().await.unwrap();
}

/// Appends a message that the store refuses, once it is told to.
pub(crate) async fn say_poison(server: &Server, chat: Chat, nth: u32) {
    let ports = server.backend().ports();
    let take = Take {
        counter: Counter::Messages(key(chat)),
        count: 1,
        keyed: None,
    };
    let Taken::Granted { first, generation } = ports.counters.take(take).await.unwrap() else {
        panic!("a number")
    };
    let uid = Uuid::now_v7();
    let event = Event::MessagesCreated(MessagesCreated {
        application_token: chat.token,
        chat_number: chat.number,
        first: MessageNumber::new(first).unwrap(),
        created_at: Timestamp::now(),
        generation,
        key: None,
        messages: vec![Line {
            uid,
            body: format!("poison {nth}"),
            sender: Some(SENDER.to_owned()),
            sent_at: None,
        }],
    });
    append(ports.log.as_ref(), Topic::Messages, event.encode(uid)).await;
}

async fn say_garbage(server: &Server, text: &str) {
    let garbage = NewRecord {
        key: Bytes::from_static(b"\xff"),
        headers: Headers::default(),
        value: Bytes::copy_from_slice(text.as_bytes()),
    };
    let log = &server.backend().ports().log;
    log.append(Topic::Messages, garbage).await.unwrap();
}

async fn page(server: &Server, query: LetterQuery) -> LetterPage {
    server.admin.letters(&query).await.unwrap()
}

async fn all(server: &Server, state: Option<State>) -> Vec<Letter> {
    let mut letters = Vec::new();
    let mut after = None;
    loop {
        let some = page(
            server,
            LetterQuery {
                topic: None,
                state,
                after,
                limit: 30,
            },
        )
        .await;
        assert!(some.letters.len() <= 30);
        letters.extend(some.letters);
        match some.next_after {
            Some(next) => after = Some(next),
            None => return letters,
        }
    }
}

pub(crate) fn everything(execute: bool) -> Order {
    Order {
        all: true,
        execute,
        ..Order::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_among_good_ones_is_replayed_when_its_cause_is_gone() {
    let server = Server::with(&QUIET).await;
    let chat = server.chat().await;
    forbid_long_senders(&server).await;
    let lines = vec!["good"; (GOOD / POISON) as usize];
    for nth in 0..POISON {
        say_poison(&server, chat, nth).await;
        server.say_all(chat, &lines).await;
    }
    server.settled().await;
    let stored = row(server.backend(), key(chat)).await;
    assert_eq!(stored.messages_count, GOOD);
    assert_eq!(
        stored.settled_through,
        GOOD + POISON,
        "numbers are reserved"
    );

    let letters = all(&server, None).await;
    assert_eq!(letters.len(), POISON as usize);
    assert!(letters.is_sorted_by_key(|letter| letter.buried_at));
    let first = page(
        &server,
        LetterQuery {
            limit: 1,
            ..LetterQuery::default()
        },
    )
    .await;
    assert_eq!(first.waiting, u64::from(POISON));
    for letter in &letters {
        assert_eq!(letter.state, State::Waiting);
        assert_eq!(letter.event.as_deref(), Some("message.created"));
        assert_eq!(letter.origin.as_ref().unwrap().topic, "messages");
        assert!(!letter.reason.is_empty());
    }
    let id = letters[7].id.clone();
    let shown: LetterWithBytes = server
        .admin_get(format!("/admin/dlq/{id}"))
        .send()
        .await
        .is(200);
    assert_eq!(shown.letter, letters[7]);
    assert!(shown.text.contains("\"poison 7\""), "{}", shown.text);
    assert!(shown.key.starts_with(&chat.token.reveal()));
    assert_eq!(shown.letter.bytes, shown.text.len() as u64);

    // Replayed with its cause still there, it is buried again, and is another letter of one origin.
    let one = Order {
        ids: vec![id.clone()],
        execute: true,
        ..Order::default()
    };
    assert_eq!(server.admin.replay(&one).await.unwrap().done, 1);
    let buried = eventually("it is buried again", async || {
        let letters = all(&server, Some(State::Waiting)).await;
        (letters.len() == POISON as usize).then_some(letters)
    })
    .await;
    assert_eq!(buried.last().unwrap().origin, letters[7].origin);

    allow_long_senders(&server).await;
    let plan = server.admin.replay(&everything(false)).await.unwrap();
    assert_eq!((plan.done, plan.before), (u64::from(POISON), 0));
    assert_eq!(all(&server, Some(State::Waiting)).await.len(), 100);
    // Two orders at once, and one more afterwards: each letter goes once.
    let orders = (everything(true), everything(true));
    let (a, b) = tokio::join!(
        server.admin.replay(&orders.0),
        server.admin.replay(&orders.1)
    );
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.done + b.done, u64::from(POISON), "{a:?} {b:?}");
    assert_eq!((a.failed.len(), b.failed.len()), (0, 0));
    let again = server.admin.replay(&everything(true)).await.unwrap();
    assert_eq!((again.done, again.failed.len()), (0, 0));
    let again = server.admin.replay(&one).await.unwrap();
    assert_eq!((again.done, again.before), (0, 1));
    // A process that dies between append and decision leaves a second record: it changes nothing.
    append_once_more(&server, &id).await;
    server.settled().await;
    let stored = row(server.backend(), key(chat)).await;
    assert_eq!(stored.messages_count, GOOD + POISON);
    assert_eq!(stored.highest, GOOD + POISON);
    assert_eq!(all(&server, Some(State::Waiting)).await, []);
    let replayed = all(&server, Some(State::Replayed)).await;
    assert_eq!(replayed.len(), POISON as usize + 1);
    assert!(replayed.iter().all(|letter| letter.decided_at.is_some()));
    let path = chat.path("/messages/search?q=poison&limit=1000");
    let found: serde_json::Value = server.get(path).send().await.is(200);
    assert_eq!(found["hits"].as_array().unwrap().len(), POISON as usize);
}

/// What a replay appends.
async fn append_once_more(server: &Server, id: &str) {
    use chat_core::port::log::{PartitionId, PollLimits};
    let offset: u64 = id.rsplit('-').next().unwrap().parse().unwrap();
    let partition = PartitionId {
        topic: Topic::MessagesDlq,
        index: 0,
    };
    let limits = PollLimits {
        records: 1,
        bytes: 1 << 20,
        wait_ms: 0,
    };
    let log = &server.backend().ports().log;
    let record = log.read(partition, offset, limits).await.unwrap().remove(0);
    let again = NewRecord {
        key: record.key,
        headers: Headers {
            reason: None,
            ..record.headers
        },
        value: record.value,
    };
    log.append(Topic::Messages, again).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_needs_is_discarded_with_a_reason() {
    let server = Server::with(&QUIET).await;
    for nth in 0..3 {
        say_garbage(&server, &format!("garbage \u{0} {nth}")).await;
    }
    let letters = eventually("the letters", async || {
        let letters = all(&server, None).await;
        (letters.len() == 3).then_some(letters)
    })
    .await;
    let ids: Vec<String> = letters.iter().map(|letter| letter.id.clone()).collect();
    let shown: LetterWithBytes = server
        .admin_get(format!("/admin/dlq/{}", ids[0]))
        .send()
        .await
        .is(200);
    assert_eq!(shown.text, "garbage \u{0} 0");
    assert_eq!(shown.base64, "Z2FyYmFnZSAAIDA=");
    assert_eq!((shown.key.as_str(), shown.letter.event), ("\u{FFFD}", None));

    let mut order = Order {
        ids: vec![ids[0].clone(), "messages.dlq-0-999".into()],
        reason: Some("a test wrote it".into()),
        ..Order::default()
    };
    let plan = server.admin.discard(&order).await.unwrap();
    assert_eq!((plan.done, plan.failed.len()), (1, 1));
    assert_eq!(all(&server, Some(State::Waiting)).await.len(), 3);
    order.execute = true;
    let done = server.admin.discard(&order).await.unwrap();
    assert_eq!(
        (done.done, done.failed[0].id.as_str()),
        (1, "messages.dlq-0-999")
    );
    let again = server.admin.discard(&order).await.unwrap();
    assert_eq!((again.done, again.before), (0, 1));
    // What is given up is not replayed.
    order.reason = None;
    let replay = server.admin.replay(&order).await.unwrap();
    assert_eq!((replay.done, replay.before), (0, 1));
    let gone = all(&server, Some(State::Discarded)).await;
    assert_eq!(gone[0].discard_reason.as_deref(), Some("a test wrote it"));
    // Decisions outlive the process.
    let server = server.restart().await;
    let first = page(
        &server,
        LetterQuery {
            limit: 1,
            ..LetterQuery::default()
        },
    )
    .await;
    assert_eq!(
        (first.waiting, first.letters[0].state),
        (2, State::Discarded)
    );
    let rest = Order {
        all: true,
        topic: Some("messages.dlq".into()),
        reason: Some("the rest".into()),
        execute: true,
        ..Order::default()
    };
    assert_eq!(server.admin.discard(&rest).await.unwrap().done, 2);
    assert_eq!(server.backend().letters_waiting().await.unwrap(), 0);
    let mut watch = chat_core::letters::Watch::default();
    let oldest = server.backend().oldest_letter(&mut watch).await;
    assert_eq!(oldest.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_about_letters_are_checked() {
    let server = Server::with(&QUIET).await;
    for id in ["messages.dlq-0-0", "messages.dlq-7-0", "messages-0-0", "x"] {
        let unknown = server.admin_get(format!("/admin/dlq/{id}")).send().await;
        unknown.refused(Code::UnknownLetter, None, None);
    }
    for (path, body, field) in [
        ("replay", "{}", "ids"),
        ("replay", "{\"ids\":[\"x\"],\"all\":true}", "ids"),
        ("replay", "{\"all\":true,\"topic\":\"messages\"}", "topic"),
        (
            "replay",
            "{\"ids\":[\"x\"],\"topic\":\"messages.dlq\"}",
            "topic",
        ),
        ("replay", "{\"all\":true,\"reason\":\"x\"}", "reason"),
        ("discard", "{\"all\":true}", "reason"),
        ("discard", "{\"all\":true,\"reason\":\" \"}", "reason"),
    ] {
        let request = server.admin_request("POST", format!("/admin/dlq/{path}"));
        let refused = request.json(body).send().await;
        refused.refused(Code::InvalidValue, Some(field), None);
    }
    for query in ["topic=messages", "after=x"] {
        let refused = server.admin_get(format!("/admin/dlq?{query}")).send().await;
        let field = query.split('=').next();
        refused.refused(Code::InvalidValue, field, None);
    }
}
