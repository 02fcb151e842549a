//! What the rules of applying need of a store, told through them.

use std::collections::BTreeMap;

use chat_core::apply::{Batch, Numbers, Outcome, Range, apply, apply_verified, reserve};
use chat_core::event::{ChatCreated, Event, Line, MessagesCreated};
use chat_core::port::log::{Group, PartitionId, Record};
use chat_core::port::store::{ChatKey, ChatRow, Error, MessageRow, Presence, State, Store, Writes};
use chat_wire::ids::MessageNumber;
use uuid::Uuid;

use crate::fixture::Fixture;
use crate::sample::{application_row, chat, chat_row, message, message_row, time};
use crate::store::put;

/// Where the column `highest` denies a row that is there, a create is refused as a duplicate; looked at
/// again with the rows alone it is applied, and the column is right.
pub async fn a_wrong_highest_number_buries_nothing(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let chat = chat(1, 1);
    put(
        &*store,
        Writes {
            insert_applications: vec![application_row(1)],
            insert_chats: vec![ChatRow {
                messages_count: 3,
                highest: 1,
                settled_through: 3,
                ..chat_row(chat)
            }],
            insert_messages: (1..=3).map(|number| message_row(chat, number)).collect(),
            ..Writes::default()
        },
    )
    .await;
    // One that is there already, and one that is new.
    let known = message_row(chat, 3).uid.unwrap();
    let batch = batch(vec![
        create(chat, 3, known),
        create(chat, 4, Uuid::from_u128(44)),
    ]);
    let refused = apply(&*store, &batch, &Numbers::new()).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    let Ok(Outcome::Applied(report)) = apply_verified(&*store, &batch, &Numbers::new()).await
    else {
        panic!("it is not applied");
    };
    assert_eq!((report.created, report.repeated), (1, 1));
    let row = store.chat(chat).await.unwrap().unwrap();
    assert_eq!(
        (row.messages_count, row.highest, row.settled_through),
        (4, 4, 4)
    );
    assert_eq!(body(&*store, chat, 3).await.body, "body 3");
    assert_eq!(body(&*store, chat, 4).await.body, "created 4");
}

/// A create whose value cannot be read, and of which it is known what it was about, leaves void rows
/// with their uids, and a chat that reads as not stored yet.
pub async fn a_create_that_cannot_be_read_keeps_its_numbers(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let here = chat(1, 1);
    let uid = Uuid::from_u128(7);
    let mut damaged = create(here, 5, uid);
    damaged.headers.damaged = true;
    damaged.value = "damaged".into();
    let Ok(Outcome::Applied(_)) = apply(&*store, &batch(vec![damaged]), &Numbers::new()).await
    else {
        panic!("it is not applied");
    };
    let row = body(&*store, here, 5).await;
    assert_eq!((row.state, row.uid), (State::Void, Some(uid)));
    assert_eq!(store.chat(here).await.unwrap().unwrap().highest, 5);

    let other = chat(1, 2);
    let event = Event::ChatCreated(ChatCreated {
        application_token: other.token,
        chat_number: other.chat,
        created_at: time(0),
        generation: 1,
        key: None,
    });
    let mut damaged = record(Group::ChatsStore, 0, &event, uid);
    damaged.headers.damaged = true;
    let batch = Batch::decode(
        Group::ChatsStore,
        place(Group::ChatsStore),
        0,
        0,
        vec![damaged],
    );
    let (batch, poison) = batch;
    assert_eq!(poison.len(), 1);
    let Ok(Outcome::Applied(_)) = apply(&*store, &[batch], &Numbers::new()).await else {
        panic!("it is not applied");
    };
    assert_eq!(store.highest_chat(other.token).await.unwrap(), 2);
    let row = store.chat(other).await.unwrap().unwrap();
    assert_eq!(row.presence, Presence::Stub);
}

/// A store that went back to a time when the log was another one passes over nothing of this log: a batch tells
/// by the record that stands where the stored position says that its last one stood.
pub async fn a_batch_of_another_log_is_a_gap(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let here = chat(1, 1);
    let applied = create(here, 1, Uuid::from_u128(1));
    let Ok(Outcome::Applied(_)) =
        apply(&*store, &batch(vec![applied.clone()]), &Numbers::new()).await
    else {
        panic!("it is not applied");
    };
    let another = create(here, 1, Uuid::from_u128(2));
    let next = create(here, 2, Uuid::from_u128(3));
    // Told again together with the next one, or known only as what was before the next one.
    let overlapping = batch(vec![another.clone(), next.clone()]);
    let group = Group::MessagesStore;
    let (mut behind, _) = Batch::decode(group, place(group), 0, next.offset, vec![next.clone()]);
    behind.follow(Some(another.fingerprint()));
    for refused in [overlapping, [behind]] {
        let outcome = apply(&*store, &refused, &Numbers::new()).await.unwrap();
        assert!(
            matches!(&outcome, Outcome::Gaps(gaps) if !gaps[0].is_of_one_log),
            "{outcome:?}"
        );
    }
    assert_eq!(store.message(message(here, 2)).await.unwrap(), None);
    let (mut behind, _) = Batch::decode(group, place(group), 0, next.offset, vec![next]);
    behind.follow(Some(applied.fingerprint()));
    let outcome = apply(&*store, &[behind], &Numbers::new()).await.unwrap();
    assert!(matches!(outcome, Outcome::Applied(_)), "{outcome:?}");
}

/// A message whose number is given again in a higher generation makes way for the later one, and keeps its body
/// under another number; also once more.
pub async fn a_message_that_makes_way_is_not_lost(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let here = chat(1, 1);
    let mut free = 10;
    for (generation, number) in [(1, 1), (2, 1), (3, 10)] {
        let uid = Uuid::from_u128(generation.into());
        let event = created(here, number, uid, generation);
        let offset = u64::from(generation);
        let group = Group::MessagesStore;
        let records = vec![record(group, offset, &event, uid)];
        let (batch, _) = Batch::decode(group, place(group), 0, 0, records);
        let batch = [batch];
        let mut numbers = Numbers::new();
        loop {
            match apply(&*store, &batch, &numbers).await.unwrap() {
                Outcome::Applied(report) => {
                    assert_eq!(report.displaced.len(), usize::from(generation > 1));
                    break;
                }
                Outcome::NeedsNumbers(homeless) => {
                    for one in homeless {
                        assert!(one.is_displaced);
                        let range = Range {
                            first: free,
                            generation,
                        };
                        free += one.count;
                        assert!(numbers.insert(one, range).is_none());
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        // Told again, it changes nothing.
        let again = apply(&*store, &batch, &Numbers::new()).await.unwrap();
        assert!(matches!(again, Outcome::Applied(report) if report.displaced.is_empty()));
    }
    let mut places = BTreeMap::new();
    for number in [1, 10, 11] {
        let row = body(&*store, here, number).await;
        assert_eq!(row.state, State::Live);
        places.insert(row.uid.unwrap().as_u128(), number);
    }
    assert_eq!(places, BTreeMap::from([(1, 11), (2, 1), (3, 10)]));
    let moved = store.renumbered(here, Uuid::from_u128(1)).await.unwrap();
    assert_eq!(moved, Some(11));
}

/// Numbers that something else than log and store remembers are taken: their rows are void, and their chats known.
pub async fn reserved_numbers_are_not_free(fixture: &impl Fixture) {
    let store = fixture.open().await.store;
    let (known, unknown) = (chat(1, 1), chat(1, 9));
    let writes = Writes {
        insert_applications: vec![application_row(1)],
        insert_chats: vec![ChatRow {
            highest: 3,
            settled_through: 3,
            ..chat_row(known)
        }],
        insert_messages: (1..=3).map(|number| message_row(known, number)).collect(),
        ..Writes::default()
    };
    put(&*store, writes).await;
    let highest = BTreeMap::from([(known, 7), (unknown, 2)]);
    for written in [2, 0] {
        let reserved = reserve(&*store, &highest, time(1)).await.unwrap();
        assert_eq!(reserved, written);
        let row = store.chat(known).await.unwrap().unwrap();
        assert_eq!((row.highest, row.settled_through), (7, 3));
        let row = body(&*store, known, 7).await;
        assert_eq!((row.state, row.uid), (State::Void, None));
        assert_eq!(store.highest_chat(unknown.token).await.unwrap(), 9);
        let row = store.chat(unknown).await.unwrap().unwrap();
        assert_eq!((row.presence, row.highest), (Presence::Stub, 2));
    }
    let lower = BTreeMap::from([(known, 3)]);
    assert_eq!(reserve(&*store, &lower, time(1)).await.unwrap(), 0);
}

async fn body(store: &dyn Store, chat: ChatKey, number: u32) -> MessageRow {
    store.message(message(chat, number)).await.unwrap().unwrap()
}

fn create(chat: ChatKey, number: u32, uid: Uuid) -> Record {
    let event = created(chat, number, uid, 1);
    record(Group::MessagesStore, u64::from(number), &event, uid)
}

fn created(chat: ChatKey, number: u32, uid: Uuid, generation: u32) -> Event {
    Event::MessagesCreated(MessagesCreated {
        application_token: chat.token,
        chat_number: chat.chat,
        first: MessageNumber::new(number).unwrap(),
        created_at: time(0),
        generation,
        key: None,
        messages: vec![Line {
            uid,
            body: format!("created {number}"),
            sender: None,
            sent_at: None,
        }],
    })
}

fn record(group: Group, offset: u64, event: &Event, uid: Uuid) -> Record {
    let record = event.encode(uid);
    Record {
        partition: place(group),
        offset,
        appended_at: time(1),
        key: record.key,
        headers: record.headers,
        value: record.value,
    }
}

const fn place(group: Group) -> PartitionId {
    PartitionId {
        topic: group.topic(),
        index: 0,
    }
}

fn batch(records: Vec<Record>) -> [Batch; 1] {
    let group = Group::MessagesStore;
    let (batch, _) = Batch::decode(group, place(group), 0, 0, records);
    [batch]
}
