//! Names of applications: what is taken, kept and refused.

use chat_wire::problem::Code;
use serde_json::{Value, json};

use crate::harness::{Server, eventually};

/// Texts that software likes to damage.
pub(crate) const DELICATE: &[&str] = &[
    "x",
    "\u{1F600}\u{1F469}\u{200D}\u{1F692}",
    "e\u{301} a\u{30a}\u{327}",
    "\u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{202e}abc\u{202c}",
    "a\0b",
    "\u{1}\u{7f}\u{85}\u{2028}",
    " \t\r\n ",
    "\"\\/'`%_*?<b>",
    "\u{feff}\u{fffd}\u{10ffff}",
];

#[tokio::test(flavor = "multi_thread")]
async fn names_come_back_byte_for_byte() {
    let server = Server::start().await;
    let long = "\u{1F600}".repeat(255);
    for name in DELICATE.iter().copied().chain([long.as_str()]) {
        let body = json!({ "name": name }).to_string();
        let created = server.post("/applications").json(body).wait().send().await;
        let token = created.member(201, "token");
        let path = format!("/applications/{}", token.as_str().unwrap());
        assert_eq!(created.header("location"), path);
        let application: Value = server.get(path).send().await.is(200);
        assert_eq!(application["name"], name);
        assert_eq!(application["chats_count"], 0);
        assert_eq!(application["created_at"], application["updated_at"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_shows_soon() {
    let server = Server::start().await;
    let path = format!("/applications/{}", server.app().await.reveal());
    let renamed = server.put(&path).json(r#"{"name":"new"}"#).send().await;
    assert_eq!(renamed.status, 202);
    assert_eq!(renamed.header("location"), path);
    let application: Value = eventually("the new name", async || {
        let answer = server.get(&path).send().await;
        (answer.status == 200 && answer.text().contains(r#""name":"new""#)).then(|| answer.is(200))
    })
    .await;
    assert!(application["updated_at"].as_str() > application["created_at"].as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_names_are_refused_by_name() {
    let server = Server::start().await;
    let path = format!("/applications/{}", server.app().await.reveal());
    let kibibytes_64 = json!({ "name": "x".repeat(64 * 1024) }).to_string();
    let chars_256 = json!({ "name": "\u{1F600}".repeat(256) }).to_string();
    let cases: &[(&[u8], Code, Option<&str>)] = &[
        (br#"{"name":""}"#, Code::InvalidValue, Some("name")),
        (chars_256.as_bytes(), Code::InvalidValue, Some("name")),
        (kibibytes_64.as_bytes(), Code::InvalidValue, Some("name")),
        (br#"{"name":1}"#, Code::InvalidValue, Some("name")),
        (br#"{"name":null}"#, Code::InvalidValue, Some("name")),
        (
            br#"{"name":"a","name":"b"}"#,
            Code::InvalidValue,
            Some("name"),
        ),
        (
            br#"{"name":"a","colour":1}"#,
            Code::InvalidValue,
            Some("colour"),
        ),
        (b"{}", Code::InvalidValue, Some("name")),
        (b"null", Code::InvalidValue, None),
        (br#""name""#, Code::InvalidValue, None),
        // serde would take a list for a struct.
        (br#"["name"]"#, Code::InvalidValue, None),
        (b"", Code::InvalidJson, None),
        (b"{", Code::InvalidJson, None),
        (br#"{"name":"a"} {}"#, Code::InvalidJson, None),
        (br#"["name""#, Code::InvalidJson, None),
        (b"{\"name\":\"\xff\"}", Code::InvalidJson, None),
        (b"{\"name\":\"\xed\xa0\x80\"}", Code::InvalidJson, None),
        (br#"{"name":"\ud83d"}"#, Code::InvalidJson, None),
        (br#"{"name":"\ude00\ud83d"}"#, Code::InvalidJson, None),
        (b"{\"name\":\"a\0\"}", Code::InvalidJson, None),
        (b"\xef\xbb\xbf{\"name\":\"a\"}", Code::InvalidJson, None),
    ];
    for (body, code, field) in cases {
        let created = server.post("/applications").json(body.to_vec()).send();
        created.await.refused(*code, *field, None);
        let renamed = server.put(&path).json(body.to_vec()).send();
        renamed.await.refused(*code, *field, None);
    }
    let huge = format!(r#"{{"name":"{}"}}"#, "x".repeat(512 * 1024));
    let huge = server.post("/applications").json(huge).send().await;
    huge.refused(Code::TooLarge, None, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_must_be_declared_as_json() {
    let server = Server::start().await;
    let body = r#"{"name":"x"}"#;
    for fine in ["application/json", "Application/JSON; charset=utf-8"] {
        let request = server.post("/applications").header("content-type", fine);
        assert_eq!(request.body(body).send().await.status, 202);
    }
    for foreign in [
        "text/plain",
        "application/x-ndjson",
        "",
        "application/jsonx",
    ] {
        let request = server.post("/applications").header("content-type", foreign);
        let answer = request.body(body).send().await;
        answer.refused(Code::UnsupportedMediaType, None, None);
    }
    let undeclared = server.post("/applications").body(body).send().await;
    undeclared.refused(Code::UnsupportedMediaType, None, None);
    assert_eq!(
        undeclared.problem().hint.as_deref(),
        Some("send Content-Type: application/json")
    );
}
