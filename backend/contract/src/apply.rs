//! What the rules of applying need of a store, told through them.

use chat_core::apply::{Batch, Numbers, Outcome, apply, apply_verified};
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

async fn body(store: &dyn Store, chat: ChatKey, number: u32) -> MessageRow {
    store.message(message(chat, number)).await.unwrap().unwrap()
}

fn create(chat: ChatKey, number: u32, uid: Uuid) -> Record {
    let event = Event::MessagesCreated(MessagesCreated {
        application_token: chat.token,
        chat_number: chat.chat,
        first: MessageNumber::new(number).unwrap(),
        created_at: time(0),
        generation: 1,
        key: None,
        messages: vec![Line {
            uid,
            body: format!("created {number}"),
            sender: None,
            sent_at: None,
        }],
    });
    record(Group::MessagesStore, u64::from(number), &event, uid)
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
