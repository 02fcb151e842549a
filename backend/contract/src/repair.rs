//! The promises of the search index to whoever mends it.

use chat_core::port::search::{Document, Indexed, Listed, Query, Search};
use chat_core::port::store::ChatKey;
use chat_wire::ids::ChatNumber;
use chat_wire::search::Sort;

use crate::fixture::Fixture;
use crate::sample::{chat, message, time, token};

/// A repair replaces what is there under the same revision, as a plain write does not, and never what
/// is newer.
pub async fn a_repair_replaces_the_same_revision(fixture: &impl Fixture) {
    let search = fixture.open().await.search;
    let index = async |documents| search.index(documents).await.unwrap();
    let repair = async |documents| search.repair(documents).await.unwrap();
    index(vec![
        document(1, 1, 5, "first"),
        document(1, 2, 5, "second"),
    ])
    .await;
    let again = index(vec![document(1, 1, 5, "ignored")]).await;
    assert_eq!(again, [Indexed::Newer]);
    let mended = repair(vec![document(1, 1, 5, "mended"), document(1, 2, 4, "old")]).await;
    assert_eq!(mended, [Indexed::Done, Indexed::Newer]);
    assert_eq!(find(&*search, "mended").await, [1]);
    assert_eq!(find(&*search, "first").await, [0_u32; 0]);
    assert_eq!(find(&*search, "second").await, [2]);
    // Away and back, both under its own revision.
    assert_eq!(repair(vec![tombstone(1, 5)]).await, [Indexed::Done]);
    assert_eq!(find(&*search, "mended").await, [0_u32; 0]);
    assert_eq!(
        repair(vec![document(1, 1, 5, "mended")]).await,
        [Indexed::Done]
    );
    assert_eq!(find(&*search, "mended").await, [1]);
    assert_eq!(repair(Vec::new()).await, []);
}

/// Documents are listed by number with their revision, without tombstones, in pages.
pub async fn documents_are_listed(fixture: &impl Fixture) {
    let search = fixture.open().await.search;
    let documents = (1..=25)
        .rev()
        .map(|number| document(1, number, u64::from(number) + 100, "word"))
        .chain((1..=5).map(|number| document(2, number, 7, "word")))
        .collect();
    search.index(documents).await.unwrap();
    search.index(vec![tombstone(3, 1_000)]).await.unwrap();
    let edited = document(1, 4, 1_000, "other");
    search.index(vec![edited]).await.unwrap();
    let list = async |after, limit| search.list(chat(1, 1), after, limit).await.unwrap();
    let expected: Vec<Listed> = (1..=25)
        .filter(|number| *number != 3)
        .map(|number| Listed {
            number: message(chat(1, 1), number).number,
            revision: match number {
                4 => 1_000,
                number => u64::from(number) + 100,
            },
        })
        .collect();
    assert_eq!(list(0, 100).await, expected);
    assert_eq!(list(0, 3).await, expected[..3]);
    assert_eq!(list(2, 3).await, expected[2..5]);
    assert_eq!(list(24, 3).await, expected[23..]);
    assert_eq!(list(25, 3).await, []);
    assert_eq!(search.list(chat(1, 9), 0, 3).await.unwrap(), []);
}

/// The documents of many chats are counted at once, those of none too.
pub async fn chats_are_counted_together(fixture: &impl Fixture) {
    let search = fixture.open().await.search;
    let documents = [(1, 3), (2, 1), (12, 2)]
        .into_iter()
        .flat_map(|(chat, count)| (1..=count).map(move |number| document(chat, number, 1, "word")))
        .chain([Document {
            key: message(chat(2, 1), 1),
            ..document(1, 1, 1, "word")
        }])
        .collect();
    search.index(documents).await.unwrap();
    search.index(vec![tombstone(2, 9)]).await.unwrap();
    let asked: Vec<ChatNumber> = [12, 5, 1, 2].map(|number| chat(1, number).chat).into();
    let counts = search.counts(token(1), &asked).await.unwrap();
    assert_eq!(counts, [2, 0, 2, 1]);
    assert_eq!(search.counts(token(1), &[]).await.unwrap(), [0_u64; 0]);
    let elsewhere = search.counts(token(9), &asked).await.unwrap();
    assert_eq!(elsewhere, [0; 4]);
}

fn document(in_chat: u32, number: u32, revision: u64, body: &str) -> Document {
    let chat: ChatKey = chat(1, in_chat);
    Document {
        key: message(chat, number),
        revision,
        created_at: time(i64::from(number)),
        body: Some(body.to_owned()),
    }
}

/// Of a message of the first chat.
fn tombstone(number: u32, revision: u64) -> Document {
    Document {
        body: None,
        ..document(1, number, revision, "")
    }
}

/// Numbers in the first chat that may contain a text; the texts here share no grams.
async fn find(search: &dyn Search, text: &str) -> Vec<u32> {
    let query = Query {
        token: token(1),
        chat: Some(chat(1, 1).chat),
        text: text.to_owned(),
        sort: Sort::Number,
        after: None,
        limit: 100,
    };
    let found = search.candidates(&query).await.unwrap();
    found.iter().map(|one| one.key.number.get()).collect()
}
