//! Following a chat across connections.

use chat_client::error::Error;
use chat_client::stream::{MessageStream, StreamEvent};
use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::problem::{Code, Problem};

use crate::server::{Server, Step};

fn events(text: String) -> Step {
    Step::Answer(200, &[("content-type", "text/event-stream")], text)
}

fn message(number: u32) -> String {
    format!(
        "event: message\nid: {number}\ndata: {{\"chat_number\":1,\"message_number\":{number},\"sender\":null,\"body\":\"x\",\
        \"sent_at\":null,\"created_at\":\"2026-01-31T12:00:00Z\",\"updated_at\":null,\"revision\":1}}\n\n"
    )
}

fn follow(server: &Server) -> MessageStream {
    let token = AppToken::from_bytes([7; 16]);
    server.client().stream(token, ChatNumber::FIRST, 2)
}

/// The number of the next message, 0 for a reset.
async fn next(stream: &mut MessageStream) -> u32 {
    match stream.next().await.unwrap() {
        StreamEvent::Message(message) => message.message_number.get(),
        StreamEvent::Reset(_) => 0,
    }
}

#[tokio::test]
async fn it_goes_on_where_it_was_and_repeats_nothing() {
    let server = Server::start(vec![
        events(format!(": beat\n\n{}{}event: m", message(3), message(4))),
        Step::Break,
        events(format!(
            "{}{}id: 5.1\nevent: reset\ndata: {{\"from\":2,\"after\":5}}\n\n",
            message(4),
            message(5),
        )),
        events(message(8)),
        events(message(9)),
    ])
    .await;
    let mut stream = follow(&server);
    let mut numbers = Vec::new();
    for _ in 0..6 {
        numbers.push(next(&mut stream).await);
    }
    assert_eq!(numbers, [3, 4, 5, 0, 8, 9]);
    let seen = server.seen();
    let after: Vec<_> = seen
        .iter()
        .map(|seen| seen.header("last-event-id").unwrap())
        .collect();
    assert_eq!(after, ["2", "4", "4", "5.1", "8"]);
}

#[tokio::test]
async fn a_reset_says_where_the_stream_goes_on() {
    let reset = "id: 1\nevent: reset\ndata: {\"from\":2,\"after\":1}\n\n";
    let server = Server::start(vec![events(format!("{reset}{}", message(2)))]).await;
    let mut stream = follow(&server);
    let StreamEvent::Reset(reset) = stream.next().await.unwrap() else {
        panic!("a message");
    };
    assert_eq!((reset.from, reset.after), (2, 1));
    // The stream began with 2, and the server knows only 1.
    assert_eq!(next(&mut stream).await, 2);
}

#[tokio::test]
async fn what_cannot_be_mended_is_an_error() {
    let unknown = serde_json::to_string(&Problem::new(Code::UnknownChat, "no such chat")).unwrap();
    let server = Server::start(vec![Step::Answer(404, &[], unknown)]).await;
    let error = follow(&server).next().await.unwrap_err();
    assert_eq!(error.code(), Some(Code::UnknownChat));
    let server = Server::start(vec![events("event: message\ndata: {}\n\n".to_owned())]).await;
    let error = follow(&server).next().await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn before_the_first_connection_patience_ends() {
    let server = Server::start((0..9).map(|_| Step::Break).collect()).await;
    let error = follow(&server).next().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert_eq!(server.seen().len(), 4);
}
