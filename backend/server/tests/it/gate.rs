//! What is refused at the gate of a connection: the same answers as behind it, and no byte out of place.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Chat, PATIENCE, Server, eventually};

/// A connection that stays, and what was read of it beyond the answers so far.
struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer: its status line, its headers without the time, and its body.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Wire {
    async fn open(server: &Server) -> Self {
        let stream = TcpStream::connect(server.api_address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            read: Vec::new(),
        }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn more(&mut self) {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
        assert_ne!(read.expect("an answer").unwrap(), 0, "the connection ended");
    }

    async fn answer(&mut self) -> Answer {
        let head = loop {
            match self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => self.more().await,
            }
        };
        let text = String::from_utf8(self.read.drain(..head).collect()).unwrap();
        let mut lines = text.trim_end().split("\r\n");
        let status = lines.next().unwrap().to_owned();
        let mut headers: BTreeMap<String, String> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let date = headers.remove("date").unwrap();
        assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
        let length: usize = headers["content-length"].parse().unwrap();
        while self.read.len() < length {
            self.more().await;
        }
        let body = String::from_utf8(self.read.drain(..length).collect()).unwrap();
        Answer {
            status,
            headers,
            body,
        }
    }

    /// Nothing is left, and nothing comes that was not asked for: what comes next is the answer to this.
    async fn is_in_step(&mut self, chat: Chat) {
        self.send(format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", chat.path("")))
            .await;
        let status = self.answer().await.status;
        // The chat's row may be on its way.
        assert!(
            status.ends_with(" OK") || status.ends_with(" Accepted"),
            "{status}"
        );
        assert!(self.read.is_empty());
    }
}

fn create(chat: Chat, header: &str, body: &str) -> String {
    format!(
        "POST {} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{header}Content-Length: {}\r\n\r\n{body}",
        chat.path("/messages"),
        body.len()
    )
}

const BODY: &str = r#"{"body":"x"}"#;

/// A server on which this chat's application may not create for some minutes.
async fn refusing() -> (Server, Chat) {
    let server = Server::with(&["--rate-limit=10"]).await;
    let chat = server.chat().await;
    let batch = server.post(chat.path("/messages/batch"));
    let batch = batch.ndjson("{\"body\":\"x\"}\n".repeat(1_000)).wait();
    assert_eq!(batch.send().await.status, 201);
    (server, chat)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_the_same_behind_the_gate() {
    let (server, chat) = refusing().await;
    let mut plain = Wire::open(&server).await;
    // A body in parts is for hyper to read.
    let mut chunked = Wire::open(&server).await;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        chat.path("/messages")
    );
    let same = eventually("both in the same second", async || {
        plain.send(create(chat, "", BODY)).await;
        chunked
            .send(format!("{head}c\r\n{BODY}\r\n0\r\n\r\n"))
            .await;
        let (at_gate, behind) = (plain.answer().await, chunked.answer().await);
        assert_eq!(at_gate.status, "HTTP/1.1 429 Too Many Requests");
        assert_eq!(at_gate.body, behind.body);
        (at_gate == behind).then_some(at_gate)
    });
    let headers = same.await.headers;
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(headers["ratelimit-policy"], "\"creates\";q=10;w=1");
    let metrics = server.admin_get("/metrics").send().await;
    let counted = "chatd_http_requests_total{route=\"/applications/{token}/chats/{chat}/messages\",method=\"POST\",status=\"429\"}";
    assert!(metrics.text().contains(counted), "{}", metrics.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_together_are_answered_in_order() {
    let server = Server::with(&[]).await;
    let chat = server.chat().await;
    let mut wire = Wire::open(&server).await;
    wire.send(create(chat, "", BODY).repeat(3)).await;
    for number in 1..=3 {
        let answer = wire.answer().await;
        assert_eq!(answer.body, format!("{{\"message_number\":{number}}}"));
    }
    wire.is_in_step(chat).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_requests_that_come_together_are_all_answered() {
    let (server, chat) = refusing().await;
    let mut wire = Wire::open(&server).await;
    wire.send(create(chat, "", BODY).repeat(3)).await;
    for _ in 0..3 {
        let answer = wire.answer().await;
        assert!(answer.status.contains(" 429 "), "{}", answer.status);
    }
    wire.is_in_step(chat).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_body_ends_where_it_ends() {
    let (server, chat) = refusing().await;
    let mut wire = Wire::open(&server).await;
    let long = format!("{{\"body\":\"{}\"}}", "y".repeat(20_000));
    let request = create(chat, "", &long);
    let (head, body) = request.split_at(request.len() - long.len());
    let read = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", chat.path(""));
    for parts in [
        vec![request.clone()],
        vec![head.to_owned(), body.to_owned()],
        vec![head.to_owned(), format!("{body}{read}")],
        vec![
            head.to_owned(),
            body[..9_000].to_owned(),
            format!("{}{request}{read}", &body[9_000..]),
        ],
    ] {
        let reads = parts.concat().matches("GET /").count();
        let creates = parts.concat().matches("POST /").count();
        for part in parts {
            wire.send(part).await;
        }
        for _ in 0..creates {
            let answer = wire.answer().await;
            assert!(answer.status.contains(" 429 "), "{}", answer.status);
        }
        for _ in 0..reads {
            assert_eq!(wire.answer().await.status, "HTTP/1.1 200 OK");
        }
        wire.is_in_step(chat).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_looks_like_a_request_is_a_body() {
    let open = Server::with(&[]).await;
    let chat = open.chat().await;
    let (shut, refused) = refusing().await;
    for (server, chat, status) in [(open, chat, " 400 "), (shut, refused, " 429 ")] {
        let inner = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", chat.path(""));
        let mut wire = Wire::open(&server).await;
        let request = create(chat, "", &inner);
        let (head, body) = request.split_at(request.len() - inner.len());
        wire.send(head).await;
        wire.send(body).await;
        let answer = wire.answer().await;
        assert!(answer.status.contains(status), "{}", answer.status);
        wire.is_in_step(chat).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_goes_on_after_refusals() {
    let server = Server::with(&["--rate-limit=2"]).await;
    let chat = server.chat().await;
    let mut wire = Wire::open(&server).await;
    let mut refused = 0;
    for number in 1..=4 {
        let given = eventually("the next create that is let in", async || {
            wire.send(create(chat, "Connection: keep-alive\r\n", BODY))
                .await;
            let answer = wire.answer().await;
            refused += usize::from(answer.status.contains(" 429 "));
            answer.status.contains(" 202 ").then_some(answer.body)
        });
        assert_eq!(given.await, format!("{{\"message_number\":{number}}}"));
        wire.is_in_step(chat).await;
    }
    assert!(refused > 0);
}
