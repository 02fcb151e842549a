//! Starting, stopping, and starting again.

use std::sync::Arc;

use chat_server::boot::Error;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{PATIENCE, Server, eventually};
use crate::mode;
use crate::overload::Unfinished;

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_has_one_server() {
    if mode::on_engines() {
        // There is no directory, and as many servers as one wants.
        return;
    }
    let server = Server::start().await;
    let refused = server.second().await.err().expect("it is held");
    assert!(matches!(refused, Error::Embedded(_)));
    let holder = format!("process {}", std::process::id());
    let said = refused.to_string();
    assert!(
        said.contains(&holder) && said.contains("--data-dir"),
        "{said}"
    );
    // The first has not noticed.
    assert_eq!(server.app().await.reveal().len(), 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_after_a_restart() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let other = server.chat_of(chat.token).await;
    server.say_all(chat, &["one", "two", "three"]).await;
    let edit = server.put(chat.message(1)).json(r#"{"body":"edited"}"#);
    assert_eq!(edit.send().await.status, 202);
    assert_eq!(server.delete(chat.message(2)).send().await.status, 202);
    assert_eq!(server.say(other, "last").await, 1);
    // Stopped at once: what the workers have not read yet, they read after the start.
    let server = server.restart().await;
    server.settled().await;
    let search = chat.path("/messages/search?q=e&sort=number");
    let found: Value = server.get(search).send().await.is(200);
    let found: Vec<&Value> = found["hits"].as_array().unwrap().iter().collect();
    let bodies: Vec<&Value> = found.iter().map(|hit| &hit["body"]).collect();
    assert_eq!(bodies, ["edited", "three"]);
    assert_eq!(server.get(chat.message(2)).send().await.status, 410);
    assert_eq!(server.say(chat, "four").await, 4);
    assert_eq!(server.say(other, "next").await, 2);
    assert_eq!(server.chat_of(chat.token).await.number.get(), 3);
    let app = format!("/applications/{}", chat.token.reveal());
    let count = eventually("three chats", async || {
        let app: Value = server.get(&app).send().await.is(200);
        (app["chats_count"] == 3).then_some(())
    });
    count.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_work_are_answered_before_the_end() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let address = server.api_address();
    let idle = TcpStream::connect(address).await.unwrap();
    let slow = Unfinished::open(&server, chat).await;
    eventually("the request is at work", async || {
        let metrics = server.admin_get("/metrics").send().await;
        let at_work = metrics.text().contains("chatd_http_requests_in_flight 2\n");
        at_work.then_some(())
    })
    .await;
    let stopping = tokio::spawn(server.stop());
    eventually("nobody listens any more", async || {
        TcpStream::connect(address).await.err()
    })
    .await;
    let answer = slow.finish().await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    assert!(answer.ends_with(r#"{"message_number":1}"#), "{answer}");
    timeout(PATIENCE, stopping).await.expect("a stop").unwrap();
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_a_stop_is_there_after_it() {
    let mut server = Server::start().await;
    let chat = server.chat().await;
    let mut acknowledged = 0;
    for _ in 0..3 {
        let running = Arc::new(server);
        let writer = tokio::spawn({
            let running = Arc::clone(&running);
            async move {
                let mut numbers = Vec::new();
                for _ in 0..50 {
                    numbers.push(running.say(chat, "x").await);
                }
                numbers
            }
        });
        let numbers = writer.await.unwrap();
        assert!(numbers.into_iter().eq(acknowledged + 1..=acknowledged + 50));
        acknowledged += 50;
        let running = Arc::into_inner(running).expect("the writer has ended");
        server = running.restart().await;
    }
    server.settled().await;
    let stored = server.client.chat(chat.token, chat.number).await.unwrap();
    assert_eq!(stored.messages_count, acknowledged);
}
