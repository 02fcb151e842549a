//! Pages: complete, in order, each message once, also while others write.

use std::sync::Arc;

use chat_wire::ids::MessageNumber;
use chat_wire::messages::MessagePage;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::harness::{Chat, Server, eventually};

fn numbers(page: &MessagePage) -> Vec<u32> {
    page.messages
        .iter()
        .map(|message| message.message_number.get())
        .collect()
}

async fn page(server: &Server, chat: Chat, query: &str) -> MessagePage {
    let answer = server.get(format!("{}?{query}", chat.path("/messages")));
    answer.send().await.is(200)
}

/// A chat of 30 messages of which these are deleted.
async fn gaps(server: &Server, deleted: &[u32]) -> Chat {
    let chat = server.chat().await;
    server.say_all(chat, &["x"; 30]).await;
    for number in deleted {
        let answer = server.delete(chat.message(*number)).send().await;
        assert_eq!(answer.status, 202);
    }
    server.settled().await;
    eventually("the settled end", async || {
        let page = page(server, chat, "limit=1").await;
        (page.settled_through == 30).then_some(())
    })
    .await;
    chat
}

const DELETED: &[u32] = &[1, 2, 7, 8, 9, 10, 11, 20, 29, 30];

fn live() -> Vec<u32> {
    (1..=30)
        .filter(|number| !DELETED.contains(number))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn forwards_and_backwards_every_live_message_comes_once() {
    let server = Server::start().await;
    let chat = gaps(&server, DELETED).await;
    for limit in [1, 2, 3, 7, 20, 1_000] {
        let mut forwards = Vec::new();
        let mut after = Some(0);
        while let Some(number) = after {
            let page = page(&server, chat, &format!("after={number}&limit={limit}")).await;
            assert!(page.messages.len() <= limit);
            forwards.extend(numbers(&page));
            after = page.next_after.map(MessageNumber::get);
        }
        assert_eq!(forwards, live(), "limit {limit}");

        let mut backwards = Vec::new();
        let mut before = Some(u32::MAX);
        while let Some(number) = before {
            let page = page(&server, chat, &format!("before={number}&limit={limit}")).await;
            assert!(page.messages.len() <= limit);
            backwards.splice(0..0, numbers(&page));
            before = page.next_before.map(MessageNumber::get);
        }
        assert_eq!(backwards, live(), "limit {limit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_any_place_both_ways_lead_to_everything() {
    let server = Server::start().await;
    let chat = gaps(&server, DELETED).await;
    for query in ["after", "before", "around"] {
        for start in [1, 2, 3, 9, 15, 20, 28, 30, 31, 1_000, u32::MAX] {
            // No page begins above 0, so from the start there is no way on but the first page.
            if (query, start) == ("before", 1) {
                continue;
            }
            for limit in [1, 2, 5] {
                let first = page(&server, chat, &format!("{query}={start}&limit={limit}")).await;
                let mut all = numbers(&first);
                let mut before = first.next_before;
                while let Some(number) = before {
                    let page = page(&server, chat, &format!("before={number}&limit=4")).await;
                    all.splice(0..0, numbers(&page));
                    before = page.next_before;
                }
                let mut after = first.next_after;
                while let Some(number) = after {
                    let page = page(&server, chat, &format!("after={number}&limit=4")).await;
                    all.extend(numbers(&page));
                    after = page.next_after;
                }
                assert_eq!(all, live(), "{query}={start}&limit={limit}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn around_is_in_the_middle() {
    let server = Server::start().await;
    let chat = gaps(&server, &[]).await;
    let around = async |start: u32, limit: u32| {
        numbers(&page(&server, chat, &format!("around={start}&limit={limit}")).await)
    };
    assert_eq!(around(15, 1).await, [15]);
    assert_eq!(around(15, 5).await, [13, 14, 15, 16, 17]);
    assert_eq!(around(15, 4).await, [13, 14, 15, 16]);
    assert_eq!(around(1, 5).await, [1, 2, 3]);
    assert_eq!(around(30, 5).await, [28, 29, 30]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_chat_has_an_empty_page() {
    let server = Server::start().await;
    let chat = server.chat().await;
    for query in ["", "after=5", "before=5", "around=5"] {
        let page = page(&server, chat, query).await;
        assert_eq!(page.messages, []);
        assert_eq!(page.settled_through, 0);
        assert_eq!((page.next_after, page.next_before), (None, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_misses_nothing_while_others_write() {
    const WRITERS: u32 = 4;
    const EACH: u32 = 150;
    let server = Arc::new(Server::start().await);
    let chat = server.chat().await;
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let server = Arc::clone(&server);
        writers.spawn(async move {
            for _ in 0..EACH {
                server.say(chat, "x").await;
            }
        });
    }
    let mut seen = Vec::new();
    let mut settled = 0;
    // What all of it takes is the machine's affair; that it goes on is waited for.
    while seen.len() < (WRITERS * EACH) as usize {
        let after = seen.last().copied().unwrap_or(0);
        let more = eventually("the next message", async || {
            let page = page(&server, chat, &format!("after={after}&limit=40")).await;
            assert!(page.settled_through >= settled);
            settled = page.settled_through;
            Some(numbers(&page)).filter(|more| !more.is_empty())
        });
        seen.extend(more.await);
        // Nothing was acknowledged late or never, so there are no voids: a gap is a loss.
        let count = u32::try_from(seen.len()).unwrap();
        assert!(seen.iter().copied().eq(1..=count));
    }
    writers.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chats_and_applications_are_paged_too() {
    let server = Server::start().await;
    let token = server.app().await;
    for _ in 0..11 {
        server.chat_of(token).await;
    }
    for _ in 0..4 {
        server.app().await;
    }
    server.settled().await;
    let walk = async |admin: bool, path: &str, list: &str, name: &str| {
        let mut all: Vec<Value> = Vec::new();
        let mut after = String::new();
        loop {
            let path = format!("{path}?limit=3{after}");
            let request = if admin {
                server.admin_get(path)
            } else {
                server.get(path)
            };
            let page: Value = request.send().await.is(200);
            let items = page[list].as_array().unwrap();
            assert!(items.len() <= 3);
            all.extend(items.iter().map(|item| item[name].clone()));
            match page.get("next_after") {
                Some(next) => after = format!("&after={}", next.to_string().replace('"', "")),
                None => return all,
            }
        }
    };
    let chats = format!("/applications/{}/chats", token.reveal());
    let chats = walk(false, &chats, "chats", "chat_number").await;
    assert_eq!(chats, (1..=11).map(Value::from).collect::<Vec<_>>());
    let apps = walk(true, "/admin/applications", "applications", "token").await;
    assert_eq!(apps.len(), 5);
    assert!(apps.is_sorted_by_key(|token| token.as_str()));
    assert!(apps.contains(&Value::from(token.reveal())));
}
