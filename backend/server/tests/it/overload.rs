//! Too much: refused at once, with a time to come back, and without a number.

use chat_wire::ids::AppToken;
use chat_wire::problem::Code;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Chat, PATIENCE, Server, eventually};
use crate::raw::Answer;

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

async fn create(server: &Server, chat: Chat) -> Answer {
    let request = server.post(chat.path("/messages")).json(r#"{"body":"x"}"#);
    request.send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_requests_at_work_there_is_503_and_no_number() {
    let server = Server::with(&["--max-in-flight=1"]).await;
    let chat = server.chat().await;
    let mut taken = 0;
    // One place for forty at once: that none of them meets another would be a wonder, and not a lasting one.
    eventually("one that is shed", async || {
        let answers = join_all((0..40).map(|_| create(&server, chat))).await;
        let (done, shed): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status < 300);
        taken += done.len();
        for answer in &shed {
            answer.refused(Code::Overloaded, None, None);
            assert_eq!(answer.header("retry-after"), "1");
        }
        (!shed.is_empty()).then_some(())
    })
    .await;
    // Health does not stand in the same queue.
    assert_eq!(server.admin_get("/livez").send().await.status, 200);
    let metrics = server.admin_get("/metrics").send().await;
    let none = "chatd_http_requests_shed_total{reason=\"at_work\"} 0\n";
    assert!(!metrics.text().contains(none), "{}", metrics.text());
    let number = server.say(chat, "next").await;
    assert_eq!(usize::try_from(number).unwrap(), taken + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_comes_slowly_takes_no_place() {
    let server = Server::with(&["--max-in-flight=1"]).await;
    let chat = server.chat().await;
    let slow = Unfinished::open(&server, chat).await;
    eventually("the slow one is there", async || {
        let metrics = server.admin_get("/metrics").send().await;
        let both = metrics.text().contains("chatd_http_requests_in_flight 2\n");
        both.then_some(())
    })
    .await;
    assert_eq!(create(&server, chat).await.number(202), 1);
    let answer = slow.finish().await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    assert!(answer.ends_with(r#"{"message_number":2}"#), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_row_takes_no_place() {
    let server = Server::idle(&["--max-in-flight=1"]).await;
    let chat = server.chat().await;
    // It may meet a create at the only place: then it comes again.
    let waiting = eventually("a place for the one that waits", async || {
        let request = server.post(chat.path("/messages")).json(r#"{"body":"x"}"#);
        let answer = request.wait().send().await;
        (answer.status != 503).then_some(answer)
    });
    let beside = async {
        let mut creates = 0;
        // A number that no create got is the waiting one's, and who came after it found the place free.
        let missing = eventually("a create beside the one that waits", async || {
            let answer = create(&server, chat).await;
            if answer.status != 202 {
                answer.refused(Code::Overloaded, None, None);
                return None;
            }
            creates += 1;
            (answer.number(202) > creates).then_some(creates)
        })
        .await;
        (missing, server.work().await)
    };
    let (answer, (missing, _working)) = tokio::join!(waiting, beside);
    assert_eq!(answer.number(201), missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_rate_there_is_429() {
    let server = Server::with(&["--rate-limit=10"]).await;
    let (chat, other) = (server.chat().await, server.chat().await);
    let batch = |chat: Chat, lines: usize| {
        let request = server.post(chat.path("/messages/batch"));
        request.ndjson("{\"body\":\"x\"}\n".repeat(lines)).send()
    };
    // A batch of any size passes, and what comes next waits for all of it.
    let whole = batch(chat, 1_000).await;
    assert_eq!(whole.status, 202);
    assert_eq!(whole.header("ratelimit-policy"), "\"creates\";q=10;w=1");
    assert!(whole.header("ratelimit").starts_with("\"creates\";r=0;t="));
    for refused in [
        batch(chat, 1).await,
        create(&server, chat).await,
        server.delete(chat.message(1)).send().await,
    ] {
        refused.refused(Code::TooManyRequests, None, None);
        let seconds: u64 = refused.header("retry-after").parse().unwrap();
        assert!((60..=100).contains(&seconds), "{seconds}");
    }
    // It is refused by its head: what the body says is never looked at.
    let unread = server.post(chat.path("/messages")).json("no JSON at all");
    unread
        .send()
        .await
        .refused(Code::TooManyRequests, None, None);
    // Who only reads is not limited, and nobody else waits.
    assert_eq!(server.get(chat.path("/messages")).send().await.status, 200);
    assert_eq!(create(&server, other).await.number(202), 1);
    let shed = "chatd_http_requests_shed_total{reason=\"rate\"} 4\n";
    let metrics = server.admin_get("/metrics").send().await;
    assert!(metrics.text().contains(shed), "{}", metrics.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn within_the_rate_nothing_is_refused_for_long_and_numbers_are_dense() {
    let server = Server::with(&["--rate-limit=20"]).await;
    let chat = server.chat().await;
    let mut numbers = Vec::new();
    for _ in 0..30 {
        let number = eventually("a create within the rate", async || {
            let answer = create(&server, chat).await;
            if answer.status == 429 {
                assert_eq!(answer.header("retry-after"), "1");
                return None;
            }
            Some(answer.number(202))
        });
        numbers.push(number.await);
    }
    assert!(numbers.into_iter().eq(1..=30));
}

#[tokio::test(flavor = "multi_thread")]
async fn applications_are_limited_as_a_whole() {
    let server = Server::with(&["--applications-rate-limit=1"]).await;
    let new = || {
        let request = server.post("/applications").json(r#"{"name":"x"}"#);
        request.send()
    };
    // Many at once, because the next place comes within a second.
    let made = eventually("one that is made and one that is refused", async || {
        let answers = join_all((0..8).map(|_| new())).await;
        let (made, refused): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|answer| answer.status == 202);
        for answer in &refused {
            answer.refused(Code::TooManyRequests, None, None);
        }
        made.into_iter().next().filter(|_| !refused.is_empty())
    })
    .await;
    let token: AppToken = serde_json::from_value(made.member(202, "token")).unwrap();
    // The application that is there is not concerned.
    let chat = server.chat_of(token).await;
    assert_eq!(create(&server, chat).await.number(202), 1);
    eventually("another application", async || {
        (new().await.status == 202).then_some(())
    })
    .await;
}

/// A server that refuses all creates of an application for a while.
async fn in_debt() -> (Server, Chat) {
    let server = Server::with(&["--rate-limit=10"]).await;
    let chat = server.chat().await;
    let batch = server.post(chat.path("/messages/batch"));
    let batch = batch.ndjson("{\"body\":\"x\"}\n".repeat(1_000));
    assert_eq!(batch.send().await.status, 202);
    (server, chat)
}

/// Two requests on one connection, whose parts come one after the other; returns both answers.
async fn refused_twice(server: &Server, chat: Chat, header: &str) -> [String; 2] {
    let mut stream = TcpStream::connect(server.api_address()).await.unwrap();
    let mut answers = [String::new(), String::new()];
    for answer in &mut answers {
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: test\r\n{header}Content-Length: 8192\r\n\r\n",
            chat.path("/messages")
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        if header.is_empty() {
            for _ in 0..2 {
                tokio::task::yield_now().await;
                stream.write_all(&[b'x'; 4_096]).await.unwrap();
            }
        }
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"}") {
            let read = timeout(PATIENCE, stream.read_buf(&mut bytes)).await;
            if read.expect("an answer").unwrap() == 0 {
                break;
            }
        }
        *answer = String::from_utf8(bytes).unwrap();
        if !header.is_empty() {
            break;
        }
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_may_use_the_connection_again() {
    let (server, chat) = in_debt().await;
    for answer in refused_twice(&server, chat, "").await {
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
        assert!(!answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_before_sending_is_told_not_to() {
    let (server, chat) = in_debt().await;
    let [answer, _] = refused_twice(&server, chat, "Expect: 100-continue\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}
