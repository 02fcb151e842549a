//! What was written is read: at once, after a wait, after a change.

use chat_wire::problem::Code;
use serde_json::Value;

use crate::harness::{Chat, Server, eventually};
use crate::raw::Answer;

#[tokio::test(flavor = "multi_thread")]
async fn after_a_wait_the_row_is_there() {
    let server = Server::start().await;
    let created = server.post("/applications").json(r#"{"name":"x"}"#).wait();
    let created = created.send().await;
    let app = created.header("location").to_owned();
    assert_eq!(created.status, 201);
    assert_eq!(server.get(&app).send().await.status, 200);
    for number in 1..=20 {
        let created = server.post(format!("{app}/chats")).wait().send().await;
        assert_eq!(created.member(201, "chat_number"), number);
        let chat = created.header("location");
        assert_eq!(chat, format!("{app}/chats/{number}"));
        assert_eq!(server.get(chat).send().await.status, 200);
        let created = server.post(format!("{chat}/messages"));
        let created = created.json(r#"{"body":"x"}"#).wait().send().await;
        assert_eq!(created.number(201), 1);
        let message = created.header("location");
        assert_eq!(server.get(message).send().await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preference_is_read_as_the_rfc_writes_it() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let create = |prefer: &'static str| {
        let request = server.post(chat.path("/messages")).json(r#"{"body":"x"}"#);
        request.header("prefer", prefer).send()
    };
    for waits in [
        "wait=10",
        "respond-async, wait=10",
        "Wait=10",
        "wait = 10",
        "wait=\"10\"",
    ] {
        assert_eq!(create(waits).await.status, 201, "{waits}");
    }
    for ignored in ["", "wait", "wait=soon", "wait=-1", "return=minimal"] {
        assert_eq!(create(ignored).await.status, 202, "{ignored}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_ones_own_write_is_never_404() {
    let server = Server::start().await;
    for _ in 0..10 {
        let created = server.post("/applications").json(r#"{"name":"x"}"#);
        let app = created.send().await.header("location").to_owned();
        read_until_stored(&server, &app).await;
        let created = server.post(format!("{app}/chats")).send().await;
        let chat = created.header("location").to_owned();
        read_until_stored(&server, &chat).await;
        for _ in 0..10 {
            let created = server.post(format!("{chat}/messages"));
            let created = created.json(r#"{"body":"x"}"#).send().await;
            read_until_stored(&server, created.header("location")).await;
        }
    }
}

/// Without workers there is no row until somebody lets them begin.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_stored_yet_is_pending() {
    let server = Server::idle(&[]).await;
    let created = server.post("/applications").json(r#"{"name":"x"}"#);
    let app = created.send().await.header("location").to_owned();
    let created = server.post(format!("{app}/chats")).send().await;
    let chat = created.header("location").to_owned();
    let created = server.post(format!("{chat}/messages"));
    let created = created.json(r#"{"body":"x"}"#).send().await;
    let paths = [&app, &chat, created.header("location")];
    for path in paths {
        pending(&server.get(path).send().await);
    }
    let _working = server.work().await;
    for path in paths {
        read_until_stored(&server, path).await;
    }
}

/// An answer about what has a number and no row.
#[track_caller]
fn pending(answer: &Answer) {
    assert_eq!(answer.member(202, "status"), "pending");
    assert_eq!(answer.header("retry-after"), "1");
}

async fn read_until_stored(server: &Server, path: &str) {
    eventually("the row", async || {
        let answer = server.get(path).send().await;
        if answer.status == 200 {
            return Some(());
        }
        pending(&answer);
        None
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_used_before_its_row_is_there() {
    let server = Server::start().await;
    for _ in 0..10 {
        let chat = server.chat().await;
        assert_eq!(server.say(chat, "first").await, 1);
        let path = chat.message(1);
        let edited = server.put(&path).json(r#"{"body":"second"}"#).send().await;
        assert_eq!(edited.number(202), 1);
        assert_eq!(edited.header("location"), path);
        let read = until(&server, chat, 1, "second").await;
        assert_eq!(read.member(200, "message_number"), 1);
    }
}

/// Waits until the message has this body.
async fn until(server: &Server, chat: Chat, number: u32, body: &str) -> Answer {
    eventually(body, async || {
        let answer = server.get(chat.message(number)).send().await;
        (answer.status == 200 && answer.member(200, "body") == body).then_some(answer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_changes_body_revision_and_etag_alone() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let new = r#"{"body":"one","sender":"ada","sent_at":"2004-12-25T09:14:00Z"}"#;
    let created = server.post(chat.path("/messages")).json(new).wait();
    assert_eq!(created.send().await.number(201), 1);
    let first = until(&server, chat, 1, "one").await;
    let before: Value = first.is(200);
    assert_eq!(before["updated_at"], Value::Null);
    assert_eq!(first.header("etag"), format!("\"{}\"", before["revision"]));

    let edit = r#"{"body":"two"}"#;
    assert_eq!(
        server.put(chat.message(1)).json(edit).send().await.status,
        202
    );
    let second = until(&server, chat, 1, "two").await;
    let after: Value = second.is(200);
    assert!(after["revision"].as_u64() > before["revision"].as_u64());
    assert!(after["updated_at"].as_str() > before["created_at"].as_str());
    for kept in [
        "chat_number",
        "message_number",
        "sender",
        "sent_at",
        "created_at",
    ] {
        assert_eq!(after[kept], before[kept], "{kept}");
    }
    assert_ne!(first.header("etag"), second.header("etag"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_knows_the_etag_gets_304() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server.say(chat, "one").await;
    let etag = until(&server, chat, 1, "one").await;
    let etag = etag.header("etag").to_owned();
    let known = |tags: String| {
        let request = server.get(chat.message(1));
        request.header("if-none-match", tags).send()
    };
    for tags in [
        etag.clone(),
        format!("\"1\", {etag}"),
        // Compared weakly (RFC 9110, section 13.1.2).
        format!("W/{etag}"),
        "*".to_owned(),
    ] {
        let answer = known(tags.clone()).await;
        assert_eq!(answer.status, 304, "{tags}");
        assert_eq!(answer.header("etag"), etag);
        assert!(answer.body.is_empty());
    }
    for tags in [String::new(), "\"x\"".to_owned(), etag.replace('"', "")] {
        assert_eq!(known(tags.clone()).await.status, 200, "{tags}");
    }
    let edit = server.put(chat.message(1)).json(r#"{"body":"two"}"#);
    assert_eq!(edit.send().await.status, 202);
    until(&server, chat, 1, "two").await;
    assert_eq!(known(etag).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_message_is_gone_for_good() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server.say_all(chat, &["a", "b", "c"]).await;
    let deleted = server.delete(chat.message(2)).send().await;
    assert_eq!(deleted.number(202), 2);
    assert_eq!(deleted.header("location"), chat.message(2));
    eventually("the deletion", async || {
        let answer = server.get(chat.message(2)).send().await;
        (answer.status == 410).then_some(answer)
    })
    .await
    .refused(Code::Gone, None, None);
    let again = server.delete(chat.message(2)).send().await;
    again.refused(Code::Gone, None, None);
    let edited = server.put(chat.message(2)).json(r#"{"body":"x"}"#);
    edited.send().await.refused(Code::Gone, None, None);
    let counted = server.client.chat(chat.token, chat.number).await.unwrap();
    assert_eq!(counted.messages_count, 2);
    // Its number is never given again.
    assert_eq!(server.say(chat, "d").await, 4);
}
