//! Apply against a model: random events, generations, keys, redeliveries and batch splits. The result must
//! not depend on where batches were cut, and every create that may have been acknowledged must be somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chat_core::apply::{Batch, Decoded, Numbers, Outcome, Range, apply};
use chat_core::event::{Event, Line, MessageDeleted, MessageEdited, MessagesCreated, revision};
use chat_core::key::StoredKey;
use chat_core::port::log::{Group, PartitionId, Topic};
use chat_core::port::store::{State, Store};
use chat_simulation::plan::Noise;
use chat_simulation::store::SimStore;
use chat_simulation::world::{Incarnation, Link, World};
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::time::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

const TOKEN: AppToken = AppToken::from_bytes([1; 16]);
const PLACE: PartitionId = PartitionId {
    topic: Topic::Messages,
    index: 0,
};
/// Where numbers begin that are given out for creates without any.
const FREE: u32 = 1_000;

/// What stands in the log.
#[derive(Debug, Clone)]
enum Entry {
    Create {
        first: u32,
        lines: u32,
        generation: u32,
        key: Option<u8>,
    },
    Edit(u32),
    Delete(u32),
    /// An earlier create once more, as a producer sends it that does not know whether it arrived.
    Again(usize),
}

fn any_entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        6 => (1..8_u32, 1..4_u32, 1..4_u32, proptest::option::of(0..4_u8)).prop_map(
            |(first, lines, generation, key)| Entry::Create { first, lines, generation, key }
        ),
        2 => (1..10_u32).prop_map(Entry::Edit),
        1 => (1..10_u32).prop_map(Entry::Delete),
        2 => (0..20_usize).prop_map(Entry::Again),
    ]
}

fn line_uid(event: Uuid, nth: u32) -> Uuid {
    Uuid::from_u128(event.as_u128() + u128::from(nth))
}

/// The events, each with the uid of its record.
fn events(entries: &[Entry]) -> Vec<(Uuid, Event)> {
    let mut events: Vec<(Uuid, Event)> = Vec::new();
    let at = Timestamp::from_micros(1_000_000).unwrap();
    for (nth, entry) in entries.iter().enumerate() {
        let uid = Uuid::from_u128((nth as u128 + 1) << 64);
        let number = |number: u32| MessageNumber::new(number).unwrap();
        let event = match entry {
            Entry::Create {
                first,
                lines,
                generation,
                key,
            } => Event::MessagesCreated(MessagesCreated {
                application_token: TOKEN,
                chat_number: ChatNumber::FIRST,
                first: number(*first),
                created_at: at,
                generation: *generation,
                key: key.map(|key| StoredKey::new(Some(TOKEN), "m", &key.to_string(), b"")),
                messages: (0..*lines)
                    .map(|line| Line {
                        uid: line_uid(uid, line),
                        body: format!("{nth}.{line}"),
                        sender: None,
                        sent_at: None,
                    })
                    .collect(),
            }),
            Entry::Edit(target) => Event::MessageEdited(MessageEdited {
                application_token: TOKEN,
                chat_number: ChatNumber::FIRST,
                message_number: number(*target),
                body: format!("edit {nth}"),
                at,
            }),
            Entry::Delete(target) => Event::MessageDeleted(MessageDeleted {
                application_token: TOKEN,
                chat_number: ChatNumber::FIRST,
                message_number: number(*target),
                at,
            }),
            Entry::Again(which) => {
                let creates: Vec<(Uuid, Event)> = events
                    .iter()
                    .filter(|(_, event)| matches!(event, Event::MessagesCreated(_)))
                    .cloned()
                    .collect();
                if let Some(create) = creates.get(which % creates.len().max(1)) {
                    events.push(create.clone());
                }
                continue;
            }
        };
        events.push((uid, event));
    }
    events
}

/// What is stored in the end: by uid of the create, number, state and body. Numbers that were given out
/// anew depend on who asked first, so only that they are new is compared.
type Stored = BTreeMap<Option<Uuid>, BTreeSet<(u32, String, String)>>;

/// Applies all events, cut into batches of these sizes; after each batch some records are told again.
async fn stored(events: &[(Uuid, Event)], cuts: &[usize], back: usize) -> Stored {
    let world = World::new(1, Noise::default(), false);
    let store = SimStore {
        link: Link {
            world: Arc::clone(&world),
            process: Incarnation::new("test".to_owned(), 0),
        },
    };
    let (mut next, mut free, mut cut) = (0, FREE, cuts.iter().cycle());
    while next < events.len() {
        let first = next.saturating_sub(back);
        next = (next + cut.next().unwrap()).min(events.len());
        let records = (first..next).map(|offset| Decoded {
            offset: offset as u64,
            revision: revision(0, offset as u64),
            uid: events[offset].0,
            event: events[offset].1.clone(),
        });
        let batch = Batch {
            group: Group::MessagesStore,
            partition: PLACE,
            epoch: 0,
            first: first as u64,
            records: records.collect(),
            reserved: Vec::new(),
            touched: Vec::new(),
            next: next as u64,
            last_uid: Some(events[next - 1].0),
            seen: (first..next)
                .map(|offset| (offset as u64, events[offset].0))
                .collect(),
            newer: None,
        };
        let mut numbers = Numbers::new();
        loop {
            match apply(&store, std::slice::from_ref(&batch), &numbers)
                .await
                .unwrap()
            {
                Outcome::Applied(_) => break,
                Outcome::NeedsNumbers(homeless) => {
                    for one in homeless {
                        let range = Range {
                            first: free,
                            generation: 9,
                        };
                        free += one.count;
                        assert!(numbers.insert(one, range).is_none(), "asked for twice");
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
    check(&world, &store).await;
    world.with(|state| {
        let mut stored = Stored::new();
        for row in state.store.rows.messages.values() {
            let number = row.key.number.get().min(FREE);
            let one = (number, format!("{:?}", row.state), row.body.clone());
            stored.entry(row.uid).or_default().insert(one);
        }
        stored
    })
}

/// What every store must say of itself.
async fn check(world: &World, store: &SimStore) {
    let chat = chat_core::port::store::ChatKey {
        token: TOKEN,
        chat: ChatNumber::FIRST,
    };
    let Some(row) = store.chat(chat).await.unwrap() else {
        return;
    };
    world.with(|state| {
        let tally = state.store.rows.tally(chat);
        assert_eq!(u64::from(row.messages_count), tally.live);
        assert_eq!(row.highest, tally.highest);
    });
}

/// Lines that must be somewhere: those of every create, unless an earlier record of a higher generation has its
/// idempotency key and says the same. A create of a lower generation may have been acknowledged whatever else has
/// its number: counters can go back behind a recovery.
fn must_be_there(events: &[(Uuid, Event)]) -> BTreeMap<Uuid, String> {
    let creates = || {
        let all = events.iter().enumerate();
        all.filter_map(|(offset, (uid, event))| match event {
            Event::MessagesCreated(event) => Some((offset, *uid, event)),
            _ => None,
        })
    };
    let mut there = BTreeMap::new();
    for (offset, uid, event) in creates() {
        let is_outdone = creates().any(|(at, other, of)| {
            let same_key = of.key.is_some() && of.key == event.key;
            let is_higher = other != uid && of.generation > event.generation;
            is_higher && at < offset && same_key
        });
        if !is_outdone {
            let lines = event.messages.iter();
            there.extend(lines.map(|line| (line.uid, line.body.clone())));
        }
    }
    there
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_result_does_not_depend_on_batches_and_loses_no_acknowledged_create(
        entries in proptest::collection::vec(any_entry(), 1..24),
        cuts in proptest::collection::vec(1..6_usize, 1..5),
        back in 0..4_usize,
    ) {
        let events = events(&entries);
        prop_assume!(!events.is_empty());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let whole = runtime.block_on(async { stored(&events, &[events.len()], 0).await });
        let single = runtime.block_on(async { stored(&events, &[1], 0).await });
        let some = runtime.block_on(async { stored(&events, &cuts, back).await });
        prop_assert_eq!(&whole, &single);
        prop_assert_eq!(&whole, &some);
        for (uid, body) in must_be_there(&events) {
            let rows = whole.get(&Some(uid));
            prop_assert!(rows.is_some(), "{} was acknowledged and is not there: {:?}", body, whole);
            prop_assert_eq!(rows.unwrap().len(), 1, "{} is stored twice", body);
        }
        for rows in whole.values() {
            for (_, state, body) in rows {
                let is_void = *state == format!("{:?}", State::Void);
                prop_assert!(!is_void || !body.contains('.'), "a void row has a body");
            }
        }
    }
}
