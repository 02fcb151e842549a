//! The promises of the store to operators: tallies, what changed, shared notes, decisions about dead letters.

use std::time::Duration;

use chat_core::port::log::{PartitionId, Topic};
use chat_core::port::store::{Fate, LetterRow, State, Store, Tally, Writes};
use chat_wire::time::Timestamp;
use uuid::Uuid;

use crate::fixture::{Fixture, reopen, soon};
use crate::sample::{application_row, chat, chat_row, message_row, time, token};
use crate::store::{begin, put};

const LETTERS: PartitionId = PartitionId {
    topic: Topic::MessagesDlq,
    index: 0,
};

/// A tally counts rows, live rows and the highest number, of the chat that was asked for and no other.
pub async fn chats_are_tallied(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let mut rows: Vec<_> = (1..=9)
        .map(|number| message_row(chat(1, 2), number))
        .collect();
    rows[1].state = State::Void;
    rows[2].state = State::Deleted;
    rows.remove(7);
    rows.extend((1..=5).map(|number| message_row(chat(1, 3), number)));
    rows.push(message_row(chat(2, 2), 77));
    put(
        &*store,
        Writes {
            insert_applications: vec![application_row(1), application_row(2)],
            insert_chats: [chat(1, 2), chat(1, 3), chat(1, 9), chat(2, 2)]
                .map(chat_row)
                .into(),
            insert_messages: rows,
            ..Writes::default()
        },
    )
    .await;
    let wanted = [chat(1, 9), chat(1, 2), chat(3, 1), chat(2, 2), chat(1, 2)];
    let mut found = store.chat_tallies(&wanted).await.unwrap();
    found.sort_unstable_by_key(|(row, _)| row.key);
    let mut expected = vec![
        (chat_row(chat(1, 2)), tally(8, 6, 9)),
        (chat_row(chat(1, 9)), tally(0, 0, 0)),
        (chat_row(chat(2, 2)), tally(1, 1, 77)),
    ];
    expected.sort_unstable_by_key(|(row, _)| row.key);
    assert_eq!(found, expected);
    assert_eq!(store.chat_tallies(&[]).await.unwrap(), []);

    let wanted = [token(1), token(3), token(2)];
    let mut found = store.application_tallies(&wanted).await.unwrap();
    found.sort_unstable_by_key(|(row, _)| row.chats_count + u32::from(row.token == token(1)));
    let of = |nth| {
        found
            .iter()
            .find(|(row, _)| row.token == token(nth))
            .cloned()
    };
    assert_eq!(of(1), Some((application_row(1), tally(3, 3, 9))));
    assert_eq!(of(2), Some((application_row(2), tally(1, 1, 2))));
    assert_eq!(of(3), None);
}

/// A tally within a transaction counts what the transaction wrote.
pub async fn a_transaction_tallies_its_own_writes(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let mut tx = begin(&*store).await;
    assert_eq!(tx.tally(chat(1, 1)).await.unwrap(), Tally::default());
    assert_eq!(tx.tally_chats(token(1)).await.unwrap(), Tally::default());
    let mut rows: Vec<_> = (3..=5)
        .map(|number| message_row(chat(1, 1), number))
        .collect();
    rows[0].state = State::Void;
    tx.write(Writes {
        insert_chats: vec![chat_row(chat(1, 1)), chat_row(chat(1, 8))],
        insert_messages: rows,
        ..Writes::default()
    })
    .await
    .unwrap();
    assert_eq!(tx.tally(chat(1, 1)).await.unwrap(), tally(3, 2, 5));
    assert_eq!(tx.tally_chats(token(1)).await.unwrap(), tally(2, 2, 8));
}

/// Live messages tell number and revision, in order and in pages.
pub async fn revisions_are_told(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let mut rows: Vec<_> = [1, 2, 3, 5, 8]
        .map(|number| message_row(chat(1, 1), number))
        .into();
    rows[0].state = State::Deleted;
    rows[4].revision = (3 << 40) + 17;
    rows.push(message_row(chat(1, 2), 4));
    put(
        &*store,
        Writes {
            insert_messages: rows,
            ..Writes::default()
        },
    )
    .await;
    let told = async |after, limit| store.revisions(chat(1, 1), after, limit).await.unwrap();
    assert_eq!(
        told(0, 10).await,
        [(2, 2), (3, 3), (5, 5), (8, (3 << 40) + 17)]
    );
    assert_eq!(told(2, 2).await, [(3, 3), (5, 5)]);
    assert_eq!(told(8, 2).await, []);
}

/// A chat that was written is among those that changed since, each once, in pages.
pub async fn changed_chats_are_told(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let before = Timestamp::now().unix_minute();
    let keys: Vec<_> = (1..=5).map(|number| chat(1, number)).collect();
    put(
        &*store,
        Writes {
            insert_chats: keys.iter().copied().map(chat_row).collect(),
            ..Writes::default()
        },
    )
    .await;
    let changed = store.changed_chats(before, None, 100).await.unwrap();
    let after = Timestamp::now().unix_minute();
    assert!(changed.is_sorted());
    assert!(
        changed
            .iter()
            .all(|(minute, _)| (before..=after).contains(minute))
    );
    let mut found: Vec<_> = changed.iter().map(|(_, key)| *key).collect();
    found.sort_unstable();
    assert_eq!(found, keys);
    let mut walked = Vec::new();
    let (mut minute, mut last) = (0, None);
    loop {
        let page = store.changed_chats(minute, last, 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some((at, key)) = page.last().copied() else {
            break;
        };
        (minute, last) = (at, Some(key));
        walked.extend(page);
    }
    assert_eq!(walked, changed);
    assert_eq!(store.changed_chats(after + 1, None, 100).await.unwrap(), []);
    // A later write counts like the first.
    let update = Writes {
        update_chats: vec![chat_row(keys[2])],
        ..Writes::default()
    };
    put(&*store, update).await;
    let again = store.changed_chats(after, None, 100).await.unwrap();
    assert!(again.iter().any(|(_, key)| *key == keys[2]));
}

/// A note is changed only by who names its version, and survives a restart.
pub async fn a_note_has_one_writer(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let store = &ports.store;
    assert_eq!(store.note("a").await.unwrap(), None);
    assert!(!store.put_note("a", 1, "no").await.unwrap());
    assert!(store.put_note("a", 0, "one \u{1F600}").await.unwrap());
    assert!(!store.put_note("a", 0, "no").await.unwrap());
    assert!(!store.put_note("a", 2, "no").await.unwrap());
    assert!(store.put_note("a", 1, "two").await.unwrap());
    assert!(!store.put_note("a", 1, "no").await.unwrap());
    let long = "x".repeat(1 << 20);
    assert!(store.put_note("b", 0, &long).await.unwrap());
    let ports = reopen(fixture, ports).await;
    let note = ports.store.note("a").await.unwrap().unwrap();
    assert_eq!((note.version, note.text.as_str()), (2, "two"));
    assert_eq!(ports.store.note("b").await.unwrap().unwrap().text, long);
}

/// Of many who change a note at once from the same version one succeeds.
pub async fn a_note_is_changed_once_at_a_time(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    for version in 0..3 {
        let mut writers = tokio::task::JoinSet::new();
        for nth in 0..8 {
            let store = store.clone();
            let text = format!("{version} {nth}");
            writers.spawn(async move { store.put_note("n", version, &text).await.unwrap() });
        }
        let won = writers.join_all().await.into_iter().filter(|won| *won);
        assert_eq!(won.count(), 1);
    }
}

/// A decision about a letter stands: only an intention gives way, to its own order or when it is stale.
pub async fn a_letter_is_decided_once(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let store = &ports.store;
    let decide = async |rows: &[LetterRow], stale| store.decide(rows, stale).await.unwrap();
    let never = time(0).minus(Duration::from_secs(3_600));
    decide(
        &[
            letter(1, Fate::Replaying, 1, 10),
            letter(2, Fate::Replaying, 1, 10),
        ],
        never,
    )
    .await;
    // Another order finds both taken.
    decide(
        &[
            letter(1, Fate::Discarded, 2, 20),
            letter(3, Fate::Discarded, 2, 20),
        ],
        never,
    )
    .await;
    // The first one goes on with its own.
    decide(&[letter(1, Fate::Replayed, 1, 30)], never).await;
    let expected = [
        letter(1, Fate::Replayed, 1, 30),
        letter(2, Fate::Replaying, 1, 10),
        letter(3, Fate::Discarded, 2, 20),
    ];
    assert_eq!(of(&**store).await, expected);
    assert_eq!(store.letters_decided(LETTERS, 1, 0).await.unwrap(), 2);
    assert_eq!(store.letters_decided(LETTERS, 1, 2).await.unwrap(), 1);
    assert_eq!(store.letters_decided(LETTERS, 2, 0).await.unwrap(), 0);
    // What is stale is somebody else's; what is decided is not.
    decide(
        &[1, 2, 3].map(|offset| letter(offset, Fate::Replaying, 4, 50)),
        time(11),
    )
    .await;
    let expected = [
        letter(1, Fate::Replayed, 1, 30),
        letter(2, Fate::Replaying, 4, 50),
        letter(3, Fate::Discarded, 2, 20),
    ];
    assert_eq!(of(&**store).await, expected);
    let ports = reopen(fixture, ports).await;
    assert_eq!(of(&*ports.store).await, expected);
    let some = ports.store.letters(LETTERS, 1, 2, 2).await.unwrap();
    assert_eq!(some, expected[1..2]);
}

/// Many letters are decided together, each once however many decide and in whichever order; none of
/// them is in the way of another.
pub async fn many_letters_are_decided_at_once(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let mut orders = tokio::task::JoinSet::new();
    for claim in 1..=4 {
        let store = store.clone();
        orders.spawn(async move {
            let mut rows: Vec<_> = (1..=700)
                .map(|offset| letter(offset, Fate::Replayed, claim, 5))
                .collect();
            // Appends end in any order, and so do their decisions come.
            if claim % 2 == 0 {
                rows.reverse();
            }
            store.decide(&rows, time(0)).await.unwrap();
        });
    }
    soon("everybody has decided", orders.join_all()).await;
    let rows = store
        .letters(LETTERS, 1, 0, u64::from(u32::MAX))
        .await
        .unwrap();
    assert_eq!(rows.len(), 700);
    assert!(rows.iter().all(|row| row.fate == Fate::Replayed));
    assert_eq!(store.letters_decided(LETTERS, 1, 0).await.unwrap(), 700);
}

async fn of(store: &dyn Store) -> Vec<LetterRow> {
    store.letters(LETTERS, 1, 0, 100).await.unwrap()
}

fn letter(offset: u64, fate: Fate, claim: u128, at: i64) -> LetterRow {
    LetterRow {
        partition: LETTERS,
        epoch: 1,
        offset,
        fate,
        claim: Uuid::from_u128(claim),
        at: time(at),
        reason: match fate {
            Fate::Discarded => "nobody needs it \u{1F600}".to_owned(),
            _ => String::new(),
        },
    }
}

const fn tally(rows: u64, live: u64, highest: u32) -> Tally {
    Tally {
        rows,
        live,
        highest,
    }
}
