//! The index against a list of what it should hold.

mod positions;
mod writers;

use std::collections::BTreeMap;
use std::path::Path;

use chat_core::port::search::{Candidate, Document, Error, Indexed, Query, Rank, Search};
use chat_core::port::store::{ChatKey, MessageKey};
use chat_core::text::{highlights, normalize};
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::search::Sort;
use chat_wire::time::Timestamp;
use proptest::prelude::*;
use tempfile::TempDir;

use super::Index;

const SORTS: [Sort; 2] = [Sort::Newest, Sort::Number];

fn token(application: u8) -> AppToken {
    AppToken::from_bytes([application; 16])
}

fn chat(number: u32) -> ChatNumber {
    ChatNumber::new(number).unwrap()
}

/// A message whose time grows with its number, with several at the same time.
fn document(application: u8, chat_number: u32, number: u32, revision: u64, body: &str) -> Document {
    let key = MessageKey {
        chat: ChatKey {
            token: token(application),
            chat: chat(chat_number),
        },
        number: MessageNumber::new(number).unwrap(),
    };
    Document {
        key,
        revision,
        created_at: Timestamp::from_micros(i64::from(number / 3) - 2).unwrap(),
        body: Some(body.to_owned()),
    }
}

fn tombstone(document: Document) -> Document {
    Document {
        body: None,
        ..document
    }
}

fn query(application: u8, chat: Option<ChatNumber>, text: &str, sort: Sort) -> Query {
    Query {
        token: token(application),
        chat,
        text: normalize(text),
        sort,
        after: None,
        limit: 1_000,
    }
}

fn rank(document: &Document) -> Rank {
    Rank {
        created_at: document.created_at,
        chat: document.key.chat.chat,
        number: document.key.number.get(),
    }
}

/// What the index should hold, and how a search should be answered.
#[derive(Default)]
struct Model(BTreeMap<MessageKey, Document>);

impl Model {
    fn index(&mut self, document: Document) -> Indexed {
        let there = self.0.get(&document.key);
        if there.is_some_and(|there| there.revision >= document.revision) {
            return Indexed::Newer;
        }
        self.0.insert(document.key, document);
        Indexed::Done
    }

    fn within(&self, application: u8, chat: Option<ChatNumber>) -> impl Iterator<Item = &Document> {
        self.0.values().filter(move |document| {
            let key = document.key.chat;
            key.token == token(application)
                && chat.is_none_or(|chat| key.chat == chat)
                && document.body.is_some()
        })
    }

    fn search(&self, query: &Query, application: u8) -> Vec<Candidate> {
        let mut hits: Vec<Candidate> = self
            .within(application, query.chat)
            .filter(|document| contains(document, &query.text))
            .map(|document| Candidate {
                key: document.key,
                rank: rank(document),
            })
            .collect();
        hits.sort_by_key(|hit| (hit.rank.chat, hit.rank.number));
        if query.sort == Sort::Newest {
            hits.sort_by_key(|hit| std::cmp::Reverse(hit.rank));
        }
        hits
    }

    /// Reads all pages, and drops the candidates that the rules would drop.
    async fn check(&self, index: &Index, application: u8, query: Query) {
        let mut found = Vec::new();
        let mut page = query.clone();
        loop {
            let candidates = index.candidates(&page).await.unwrap();
            assert!(candidates.len() <= page.limit);
            let last = candidates.len() < page.limit;
            page.after = candidates.last().map(|candidate| candidate.rank);
            let real = |candidate: &Candidate| contains(&self.0[&candidate.key], &query.text);
            found.extend(candidates.into_iter().filter(real));
            assert!(found.len() <= self.0.len(), "a page begins within the last");
            if last {
                break;
            }
        }
        assert_eq!(found, self.search(&query, application), "{query:?}");
    }
}

fn contains(document: &Document, text: &str) -> bool {
    let body = document.body.as_deref();
    body.is_some_and(|body| !highlights(body, text).is_empty())
}

async fn open(dir: &TempDir) -> Index {
    Index::open(&dir.path().join("index")).await.unwrap()
}

/// The numbers of the messages found in chat 1 of application 1.
async fn numbers(index: &Index, text: &str) -> Vec<u32> {
    let query = query(1, Some(chat(1)), text, Sort::Number);
    let candidates = index.candidates(&query).await.unwrap();
    let number = |candidate: Candidate| candidate.key.number.get();
    candidates.into_iter().map(number).collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

/// Few characters, so that fragments meet: Latin with accents, CJK, Hangul, ligatures, metacharacters.
fn body() -> impl Strategy<Value = String> {
    prop_oneof![
        "[abAB é\u{301}ﬁi]{0,30}",
        "[日本語한하글 ]{0,30}",
        "[%_\"\\\\*? \t.a\0]{0,30}",
    ]
}

fn change() -> impl Strategy<Value = Document> {
    let names = (1_u8..3, 1_u32..4, 1_u32..12);
    (names, 1_u64..6, body(), prop::bool::weighted(0.2)).prop_map(
        |((application, chat, number), revision, body, deleted)| {
            let document = document(application, chat, number, revision, &body);
            if deleted {
                tombstone(document)
            } else {
                document
            }
        },
    )
}

proptest! {
    // Each case syncs some ten commits to disk.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn it_holds_what_it_was_given(
        batches in prop::collection::vec(prop::collection::vec(change(), 0..40), 1..6),
        places in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..30, 1_usize..21), 12),
        limit in 1_usize..9,
        reopens in any::<bool>(),
    ) {
        runtime().block_on(async {
            let dir = TempDir::new().unwrap();
            let mut index = open(&dir).await;
            let mut model = Model::default();
            for batch in batches {
                let verdicts: Vec<Indexed> = batch.iter().cloned().map(|document| model.index(document)).collect();
                prop_assert_eq!(index.index(batch).await.unwrap(), verdicts);
                if reopens {
                    drop(index);
                    index = open(&dir).await;
                }
            }
            for application in 1..3 {
                for chat in [None, Some(chat(1)), Some(chat(2)), Some(chat(3))] {
                    let expected = model.within(application, chat).count() as u64;
                    prop_assert_eq!(index.count(token(application), chat).await.unwrap(), expected);
                }
            }
            let documents: Vec<Document> = model.0.values().cloned().collect();
            for (place, start, length) in places.iter().filter(|_| !documents.is_empty()) {
                let text = place.get(&documents).body.clone().unwrap_or_default();
                let fragment: String = text.chars().skip(start % 30).take(*length).collect();
                if normalize(&fragment).is_empty() {
                    continue;
                }
                for (application, sort) in [(1, SORTS[0]), (2, SORTS[1])] {
                    for chat in [None, Some(chat(2))] {
                        let query = Query { limit, ..query(application, chat, &fragment, sort) };
                        model.check(&index, application, query).await;
                    }
                }
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn frequent_characters_page_through_everything() {
    let dir = TempDir::new().unwrap();
    let (index, mut model) = (open(&dir).await, Model::default());
    for part in 0..4 {
        let numbers = (part * 100 + 1)..=(part * 100 + 100);
        let batch: Vec<Document> = numbers
            .flat_map(|number| [1, 2].map(|chat| document(1, chat, number, 1, "e and é")))
            .collect();
        index.index(batch.clone()).await.unwrap();
        batch.into_iter().for_each(|document| {
            model.index(document);
        });
    }
    for sort in SORTS {
        for limit in [1, 7, 100, 400, 799, 800, 801] {
            let query = Query {
                limit,
                ..query(1, None, "E", sort)
            };
            model.check(&index, 1, query).await;
        }
    }
}

#[tokio::test]
async fn revisions_only_rise() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir).await;
    let at = |revision, body: &str| vec![document(1, 1, 1, revision, body)];
    assert_eq!(index.index(at(5, "five")).await.unwrap(), [Indexed::Done]);
    assert_eq!(index.index(at(5, "same")).await.unwrap(), [Indexed::Newer]);
    assert_eq!(index.index(at(4, "four")).await.unwrap(), [Indexed::Newer]);
    assert_eq!(numbers(&index, "five").await, [1]);
    assert_eq!(index.index(at(6, "six")).await.unwrap(), [Indexed::Done]);
    assert_eq!(numbers(&index, "six").await, [1]);
    assert!(numbers(&index, "five").await.is_empty());
}

#[tokio::test]
async fn the_highest_revision_of_a_batch_stays() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir).await;
    let bodies = [(2, "two"), (4, "four"), (3, "three"), (4, "again")];
    let batch = bodies.map(|(revision, body)| document(1, 1, 1, revision, body));
    let verdicts = index.index(batch.to_vec()).await.unwrap();
    let (done, newer) = (Indexed::Done, Indexed::Newer);
    assert_eq!(verdicts, [done.clone(), done, newer.clone(), newer]);
    assert_eq!(numbers(&index, "four").await, [1]);
    assert_eq!(index.count(token(1), None).await.unwrap(), 1);
    assert!(numbers(&index, "two").await.is_empty());
}

#[tokio::test]
async fn a_tombstone_keeps_its_revision() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir).await;
    let message = |revision| document(1, 1, 1, revision, "body");
    index.index(vec![message(1)]).await.unwrap();
    index.index(vec![tombstone(message(3))]).await.unwrap();
    assert!(numbers(&index, "body").await.is_empty());
    assert!(numbers(&index, "b").await.is_empty());
    assert_eq!(index.count(token(1), None).await.unwrap(), 0);
    drop(index);

    let index = open(&dir).await;
    let verdicts = index.index(vec![message(2)]).await.unwrap();
    assert_eq!(verdicts, [Indexed::Newer]);
    assert_eq!(index.count(token(1), Some(chat(1))).await.unwrap(), 0);
    assert!(!index.is_empty());
}

#[tokio::test]
async fn what_was_indexed_outlives_the_process() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir).await;
    assert!(index.is_empty());
    let batch = (1..=3).map(|number| document(1, 1, number, 1, "kept"));
    index.index(batch.collect()).await.unwrap();
    drop(index);
    let index = open(&dir).await;
    assert_eq!(numbers(&index, "kept").await, [1, 2, 3]);
    index.check().await.unwrap();
}

#[tokio::test]
async fn nothing_to_do_is_no_commit() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir).await;
    let commits = || index.inner.index.load_metas().unwrap().opstamp;
    let before = commits();
    assert!(index.index(Vec::new()).await.unwrap().is_empty());
    assert_eq!(commits(), before);
    let message = document(1, 1, 1, 1, "once");
    index.index(vec![message.clone()]).await.unwrap();
    let before = commits();
    assert_eq!(index.index(vec![message]).await.unwrap(), [Indexed::Newer]);
    assert_eq!(commits(), before);
}

#[tokio::test]
async fn clearing_forgets_revisions_too() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir).await;
    let at = |revision| vec![document(1, 1, 1, revision, "body")];
    index.index(at(9)).await.unwrap();
    index.clear().await.unwrap();
    assert!(index.is_empty());
    assert!(numbers(&index, "body").await.is_empty());
    assert_eq!(index.index(at(1)).await.unwrap(), [Indexed::Done]);
    assert_eq!(numbers(&index, "body").await, [1]);
}

#[tokio::test]
async fn merges_are_taken_over() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir).await;
    for number in 1..=20 {
        let batch = vec![document(1, 1, number, 1, "merged")];
        index.index(batch).await.unwrap();
    }
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        index.housekeep().await.unwrap();
        let segments = index.inner.view().segments.len();
        if segments < 8 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{segments} segments");
        tokio::task::yield_now().await;
    }
    assert_eq!(numbers(&index, "merged").await.len(), 20);
}

#[tokio::test]
async fn a_failed_batch_leaves_nothing_and_can_be_repeated() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir).await;
    index
        .index(vec![document(1, 1, 1, 1, "before")])
        .await
        .unwrap();
    let (home, away) = (dir.path().join("index"), dir.path().join("away"));
    let batch = vec![
        document(1, 1, 1, 2, "after"),
        document(1, 1, 2, 1, "before"),
    ];

    std::fs::rename(&home, &away).unwrap();
    let error = index.index(batch.clone()).await.unwrap_err();
    assert!(error.retryable(), "{error}");
    assert_eq!(numbers(&index, "before").await, [1]);

    std::fs::rename(&away, &home).unwrap();
    let verdicts = index.index(batch).await.unwrap();
    assert_eq!(verdicts, [Indexed::Done, Indexed::Done]);
    assert_eq!(numbers(&index, "after").await, [1]);
    assert_eq!(numbers(&index, "before").await, [2]);
    assert_eq!(index.count(token(1), None).await.unwrap(), 2);
}

#[tokio::test]
async fn a_closed_index_lets_go_of_its_directory() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir).await;
    let taken = Index::open(&dir.path().join("index")).await;
    assert!(matches!(taken, Err(Error::Unavailable(_))));

    index.close().await;
    let refused = index.index(vec![document(1, 1, 1, 1, "late")]).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))));
    open(&dir).await;
}

#[tokio::test]
async fn what_a_killed_process_leaves_is_no_obstacle() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir).await;
    let batch = vec![document(1, 1, 1, 1, "kept")];
    index.index(batch).await.unwrap();
    index.close().await;
    drop(index);
    // A lock file that nobody holds, a file that was being put into place, a segment in the making.
    let home = dir.path().join("index");
    for name in [
        ".tantivy-writer.lock",
        ".tmpAbCdEf",
        "00000000000000000000000000000000.idx",
    ] {
        std::fs::write(home.join(name), "half").unwrap();
    }
    let index = open(&dir).await;
    assert_eq!(numbers(&index, "kept").await, [1]);
    assert!(!home.join(".tmpAbCdEf").exists());
}

async fn refusal(path: &Path) -> String {
    match Index::open(path).await {
        Err(Error::Unusable(text)) => text,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test]
async fn another_version_or_a_damage_is_named_with_its_place() {
    let dir = TempDir::new().unwrap();
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let schema = tantivy::schema::Schema::builder().build();
    tantivy::Index::create_in_dir(&other, schema).unwrap();
    assert!(refusal(&other).await.contains(other.to_str().unwrap()));

    let index = open(&dir).await;
    let batch = vec![document(1, 1, 1, 1, "kept")];
    index.index(batch).await.unwrap();
    index.close().await;
    let home = dir.path().join("index");
    for entry in std::fs::read_dir(&home).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "idx") {
            std::fs::remove_file(path).unwrap();
        }
    }
    assert!(refusal(&home).await.contains("remove this directory"));
    std::fs::write(home.join("meta.json"), "half").unwrap();
    assert!(refusal(&home).await.contains("remove this directory"));
}
