//! The promises of the store about pages: rows in order, from a cursor, up to a limit.

use chat_core::port::store::{ApplicationRow, ChatRow, Presence, Span, State, Totals, Writes};

use crate::fixture::Fixture;
use crate::sample::{application_row, chat, chat_row, key, key_row, message_row, time, token};
use crate::store::{begin, put};

/// A page of messages holds the live ones of one chat in order, from its cursor, up to its limit.
pub async fn a_page_of_messages_is_in_order(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let mut rows: Vec<_> = (1..=30)
        .map(|number| message_row(chat(1, 2), number))
        .collect();
    rows[4].state = State::Void;
    rows[5].state = State::Deleted;
    rows.extend((1..=30).flat_map(|n| [message_row(chat(1, 1), n), message_row(chat(1, 3), n)]));
    rows.extend((1..=30).map(|number| message_row(chat(2, 2), number)));
    rows.sort_by_key(|row| row.key);
    put(
        &*store,
        Writes {
            insert_messages: rows,
            ..Writes::default()
        },
    )
    .await;
    let page = async |span, limit| {
        let rows = store.messages(chat(1, 2), span, limit).await.unwrap();
        assert!(rows.iter().all(|row| row.key.chat == chat(1, 2)));
        rows.iter()
            .map(|row| row.key.number.get())
            .collect::<Vec<_>>()
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
        rows.iter()
            .map(|row| row.key.chat.get())
            .collect::<Vec<_>>()
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
    let mut rows: Vec<_> = [1, 2, 4, 9, 10]
        .map(|number| message_row(chat(1, 2), number))
        .into();
    rows[1].state = State::Void;
    rows[2].state = State::Deleted;
    rows.insert(0, message_row(chat(1, 1), 3));
    rows.push(message_row(chat(1, 3), 5));
    put(
        &*store,
        Writes {
            insert_messages: rows,
            ..Writes::default()
        },
    )
    .await;
    let mut tx = begin(&*store).await;
    assert_eq!(
        tx.numbers_after(chat(1, 2), 0, 100).await.unwrap(),
        [1, 2, 4, 9, 10]
    );
    assert_eq!(tx.numbers_after(chat(1, 2), 2, 2).await.unwrap(), [4, 9]);
    assert_eq!(tx.numbers_after(chat(1, 2), 10, 2).await.unwrap(), [0; 0]);
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
    put(
        &*store,
        Writes {
            insert_chats: rows,
            ..Writes::default()
        },
    )
    .await;
    let mut expected = vec![chat(1, 2), chat(1, 3), chat(2, 1)];
    expected.sort_unstable();
    let told = async |after, limit| {
        let rows = store.unsettled_chats(after, limit).await.unwrap();
        rows.into_iter().map(|row| row.key).collect::<Vec<_>>()
    };
    assert_eq!(told(None, 10).await, expected);
    assert_eq!(told(None, 1).await, expected[..1]);
    assert_eq!(told(Some(expected[0]), 10).await, expected[1..]);
    let settled = Writes {
        update_chats: vec![row(1, 2, 5, 5)],
        ..Writes::default()
    };
    put(&*store, settled).await;
    assert_eq!(told(None, 10).await.len(), 2);
}

/// The totals add up the counts of all applications and chats; a stub is no application.
pub async fn totals_add_up_the_counts(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    assert_eq!(store.totals().await.unwrap(), Totals::default());
    let stub = ApplicationRow {
        presence: Presence::Stub,
        ..application_row(3)
    };
    let large = ChatRow {
        messages_count: u32::MAX,
        ..chat_row(chat(2, 1))
    };
    put(
        &*store,
        Writes {
            insert_applications: vec![application_row(1), application_row(2), stub],
            insert_chats: vec![chat_row(chat(1, 1)), large],
            ..Writes::default()
        },
    )
    .await;
    let totals = Totals {
        applications: 2,
        chats: 9,
        messages: u64::from(u32::MAX) + 5,
    };
    assert_eq!(store.totals().await.unwrap(), totals);
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
    put(
        &*store,
        Writes {
            put_keys: rows,
            ..Writes::default()
        },
    )
    .await;
    assert_eq!(store.forget_keys(time(2_001)).await.unwrap(), 2_000);
    assert_eq!(store.forget_keys(time(2_001)).await.unwrap(), 0);
    assert_eq!(store.key(key(2_000, 0).hash).await.unwrap(), None);
    assert!(store.key(key(2_001, 0).hash).await.unwrap().is_some());
}
