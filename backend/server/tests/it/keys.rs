//! Idempotency keys: a create that is sent again is not done again.

use chat_wire::ids::AppToken;
use chat_wire::problem::Code;
use serde_json::Value;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::harness::{Chat, Server, eventually};
use crate::raw::{Answer, Request};

/// The same create with the same key, as a request of each kind that creates.
fn creates(server: &Server, token: AppToken, chat: Chat, key: Uuid) -> Vec<Request> {
    let key = key.to_string();
    let chats = format!("/applications/{}/chats", token.reveal());
    let line = r#"{"body":"x"}"#;
    vec![
        server
            .post("/applications")
            .json(r#"{"name":"x"}"#)
            .key(key.clone()),
        server.post(chats).key(key.clone()),
        server
            .post(chat.path("/messages"))
            .json(line)
            .key(key.clone()),
        server
            .post(chat.path("/messages/batch"))
            .ndjson(line)
            .key(key),
    ]
}

async fn all(requests: Vec<Request>) -> Vec<Value> {
    let mut answers = Vec::new();
    for request in requests {
        answers.push(request.send().await.is(202));
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_repeats_the_answer_even_across_restarts() {
    let mut server = Server::start().await;
    let chat = server.chat().await;
    let (key, other) = (Uuid::new_v4(), Uuid::new_v4());
    let first = all(creates(&server, chat.token, chat, key)).await;
    let again = all(creates(&server, chat.token, chat, key)).await;
    assert_eq!(first, again);
    let different = all(creates(&server, chat.token, chat, other)).await;
    for (a, b) in first.iter().zip(&different) {
        assert_ne!(a, b);
    }
    for _ in 0..2 {
        server = server.restart().await;
        assert_eq!(all(creates(&server, chat.token, chat, key)).await, first);
        let repeated = all(creates(&server, chat.token, chat, other)).await;
        assert_eq!(repeated, different);
    }
    // Two single messages and two batches of one were made, however often they were sent.
    assert_eq!(server.say(chat, "next").await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_can_wait_and_leads_to_the_same_place() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let post = || {
        let request = server.post(chat.path("/messages"));
        request.json(r#"{"body":"x"}"#).key("k")
    };
    let first = post().send().await;
    let repeated = post().wait().send().await;
    assert_eq!(first.number(202), repeated.number(201));
    assert_eq!(first.header("location"), repeated.header("location"));
    // What became of the message does not change what the create answered.
    assert_eq!(server.delete(chat.message(1)).send().await.status, 202);
    eventually("the deletion", async || {
        let read = server.get(chat.message(1)).send().await;
        (read.status == 410).then_some(())
    })
    .await;
    assert_eq!(post().send().await.number(202), 1);
    assert_eq!(post().wait().send().await.number(201), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_body_under_the_same_key_is_refused() {
    let mut server = Server::start().await;
    let chat = server.chat().await;
    for restarted in [false, true] {
        if restarted {
            server = server.restart().await;
        }
        let field = Some("Idempotency-Key");
        let key = Uuid::from_u128(7).to_string();
        let apps = |name: &str| {
            let body = format!(r#"{{"name":"{name}"}}"#);
            let request = server.post("/applications").json(body);
            request.key(key.clone()).send()
        };
        assert_eq!(apps("a").await.status, 202);
        apps("b").await.refused(Code::KeyReused, field, None);
        let post = |below: &str, body: &str| {
            let request = server.post(chat.path(below)).key(key.clone());
            match below {
                "/messages" => request.json(body.to_owned()).send(),
                _ => request.ndjson(body.to_owned()).send(),
            }
        };
        for below in ["/messages", "/messages/batch"] {
            assert_eq!(post(below, r#"{"body":"a"}"#).await.status, 202);
            let other = post(below, r#"{"body":"b"}"#).await;
            other.refused(Code::KeyReused, field, None);
        }
        let chats = format!("/applications/{}/chats", chat.token.reveal());
        let create = |body: &'static str| server.post(&chats).key(key.clone()).body(body).send();
        assert_eq!(create("").await.status, 202);
        create("{}").await.refused(Code::KeyReused, field, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_other_paths_and_applications_are_other_keys() {
    let server = Server::start().await;
    let first = server.chat().await;
    let chats = [
        first,
        server.chat_of(first.token).await,
        server.chat().await,
    ];
    for chat in chats {
        for (number, below) in (1..).zip(["/messages", "/messages/batch"]) {
            let request = server.post(chat.path(below)).key("k");
            let line = format!(r#"{{"body":"{below}"}}"#);
            let request = match below {
                "/messages" => request.json(line),
                _ => request.ndjson(line),
            };
            let answer: Value = request.send().await.is(202);
            let given = answer.get("message_number").or(answer.get("first"));
            assert_eq!(given.unwrap(), number);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_once_they_make_one() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        for request in creates(&server, chat.token, chat, Uuid::from_u128(1)) {
            tasks.spawn(request.send());
        }
    }
    let mut given: Vec<Value> = Vec::new();
    for answer in tasks.join_all().await {
        if answer.status == 409 {
            answer.refused(Code::KeyInFlight, None, None);
            continue;
        }
        let value = answer.is(202);
        if !given.contains(&value) {
            given.push(value);
        }
    }
    // One application, one chat, one message, one batch.
    assert_eq!(given.len(), 4, "{given:?}");
    assert_eq!(server.say(chat, "next").await, 3);
    assert_eq!(server.chat_of(chat.token).await.number.get(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_a_shape() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let field = Some("Idempotency-Key");
    let create = |key: Vec<u8>| {
        let request = server.post(chat.path("/messages")).json(r#"{"body":"x"}"#);
        request.key(key).send()
    };
    let refused = |answer: Answer, code| answer.refused(code, field, None);
    refused(create(vec![b'x'; 256]).await, Code::InvalidValue);
    refused(create(Vec::new()).await, Code::InvalidValue);
    refused(create(vec![0xff]).await, Code::InvalidParameter);
    assert_eq!(create(vec![b'x'; 255]).await.number(202), 1);
    for key in ["1", "not-a-uuid", "7d9f4b1e-6a52-4c55-9f0c-3f0d8e6c2b1"] {
        let request = server.post("/applications").json(r#"{"name":"x"}"#);
        refused(request.key(key).send().await, Code::InvalidValue);
    }
}
