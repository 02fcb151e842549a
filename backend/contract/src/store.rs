//! The promises of the store.

use std::sync::Arc;

use chat_core::port::Ports;
use chat_core::port::log::{Group, PartitionId, Topic};
use chat_core::port::store::{
    ApplicationRow, ChatRow, MessageRow, Position, RenumberedRow, Store, Transaction, Writes,
};
use uuid::Uuid;

use crate::fixture::{Fixture, reopen, soon, stays_pending};
use crate::sample::{application_row, chat, chat_row, key_row, message, message_row, token};

const PLACE: PartitionId = PartitionId {
    topic: Topic::Messages,
    index: 0,
};

/// Nobody sees what is not committed, and everybody what is.
pub async fn nothing_is_seen_before_the_commit(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let mut tx = begin(&*store).await;
    tx.write(one_of_each(1)).await.unwrap();
    absent(&*store, 1).await;
    tx.commit(&[at(1)]).await.unwrap();
    present(&*store, 1).await;
}

/// A transaction that is dropped has never been, and the next one can begin.
pub async fn dropping_takes_everything_back(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let mut tx = begin(&*store).await;
    tx.write(one_of_each(1)).await.unwrap();
    drop(tx);
    let mut tx = soon("the next one begins", begin(&*store)).await;
    assert_eq!(tx.positions(), [Position::START]);
    assert_eq!(tx.messages(&[message(chat(1, 1), 1)]).await.unwrap(), []);
    tx.write(one_of_each(1)).await.unwrap();
    tx.commit(&[at(1)]).await.unwrap();
    present(&*store, 1).await;
}

/// A call that is dropped in the middle takes its transaction back too, and no later one suffers.
pub async fn a_call_that_is_dropped_harms_nothing(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    for nth in 0..20 {
        let mut tx = soon("a transaction begins", begin(&*store)).await;
        let rows = (1..=500)
            .map(|number| message_row(chat(9, nth + 1), number))
            .collect();
        let write = tx.write(Writes {
            insert_messages: rows,
            ..Writes::default()
        });
        give_up(write, nth).await;
        drop(tx);
        give_up(store.begin(Group::MessagesStore, &[PLACE]), nth).await;
        give_up(store.message(message(chat(9, 1), 1)), nth).await;
    }
    let mut tx = soon("a transaction begins", begin(&*store)).await;
    tx.write(one_of_each(1)).await.unwrap();
    soon("the commit is made", tx.commit(&[at(1)]))
        .await
        .unwrap();
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

/// The position is committed with the rows, and taken back with them.
pub async fn the_position_moves_with_the_rows(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let position = Position {
        next: (1 << 40) - 1,
        epoch: 3,
        last_uid: Some(Uuid::max()),
    };
    let tx = begin(&*ports.store).await;
    assert_eq!(tx.positions(), [Position::START]);
    tx.commit(&[position]).await.unwrap();
    assert_eq!(begin(&*ports.store).await.positions(), [position]);
    let stored = ports
        .store
        .position(Group::MessagesStore, PLACE)
        .await
        .unwrap();
    assert_eq!(stored, position);
    let mut tx = begin(&*ports.store).await;
    tx.write(one_of_each(1)).await.unwrap();
    drop(tx);
    let without_uid = Position {
        last_uid: None,
        ..position
    };
    let tx = begin(&*ports.store).await;
    assert_eq!(tx.positions(), [position]);
    tx.commit(&[without_uid]).await.unwrap();
    assert_eq!(begin(&*ports.store).await.positions(), [without_uid]);
}

/// Each group has a position of its own in each partition.
pub async fn positions_are_apart(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let other = PartitionId { index: 1, ..PLACE };
    let places = [
        (Group::MessagesStore, PLACE),
        (Group::MessagesStore, other),
        (Group::MessagesIndex, PLACE),
        (
            Group::ChatsStore,
            PartitionId {
                topic: Topic::Chats,
                index: 0,
            },
        ),
    ];
    for (next, (group, partition)) in (1..).zip(places) {
        let tx = store.begin(group, &[partition]).await.unwrap();
        assert_eq!(tx.positions(), [Position::START]);
        tx.commit(&[at(next)]).await.unwrap();
    }
    for (next, (group, partition)) in (1..).zip(places) {
        assert_eq!(store.position(group, partition).await.unwrap(), at(next));
    }
    let nowhere = PartitionId { index: 2, ..PLACE };
    let none = store.position(Group::MessagesStore, nowhere).await.unwrap();
    assert_eq!(none, Position::START);
}

/// The positions of a group come in one answer: those that it has, and nobody else's.
pub async fn positions_are_told_at_once(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let group = Group::MessagesStore;
    assert_eq!(store.positions(group).await.unwrap(), []);
    let at_index = |index| PartitionId { index, ..PLACE };
    for index in [11, 0, 2] {
        let tx = store.begin(group, &[at_index(index)]).await.unwrap();
        tx.commit(&[at(u64::from(index) + 1)]).await.unwrap();
    }
    let other = store.begin(Group::MessagesIndex, &[PLACE]).await.unwrap();
    other.commit(&[at(99)]).await.unwrap();
    let wanted = [0, 2, 11].map(|index| (at_index(index), at(u64::from(index) + 1)));
    assert_eq!(store.positions(group).await.unwrap(), wanted);
}

/// A transaction may own several positions of a group: it has all of them, and all of them move or none.
pub async fn positions_move_together(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let group = Group::MessagesStore;
    let places = [0, 1, 11].map(|index| PartitionId { index, ..PLACE });
    let tx = store.begin(group, &places[1..2]).await.unwrap();
    tx.commit(&[at(5)]).await.unwrap();

    let mut tx = store.begin(group, &places).await.unwrap();
    let before = [Position::START, at(5), Position::START];
    assert_eq!(tx.positions(), before);
    tx.write(one_of_each(1)).await.unwrap();
    drop(tx);
    let tx = store.begin(group, &places).await.unwrap();
    assert_eq!(tx.positions(), before);

    let begun = Arc::clone(&store);
    let mut one = tokio::spawn(async move { begun.begin(group, &places[2..]).await });
    assert!(stays_pending(&mut one).await, "both own one position");
    tx.commit(&[at(1), at(6), at(12)]).await.unwrap();
    let one = soon("the second begins", one).await.unwrap().unwrap();
    assert_eq!(one.positions(), [at(12)]);
    drop(one);
    for (partition, next) in places.into_iter().zip([1, 6, 12]) {
        assert_eq!(store.position(group, partition).await.unwrap(), at(next));
    }
}

/// A transaction that owns no position moves none.
pub async fn a_free_transaction_moves_no_position(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    begin(&*store).await.commit(&[at(5)]).await.unwrap();
    let mut tx = store.begin_free().await.unwrap();
    tx.write(one_of_each(1)).await.unwrap();
    tx.commit(&[at(99)]).await.unwrap();
    present(&*store, 1).await;
    for group in Group::ALL {
        let partition = PartitionId {
            topic: group.topic(),
            index: 0,
        };
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
    first.commit(&[at(7)]).await.unwrap();
    let second = soon("the second begins", second).await.unwrap();
    assert_eq!(second.positions(), [at(7)]);
}

/// A row that one transaction has read is not changed by another before it ends: no count is lost.
pub async fn rows_that_were_read_stay_locked(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let zero = ChatRow {
        messages_count: 0,
        ..chat_row(chat(1, 1))
    };
    put(
        &*store,
        Writes {
            insert_chats: vec![zero],
            insert_applications: vec![ApplicationRow {
                chats_count: 0,
                ..application_row(1)
            }],
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
    assert_eq!(
        store
            .chat(chat(1, 1))
            .await
            .unwrap()
            .unwrap()
            .messages_count,
        80
    );
    assert_eq!(
        store
            .application(token(1))
            .await
            .unwrap()
            .unwrap()
            .chats_count,
        80
    );
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
            tx.commit(&[]).await
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
    assert_eq!(
        tx.applications(&[token(1)]).await.unwrap(),
        one.insert_applications
    );
    assert_eq!(tx.chats(&[chat(1, 1)]).await.unwrap(), one.insert_chats);
    let row = &one.insert_messages[0];
    assert_eq!(tx.messages(&[row.key]).await.unwrap(), one.insert_messages);
    assert_eq!(tx.numbers_after(chat(1, 1), 0, 9).await.unwrap(), [1]);
    assert_eq!(tx.keys(&[key_row(1).key.hash]).await.unwrap(), one.put_keys);
    let moved = one.put_renumbered[0];
    let found = tx.renumbered(&[(moved.chat, moved.uid)]).await.unwrap();
    assert_eq!(found, [moved]);
    tx.write(Writes {
        update_messages: vec![MessageRow {
            body: "edited".into(),
            ..row.clone()
        }],
        ..Writes::default()
    })
    .await
    .unwrap();
    assert_eq!(tx.messages(&[row.key]).await.unwrap()[0].body, "edited");
}

/// One transaction may write thousands of rows, and megabytes.
pub async fn a_transaction_may_be_large(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let many: Vec<_> = (1..=6_000)
        .map(|number| message_row(chat(1, 1), number))
        .collect();
    let large: Vec<_> = (1..=200)
        .map(|number| MessageRow {
            body: "x".repeat(64 * 1024),
            ..message_row(chat(1, 2), number)
        })
        .collect();
    let chats: Vec<_> = (1..=1_500)
        .map(|number| chat_row(chat(1, number)))
        .collect();
    let writes = Writes {
        insert_messages: [many, large].concat(),
        insert_chats: chats.clone(),
        ..Writes::default()
    };
    put(&*store, writes).await;
    let mut tx = begin(&*store).await;
    let numbers = tx.numbers_after(chat(1, 1), 0, 10_000).await.unwrap();
    assert!(numbers.into_iter().eq(1..=6_000));
    let bodies: Vec<_> = (1..=200)
        .map(|number| message(chat(1, 2), number))
        .collect();
    let rows = tx.messages(&bodies).await.unwrap();
    assert_eq!(rows.len(), 200);
    assert!(rows.iter().all(|row| row.body.len() == 64 * 1024));
    tx.write(Writes {
        update_chats: chats,
        update_messages: rows,
        ..Writes::default()
    })
    .await
    .unwrap();
}

/// What was committed is there after a restart.
pub async fn rows_survive_a_restart(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    put(&*ports.store, one_of_each(1)).await;
    begin(&*ports.store).await.commit(&[at(0)]).await.unwrap();
    let ports: Ports = reopen(fixture, ports).await;
    present(&*ports.store, 1).await;
    put(&*ports.store, one_of_each(2)).await;
}

/// The store answers when it is asked whether it does.
pub async fn the_store_answers(fixture: &impl Fixture) {
    fixture.open().await.store.check().await.unwrap();
}

pub(crate) const fn at(next: u64) -> Position {
    Position {
        next,
        epoch: 0,
        last_uid: None,
    }
}

pub(crate) async fn begin(store: &dyn Store) -> Box<dyn Transaction> {
    store.begin(Group::MessagesStore, &[PLACE]).await.unwrap()
}

pub(crate) async fn put(store: &dyn Store, writes: Writes) {
    let mut tx = store.begin_free().await.unwrap();
    tx.write(writes).await.unwrap();
    tx.commit(&[]).await.unwrap();
}

pub(crate) fn one_of_each(application: u8) -> Writes {
    let chat = chat(application, 1);
    Writes {
        insert_applications: vec![application_row(application)],
        insert_chats: vec![ChatRow {
            highest: 1,
            settled_through: 1,
            ..chat_row(chat)
        }],
        insert_messages: vec![message_row(chat, 1)],
        put_keys: vec![key_row(application.into())],
        put_renumbered: vec![RenumberedRow {
            chat,
            uid: Uuid::from_u128(4),
            number: 2,
        }],
        ..Writes::default()
    }
}

pub(crate) async fn present(store: &dyn Store, application: u8) {
    let mut one = one_of_each(application);
    let found = store.application(token(application)).await.unwrap();
    assert_eq!(found, one.insert_applications.pop());
    let chat = chat(application, 1);
    assert_eq!(store.chat(chat).await.unwrap(), one.insert_chats.pop());
    let found = store.message(message(chat, 1)).await.unwrap();
    assert_eq!(found, one.insert_messages.pop());
    let found = store
        .key(key_row(application.into()).key.hash)
        .await
        .unwrap();
    assert_eq!(found, one.put_keys.pop());
    assert_eq!(
        store.renumbered(chat, Uuid::from_u128(4)).await.unwrap(),
        Some(2)
    );
}

pub(crate) async fn absent(store: &dyn Store, application: u8) {
    let chat = chat(application, 1);
    assert_eq!(store.application(token(application)).await.unwrap(), None);
    assert_eq!(store.chat(chat).await.unwrap(), None);
    assert_eq!(store.message(message(chat, 1)).await.unwrap(), None);
    let found = store
        .key(key_row(application.into()).key.hash)
        .await
        .unwrap();
    assert_eq!(found, None);
    assert_eq!(
        store.renumbered(chat, Uuid::from_u128(4)).await.unwrap(),
        None
    );
}
