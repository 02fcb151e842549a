//! Bytes that are no request, or not quite one.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Chat, PATIENCE, Server};

/// Longest head of a request.
const HEAD_BYTES: usize = 64 * 1024;

/// Sends the bytes and reads until the server closes the connection.
async fn exchange(server: &Server, request: &str) -> String {
    read(send(server, request).await).await
}

async fn send(server: &Server, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.api_address()).await.unwrap();
    // A server that has read enough may close before everything is sent.
    let _ = stream.write_all(request.as_bytes()).await;
    stream
}

async fn read(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the end of the connection");
    String::from_utf8(answer).unwrap()
}

/// A create of a message, after which the connection is closed.
fn create(chat: Chat, headers: &str, body: &str) -> String {
    let path = chat.path("/messages");
    let json = "Connection: close\r\nContent-Type: application/json";
    format!("POST {path} HTTP/1.1\r\nHost: test\r\n{json}\r\n{headers}\r\n\r\n{body}")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_ends_its_connection_and_nothing_else() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let many = (0..65)
        .map(|nth| format!("X-{nth}: x\r\n"))
        .collect::<String>();
    let long = "x".repeat(HEAD_BYTES);
    let cases = [
        ("\r\n\r\nhello\r\n\r\n".to_owned(), "400"),
        ("GET\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), "400"),
        ("\u{16}\u{3}\u{1} a TLS greeting".to_owned(), "400"),
        ("GET /docs HTTP/1.1\r\nHost\r\n\r\n".to_owned(), "400"),
        ("GET /docs HTTP/1.1\r\na b: c\r\n\r\n".to_owned(), "400"),
        (create(chat, "Content-Length: x", ""), "400"),
        (
            create(chat, "Content-Length: 1\r\nContent-Length: 2", "{}"),
            "400",
        ),
        (
            create(chat, "Content-Length: 99999999999999999999", ""),
            "400",
        ),
        (format!("GET /docs HTTP/1.1\r\n{many}\r\n"), "431"),
        (format!("GET /docs HTTP/1.1\r\nX: {long}\r\n\r\n"), "431"),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), "431"),
    ];
    for (request, status) in cases {
        let answer = exchange(&server, &request).await;
        let start: String = request.chars().take(60).collect();
        let found = answer.split(' ').nth(1).unwrap_or_default();
        // What the server has not read when it closes can cost the client the answer.
        let cut_off = found.is_empty() && request.len() > HEAD_BYTES;
        assert!(found == status || cut_off, "{start:?} {answer}");
    }
    assert_eq!(server.say(chat, "well").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_cut_off_takes_no_number() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let body = r#"{"body":"x"}"#;
    let cases = [
        create(chat, "Content-Length: 13", body),
        create(
            chat,
            "Transfer-Encoding: chunked",
            "c\r\n{\"body\":\"x\"}\r\n",
        ),
        create(
            chat,
            "Transfer-Encoding: chunked",
            "z\r\n{\"body\":\"x\"}\r\n0\r\n\r\n",
        ),
    ];
    for request in cases {
        let mut stream = send(&server, &request).await;
        let _ = stream.shutdown().await;
        let answer = read(stream).await;
        assert!(!answer.contains("HTTP/1.1 2"), "{answer}");
    }
    assert_eq!(server.say(chat, "x").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_protocol_allows_is_understood() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let body = r#"{"body":"x"}"#;
    let chunked = "6\r\n{\"body\r\n6\r\n\":\"x\"}\r\n0\r\n\r\n";
    let whole = create(chat, "Content-Length: 12", body);
    let cases = [
        create(chat, "Transfer-Encoding: chunked", chunked),
        create(chat, "Content-Length: 12\r\nExpect: 100-continue", body),
        whole.replace("HTTP/1.1", "HTTP/1.0"),
        whole.replace("POST /", "POST http://test/"),
    ];
    for (number, request) in (1..).zip(cases) {
        let answer = exchange(&server, &request).await;
        let created = format!("{{\"message_number\":{number}}}");
        assert!(
            answer.contains(" 202 ") && answer.ends_with(&created),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_sent_without_waiting_are_answered_in_order() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let last = create(chat, "Content-Length: 12", r#"{"body":"x"}"#);
    let first = last.replace("Connection: close\r\n", "");
    let answers = exchange(&server, &format!("{first}{first}{last}")).await;
    let mut rest = answers.as_str();
    for number in 1..=3 {
        let body = format!("{{\"message_number\":{number}}}");
        let (head, after) = rest.split_once(&body).unwrap();
        assert!(head.starts_with("HTTP/1.1 202 "), "{head}");
        rest = after;
    }
    // An answer does not wait for the rest of the next request.
    let (start, end) = last.split_at(30);
    let mut stream = send(&server, &format!("{first}{start}")).await;
    let mut answer = Vec::new();
    while !answer.ends_with(br#"{"message_number":4}"#) {
        let read = timeout(PATIENCE, stream.read_buf(&mut answer)).await;
        assert_ne!(read.expect("an answer").unwrap(), 0);
    }
    stream.write_all(end.as_bytes()).await.unwrap();
    assert!(read(stream).await.ends_with(r#"{"message_number":5}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_get_without_the_body() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server.say_all(chat, &["x"]).await;
    for path in [
        "/docs".to_owned(),
        "/openapi.json".to_owned(),
        chat.message(1),
    ] {
        let (get, head) = (
            server.get(&path).send().await,
            server.request("HEAD", &path).send().await,
        );
        assert_eq!((get.status, head.status), (200, 200));
        assert!(head.body.is_empty());
        assert_eq!(get.header("content-type"), head.header("content-type"));
        assert_eq!(head.header("content-length"), get.body.len().to_string());
    }
}
