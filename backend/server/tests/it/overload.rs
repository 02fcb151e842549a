//! Too much: refused at once, with a time to come back, and without a number.

use chat_wire::problem::Code;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Chat, PATIENCE, Server, eventually};

/// A create whose body has not arrived yet.
pub(crate) struct Unfinished(TcpStream);

impl Unfinished {
    const BODY: &str = r#"{"body":"slow"}"#;

    pub(crate) async fn open(server: &Server, chat: Chat) -> Self {
        let mut stream = TcpStream::connect(server.api_address()).await.unwrap();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            chat.path("/messages"),
            Self::BODY.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        Self(stream)
    }

    /// Sends the body and reads to the end of the connection or of the answer's JSON.
    pub(crate) async fn finish(mut self) -> String {
        self.0.write_all(Self::BODY.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            let read = timeout(PATIENCE, self.0.read_buf(&mut answer)).await;
            if read.expect("an answer").unwrap() == 0 {
                break;
            }
        }
        String::from_utf8(answer).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_requests_at_work_there_is_503() {
    let server = Server::with(&["--max-in-flight=1"]).await;
    let chat = server.chat().await;
    let slow = Unfinished::open(&server, chat).await;
    let shed = eventually("the first request holds the only place", async || {
        let answer = server.get(chat.path("")).send().await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    shed.refused(Code::Overloaded, None, None);
    assert_eq!(shed.header("retry-after"), "1");
    let create = server.post(chat.path("/messages")).json(r#"{"body":"x"}"#);
    create.send().await.refused(Code::Overloaded, None, None);
    // Health does not stand in the same queue.
    assert_eq!(server.admin_get("/livez").send().await.status, 200);
    let metrics = server.admin_get("/metrics").send().await;
    assert!(
        !metrics
            .text()
            .contains("chatd_http_requests_shed_total 0\n")
    );

    let answer = slow.finish().await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    assert!(answer.ends_with(r#"{"message_number":1}"#), "{answer}");
    // What was shed has taken no number.
    assert_eq!(server.say(chat, "next").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_rate_there_is_429() {
    let server = Server::with(&["--rate-limit=1"]).await;
    let (chat, other) = (server.chat().await, server.chat().await);
    let batch = |chat: Chat, lines: usize| {
        let request = server.post(chat.path("/messages/batch"));
        request.ndjson("{\"body\":\"x\"}\n".repeat(lines)).send()
    };
    // What one second allows is at least one batch. Creating the chat took one of it.
    assert_eq!(batch(chat, 999).await.status, 202);
    let refused = batch(chat, 100).await;
    refused.refused(Code::TooManyRequests, None, None);
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((60..=100).contains(&seconds), "{seconds}");
    // Nobody else waits for that.
    assert_eq!(batch(other, 999).await.status, 202);
    // Refused as a whole: the number goes on where it was.
    eventually("a create within the rate", async || {
        let request = server.post(chat.path("/messages")).json(r#"{"body":"x"}"#);
        let answer = request.send().await;
        if answer.status == 429 {
            answer.refused(Code::TooManyRequests, None, None);
            return None;
        }
        assert_eq!(answer.number(202), 1000);
        Some(())
    })
    .await;
    let page: Value = server
        .get(chat.path("/messages?limit=1"))
        .send()
        .await
        .is(200);
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(1));
}
