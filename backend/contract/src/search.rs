//! The promises of the search index.

use std::sync::Arc;

use chat_core::port::log::{LogId, PartitionId, Topic};
use chat_core::port::search::{Candidate, Document, IndexPosition, Indexed, Query, Rank, Search};
use chat_core::port::store::ChatKey;
use chat_core::text::normalize;
use chat_wire::ids::ChatNumber;
use chat_wire::search::Sort;

use crate::fixture::{Fixture, reopen};
use crate::sample::{TEXTS, chat, message, time, token};

const SORTS: [Sort; 2] = [Sort::Newest, Sort::Number];

/// A message is found by every part of its text, of any length and in any script, as soon as
/// indexing returns.
pub async fn every_part_of_a_text_finds_it(fixture: &impl Fixture) {
    let search = fixture.open().await.search;
    let long = "The quick brown fox, 100% of it, jumps_over \"the\" lazy dog; naïve Straße.";
    let texts = TEXTS
        .into_iter()
        .chain([long])
        .filter(|text| !text.is_empty());
    for (number, text) in (1..).zip(texts) {
        indexed(&*search, document(chat(1, 1), number, 1, text)).await;
        let characters: Vec<char> = normalize(text).chars().collect();
        for length in (1..=characters.len()).filter(|length| *length < 5 || length % 7 == 0) {
            for part in characters.windows(length) {
                let part: String = part.iter().collect();
                for sort in SORTS {
                    let found = find(&*search, query(1, Some(1), &part, sort)).await;
                    let numbers = numbers(&found);
                    assert!(numbers.contains(&number), "{part:?} does not find {text:?}");
                }
            }
        }
    }
}

/// A body of the greatest length is found by its beginning, its middle and its end.
pub async fn a_long_text_is_found(fixture: &impl Fixture) {
    let search = fixture.open().await.search;
    let mut body = "word ".repeat(13_000);
    body.insert_str(0, "first ");
    body.insert_str(30_000, "middle ");
    body.push_str("last");
    indexed(&*search, document(chat(1, 1), 1, 1, &body)).await;
    for part in ["first", "middle", "last", "word wor"] {
        let found = find(&*search, query(1, None, part, Sort::Newest)).await;
        assert_eq!(found.len(), 1, "{part}");
    }
}

/// Characters that mean something to a query language are ordinary characters.
pub async fn metacharacters_are_ordinary(fixture: &impl Fixture) {
    let search = fixture.open().await.search;
    let texts = [
        "100% sure",
        "snake_case",
        "say \"hi\"",
        "a AND b",
        "a OR b",
        "NOT c",
        "field:value",
        "wild*card?",
        "(group)",
        "[1 TO 2]",
        "{a,b}",
        "back\\slash",
        "tilde~2",
        "caret^3",
        "plus+minus-",
        "a/regex/",
        "'quote'",
        "semi;colon",
        "<tag>",
        "a|b&c",
        "!important",
        "#x",
    ];
    for (number, text) in (1..).zip(texts) {
        indexed(&*search, document(chat(1, 1), number, 1, text)).await;
    }
    for (number, text) in (1..).zip(texts) {
        let found = find(&*search, query(1, Some(1), text, Sort::Number)).await;
        assert!(numbers(&found).contains(&number), "{text}");
        for character in text.chars() {
            let part = character.to_string();
            let found = find(&*search, query(1, Some(1), &part, Sort::Number)).await;
            assert!(numbers(&found).contains(&number), "{part:?} of {text}");
        }
    }
}

/// Nothing of another chat, or of another application, is ever a candidate.
pub async fn scopes_are_apart(fixture: &impl Fixture) {
    let search = fixture.open().await.search;
    let chats = [chat(1, 1), chat(1, 2), chat(1, 12), chat(2, 1), chat(2, 2)];
    for chat in chats {
        indexed(&*search, document(chat, 1, 1, "the same words")).await;
    }
    for sort in SORTS {
        for chat in chats {
            let mut scoped = query(1, None, "same", sort);
            scoped.token = chat.token;
            scoped.chat = Some(chat.chat);
            let found = find(&*search, scoped).await;
            assert!(found.iter().all(|found| found.key.chat == chat));
            assert_eq!(found.len(), 1);
        }
        for (application, count) in [(1, 3), (2, 2), (3, 0)] {
            let found = find(&*search, query(application, None, "same", sort)).await;
            assert!(
                found
                    .iter()
                    .all(|found| found.key.chat.token == token(application))
            );
            assert_eq!(found.len(), count);
        }
    }
}

/// An older revision never replaces a newer one, in one call or in two; each document gets its verdict.
pub async fn the_highest_revision_stays(fixture: &impl Fixture) {
    let search = fixture.open().await.search;
    let at = |revision, text| document(chat(1, 1), 1, revision, text);
    assert_eq!(index(&*search, vec![at(5, "five")]).await, [Indexed::Done]);
    assert_eq!(index(&*search, vec![at(4, "four")]).await, [Indexed::Newer]);
    assert_eq!(
        index(&*search, vec![at(5, "again")]).await,
        [Indexed::Newer]
    );
    found_only(&*search, "five", &["four", "again"]).await;
    assert_eq!(index(&*search, vec![at(6, "sixth")]).await, [Indexed::Done]);
    found_only(&*search, "sixth", &["four", "again"]).await;
    let several = vec![
        at(9, "ninth"),
        document(chat(1, 2), 1, 1, "another"),
        at(8, "eighth"),
        at(3, "third"),
    ];
    let verdicts = index(&*search, several).await;
    assert_eq!(verdicts[1], Indexed::Done);
    assert_eq!(verdicts[3], Indexed::Newer);
    assert_eq!(verdicts.len(), 4);
    found_only(&*search, "ninth", &["eighth", "third"]).await;
    let epoch = at(1 << 40, "of the next epoch");
    assert_eq!(index(&*search, vec![epoch]).await, [Indexed::Done]);
    assert_eq!(
        index(&*search, vec![at(10, "tenth")]).await,
        [Indexed::Newer]
    );
    assert_eq!(search.count(token(1), None).await.unwrap(), 2);
}

/// What is staged is searchable once it is published, also where more is staged meanwhile; what is staged in vain
/// is indexed all the same when its turn comes.
pub async fn what_is_staged_can_be_published(fixture: &impl Fixture) {
    let search = fixture.open().await.search;
    let of = |number, text| document(chat(1, 1), number, 1, text);
    let first = search.stage(vec![of(1, "first")]).await.unwrap();
    let second = search.stage(vec![of(2, "second")]).await.unwrap();
    assert_eq!(search.publish(first, &[]).await.unwrap(), [Indexed::Done]);
    let found = find(&*search, query(1, None, "first", Sort::Number)).await;
    assert_eq!(numbers(&found), [1]);
    assert_eq!(search.publish(second, &[]).await.unwrap(), [Indexed::Done]);
    let found = find(&*search, query(1, None, "second", Sort::Number)).await;
    assert_eq!(numbers(&found), [2]);

    drop(search.stage(vec![of(3, "third")]).await.unwrap());
    let verdicts = index(&*search, vec![of(3, "third")]).await;
    assert!(matches!(verdicts[..], [Indexed::Done | Indexed::Newer]));
    let found = find(&*search, query(1, None, "third", Sort::Number)).await;
    assert_eq!(numbers(&found), [3]);
    assert_eq!(search.count(token(1), None).await.unwrap(), 3);
}

/// A deleted message is found by nothing, and nothing older brings it back.
pub async fn a_tombstone_is_final(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let live = document(chat(1, 1), 1, 5, "gone soon");
    indexed(&*ports.search, live.clone()).await;
    let tombstone = Document {
        revision: 7,
        body: None,
        ..live.clone()
    };
    assert_eq!(
        index(&*ports.search, vec![tombstone]).await,
        [Indexed::Done]
    );
    let late = Document {
        revision: 6,
        ..live
    };
    assert_eq!(
        index(&*ports.search, vec![late.clone()]).await,
        [Indexed::Newer]
    );
    let ports = reopen(fixture, ports).await;
    assert_eq!(index(&*ports.search, vec![late]).await, [Indexed::Newer]);
    for part in ["g", "go", "gone", "soon"] {
        for sort in SORTS {
            assert_eq!(
                find(&*ports.search, query(1, Some(1), part, sort)).await,
                []
            );
            assert_eq!(find(&*ports.search, query(1, None, part, sort)).await, []);
        }
    }
    assert_eq!(ports.search.count(token(1), None).await.unwrap(), 0);
}

/// Candidates come in the order asked for, with their place in it.
pub async fn candidates_come_in_order(fixture: &impl Fixture) {
    let search = fixture.open().await.search;
    let mut expected = Vec::new();
    let mut documents = Vec::new();
    for (chat_number, number) in (1..=3).flat_map(|c| (1..=40).map(move |n| (c, n))) {
        let mut document = document(chat(1, chat_number), number, 1, "ordered");
        // Times that do not follow the numbers, and many that are equal.
        document.created_at = time(i64::from((number * 7 + chat_number) % 11));
        let rank = Rank {
            created_at: document.created_at,
            chat: chat_id(chat_number),
            number,
        };
        expected.push(Candidate {
            key: document.key,
            rank,
        });
        documents.push(document);
    }
    for half in documents.chunks(50) {
        index(&*search, half.to_vec()).await;
    }
    for scope in [None, Some(2)] {
        let mut wanted: Vec<_> = expected
            .iter()
            .copied()
            .filter(|one| scope.is_none_or(|scope| one.rank.chat == chat_id(scope)))
            .collect();
        wanted.sort_by_key(|one| (one.rank.chat, one.rank.number));
        assert_eq!(
            find(&*search, query(1, scope, "order", Sort::Number)).await,
            wanted
        );
        wanted.sort_by_key(|one| std::cmp::Reverse(one.rank));
        assert_eq!(
            find(&*search, query(1, scope, "order", Sort::Newest)).await,
            wanted
        );
    }
}

/// Pages put together are the whole; a page that is not full is the last.
pub async fn pages_put_together_are_the_whole(fixture: &impl Fixture) {
    let search = fixture.open().await.search;
    let documents = (1..=3).flat_map(|chat_number| {
        (1..=35).map(move |number| {
            let mut document = document(chat(1, chat_number), number, 1, "paged text");
            document.created_at = time(i64::from(number % 4));
            document
        })
    });
    index(&*search, documents.collect()).await;
    for sort in SORTS {
        for scope in [None, Some(2)] {
            let whole = find(&*search, query(1, scope, "paged", sort)).await;
            for limit in [1, 4, 35, 105] {
                let mut paged = query(1, scope, "paged", sort);
                paged.limit = limit;
                let mut pages = Vec::new();
                loop {
                    let page = find(&*search, paged.clone()).await;
                    assert!(page.len() <= limit);
                    paged.after = page.last().map(|last| last.rank);
                    pages.extend(page.iter().copied());
                    assert!(pages.len() <= whole.len(), "the pages do not end");
                    if page.len() < limit {
                        break;
                    }
                }
                assert_eq!(pages, whole);
            }
        }
    }
}

/// The count is that of the documents that are no tombstones, of an application or of one chat.
pub async fn documents_are_counted(fixture: &impl Fixture) {
    let search = fixture.open().await.search;
    let mut documents: Vec<_> = (1..=30).map(|n| document(chat(1, 1), n, 1, "x")).collect();
    documents.extend((1..=20).map(|n| document(chat(1, 2), n, 1, "")));
    documents.extend((1..=10).map(|n| document(chat(2, 1), n, 1, "x")));
    for document in &mut documents[..5] {
        document.body = None;
    }
    index(&*search, documents.clone()).await;
    // Again, and some in a newer revision: none of that counts twice.
    index(&*search, documents.clone()).await;
    index(&*search, vec![document(chat(1, 1), 30, 2, "y")]).await;
    let count = async |application, chat: Option<u32>| {
        search
            .count(token(application), chat.map(chat_id))
            .await
            .unwrap()
    };
    assert_eq!(count(1, None).await, 45);
    assert_eq!(count(1, Some(1)).await, 25);
    assert_eq!(count(1, Some(2)).await, 20);
    assert_eq!(count(2, None).await, 10);
    assert_eq!(count(3, None).await, 0);
}

/// Positions are recorded with the documents and are none. Those of other partitions stay, and whoever owns a
/// partition may begin it again, also in another log.
pub async fn indexed_positions_stand_beside_the_documents(fixture: &impl Fixture) {
    let search = fixture.open().await.search;
    // Partitions that no log of a test has: nobody else moves them.
    let at = |index, epoch, next| IndexPosition {
        partition: PartitionId {
            topic: Topic::Messages,
            index,
        },
        log: LogId::of_name("a log"),
        epoch,
        next,
        whole: true,
    };
    let recorded = async || {
        let mut positions = search.positions().await.unwrap();
        positions.retain(|position| position.partition.index >= 100);
        positions
    };
    let record = async |documents: Vec<Document>, positions: &[IndexPosition]| {
        let staged = search.stage(documents).await.unwrap();
        search.publish(staged, positions).await.unwrap()
    };
    assert_eq!(recorded().await, []);
    let documents = (1..=3).map(|n| document(chat(1, 1), n, 1, "x")).collect();
    let verdicts = record(documents, &[at(102, 0, 7), at(100, 0, 9)]).await;
    assert_eq!(verdicts, vec![Indexed::Done; 3]);
    // A batch may have nothing to index.
    assert_eq!(record(Vec::new(), &[at(102, 0, 8)]).await, []);
    assert_eq!(recorded().await, [at(100, 0, 9), at(102, 0, 8)]);
    assert_eq!(search.count(token(1), None).await.unwrap(), 3);
    assert_eq!(search.list(chat(1, 1), 0, 10).await.unwrap().len(), 3);
    let anew = IndexPosition {
        log: LogId::of_name("another log"),
        whole: false,
        ..at(102, 4, 5)
    };
    for whole in [false, true] {
        let anew = IndexPosition { whole, ..anew };
        record(Vec::new(), &[anew]).await;
        assert_eq!(recorded().await, [at(100, 0, 9), anew]);
    }
}

/// One call may bring ten thousand documents.
pub async fn a_batch_may_be_large(fixture: &impl Fixture) {
    let search = fixture.open().await.search;
    let text = |number: u32| format!("message {number} of ten thousand");
    let documents = (1..=10_000)
        .map(|n| document(chat(1, 1), n, 1, &text(n)))
        .collect();
    let verdicts = index(&*search, documents).await;
    assert!(verdicts.len() == 10_000 && verdicts.iter().all(|one| *one == Indexed::Done));
    assert_eq!(search.count(token(1), None).await.unwrap(), 10_000);
    for number in [1, 777, 10_000] {
        let found = find(&*search, query(1, None, &text(number), Sort::Newest)).await;
        assert!(numbers(&found).contains(&number));
    }
}

/// Calls at the same time lose nothing.
pub async fn batches_at_once_lose_nothing(fixture: &impl Fixture) {
    let search = fixture.open().await.search;
    let tasks: Vec<_> = (1..=4)
        .map(|chat_number| {
            let search = Arc::clone(&search);
            tokio::spawn(async move {
                for first in [1, 101, 201] {
                    let batch = (first..first + 100)
                        .map(|n| document(chat(1, chat_number), n, 1, "at once"))
                        .collect();
                    index(&*search, batch).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(search.count(token(1), None).await.unwrap(), 1_200);
}

/// What was indexed is found after a restart.
pub async fn documents_survive_a_restart(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    indexed(&*ports.search, document(chat(1, 1), 1, 1, "durable")).await;
    let ports = reopen(fixture, ports).await;
    let found = find(&*ports.search, query(1, Some(1), "dura", Sort::Newest)).await;
    assert_eq!(numbers(&found), [1]);
    indexed(&*ports.search, document(chat(1, 1), 2, 1, "durable too")).await;
    let found = find(&*ports.search, query(1, Some(1), "dura", Sort::Number)).await;
    assert_eq!(numbers(&found), [1, 2]);
}

/// Indexing nothing is no error, and an empty index finds nothing.
pub async fn an_empty_index_is_fine(fixture: &impl Fixture) {
    let search = fixture.open().await.search;
    assert_eq!(index(&*search, Vec::new()).await, []);
    assert_eq!(find(&*search, query(1, None, "x", Sort::Newest)).await, []);
    assert_eq!(search.count(token(1), None).await.unwrap(), 0);
}

/// The index answers when it is asked whether it does.
pub async fn the_index_answers(fixture: &impl Fixture) {
    fixture.open().await.search.check().await.unwrap();
}

fn chat_id(number: u32) -> ChatNumber {
    ChatNumber::new(number).unwrap()
}

fn document(chat: ChatKey, number: u32, revision: u64, body: &str) -> Document {
    Document {
        key: message(chat, number),
        revision,
        created_at: time(i64::from(number)),
        body: Some(body.to_owned()),
    }
}

fn query(application: u8, chat: Option<u32>, text: &str, sort: Sort) -> Query {
    Query {
        token: token(application),
        chat: chat.map(chat_id),
        text: normalize(text),
        sort,
        after: None,
        limit: 1_000,
    }
}

async fn index(search: &dyn Search, documents: Vec<Document>) -> Vec<Indexed> {
    search.index(documents).await.unwrap()
}

async fn indexed(search: &dyn Search, document: Document) {
    assert_eq!(index(search, vec![document]).await, [Indexed::Done]);
}

async fn find(search: &dyn Search, query: Query) -> Vec<Candidate> {
    search.candidates(&query).await.unwrap()
}

fn numbers(found: &[Candidate]) -> Vec<u32> {
    found.iter().map(|found| found.key.number.get()).collect()
}

/// Chat 1's message is found by this text. By the others it may still be a candidate only where the
/// texts share all their grams, which these do not.
async fn found_only(search: &dyn Search, text: &str, not: &[&str]) {
    let by = async |text| find(search, query(1, Some(1), text, Sort::Newest)).await;
    assert_eq!(numbers(&by(text).await), [1], "{text}");
    for text in not {
        assert_eq!(by(text).await, [], "{text}");
    }
}
