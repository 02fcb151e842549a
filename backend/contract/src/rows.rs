//! The promises of the store about rows: what is written is read, by key and in pages.

use std::collections::BTreeMap;

use chat_core::port::store::{
    ApplicationRow, ChatKey, ChatRow, Error, MessageRow, Presence, RenumberedRow, State, Writes,
};
use chat_wire::time::Timestamp;
use uuid::Uuid;

use crate::fixture::{Fixture, soon};
use crate::sample::{
    TEXTS, application_row, chat, chat_row, key, key_row, message, message_row, time, token,
};
use crate::store::{absent, at, begin, one_of_each, present, put};

/// A row of each kind comes back as it was written, in every shape that the types allow.
pub async fn rows_come_back_as_they_were_written(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let applications = applications();
    let chats = vec![
        chat_row(chat(1, 1)),
        chat_store::widest(chat(1, u32::MAX)),
        chat_store::stub(chat(1, 2)),
    ];
    let messages = messages(chat(1, 1));
    let keys = vec![key_row(1), key_row(u128::MAX >> 9)];
    let moved = RenumberedRow {
        chat: chat(1, 1),
        uid: Uuid::from_u128(77),
        number: u32::MAX,
    };
    put(
        &*store,
        Writes {
            insert_applications: applications.clone(),
            insert_chats: chats.clone(),
            insert_messages: messages.clone(),
            put_keys: keys.clone(),
            put_renumbered: vec![moved],
            ..Writes::default()
        },
    )
    .await;
    for row in applications {
        assert_eq!(store.application(row.token).await.unwrap(), Some(row));
    }
    for row in chats {
        assert_eq!(store.chat(row.key).await.unwrap(), Some(row));
    }
    for row in messages {
        assert_eq!(store.message(row.key).await.unwrap(), Some(row));
    }
    for row in keys {
        assert_eq!(store.key(row.key.hash).await.unwrap(), Some(row));
    }
    let number = store.renumbered(moved.chat, moved.uid).await.unwrap();
    assert_eq!(number, Some(moved.number));
}

fn applications() -> Vec<ApplicationRow> {
    let stub = ApplicationRow {
        name: String::new(),
        chats_count: 0,
        revision: 0,
        presence: Presence::Stub,
        ..application_row(2)
    };
    let widest = ApplicationRow {
        name: "\u{1F600}".repeat(255),
        chats_count: u32::MAX,
        created_at: earliest(),
        updated_at: latest(),
        revision: HIGHEST_REVISION,
        ..application_row(3)
    };
    vec![application_row(1), stub, widest]
}

/// Two million re-creations of the log, and the last offset.
const HIGHEST_REVISION: u64 = (2_000_000 << 40) + (1 << 40) - 1;

fn earliest() -> Timestamp {
    "1000-01-01T00:00:00Z".parse().unwrap()
}

fn latest() -> Timestamp {
    "9999-12-29T23:59:59.999999Z".parse().unwrap()
}

mod chat_store {
    use super::{ChatKey, Presence, chat_row, latest};
    use chat_core::port::store::ChatRow;
    use uuid::Uuid;

    pub(super) fn widest(key: ChatKey) -> ChatRow {
        ChatRow {
            uid: Some(Uuid::max()),
            generation: u32::MAX,
            messages_count: u32::MAX,
            highest: u32::MAX,
            settled_through: u32::MAX,
            resets: u32::MAX,
            reset_from: u32::MAX,
            created_at: latest(),
            ..chat_row(key)
        }
    }

    pub(super) fn stub(key: ChatKey) -> ChatRow {
        ChatRow {
            uid: None,
            generation: 0,
            messages_count: 0,
            highest: 0,
            settled_through: 0,
            resets: 0,
            reset_from: 0,
            presence: Presence::Stub,
            ..chat_row(key)
        }
    }
}

fn messages(chat: ChatKey) -> Vec<MessageRow> {
    let plain = message_row(chat, 1);
    let void = MessageRow {
        uid: None,
        sender: None,
        body: String::new(),
        state: State::Void,
        sent_at: None,
        revision: 0,
        ..message_row(chat, 2)
    };
    let deleted = MessageRow {
        body: String::new(),
        state: State::Deleted,
        updated_at: Some(time(9)),
        ..message_row(chat, 3)
    };
    let widest = MessageRow {
        uid: Some(Uuid::max()),
        generation: u32::MAX,
        sender: Some("\u{1F600}".repeat(255)),
        body: "\u{1F600}".repeat(16 * 1024),
        sent_at: Some(earliest()),
        created_at: latest(),
        updated_at: Some(latest()),
        revision: HIGHEST_REVISION,
        ..message_row(chat, u32::MAX)
    };
    vec![plain, void, deleted, widest]
}

/// Names, senders and bodies come back byte for byte.
pub async fn texts_come_back_byte_for_byte(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let rows: Vec<MessageRow> = (1..)
        .zip(TEXTS)
        .map(|(number, text)| MessageRow {
            sender: Some(text.to_owned()),
            body: text.to_owned(),
            ..message_row(chat(1, 1), number)
        })
        .collect();
    let applications: Vec<ApplicationRow> = (1..)
        .zip(TEXTS)
        .map(|(nth, text)| ApplicationRow {
            name: text.to_owned(),
            ..application_row(nth)
        })
        .collect();
    put(
        &*store,
        Writes {
            insert_messages: rows.clone(),
            insert_applications: applications.clone(),
            ..Writes::default()
        },
    )
    .await;
    for row in rows {
        let read = store.message(row.key).await.unwrap().unwrap();
        assert_eq!(read.body.as_bytes(), row.body.as_bytes());
        assert_eq!(read.sender, row.sender);
    }
    for row in applications {
        let read = store.application(row.token).await.unwrap().unwrap();
        assert_eq!(read.name.as_bytes(), row.name.as_bytes());
    }
}

/// An insert of a row that exists fails for good, whatever the table, and writes nothing at all.
pub async fn an_insert_never_replaces(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    put(&*store, one_of_each(1)).await;
    let again = |writes: Writes| Writes {
        put_keys: vec![key_row(5)],
        ..writes
    };
    let one = || one_of_each(1);
    let conflicts = [
        Writes {
            insert_applications: one().insert_applications,
            ..Writes::default()
        },
        Writes {
            insert_chats: one().insert_chats,
            ..Writes::default()
        },
        Writes {
            insert_messages: one().insert_messages,
            ..Writes::default()
        },
    ];
    for conflict in conflicts {
        let mut tx = begin(&*store).await;
        let error = tx.write(again(conflict)).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error}");
        assert!(!error.retryable());
        drop(tx);
    }
    present(&*store, 1).await;
    assert_eq!(store.key(key_row(5).key.hash).await.unwrap(), None);
    let mut tx = soon("the next one begins", begin(&*store)).await;
    assert_eq!(tx.keys(&[key_row(5).key.hash]).await.unwrap(), []);
}

/// An update replaces the whole row; one that says nothing new is no error.
pub async fn an_update_replaces_the_row(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    put(&*store, one_of_each(1)).await;
    let application = ApplicationRow {
        name: "renamed".into(),
        revision: 99,
        ..application_row(1)
    };
    let chat_after = chat_store::widest(chat(1, 1));
    let message_after = MessageRow {
        uid: None,
        sender: None,
        body: String::new(),
        state: State::Deleted,
        sent_at: None,
        updated_at: Some(time(50)),
        revision: 51,
        ..message_row(chat(1, 1), 1)
    };
    let writes = || Writes {
        update_applications: vec![application.clone()],
        update_chats: vec![chat_after.clone()],
        update_messages: vec![message_after.clone()],
        // A message that was moved may have to move once more.
        put_renumbered: vec![RenumberedRow {
            number: 3,
            ..one_of_each(1).put_renumbered[0]
        }],
        ..Writes::default()
    };
    for _ in 0..2 {
        put(&*store, writes()).await;
        let moved = store
            .renumbered(chat(1, 1), Uuid::from_u128(4))
            .await
            .unwrap();
        assert_eq!(moved, Some(3));
        assert_eq!(
            store.application(token(1)).await.unwrap().as_ref(),
            Some(&application)
        );
        assert_eq!(
            store.chat(chat(1, 1)).await.unwrap().as_ref(),
            Some(&chat_after)
        );
        let read = store.message(message_after.key).await.unwrap();
        assert_eq!(read.as_ref(), Some(&message_after));
    }
}

/// A key's row is replaced where there is one.
pub async fn a_key_is_put_over_an_older_one(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let mut row = key_row(1);
    let put_key = |row: chat_core::port::store::KeyRow| Writes {
        put_keys: vec![row],
        ..Writes::default()
    };
    put(&*store, put_key(row.clone())).await;
    row.first = 100;
    row.key.body_hash = key(1, 1_000).body_hash;
    put(&*store, put_key(row.clone())).await;
    assert_eq!(store.key(row.key.hash).await.unwrap(), Some(row));
    assert_eq!(store.key(key(2, 2).hash).await.unwrap(), None);
}

/// Many rows are found by key in one call, each once, within a transaction and outside; those that
/// do not exist are left out.
pub async fn rows_are_found_by_key(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let chats: Vec<ChatKey> = (1..=300).map(|number| chat(1, number)).collect();
    // Long runs, runs with gaps, and single messages in many chats, as batches have them.
    let mut rows: Vec<MessageRow> = (1..=2_500).map(|n| message_row(chats[0], n)).collect();
    rows.extend((1..=400).map(|n| message_row(chats[1], n * 3)));
    rows.extend((1..=90).map(|n| message_row(chats[2], n * n * 100)));
    rows.extend(chats[3..].iter().map(|chat| message_row(*chat, 7)));
    rows[10].state = State::Void;
    rows[11].state = State::Deleted;
    let applications: Vec<ApplicationRow> = (1..=200).map(application_row).collect();
    let keys: Vec<_> = (1..=700).map(key_row).collect();
    let moved: Vec<_> = (1..=80)
        .map(|nth| RenumberedRow {
            chat: chats[0],
            uid: Uuid::from_u128(nth),
            number: 1,
        })
        .collect();
    put(
        &*store,
        Writes {
            insert_applications: applications.clone(),
            // Nothing is settled: a number below that without a row would be damage.
            insert_chats: chats
                .iter()
                .map(|key| ChatRow {
                    settled_through: 0,
                    ..chat_row(*key)
                })
                .collect(),
            insert_messages: rows.clone(),
            put_keys: keys.clone(),
            put_renumbered: moved.clone(),
            ..Writes::default()
        },
    )
    .await;

    // Between the others, and not asked for.
    rows.retain(|row| row.key.chat != chats[0] || row.key.number.get() % 50 != 25);
    let mut wanted: Vec<_> = rows.iter().map(|row| row.key).collect();
    // Missing ones: in a gap, behind the end, in another chat, in another application.
    wanted.extend((1..=400).map(|n| message(chats[1], n * 3 + 1)));
    wanted.extend([
        message(chats[0], 2_501),
        message(chats[3], 1),
        message(chat(2, 1), 1),
    ]);
    wanted.push(wanted[5]);
    wanted.reverse();
    let expected: BTreeMap<_, _> = rows.into_iter().map(|row| (row.key, row)).collect();
    let mut tx = begin(&*store).await;
    let inside = tx.messages(&wanted).await.unwrap();
    let outside = store.messages_by_key(&wanted).await.unwrap();
    for found in [inside, outside] {
        assert_eq!(found.len(), expected.len());
        let found: BTreeMap<_, _> = found.into_iter().map(|row| (row.key, row)).collect();
        assert_eq!(found, expected);
    }

    let tokens: Vec<_> = (1..=250).map(token).collect();
    let mut found = tx.applications(&tokens).await.unwrap();
    found.sort_by_key(|row| row.token);
    let mut expected = applications;
    expected.sort_by_key(|row| row.token);
    assert_eq!(found, expected);

    let wanted: Vec<_> = (1..=400).map(|number| chat(1, number)).collect();
    let mut found = tx.chats(&wanted).await.unwrap();
    found.sort_by_key(|row| row.key);
    assert_eq!(found.iter().map(|row| row.key).collect::<Vec<_>>(), chats);

    let hashes: Vec<_> = (1..=800).map(|nth| key(nth, 0).hash).collect();
    let mut found = tx.keys(&hashes).await.unwrap();
    found.sort_by_key(|row| row.key.hash);
    assert_eq!(found, keys);

    let wanted: Vec<_> = (1..=90)
        .map(|nth| (chats[0], Uuid::from_u128(nth)))
        .collect();
    let mut found = tx.renumbered(&wanted).await.unwrap();
    found.sort_by_key(|row| row.uid);
    assert_eq!(found, moved);
}

/// Asking for nothing finds nothing, and writing nothing is no error.
pub async fn nothing_is_a_fine_question(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let mut tx = begin(&*store).await;
    assert_eq!(tx.applications(&[]).await.unwrap(), []);
    assert_eq!(tx.chats(&[]).await.unwrap(), []);
    assert_eq!(tx.messages(&[]).await.unwrap(), []);
    assert_eq!(tx.keys(&[]).await.unwrap(), []);
    assert_eq!(tx.renumbered(&[]).await.unwrap(), []);
    assert_eq!(tx.numbers_after(chat(1, 1), 0, 10).await.unwrap(), [0; 0]);
    tx.write(Writes::default()).await.unwrap();
    tx.commit(&[at(1)]).await.unwrap();
    assert_eq!(store.messages_by_key(&[]).await.unwrap(), []);
    assert_eq!(store.application(token(1)).await.unwrap(), None);
    assert_eq!(store.chat(chat(1, 1)).await.unwrap(), None);
    assert_eq!(store.message(message(chat(1, 1), 1)).await.unwrap(), None);
    assert_eq!(
        store.renumbered(chat(1, 1), Uuid::nil()).await.unwrap(),
        None
    );
}

/// Applications share nothing, however alike their chats and messages are.
pub async fn applications_are_apart(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    put(&*store, one_of_each(1)).await;
    absent(&*store, 2).await;
    put(&*store, one_of_each(2)).await;
    present(&*store, 1).await;
    present(&*store, 2).await;
}
