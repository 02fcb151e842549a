//! Numbers under load: each once, none left out.

use std::sync::Arc;

use chat_client::admin::LetterQuery;
use chat_client::client::Create;
use chat_client::messages::Span;
use tokio::task::JoinSet;

use crate::drift::{QUIET, key, smuggle};
use crate::harness::{Chat, Server, message};

const CONNECTIONS: u32 = 64;
/// A debug build does in seconds what a release build does in moments.
const CREATES: u32 = if cfg!(debug_assertions) {
    2_048
} else {
    20_032
};

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_on_one_chat_get_every_number_once() {
    let server = Arc::new(Server::start().await);
    let chat = server.chat().await;
    let mut writers = JoinSet::new();
    for writer in 0..CONNECTIONS {
        let server = Arc::clone(&server);
        writers.spawn(async move {
            let mut given = Vec::new();
            for nth in 0..CREATES / CONNECTIONS {
                let body = format!("{writer} {nth}");
                given.push((server.say(chat, &body).await, body));
            }
            given
        });
    }
    let mut given: Vec<(u32, String)> = writers.join_all().await.into_iter().flatten().collect();
    given.sort_unstable();
    let numbers: Vec<u32> = given.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=CREATES).collect::<Vec<_>>());
    server.settled().await;
    assert_eq!(stored(&server, chat).await, given);
    let counted = server.client.chat(chat.token, chat.number).await.unwrap();
    assert_eq!(counted.messages_count, CREATES);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_get_ranges_that_do_not_overlap() {
    let server = Arc::new(Server::start().await);
    let chat = server.chat().await;
    let mut writers = JoinSet::new();
    for writer in 1..=16 {
        let server = Arc::clone(&server);
        writers.spawn(async move {
            let line = serde_json::to_string(&message("x")).unwrap() + "\n";
            let lines = line.repeat(writer).into();
            let (client, create) = (&server.client, Create::default());
            let created = client.create_batch(chat.token, chat.number, lines, &create);
            let range = created.await.unwrap().value;
            (range.first.get()..=range.last.get()).collect::<Vec<_>>()
        });
    }
    let mut numbers: Vec<u32> = writers.join_all().await.into_iter().flatten().collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=136).collect::<Vec<_>>());
}

async fn stored(server: &Server, chat: Chat) -> Vec<(u32, String)> {
    let mut all = Vec::new();
    let mut span = Span::Start;
    loop {
        let page = server.client.messages(chat.token, chat.number, span, 1_000);
        let page = page.await.unwrap();
        for message in page.messages {
            all.push((message.message_number.get(), message.body));
        }
        match page.next_after {
            Some(next) => span = Span::After(next),
            None => return all,
        }
    }
}

/// A counter that stands below the rows gives out numbers that are taken, and so are the next ones that
/// the worker takes instead: it is raised, and nothing becomes a dead letter.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_finds_a_number_although_the_counter_went_back() {
    let server = Server::with(&QUIET).await;
    let chat = server.chat().await;
    server.say_all(chat, &["one", "two", "three"]).await;
    server.settled().await;
    for _ in 0..3 {
        smuggle(server.backend(), key(chat)).await;
    }
    assert_eq!(server.say(chat, "late").await, 4);
    server.settled().await;
    let late = stored(&server, chat).await.pop();
    assert_eq!(late, Some((7, "late".to_owned())));
    let letters = LetterQuery {
        limit: 1,
        ..LetterQuery::default()
    };
    assert_eq!(server.admin.letters(&letters).await.unwrap().waiting, 0);
}
