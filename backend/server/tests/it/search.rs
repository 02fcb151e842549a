//! Search: what a scan of all bodies would find, and nothing of anybody else.

use std::collections::HashSet;

use chat_core::text;
use chat_wire::ids::AppToken;
use chat_wire::search::SearchPage;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::harness::{Chat, Server};

const BODIES: &[&str] = &[
    "Hello, world",
    "hello again: 100% of it_all",
    "HÉLLO e\u{301}t al. (na\u{ef}ve caf\u{e9})",
    "what?! \"quoted\" \\back\\slash\\ * + - && || ! ( ) { } [ ] ^ ~ : /",
    "'; DROP TABLE messages; -- %' OR 1=1",
    "\u{4f60}\u{597d}\u{4e16}\u{754c}\u{ff0c}\u{804a}\u{5929}",
    "\u{1F600}\u{1F469}\u{200D}\u{1F692} emoji \u{1F600}",
    "\u{5e9}\u{5dc}\u{5d5}\u{5dd} world",
    "a\0b\ttab\nline  two  blanks",
    "Stra\u{df}e, STRASSE, \u{fb01}sh, \u{2460}",
    "aaaaaaaa",
    "aa",
    "x",
    " ",
];

/// Encodes every byte, so that no character means anything on the way.
fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn find(server: &Server, chat: Chat, query: &str, rest: &str) -> SearchPage {
    let path = chat.path(&format!("/messages/search?q={}{rest}", encode(query)));
    let page: SearchPage = server.get(path).send().await.is(200);
    assert_eq!(page.complete, page.lag_records == 0);
    page
}

async fn find_anywhere(server: &Server, token: AppToken, query: &str, rest: &str) -> SearchPage {
    let token = token.reveal();
    let path = format!(
        "/search?application_token={token}&body={}{rest}",
        encode(query)
    );
    server.get(path).send().await.is(200)
}

/// Chat and number of each hit.
fn places(page: &SearchPage) -> Vec<(u32, u32)> {
    let place = |message: &chat_wire::messages::Message| {
        (message.chat_number.get(), message.message_number.get())
    };
    page.hits.iter().map(|hit| place(&hit.message)).collect()
}

/// Numbers of the bodies that contain the text, by looking at each.
fn scan(bodies: &[&str], query: &str) -> Vec<u32> {
    let query = text::normalize(query);
    (1..)
        .zip(bodies)
        .filter(|(_, body)| text::normalize(body).contains(&query))
        .map(|(number, _)| number)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fragment_finds_what_a_scan_finds() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server.say_all(chat, BODIES).await;
    server.settled().await;
    let seed: u64 = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..300 {
        let body: Vec<char> = BODIES[random.random_range(0..BODIES.len())]
            .chars()
            .collect();
        let start = random.random_range(0..body.len());
        let end = random.random_range(start..body.len().min(start + 20)) + 1;
        let mut query: String = body[start..end].iter().collect();
        if random.random() {
            query = query.to_uppercase();
        }
        if text::normalize(&query).is_empty() {
            continue;
        }
        let page = find(&server, chat, &query, "&sort=number").await;
        assert!(page.complete);
        let found: Vec<u32> = places(&page)
            .into_iter()
            .map(|(_, number)| number)
            .collect();
        assert_eq!(found, scan(BODIES, &query), "seed {seed}, {query:?}");
        for hit in &page.hits {
            assert!(!hit.highlights.is_empty());
            cuts_the_text(&hit.message.body, &hit.highlights, &query);
        }
    }
}

/// Each highlight cuts the text out of the body, in order and apart from each other.
fn cuts_the_text(body: &str, highlights: &[(u32, u32)], query: &str) {
    let chars: Vec<char> = body.chars().collect();
    let mut last = 0;
    for (start, end) in highlights {
        assert!(*start >= last && end > start, "{highlights:?}");
        last = *end;
        let cut: String = chars[*start as usize..*end as usize].iter().collect();
        let (cut, query) = (text::normalize(&cut), text::normalize(query));
        assert!(cut.contains(&query), "{cut:?} {query:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_character_stands_for_itself() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server.say_all(chat, BODIES).await;
    server.settled().await;
    for query in [
        "%",
        "_",
        "*",
        "?",
        "\"",
        "\\",
        "'",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        "^",
        "~",
        ":",
        "/",
        "-",
        "+",
        "&&",
        "||",
        "!",
        ".",
        "0%",
        "t_a",
        ".*",
        "%%",
        "__",
        "\\\\",
        "OR 1=1",
        "--",
        "\0",
        "\n",
        " ",
        "  ",
        "\t",
        "*:*",
        "he?lo",
        "hel*",
        "\u{1F600}",
        "\u{200d}",
        "\u{4f60}",
        "a\0b",
        "xyzzy",
    ] {
        let page = find(&server, chat, query, "&sort=number").await;
        let found: Vec<u32> = places(&page)
            .into_iter()
            .map(|(_, number)| number)
            .collect();
        assert_eq!(found, scan(BODIES, query), "{query:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_and_accents_do_not_count_and_highlights_fit() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server.say_all(chat, BODIES).await;
    server.settled().await;
    type Case = (&'static str, u32, &'static [(u32, u32)]);
    let cases: &[Case] = &[
        ("HELLO", 1, &[(0, 5)]),
        ("o", 1, &[(4, 5), (8, 9)]),
        ("h\u{e9}llo \u{e9}t", 3, &[(0, 9)]),
        ("NAIVE CAFE", 3, &[(15, 25)]),
        ("strasse", 10, &[(0, 6), (8, 15)]),
        ("fish", 10, &[(17, 20)]),
        ("\u{1F600}", 7, &[(0, 1), (11, 12)]),
        ("aaa", 11, &[(0, 3), (3, 6)]),
        ("\u{754c}\u{ff0c}\u{804a}", 6, &[(3, 6)]),
    ];
    for (query, number, highlights) in cases {
        let page = find(&server, chat, query, "").await;
        let hit = page
            .hits
            .iter()
            .find(|hit| hit.message.message_number.get() == *number);
        let hit = hit.unwrap_or_else(|| panic!("{query}: {page:?}"));
        assert_eq!(hit.highlights, *highlights, "{query}");
        assert_eq!(hit.message.body, BODIES[*number as usize - 1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_found_in_chats_and_applications_of_others() {
    let server = Server::start().await;
    let mine = server.chat().await;
    let beside = server.chat_of(mine.token).await;
    let foreign = server.chat().await;
    for (chat, body) in [
        (mine, "secret plan"),
        (beside, "SECRET sauce"),
        (foreign, "the secret"),
    ] {
        server.say_all(chat, &[body, "nothing", body]).await;
    }
    server.settled().await;
    for query in ["secret", "ec", "s"] {
        let in_chat = find(&server, mine, query, "&sort=number").await;
        assert_eq!(places(&in_chat), [(1, 1), (1, 3)]);
        let everywhere = find_anywhere(&server, mine.token, query, "&sort=number").await;
        assert_eq!(places(&everywhere), [(1, 1), (1, 3), (2, 1), (2, 3)]);
        let narrowed = find_anywhere(&server, mine.token, query, "&chat_number=2&sort=number");
        assert_eq!(places(&narrowed.await), [(2, 1), (2, 3)]);
        let foreign = find_anywhere(&server, foreign.token, query, "").await;
        assert_eq!(places(&foreign), [(1, 3), (1, 1)]);
        assert!(
            foreign
                .hits
                .iter()
                .all(|hit| hit.message.body == "the secret")
        );
    }
    // Nor by the numbers of others: the path of one application reads nothing of another.
    let stolen = Chat {
        token: foreign.token,
        number: beside.number,
    };
    assert_eq!(server.get(stolen.message(1)).send().await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_hold_every_hit_once_in_either_order() {
    let server = Server::start().await;
    let first = server.chat().await;
    let second = server.chat_of(first.token).await;
    // One batch has one time, so order must not hang on time alone.
    for chat in [first, second, first] {
        server
            .say_all(chat, &["needle", "hay", "needle in hay"].repeat(20))
            .await;
    }
    server.settled().await;
    let wanted: HashSet<(u32, u32)> = (1..=120)
        .map(|number| (1, number))
        .chain((1..=60).map(|number| (2, number)))
        .filter(|(_, number)| number % 3 != 2)
        .collect();
    for sort in ["newest", "number"] {
        for limit in [1, 7, 50, 1_000] {
            let mut found = Vec::new();
            let mut times = Vec::new();
            let mut cursor = String::new();
            loop {
                let rest = format!("&sort={sort}&limit={limit}{cursor}");
                let page = find_anywhere(&server, first.token, "needle", &rest).await;
                assert!(page.hits.len() <= limit);
                found.extend(places(&page));
                times.extend(page.hits.iter().map(|hit| hit.message.created_at));
                match page.next_cursor {
                    Some(next) => cursor = format!("&cursor={}", encode(&next)),
                    None => break,
                }
            }
            assert_eq!(found.len(), wanted.len(), "{sort} {limit}");
            assert_eq!(found.iter().copied().collect::<HashSet<_>>(), wanted);
            match sort {
                "number" => assert!(found.is_sorted()),
                _ => assert!(times.is_sorted_by(|a, b| a >= b)),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_and_deletions_are_followed() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server.say_all(chat, &["before", "before", "before"]).await;
    let edit = server.put(chat.message(2)).json(r#"{"body":"after"}"#);
    assert_eq!(edit.send().await.status, 202);
    assert_eq!(server.delete(chat.message(3)).send().await.status, 202);
    server.settled().await;
    assert_eq!(places(&find(&server, chat, "before", "").await), [(1, 1)]);
    assert_eq!(places(&find(&server, chat, "after", "").await), [(1, 2)]);
    let hit = find(&server, chat, "after", "")
        .await
        .hits
        .remove(0)
        .message;
    assert!(hit.updated_at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_says_it_is_complete_is_complete() {
    let server = Server::start().await;
    let chat = server.chat().await;
    for acknowledged in 1..=60 {
        assert_eq!(server.say(chat, "needle").await, acknowledged);
        let page = find(&server, chat, "needle", "&limit=1000").await;
        let found = page.hits.len();
        assert!(!page.complete || found == acknowledged as usize, "{found}");
    }
    server.settled().await;
    let page = find(&server, chat, "needle", "&limit=1000").await;
    assert_eq!((page.complete, page.hits.len()), (true, 60));
}
