//! The promises of the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use chat_core::port::Ports;
use chat_core::port::log::{Group, PartitionId, Topic};
use chat_core::port::store::{
    ApplicationRow, ChatKey, Error, MessageRow, Position, Presence, RenumberedRow, Span, State,
    Store, Transaction, Writes,
};
use chat_wire::time::Timestamp;
use uuid::Uuid;

use crate::fixture::{Fixture, reopen, soon, stays_pending};
use crate::sample::{
    TEXTS, application_row, chat, chat_row, key, key_row, message, message_row, time, token,
};

const PLACE: PartitionId = PartitionId {
    topic: Topic::Messages,
    index: 0,
};

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
            insert_renumbered: vec![moved],
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

/// Nobody sees what is not committed, and everybody what is.
pub async fn nothing_is_seen_before_the_commit(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let mut tx = begin(&*store).await;
    tx.write(one_of_each(1)).await.unwrap();
    absent(&*store, 1).await;
    tx.commit(at(1)).await.unwrap();
    present(&*store, 1).await;
}

/// A transaction that is dropped has never been, and the next one can begin.
pub async fn dropping_takes_everything_back(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let mut tx = begin(&*store).await;
    tx.write(one_of_each(1)).await.unwrap();
    drop(tx);
    let mut tx = soon("the next one begins", begin(&*store)).await;
    assert_eq!(tx.position(), Position::START);
    assert_eq!(tx.messages(&[message(chat(1, 1), 1)]).await.unwrap(), []);
    tx.write(one_of_each(1)).await.unwrap();
    tx.commit(at(1)).await.unwrap();
    present(&*store, 1).await;
}

/// A call that is dropped in the middle takes its transaction back too, and no later one suffers.
pub async fn a_call_that_is_dropped_harms_nothing(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    for nth in 0..20 {
        let mut tx = soon("a transaction begins", begin(&*store)).await;
        let rows = (1..=500).map(|number| message_row(chat(9, nth + 1), number)).collect();
        let write = tx.write(Writes {
            insert_messages: rows,
            ..Writes::default()
        });
        give_up(write, nth).await;
        drop(tx);
        give_up(store.begin(Group::MessagesStore, PLACE), nth).await;
        give_up(store.message(message(chat(9, 1), 1)), nth).await;
    }
    let mut tx = soon("a transaction begins", begin(&*store)).await;
    tx.write(one_of_each(1)).await.unwrap();
    soon("the commit is made", tx.commit(at(1))).await.unwrap();
    present(&*store, 1).await;
    for nth in 0..20 {
        let left = store.message(message(chat(9, nth + 1), 1)).await.unwrap();
        assert_eq!(left, None, "a write that was dropped was committed");
    }
}

/// Polls a future some times and drops it.
async fn give_up<T>(future: impl Future<Output = T>, polls: u32) {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        tokio::select! {
            biased;
            _ = &mut future => return,
            () = tokio::task::yield_now() => {}
        }
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
        Writes { insert_applications: one().insert_applications, ..Writes::default() },
        Writes { insert_chats: one().insert_chats, ..Writes::default() },
        Writes { insert_messages: one().insert_messages, ..Writes::default() },
        Writes { insert_renumbered: one().insert_renumbered, ..Writes::default() },
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
    let application = ApplicationRow { name: "renamed".into(), revision: 99, ..application_row(1) };
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
        ..Writes::default()
    };
    for _ in 0..2 {
        put(&*store, writes()).await;
        assert_eq!(store.application(token(1)).await.unwrap().as_ref(), Some(&application));
        assert_eq!(store.chat(chat(1, 1)).await.unwrap().as_ref(), Some(&chat_after));
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

/// The position is committed with the rows, and taken back with them.
pub async fn the_position_moves_with_the_rows(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let position = Position {
        next: (1 << 40) - 1,
        epoch: 3,
        last_uid: Some(Uuid::max()),
    };
    let tx = begin(&*ports.store).await;
    assert_eq!(tx.position(), Position::START);
    tx.commit(position).await.unwrap();
    assert_eq!(begin(&*ports.store).await.position(), position);
    let stored = ports.store.position(Group::MessagesStore, PLACE).await.unwrap();
    assert_eq!(stored, position);
    let mut tx = begin(&*ports.store).await;
    tx.write(one_of_each(1)).await.unwrap();
    drop(tx);
    let without_uid = Position { last_uid: None, ..position };
    let tx = begin(&*ports.store).await;
    assert_eq!(tx.position(), position);
    tx.commit(without_uid).await.unwrap();
    assert_eq!(begin(&*ports.store).await.position(), without_uid);
}

/// Each group has a position of its own in each partition.
pub async fn positions_are_apart(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let other = PartitionId { index: 1, ..PLACE };
    let places = [
        (Group::MessagesStore, PLACE),
        (Group::MessagesStore, other),
        (Group::MessagesIndex, PLACE),
        (Group::ChatsStore, PartitionId { topic: Topic::Chats, index: 0 }),
    ];
    for (next, (group, partition)) in (1..).zip(places) {
        let tx = store.begin(group, partition).await.unwrap();
        assert_eq!(tx.position(), Position::START);
        tx.commit(at(next)).await.unwrap();
    }
    for (next, (group, partition)) in (1..).zip(places) {
        assert_eq!(store.position(group, partition).await.unwrap(), at(next));
    }
    let nowhere = PartitionId { index: 2, ..PLACE };
    let none = store.position(Group::MessagesStore, nowhere).await.unwrap();
    assert_eq!(none, Position::START);
}

/// A transaction that owns no position moves none.
pub async fn a_free_transaction_moves_no_position(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    begin(&*store).await.commit(at(5)).await.unwrap();
    let mut tx = store.begin_free().await.unwrap();
    tx.write(one_of_each(1)).await.unwrap();
    tx.commit(at(99)).await.unwrap();
    present(&*store, 1).await;
    for group in Group::ALL {
        let partition = PartitionId { topic: group.topic(), index: 0 };
        let next = if group == Group::MessagesStore { 5 } else { 0 };
        assert_eq!(store.position(group, partition).await.unwrap().next, next);
    }
}

/// Whoever begins on a partition that another transaction owns waits for its end, and sees it.
pub async fn a_partition_has_one_transaction(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let first = begin(&*store).await;
    let begun = Arc::clone(&store);
    let mut second = tokio::spawn(async move { begin(&*begun).await });
    assert!(stays_pending(&mut second).await, "both own the position");
    first.commit(at(7)).await.unwrap();
    let second = soon("the second begins", second).await.unwrap();
    assert_eq!(second.position(), at(7));
}

/// A row that one transaction has read is not changed by another before it ends: no count is lost.
pub async fn rows_that_were_read_stay_locked(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let zero = chat_core::port::store::ChatRow { messages_count: 0, ..chat_row(chat(1, 1)) };
    put(
        &*store,
        Writes {
            insert_chats: vec![zero],
            insert_applications: vec![ApplicationRow { chats_count: 0, ..application_row(1) }],
            ..Writes::default()
        },
    )
    .await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for _ in 0..10 {
                    soon("one more is counted", count_one(&*store)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(store.chat(chat(1, 1)).await.unwrap().unwrap().messages_count, 80);
    assert_eq!(store.application(token(1)).await.unwrap().unwrap().chats_count, 80);
}

/// Adds one to an application's and a chat's count; a deadlock's victim tries again, as a worker does.
async fn count_one(store: &dyn Store) {
    loop {
        let done = async {
            let mut tx = store.begin_free().await?;
            let mut applications = tx.applications(&[token(1)]).await?;
            let mut chats = tx.chats(&[chat(1, 1)]).await?;
            applications[0].chats_count += 1;
            chats[0].messages_count += 1;
            tx.write(Writes {
                update_applications: applications,
                update_chats: chats,
                ..Writes::default()
            })
            .await?;
            tx.commit(Position::START).await
        };
        match done.await {
            Ok(()) => return,
            Err(error) => assert!(error.retryable(), "{error}"),
        }
    }
}

/// A transaction reads what it has written.
pub async fn a_transaction_reads_its_own_writes(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let mut tx = begin(&*store).await;
    tx.write(one_of_each(1)).await.unwrap();
    let one = one_of_each(1);
    assert_eq!(tx.applications(&[token(1)]).await.unwrap(), one.insert_applications);
    assert_eq!(tx.chats(&[chat(1, 1)]).await.unwrap(), one.insert_chats);
    let row = &one.insert_messages[0];
    assert_eq!(tx.messages(&[row.key]).await.unwrap(), one.insert_messages);
    assert_eq!(tx.numbers_after(chat(1, 1), 0, 9).await.unwrap(), [1]);
    assert_eq!(tx.keys(&[key_row(1).key.hash]).await.unwrap(), one.put_keys);
    let moved = one.insert_renumbered[0];
    let found = tx.renumbered(&[(moved.chat, moved.uid)]).await.unwrap();
    assert_eq!(found, [moved]);
    tx.write(Writes {
        update_messages: vec![MessageRow { body: "edited".into(), ..row.clone() }],
        ..Writes::default()
    })
    .await
    .unwrap();
    assert_eq!(tx.messages(&[row.key]).await.unwrap()[0].body, "edited");
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
        .map(|nth| RenumberedRow { chat: chats[0], uid: Uuid::from_u128(nth), number: 1 })
        .collect();
    put(
        &*store,
        Writes {
            insert_applications: applications.clone(),
            insert_chats: chats.iter().map(|key| chat_row(*key)).collect(),
            insert_messages: rows.clone(),
            put_keys: keys.clone(),
            insert_renumbered: moved.clone(),
            ..Writes::default()
        },
    )
    .await;

    let mut wanted: Vec<_> = rows.iter().map(|row| row.key).collect();
    // Missing ones: in a gap, behind the end, in another chat, in another application.
    wanted.extend((1..=400).map(|n| message(chats[1], n * 3 + 1)));
    wanted.extend([message(chats[0], 2_501), message(chats[3], 1), message(chat(2, 1), 1)]);
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

    let wanted: Vec<_> = (1..=90).map(|nth| (chats[0], Uuid::from_u128(nth))).collect();
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
    assert_eq!(tx.numbers_after(chat(1, 1), 0, 10).await.unwrap(), []);
    tx.write(Writes::default()).await.unwrap();
    tx.commit(at(1)).await.unwrap();
    assert_eq!(store.messages_by_key(&[]).await.unwrap(), []);
    assert_eq!(store.application(token(1)).await.unwrap(), None);
    assert_eq!(store.chat(chat(1, 1)).await.unwrap(), None);
    assert_eq!(store.message(message(chat(1, 1), 1)).await.unwrap(), None);
    assert_eq!(store.renumbered(chat(1, 1), Uuid::nil()).await.unwrap(), None);
}

/// A page of messages holds the live ones of one chat in order, from its cursor, up to its limit.
pub async fn a_page_of_messages_is_in_order(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let mut rows: Vec<_> = (1..=30).map(|number| message_row(chat(1, 2), number)).collect();
    rows[4].state = State::Void;
    rows[5].state = State::Deleted;
    rows.extend((1..=30).flat_map(|n| [message_row(chat(1, 1), n), message_row(chat(1, 3), n)]));
    rows.extend((1..=30).map(|number| message_row(chat(2, 2), number)));
    rows.sort_by_key(|row| row.key);
    put(&*store, Writes { insert_messages: rows, ..Writes::default() }).await;
    let page = async |span, limit| {
        let rows = store.messages(chat(1, 2), span, limit).await.unwrap();
        assert!(rows.iter().all(|row| row.key.chat == chat(1, 2)));
        rows.iter().map(|row| row.key.number.get()).collect::<Vec<_>>()
    };
    let after = |after, through| Span::After { after, through };
    assert_eq!(page(after(0, u32::MAX), 3).await, [1, 2, 3]);
    assert_eq!(page(after(3, u32::MAX), 3).await, [4, 7, 8]);
    assert_eq!(page(after(3, 7), 100).await, [4, 7]);
    assert_eq!(page(after(28, 30), 100).await, [29, 30]);
    assert_eq!(page(after(30, u32::MAX), 100).await, [0; 0]);
    assert_eq!(page(Span::Before(9), 3).await, [8, 7, 4]);
    assert_eq!(page(Span::Before(4), 100).await, [3, 2, 1]);
    assert_eq!(page(Span::Before(u32::MAX), 2).await, [30, 29]);
    assert_eq!(page(Span::Before(1), 100).await, [0; 0]);
}

/// Pages of chats and of applications are in order, begin behind their cursor and end at the limit.
pub async fn pages_of_chats_and_applications_are_in_order(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let numbers = [1, 2, 3, 10, 200, 70_000];
    let chats = |application| numbers.map(|number| chat_row(chat(application, number)));
    let applications: Vec<_> = (1..=9).map(application_row).collect();
    put(
        &*store,
        Writes {
            insert_applications: applications.clone(),
            insert_chats: [chats(1), chats(2)].concat(),
            ..Writes::default()
        },
    )
    .await;
    let page = async |after, limit| {
        let rows = store.chats(token(1), after, limit).await.unwrap();
        assert!(rows.iter().all(|row| row.key.token == token(1)));
        rows.iter().map(|row| row.key.chat.get()).collect::<Vec<_>>()
    };
    assert_eq!(page(0, 100).await, numbers);
    assert_eq!(page(2, 2).await, [3, 10]);
    assert_eq!(page(70_000, 2).await, [0; 0]);
    assert_eq!(store.highest_chat(token(1)).await.unwrap(), 70_000);
    assert_eq!(store.highest_chat(token(7)).await.unwrap(), 0);

    let mut tokens: Vec<_> = applications.iter().map(|row| row.token).collect();
    tokens.sort_unstable();
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store.applications(after, 4).await.unwrap();
        assert!(page.len() <= 4);
        let Some(last) = page.last() else { break };
        after = Some(last.token);
        found.extend(page.iter().map(|row| row.token));
    }
    assert_eq!(found, tokens);
}

/// The numbers that have a row are told in order, whatever the rows' state.
pub async fn numbers_with_a_row_are_told(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let mut rows: Vec<_> = [1, 2, 4, 9, 10].map(|number| message_row(chat(1, 2), number)).into();
    rows[1].state = State::Void;
    rows[2].state = State::Deleted;
    rows.insert(0, message_row(chat(1, 1), 3));
    rows.push(message_row(chat(1, 3), 5));
    put(&*store, Writes { insert_messages: rows, ..Writes::default() }).await;
    let mut tx = begin(&*store).await;
    assert_eq!(tx.numbers_after(chat(1, 2), 0, 100).await.unwrap(), [1, 2, 4, 9, 10]);
    assert_eq!(tx.numbers_after(chat(1, 2), 2, 2).await.unwrap(), [4, 9]);
    assert_eq!(tx.numbers_after(chat(1, 2), 10, 2).await.unwrap(), []);
}

/// Chats with a hole are told in order of key, and no others.
pub async fn chats_with_holes_are_told(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let row = |application, number, settled_through, highest| chat_core::port::store::ChatRow {
        settled_through,
        highest,
        ..chat_row(chat(application, number))
    };
    let rows = vec![
        row(1, 1, 5, 5),
        row(1, 2, 4, 5),
        row(1, 3, 0, 1),
        row(1, 4, 0, 0),
        row(2, 1, 7, 9),
        row(2, 2, 9, 9),
    ];
    put(&*store, Writes { insert_chats: rows, ..Writes::default() }).await;
    let mut expected = vec![chat(1, 2), chat(1, 3), chat(2, 1)];
    expected.sort_unstable();
    let told = async |after, limit| {
        let rows = store.unsettled_chats(after, limit).await.unwrap();
        rows.into_iter().map(|row| row.key).collect::<Vec<_>>()
    };
    assert_eq!(told(None, 10).await, expected);
    assert_eq!(told(None, 1).await, expected[..1]);
    assert_eq!(told(Some(expected[0]), 10).await, expected[1..]);
    let settled = Writes { update_chats: vec![row(1, 2, 5, 5)], ..Writes::default() };
    put(&*store, settled).await;
    assert_eq!(told(None, 10).await.len(), 2);
}

/// Keys that are older than a time are forgotten, and how many is told.
pub async fn old_keys_are_forgotten(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let rows: Vec<_> = (1..=2_500)
        .map(|nth| chat_core::port::store::KeyRow {
            created_at: time(i64::try_from(nth).unwrap()),
            ..key_row(nth)
        })
        .collect();
    put(&*store, Writes { put_keys: rows, ..Writes::default() }).await;
    assert_eq!(store.forget_keys(time(2_001)).await.unwrap(), 2_000);
    assert_eq!(store.forget_keys(time(2_001)).await.unwrap(), 0);
    assert_eq!(store.key(key(2_000, 0).hash).await.unwrap(), None);
    assert!(store.key(key(2_001, 0).hash).await.unwrap().is_some());
}

/// One transaction may write thousands of rows, and megabytes.
pub async fn a_transaction_may_be_large(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let many: Vec<_> = (1..=6_000).map(|number| message_row(chat(1, 1), number)).collect();
    let large: Vec<_> = (1..=200)
        .map(|number| MessageRow { body: "x".repeat(64 * 1024), ..message_row(chat(1, 2), number) })
        .collect();
    let chats: Vec<_> = (1..=1_500).map(|number| chat_row(chat(1, number))).collect();
    let writes = Writes {
        insert_messages: [many, large].concat(),
        insert_chats: chats.clone(),
        ..Writes::default()
    };
    put(&*store, writes).await;
    let mut tx = begin(&*store).await;
    let numbers = tx.numbers_after(chat(1, 1), 0, 10_000).await.unwrap();
    assert!(numbers.into_iter().eq(1..=6_000));
    let bodies: Vec<_> = (1..=200).map(|number| message(chat(1, 2), number)).collect();
    let rows = tx.messages(&bodies).await.unwrap();
    assert_eq!(rows.len(), 200);
    assert!(rows.iter().all(|row| row.body.len() == 64 * 1024));
    tx.write(Writes { update_chats: chats, update_messages: rows, ..Writes::default() })
        .await
        .unwrap();
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

/// What was committed is there after a restart.
pub async fn rows_survive_a_restart(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    put(&*ports.store, one_of_each(1)).await;
    begin(&*ports.store).await.commit(at(0)).await.unwrap();
    let ports: Ports = reopen(fixture, ports).await;
    present(&*ports.store, 1).await;
    put(&*ports.store, one_of_each(2)).await;
}

/// The store answers when it is asked whether it does.
pub async fn the_store_answers(fixture: &impl Fixture) {
    fixture.open().await.store.check().await.unwrap();
}

const fn at(next: u64) -> Position {
    Position {
        next,
        epoch: 0,
        last_uid: None,
    }
}

async fn begin(store: &dyn Store) -> Box<dyn Transaction> {
    store.begin(Group::MessagesStore, PLACE).await.unwrap()
}

async fn put(store: &dyn Store, writes: Writes) {
    let mut tx = store.begin_free().await.unwrap();
    tx.write(writes).await.unwrap();
    tx.commit(Position::START).await.unwrap();
}

fn one_of_each(application: u8) -> Writes {
    let chat = chat(application, 1);
    Writes {
        insert_applications: vec![application_row(application)],
        insert_chats: vec![chat_row(chat)],
        insert_messages: vec![message_row(chat, 1)],
        put_keys: vec![key_row(application.into())],
        insert_renumbered: vec![RenumberedRow { chat, uid: Uuid::from_u128(4), number: 2 }],
        ..Writes::default()
    }
}

async fn present(store: &dyn Store, application: u8) {
    let mut one = one_of_each(application);
    let found = store.application(token(application)).await.unwrap();
    assert_eq!(found, one.insert_applications.pop());
    let chat = chat(application, 1);
    assert_eq!(store.chat(chat).await.unwrap(), one.insert_chats.pop());
    let found = store.message(message(chat, 1)).await.unwrap();
    assert_eq!(found, one.insert_messages.pop());
    let found = store.key(key_row(application.into()).key.hash).await.unwrap();
    assert_eq!(found, one.put_keys.pop());
    assert_eq!(store.renumbered(chat, Uuid::from_u128(4)).await.unwrap(), Some(2));
}

async fn absent(store: &dyn Store, application: u8) {
    let chat = chat(application, 1);
    assert_eq!(store.application(token(application)).await.unwrap(), None);
    assert_eq!(store.chat(chat).await.unwrap(), None);
    assert_eq!(store.message(message(chat, 1)).await.unwrap(), None);
    let found = store.key(key_row(application.into()).key.hash).await.unwrap();
    assert_eq!(found, None);
    assert_eq!(store.renumbered(chat, Uuid::from_u128(4)).await.unwrap(), None);
}
