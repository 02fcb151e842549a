//! Messages: what is taken, kept and refused; what is refused takes no number.

use chat_wire::problem::Code;
use serde_json::{Value, json};

use crate::harness::{Chat, Server};
use crate::names::DELICATE;

const BODY_BYTES: usize = 64 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_senders_come_back_byte_for_byte() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let long = ["x".repeat(BODY_BYTES), "\u{1F600}".repeat(BODY_BYTES / 4)];
    let long = long.iter().map(String::as_str);
    for (number, body) in (1_u32..).zip(DELICATE.iter().copied().chain(long)) {
        let sender: String = body.chars().take(255).collect();
        let new = json!({ "body": body, "sender": sender, "sent_at": null });
        let request = server.post(chat.path("/messages")).json(new.to_string());
        let created = request.wait().send().await;
        assert_eq!(created.number(201), u64::from(number));
        assert_eq!(created.header("location"), chat.message(number));
        let message: Value = server.get(chat.message(number)).send().await.is(200);
        assert_eq!(message["body"], body);
        assert_eq!(message["sender"], sender);
        assert_eq!(message["chat_number"], 1);
        assert_eq!(message["message_number"], number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn escapes_do_not_count_towards_the_length() {
    let server = Server::start().await;
    let chat = server.chat().await;
    // Six bytes of JSON for one of the body.
    let body = format!(r#"{{"body":"{}"}}"#, r"\u0001".repeat(BODY_BYTES));
    let created = server.post(chat.path("/messages")).json(body).wait();
    assert_eq!(created.send().await.number(201), 1);
    let read = server.get(chat.message(1)).send().await;
    assert_eq!(read.member(200, "body"), "\u{1}".repeat(BODY_BYTES));
    // A pair of surrogates is one character.
    let pair = r#"{"body":"\ud83d\ude00"}"#;
    let created = server.post(chat.path("/messages")).json(pair).wait();
    assert_eq!(created.send().await.number(201), 2);
    let read = server.get(chat.message(2)).send().await;
    assert_eq!(read.member(200, "body"), "\u{1F600}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_takes_no_number() {
    let server = Server::start().await;
    let chat = server.chat().await;
    assert_eq!(server.say(chat, "before").await, 1);
    let one_more = json!({ "body": "x".repeat(BODY_BYTES + 1) }).to_string();
    let four_more = json!({ "body": "\u{1F600}".repeat(BODY_BYTES / 4 + 1) }).to_string();
    let long_sender = json!({ "body": "x", "sender": "x".repeat(256) }).to_string();
    let cases: &[(&[u8], Code, Option<&str>)] = &[
        (br#"{"body":""}"#, Code::InvalidValue, Some("body")),
        (one_more.as_bytes(), Code::TooLarge, Some("body")),
        (four_more.as_bytes(), Code::TooLarge, Some("body")),
        (br#"{"body":1}"#, Code::InvalidValue, Some("body")),
        (br#"{"body":["x"]}"#, Code::InvalidValue, Some("body")),
        (br#"{"sender":"x"}"#, Code::InvalidValue, Some("body")),
        (
            br#"{"body":"x","colour":1}"#,
            Code::InvalidValue,
            Some("colour"),
        ),
        (br#"["x"]"#, Code::InvalidValue, None),
        (br#"["x",null,null]"#, Code::InvalidValue, None),
        (b"{\"body\":\"\xc3\"}", Code::InvalidJson, None),
        (br#"{"body":"\ud800"}"#, Code::InvalidJson, None),
        (br#"{"body":"\udc00"}"#, Code::InvalidJson, None),
        (br#"{"body":"\u12"}"#, Code::InvalidJson, None),
        (b"not json", Code::InvalidJson, None),
        (b"", Code::InvalidJson, None),
    ];
    let senders: &[(&[u8], Code, Option<&str>)] = &[
        (long_sender.as_bytes(), Code::InvalidValue, Some("sender")),
        (
            br#"{"body":"x","sender":1}"#,
            Code::InvalidValue,
            Some("sender"),
        ),
    ];
    for (body, code, field) in cases.iter().chain(senders) {
        let created = server.post(chat.path("/messages")).json(body.to_vec());
        created.send().await.refused(*code, *field, None);
    }
    for (body, code, field) in cases {
        let edited = server.put(chat.message(1)).json(body.to_vec());
        let field = if *body == br#"{"sender":"x"}"# {
            &Some("sender")
        } else {
            field
        };
        edited.send().await.refused(*code, *field, None);
    }
    let huge = format!(r#"{{"body":"{}"}}"#, "x".repeat(512 * 1024));
    let huge = server.post(chat.path("/messages")).json(huge).send().await;
    huge.refused(Code::TooLarge, None, None);
    assert_eq!(server.say(chat, "after").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_kept_to_the_microsecond() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let cases = [
        ("2004-12-25T09:14:00Z", "2004-12-25T09:14:00Z"),
        (
            "2004-12-25T10:14:00.1234567+01:00",
            "2004-12-25T09:14:00.123457Z",
        ),
        ("1000-01-01T00:00:00Z", "1000-01-01T00:00:00Z"),
        ("9999-12-29T23:59:59.999999Z", "9999-12-29T23:59:59.999999Z"),
    ];
    for (number, (given, kept)) in (1..).zip(cases) {
        assert_eq!(send_time(&server, chat, given).await.number(201), number);
        let read = server.get(format!("{}/{number}", chat.path("/messages")));
        assert_eq!(read.send().await.member(200, "sent_at"), kept);
    }
    let bad = [
        "",
        "yesterday",
        "2004-12-25",
        "2004-12-25T09:14:00",
        "2004-02-30T00:00:00Z",
        "0999-12-31T23:59:59Z",
        "10000-01-01T00:00:00Z",
    ];
    for given in bad {
        let answer = send_time(&server, chat, given).await;
        answer.refused(Code::InvalidValue, Some("sent_at"), None);
    }
}

async fn send_time(server: &Server, chat: Chat, sent_at: &str) -> crate::raw::Answer {
    let new = json!({ "body": "x", "sent_at": sent_at }).to_string();
    let request = server.post(chat.path("/messages")).json(new);
    request.wait().send().await
}
