//! Single calls: what is sent, what is repeated, and how they end.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chat_client::client::{Client, Config, Create, Read};
use chat_client::error::Error;
use chat_client::messages::Span;
use chat_client::observer::{Event, Observer};
use chat_client::search::Query;
use chat_wire::applications::NewApplication;
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::messages::NewMessage;
use chat_wire::problem::{Code, Problem};
use chat_wire::search::Sort;

use crate::server::{Server, Step};

const TOKEN: AppToken = AppToken::from_bytes([7; 16]);

fn ok(status: u16, text: &str) -> Step {
    Step::Answer(status, &[], text.to_owned())
}

fn refusal(code: Code, headers: &'static [(&'static str, &'static str)]) -> Step {
    let problem = serde_json::to_string(&Problem::new(code, "the detail")).unwrap();
    Step::Answer(code.status(), headers, problem)
}

fn hello() -> NewMessage {
    NewMessage {
        body: "hello".to_owned(),
        sender: None,
        sent_at: None,
    }
}

async fn send(client: &Client, create: &Create) -> Result<(u32, bool), Error> {
    let created = client
        .create_message(TOKEN, ChatNumber::FIRST, &hello(), create)
        .await?;
    Ok((created.value.message_number.get(), created.stored))
}

#[tokio::test]
async fn a_create_is_repeated_with_the_same_key_and_body() {
    let server = Server::start(vec![
        Step::Break,
        refusal(Code::Unavailable, &[]),
        ok(202, r#"{"message_number":5}"#),
    ])
    .await;
    let sent = send(&server.client(), &Create::default()).await.unwrap();
    assert_eq!(sent, (5, false));
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    let key = seen[0].header("idempotency-key").unwrap();
    assert!(
        seen.iter()
            .all(|seen| seen.header("idempotency-key") == Some(key))
    );
    assert!(seen.iter().all(|seen| seen.body == r#"{"body":"hello"}"#));
}

#[tokio::test]
async fn a_refusal_for_good_is_not_repeated() {
    let server = Server::start(vec![refusal(Code::InvalidValue, &[])]).await;
    let error = send(&server.client(), &Create::default())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::InvalidValue));
    assert_eq!(error.to_string(), "the detail");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn retries_end() {
    let steps = (0..9).map(|_| refusal(Code::Overloaded, &[])).collect();
    let server = Server::start(steps).await;
    let error = send(&server.client(), &Create::default())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::Overloaded));
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn a_first_try_that_is_under_way_does_not_hide_why_it_failed() {
    let server = Server::start(vec![
        refusal(Code::NotAcknowledged, &[]),
        refusal(Code::KeyInFlight, &[]),
        refusal(Code::KeyInFlight, &[]),
        refusal(Code::KeyInFlight, &[]),
    ])
    .await;
    let error = send(&server.client(), &Create::default())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::NotAcknowledged));
    assert_eq!(server.seen().len(), 4);
    // Somebody else's first try is the cause.
    let server = Server::start((0..4).map(|_| refusal(Code::KeyInFlight, &[])).collect()).await;
    let error = send(&server.client(), &Create::default())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::KeyInFlight));
}

#[tokio::test]
async fn whoever_is_patient_waits_out_being_shed() {
    let shed = |n: usize| match n % 2 {
        0 => refusal(Code::Overloaded, &[]),
        _ => refusal(Code::TooManyRequests, &[]),
    };
    let mut steps: Vec<Step> = (0..9).map(shed).collect();
    steps.push(ok(202, r#"{"message_number":1}"#));
    let server = Server::start(steps).await;
    let mut config = server.config();
    config.retries.shed_for = Duration::from_secs(20);
    let client = Client::new(config).unwrap();
    send(&client, &Create::default()).await.unwrap();
    assert_eq!(server.seen().len(), 10);
}

#[tokio::test]
async fn the_server_says_when_to_come_back() {
    let wait = refusal(Code::TooManyRequests, &[("retry-after", "1")]);
    let server = Server::start(vec![wait, ok(202, r#"{"message_number":1}"#)]).await;
    let started = Instant::now();
    send(&server.client(), &Create::default()).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_pause_beyond_the_deadline_is_not_waited_for() {
    let server = Server::start(vec![refusal(Code::Fenced, &[("retry-after", "3600")])]).await;
    let error = send(&server.client(), &Create::default())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::Fenced));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3_600)));
}

#[tokio::test]
async fn silence_ends_with_the_deadline() {
    let server = Server::start(vec![Step::Hang]).await;
    let config = Config {
        timeout: Duration::from_millis(50),
        ..server.config()
    };
    let error = send(&Client::new(config).unwrap(), &Create::default()).await;
    assert!(matches!(error, Err(Error::Timeout { .. })), "{error:?}");
}

#[tokio::test]
async fn nobody_there_is_told_by_address_and_without_a_token() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let config = Config {
        observer: Observer::new(move |event| {
            if let Event::Retrying { cause, .. } = event {
                log.lock().unwrap().push(cause.to_string());
            }
        }),
        ..Config::new(&url)
    };
    let error = Client::new(config)
        .unwrap()
        .application(TOKEN)
        .await
        .unwrap_err();
    assert!(matches!(&error, Error::Unreachable { url: tried, .. } if *tried == url));
    assert_eq!(told.lock().unwrap().len(), 3);
    for text in [format!("{error} {error:?}"), told.lock().unwrap().concat()] {
        assert!(
            text.contains(&url) && !text.contains(&TOKEN.reveal()),
            "{text}"
        );
    }
}

#[tokio::test]
async fn waiting_is_asked_for_and_told() {
    let server = Server::start(vec![ok(201, r#"{"message_number":1}"#)]).await;
    let create = Create {
        key: Some("my key".parse().unwrap()),
        wait: Some(Duration::from_secs(5)),
    };
    assert_eq!(send(&server.client(), &create).await.unwrap(), (1, true));
    let seen = server.seen();
    assert_eq!(seen[0].header("prefer"), Some("wait=5"));
    assert_eq!(seen[0].header("idempotency-key"), Some("my key"));
}

#[tokio::test]
async fn what_is_not_stored_yet_is_looked_for_again() {
    let pending = || ok(202, r#"{"status":"pending"}"#);
    let chat = r#"{"chat_number":1,"messages_count":0,"created_at":"2026-01-31T12:00:00Z"}"#;
    let steps = vec![pending(), pending(), ok(200, chat), pending()];
    let server = Server::start(steps).await;
    let client = server.client();
    let chat = client.chat(TOKEN, ChatNumber::FIRST).await.unwrap();
    assert_eq!(chat.chat_number, ChatNumber::FIRST);
    assert_eq!(server.seen().len(), 3);
    let peeked = client.peek_chat(TOKEN, ChatNumber::FIRST).await.unwrap();
    assert_eq!(peeked, Read::Pending(None));
}

#[tokio::test]
async fn a_batch_is_sent_as_it_is() {
    let server = Server::start(vec![ok(202, r#"{"first":3,"last":4}"#)]).await;
    let lines = Bytes::from_static(b"{\"body\":\"a\"}\n{\"body\":\"b\"}\n");
    let created = server
        .client()
        .create_batch(TOKEN, ChatNumber::FIRST, lines, &Create::default())
        .await
        .unwrap();
    assert_eq!(
        (created.value.first.get(), created.value.last.get()),
        (3, 4)
    );
    let seen = server.seen();
    assert_eq!(seen[0].header("content-type"), Some("application/x-ndjson"));
    assert_eq!(seen[0].body.lines().count(), 2);
}

#[tokio::test]
async fn answers_of_strangers_are_named_as_such() {
    let page = "<html>Bad\ngateway</html>";
    let server = Server::start(vec![ok(404, page), ok(202, "{}"), ok(307, "")]).await;
    let client = server.client();
    let new = NewApplication {
        name: "x".to_owned(),
    };
    let create = Create::default();
    let error = client.create_application(&new, &create).await.unwrap_err();
    assert!(
        matches!(&error, Error::Status { status: 404, detail, .. } if detail == "<html>Bad gateway</html>")
    );
    let error = client.create_application(&new, &create).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    let error = client.create_application(&new, &create).await.unwrap_err();
    assert!(
        matches!(error, Error::Status { status: 307, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn paths_and_parameters() {
    let empty = r#"{"messages":[],"settled_through":0,"hits":[],"complete":true,"lag_records":0}"#;
    let server = Server::start((0..4).map(|_| ok(200, empty)).collect()).await;
    let config = Config {
        server: format!("{}/prefix/", server.url),
        ..server.config()
    };
    let client = Client::new(config).unwrap();
    let number = MessageNumber::new(9).unwrap();
    for span in [Span::Start, Span::Before(number)] {
        client
            .messages(TOKEN, ChatNumber::FIRST, span, 5)
            .await
            .unwrap();
    }
    for chat in [None, Some(ChatNumber::FIRST)] {
        let query = Query {
            text: "50% & \"ü\"".to_owned(),
            chat,
            sort: Sort::Number,
            limit: 7,
            cursor: Some("a=b".to_owned()),
        };
        client.search(TOKEN, &query).await.unwrap();
    }
    let token = TOKEN.reveal();
    let chat = format!("GET /prefix/applications/{token}/chats/1/messages");
    let text = "50%25+%26+%22%C3%BC%22&sort=number&limit=7&cursor=a%3Db";
    let lines: Vec<_> = server.seen().into_iter().map(|seen| seen.line).collect();
    let expected = [
        format!("{chat}?limit=5"),
        format!("{chat}?before=9&limit=5"),
        format!("GET /prefix/search?application_token={token}&body={text}"),
        format!("{chat}/search?q={text}"),
    ];
    assert_eq!(lines, expected);
}
