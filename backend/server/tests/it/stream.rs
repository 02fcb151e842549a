//! Server-sent events: every number once and in order, across any number of connections.

use chat_client::stream::StreamEvent;
use chat_wire::messages::{Message, StreamReset};
use chat_wire::problem::Code;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::harness::{Chat, PATIENCE, Server};
use crate::letters::{allow_long_senders, everything, forbid_long_senders, say_poison};

/// The raw text of a stream.
struct Events {
    body: Incoming,
    text: String,
}

impl Events {
    async fn open(server: &Server, chat: Chat, last_event_id: Option<u32>) -> Self {
        Self::come_back(server, chat, last_event_id.map(|id| id.to_string())).await
    }

    async fn come_back(server: &Server, chat: Chat, last_event_id: Option<String>) -> Self {
        let mut request = server.get(chat.path("/messages/stream"));
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = timeout(PATIENCE, request.open()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let mut events = Self {
            body: response.into_body(),
            text: String::new(),
        };
        assert!(events.next().await.unwrap().starts_with(": after "));
        events
    }

    /// The next event or comment; none at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                return Some(event);
            }
            let frame = timeout(PATIENCE, self.body.frame())
                .await
                .expect("a frame")?;
            let data = frame.expect("an orderly end").into_data().unwrap();
            self.text += std::str::from_utf8(&data).unwrap();
        }
    }

    /// The number of the next message of a chat that has had no reset.
    async fn number(&mut self) -> u32 {
        let (id, number) = self.number_and_id().await;
        assert_eq!(id, number.to_string());
        number
    }

    /// What to come back with after the next message, and its number; resets are passed over.
    async fn number_and_id(&mut self) -> (String, u32) {
        let mut event = self.next().await.expect("an event");
        while event.contains("event: reset") {
            event = self.next().await.expect("an event");
        }
        let lines: Vec<&str> = event.lines().collect();
        let [id, "event: message", data] = lines[..] else {
            panic!("{event}");
        };
        let message: Message = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        let id = id.strip_prefix("id: ").unwrap().to_owned();
        (id, message.message_number.get())
    }

    /// What the next event says, which is a reset: what to come back with, from where to read again, and
    /// where the stream goes on.
    async fn reset(&mut self) -> (String, u32, u32) {
        let event = self.next().await.expect("an event");
        let lines: Vec<&str> = event.lines().collect();
        let [id, "event: reset", data] = lines[..] else {
            panic!("{event}");
        };
        let reset: StreamReset =
            serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        let id = id.strip_prefix("id: ").unwrap().to_owned();
        (id, reset.from, reset.after)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_goes_on_where_it_was() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server.say_all(chat, &["line\nbreaks\r\n\n"; 300]).await;
    let mut seen = Vec::new();
    // More than a page the first time; then a few on each connection.
    for take in [270, 1, 4, 25] {
        let last = seen.last().copied().unwrap_or(0);
        let mut events = Events::open(&server, chat, Some(last)).await;
        for _ in 0..take {
            seen.push(events.number().await);
        }
    }
    assert_eq!(seen, (1..=300).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_id_it_begins_with_what_comes_next() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server.say_all(chat, &["old"; 3]).await;
    let mut events = Events::open(&server, chat, None).await;
    for number in 4..=20 {
        assert_eq!(server.say(chat, "new").await, number);
        assert_eq!(events.number().await, number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_messages_are_passed_over() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server.say_all(chat, &["x"; 5]).await;
    for number in [1, 2, 4] {
        let answer = server.delete(chat.message(number)).send().await;
        assert_eq!(answer.status, 202);
    }
    server.settled().await;
    let mut events = Events::open(&server, chat, Some(0)).await;
    assert_eq!(events.number().await, 3);
    assert_eq!(events.number().await, 5);
    assert_eq!(server.say(chat, "x").await, 6);
    assert_eq!(events.number().await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_see_what_many_writers_write() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = server.client.stream(chat.token, chat.number, 0);
            tokio::spawn(async move {
                for expected in 1..=200 {
                    let event = timeout(PATIENCE, stream.next()).await.expect("an event");
                    let StreamEvent::Message(message) = event.unwrap() else {
                        panic!("a reset");
                    };
                    assert_eq!(message.message_number.get(), expected);
                }
            })
        })
        .collect();
    let writers = (0..4).map(|_| async {
        for _ in 0..50 {
            server.say(chat, "x").await;
        }
    });
    futures_util::future::join_all(writers).await;
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_no_number_is_refused() {
    let server = Server::start().await;
    let chat = server.chat().await;
    for id in ["x", "", "-1", "4294967296", "1.", "1.x", "1.2.3"] {
        let request = server.get(chat.path("/messages/stream"));
        let answer = request.header("last-event-id", id).send().await;
        answer.refused(Code::InvalidParameter, Some("Last-Event-ID"), None);
    }
}

/// Takes the 15 seconds between two signs of life.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_messages_shows_that_it_is_alive() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let mut events = Events::open(&server, chat, None).await;
    assert_eq!(events.next().await.as_deref(), Some(": alive"));
    server.say(chat, "x").await;
    assert_eq!(events.number().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_in_order_when_the_server_stops() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server.say_all(chat, &["x"]).await;
    let mut events = Events::open(&server, chat, Some(0)).await;
    assert_eq!(events.number().await, 1);
    timeout(PATIENCE, server.stop())
        .await
        .expect("a quick stop");
    assert_eq!(events.next().await, None);
}

/// An id beyond the end is that of a chat that has been more than it is: somebody put back a backup.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_beyond_the_end_is_reset_at_once() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server.say_all(chat, &["x"; 3]).await;
    for id in [4, 1_000, u32::MAX] {
        let mut events = Events::open(&server, chat, Some(id)).await;
        assert_eq!(events.reset().await, ("3".into(), 4, 3));
    }
    let mut events = Events::open(&server, chat, Some(1_000)).await;
    events.reset().await;
    assert_eq!(server.say(chat, "x").await, 4);
    assert_eq!(events.number().await, 4);
    let mut stream = server.client.stream(chat.token, chat.number, 1_000);
    let StreamEvent::Reset(reset) = stream.next().await.unwrap() else {
        panic!("a message");
    };
    assert_eq!((reset.from, reset.after), (5, 4));
    assert_eq!(server.say(chat, "x").await, 5);
    let StreamEvent::Message(message) = stream.next().await.unwrap() else {
        panic!("a reset");
    };
    assert_eq!(message.message_number.get(), 5);
}

/// A dead letter keeps its number, which readers pass; when it is replayed, they have to hear of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_replayed_resets_readers_beyond_it() {
    let server = Server::with(&["--reconcile-every=0"]).await;
    let chat = server.chat().await;
    server.say_all(chat, &["x"; 2]).await;
    forbid_long_senders(&server).await;
    for nth in 0..2 {
        say_poison(&server, chat, nth).await;
    }
    assert_eq!(server.say(chat, "x").await, 5);
    let mut beyond = Events::open(&server, chat, Some(0)).await;
    for expected in [1, 2, 5] {
        assert_eq!(beyond.number().await, expected);
    }
    let mut before = Events::open(&server, chat, Some(1)).await;
    assert_eq!(before.number().await, 2);
    assert_eq!(before.number().await, 5);

    allow_long_senders(&server).await;
    let decision = server.admin.replay(&everything(true)).await.unwrap();
    assert_eq!(decision.done, 2);
    let mut from = u32::MAX;
    // Both at once, or one after the other.
    while from > 3 {
        let (_, reset_from, after) = beyond.reset().await;
        assert_eq!(after, 5);
        from = from.min(reset_from);
    }
    assert_eq!(server.say(chat, "x").await, 6);
    let (id, number) = beyond.number_and_id().await;
    assert_eq!(number, 6);
    assert!(id.starts_with("6."), "{id}");

    // Who comes back with what was given has heard of it; who comes back with less has not.
    let mut again = Events::come_back(&server, chat, Some(id)).await;
    let mut late = Events::come_back(&server, chat, Some("5".into())).await;
    let (id, from, after) = late.reset().await;
    assert!(from <= 4 && after == 5, "{from} {after}");
    assert!(id.starts_with("5."), "{id}");
    assert_eq!(late.number_and_id().await.1, 6);
    assert_eq!(server.say(chat, "x").await, 7);
    assert_eq!(again.number_and_id().await.1, 7);
    // Who is before it gets it in its turn.
    let mut early = Events::come_back(&server, chat, Some("0".into())).await;
    for expected in 1..=7 {
        assert_eq!(early.number_and_id().await.1, expected);
    }
}
