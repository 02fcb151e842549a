//! Server-sent events: every number once and in order, across any number of connections.

use chat_client::stream::StreamEvent;
use chat_wire::problem::Code;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::harness::{Chat, PATIENCE, Server};

/// The raw text of a stream.
struct Events {
    body: Incoming,
    text: String,
}

impl Events {
    async fn open(server: &Server, chat: Chat, last_event_id: Option<u32>) -> Self {
        let mut request = server.get(chat.path("/messages/stream"));
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id.to_string());
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

    /// The number of the next message.
    async fn number(&mut self) -> u32 {
        let event = self.next().await.expect("an event");
        let lines: Vec<&str> = event.lines().collect();
        let [id, "event: message", data] = lines[..] else {
            panic!("{event}");
        };
        let message: serde_json::Value =
            serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(id, format!("id: {}", message["message_number"]));
        message["message_number"]
            .as_u64()
            .unwrap()
            .try_into()
            .unwrap()
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
    for id in ["x", "", "-1", "4294967296"] {
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
