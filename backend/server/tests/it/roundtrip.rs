//! Whatever the text, it comes back byte for byte.

use chat_client::messages::Span;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRunner};
use serde_json::Value;

use crate::harness::Server;

const TEXTS: usize = 2_000;

/// Characters from everywhere, and from the corners where encodings go wrong.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        4 => any::<char>(),
        2 => proptest::char::range('\0', '\u{7f}'),
        1 => proptest::char::range('\u{300}', '\u{36f}'),
        1 => proptest::char::range('\u{590}', '\u{6ff}'),
        1 => proptest::char::range('\u{1f300}', '\u{1faff}'),
        1 => proptest::sample::select(vec!['\u{d7ff}', '\u{e000}', '\u{fffe}', '\u{ffff}', '\u{10ffff}', '"', '\\', '\n', '\r']),
    ];
    proptest::collection::vec(character, 1..60).prop_map(String::from_iter)
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_come_back_byte_for_byte() {
    let seed: u64 = rand::random();
    let config = Config {
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(seed),
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let texts: Vec<String> = (0..TEXTS)
        .map(|_| text().new_tree(&mut runner).unwrap().current())
        .collect();

    // Many at a time: what is tested is the text, not the round trip.
    let server = Server::start().await;
    let chat = server.chat().await;
    server.say_all(chat, &texts).await;
    let mut read = Vec::new();
    let mut span = Span::Start;
    loop {
        let page = server.client.messages(chat.token, chat.number, span, 1_000);
        let page = page.await.unwrap();
        read.extend(page.messages.into_iter().map(|message| message.body));
        match page.next_after {
            Some(next) => span = Span::After(next),
            None => break,
        }
    }
    assert_eq!(read.len(), texts.len(), "seed {seed}");
    for (read, text) in read.iter().zip(&texts) {
        assert_eq!(read.as_bytes(), text.as_bytes(), "seed {seed}");
    }
    // Names go another way through the server; a few are enough.
    for text in texts.iter().take(20) {
        let body = serde_json::json!({ "name": text }).to_string();
        let created = server.post("/applications").json(body).wait().send().await;
        let read = server.get(created.header("location")).send().await;
        assert_eq!(read.is::<Value>(200)["name"], **text, "seed {seed}");
    }
}
