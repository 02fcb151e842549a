//! Batches: one range of numbers for all lines, or a problem that names the line and no number.

use chat_wire::problem::Code;
use serde_json::{Value, json};

use crate::harness::{Chat, Server, eventually};
use crate::raw::Answer;

const BATCH_BYTES: usize = 768 * 1024;

async fn send(server: &Server, chat: Chat, lines: impl Into<bytes::Bytes>) -> Answer {
    let request = server.post(chat.path("/messages/batch"));
    request.ndjson(lines).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_get_numbers_in_their_order() {
    let server = Server::start().await;
    let chat = server.chat().await;
    // With and without a break at the end, and as Windows breaks lines.
    for (nth, text) in ["a\nb\n", "a\nb", "a\r\nb\r\n"].iter().enumerate() {
        let lines = text.replace('a', r#"{"body":"a"}"#);
        let lines = lines.replace("\nb", "\n{\"body\":\"b\"}");
        let request = server.post(chat.path("/messages/batch"));
        let answer = request.ndjson(lines).wait().send().await;
        let first = 2 * nth + 1;
        assert_eq!(
            answer.is::<Value>(201),
            json!({ "first": first, "last": first + 1 })
        );
        let location = answer.header("location").to_owned();
        let page: Value = server.get(location).send().await.is(200);
        let bodies: Vec<&Value> = page["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| &message["body"])
            .collect();
        assert_eq!(bodies, ["a", "b"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_lines_and_not_one_more() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let lines = "{\"body\":\"x\"}\n".repeat(1_000);
    let answer = send(&server, chat, lines.clone()).await;
    assert_eq!(answer.is::<Value>(202), json!({ "first": 1, "last": 1000 }));
    let answer = send(&server, chat, lines + "{\"body\":\"x\"}").await;
    answer.refused(Code::TooLarge, Some("batch"), None);
    let one = send(&server, chat, r#"{"body":"x"}"#).await;
    assert_eq!(one.is::<Value>(202), json!({ "first": 1001, "last": 1001 }));
    eventually("all rows", async || {
        let chat = server.client.chat(chat.token, chat.number).await.unwrap();
        (chat.messages_count == 1001).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_bytes_as_are_allowed_and_not_one_more() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let line = |bytes: usize| {
        let around = r#"{"body":""}"#.len() + 1;
        format!("{{\"body\":\"{}\"}}\n", "x".repeat(bytes - around))
    };
    let lines = line(48 * 1024).repeat(16);
    assert_eq!(lines.len(), BATCH_BYTES);
    let answer = send(&server, chat, lines.clone()).await;
    assert_eq!(answer.is::<Value>(202), json!({ "first": 1, "last": 16 }));
    let answer = send(&server, chat, lines + "\n").await;
    answer.refused(Code::TooLarge, None, None);
    // Escaped as far as can be: the record in the log is no smaller than the request.
    let escaped = format!("{{\"body\":\"{}\"}}\n", r"\u0001".repeat(1_000));
    let escaped = escaped.repeat(BATCH_BYTES / escaped.len());
    assert_eq!(send(&server, chat, escaped).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_is_named_and_nothing_is_taken() {
    let server = Server::start().await;
    let chat = server.chat().await;
    assert_eq!(server.say(chat, "before").await, 1);
    let good = "{\"body\":\"x\"}\n";
    let long_body = json!({ "body": "x".repeat(64 * 1024 + 1) }).to_string();
    let long_sender = json!({ "body": "x", "sender": "x".repeat(256) }).to_string();
    let cases: &[(&[u8], Code, Option<&str>)] = &[
        (br#"{"body":""}"#, Code::InvalidValue, Some("body")),
        (long_body.as_bytes(), Code::TooLarge, Some("body")),
        (long_sender.as_bytes(), Code::InvalidValue, Some("sender")),
        (br#"{"body":2}"#, Code::InvalidValue, Some("body")),
        (br#"{"text":"x"}"#, Code::InvalidValue, Some("text")),
        (br#"["x"]"#, Code::InvalidValue, None),
        (
            br#"{"body":"x","sent_at":"now"}"#,
            Code::InvalidValue,
            Some("sent_at"),
        ),
        (b"{\"body\":\"\xff\"}", Code::InvalidJson, None),
        (br#"{"body":"\ud800"}"#, Code::InvalidJson, None),
        (br#"{"body":"x"} x"#, Code::InvalidJson, None),
        (b"", Code::InvalidJson, None),
        (b"{", Code::InvalidJson, None),
    ];
    for (line, code, field) in cases {
        // As the only line, as the second of three and as the last.
        for (above, below) in [(0, 0), (1, 1), (2, 0)] {
            let mut lines = good.repeat(above).into_bytes();
            lines.extend_from_slice(line);
            lines.push(b'\n');
            lines.extend_from_slice(good.repeat(below).as_bytes());
            let named = u32::try_from(above).unwrap() + 1;
            send(&server, chat, lines)
                .await
                .refused(*code, *field, Some(named));
        }
    }
    let empty = send(&server, chat, "").await;
    empty.refused(Code::InvalidJson, None, Some(1));
    let json = server.post(chat.path("/messages/batch")).json(good);
    json.send()
        .await
        .refused(Code::UnsupportedMediaType, None, None);
    assert_eq!(server.say(chat, "after").await, 2);
}
