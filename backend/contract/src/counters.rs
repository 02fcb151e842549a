//! The promises of the counters.

use std::collections::BTreeSet;
use std::sync::Arc;

use chat_core::event::{ApplicationCreated, ChatCreated, Event, Line, MessagesCreated};
use chat_core::key::StoredKey;
use chat_core::port::Ports;
use chat_core::port::counters::{Counter, Counters, Error, Keyed, Take, Taken};
use chat_core::port::store::ChatKey;
use chat_wire::ids::MessageNumber;
use uuid::Uuid;

use crate::fixture::{Fixture, reopen};
use crate::sample::{chat, time, token};

/// Numbers begin at 1 and follow each other, however many are taken at once.
pub async fn numbers_begin_at_one_and_follow(fixture: &impl Fixture) {
    let counters = opened(fixture).await.counters;
    let chats = Counter::Chats(token(1));
    assert_eq!(counters.last(chats).await.unwrap(), Some(0));
    assert_eq!(granted(&*counters, chats, 1).await, 1);
    assert_eq!(granted(&*counters, chats, 1).await, 2);
    assert_eq!(counters.last(chats).await.unwrap(), Some(2));
    counters.open_chat(chat(1, 1)).await.unwrap();
    let messages = Counter::Messages(chat(1, 1));
    assert_eq!(counters.last(messages).await.unwrap(), Some(0));
    assert_eq!(granted(&*counters, messages, 1_000).await, 1);
    assert_eq!(granted(&*counters, messages, 1).await, 1_001);
    assert_eq!(granted(&*counters, messages, 2).await, 1_002);
    assert_eq!(counters.last(messages).await.unwrap(), Some(1_003));
}

/// Takes at the same time never share a number and leave none out.
pub async fn takes_at_once_share_nothing(fixture: &impl Fixture) {
    let counters = opened(fixture).await.counters;
    let tasks: Vec<_> = (1..=16)
        .map(|count| {
            let counters = Arc::clone(&counters);
            tokio::spawn(async move {
                let mut numbers = Vec::new();
                for _ in 0..25 {
                    let first = granted(&*counters, Counter::Chats(token(1)), count).await;
                    numbers.extend(first..first + count);
                }
                numbers
            })
        })
        .collect();
    let mut all = BTreeSet::new();
    for task in tasks {
        for number in task.await.unwrap() {
            assert!(all.insert(number), "{number} was given twice");
        }
    }
    let expected = 25 * (1..=16).sum::<u32>();
    assert!(all.into_iter().eq(1..=expected));
}

/// Each application and each chat has its own counter.
pub async fn counters_are_apart(fixture: &impl Fixture) {
    let counters = opened(fixture).await.counters;
    counters.open(token(2), None).await.unwrap();
    for application in [1, 2] {
        let chats = Counter::Chats(token(application));
        assert_eq!(granted(&*counters, chats, 2).await, 1);
        for number in [1, 2] {
            let chat = chat(application, number);
            counters.open_chat(chat).await.unwrap();
            assert_eq!(granted(&*counters, Counter::Messages(chat), 1).await, 1);
        }
    }
}

/// What is missing is unknown and never 0; a chat above the application's last is out of range.
pub async fn what_is_missing_is_not_zero(fixture: &impl Fixture) {
    let counters = fixture.open().await.counters;
    let chats = Counter::Chats(token(1));
    let messages = Counter::Messages(chat(1, 2));
    assert_eq!(counters.last(chats).await.unwrap(), None);
    assert_eq!(counters.last(messages).await.unwrap(), None);
    assert_eq!(take(&*counters, chats, None).await, Taken::Unknown(chats));
    assert_eq!(
        take(&*counters, messages, None).await,
        Taken::Unknown(chats)
    );
    counters.open(token(1), None).await.unwrap();
    assert_eq!(take(&*counters, messages, None).await, Taken::OutOfRange);
    granted(&*counters, chats, 1).await;
    assert_eq!(take(&*counters, messages, None).await, Taken::OutOfRange);
    granted(&*counters, chats, 1).await;
    assert_eq!(
        take(&*counters, messages, None).await,
        Taken::Unknown(messages)
    );
    assert_eq!(counters.last(messages).await.unwrap(), None);
}

/// Making a chat's counter leaves one that exists as it is.
pub async fn opening_a_chat_lowers_nothing(fixture: &impl Fixture) {
    let counters = opened(fixture).await.counters;
    let messages = with_chat(&*counters).await;
    granted(&*counters, messages, 5).await;
    counters.open_chat(chat(1, 1)).await.unwrap();
    assert_eq!(granted(&*counters, messages, 1).await, 6);
}

/// Restoring makes a counter known and raises it, and never lowers it.
pub async fn restoring_lowers_nothing(fixture: &impl Fixture) {
    let counters = fixture.open().await.counters;
    for counter in [Counter::Chats(token(1)), Counter::Messages(chat(1, 3))] {
        counters.restore(counter, 7, 1).await.unwrap();
        assert_eq!(counters.last(counter).await.unwrap(), Some(7));
        assert_eq!(granted(&*counters, counter, 1).await, 8);
        counters.restore(counter, 3, 1).await.unwrap();
        assert_eq!(granted(&*counters, counter, 1).await, 9);
        counters.restore(counter, 20, 1).await.unwrap();
        assert_eq!(granted(&*counters, counter, 1).await, 21);
    }
}

/// Numbers carry the generation of the last recovery, which only rises.
pub async fn the_generation_only_rises(fixture: &impl Fixture) {
    let counters = fixture.open().await.counters;
    let chats = Counter::Chats(token(1));
    counters.restore(chats, 1, 4).await.unwrap();
    assert_eq!(generation(&*counters, chats).await, 4);
    counters.restore(chats, 1, 2).await.unwrap();
    assert_eq!(generation(&*counters, chats).await, 4);
    counters.restore(chats, 1, 5).await.unwrap();
    assert_eq!(generation(&*counters, chats).await, 5);
    counters.open(token(2), None).await.unwrap();
    assert!(generation(&*counters, Counter::Chats(token(2))).await >= 1);
}

/// The last number that fits is given, and none after it; a run that does not fit takes nothing.
pub async fn numbers_do_not_wrap(fixture: &impl Fixture) {
    let counters = fixture.open().await.counters;
    for counter in [Counter::Chats(token(1)), Counter::Messages(chat(1, 1))] {
        counters.restore(counter, u32::MAX - 1, 1).await.unwrap();
        let two = Take {
            counter,
            count: 2,
            keyed: None,
        };
        assert!(matches!(counters.take(two).await, Err(Error::Exhausted)));
        assert_eq!(granted(&*counters, counter, 1).await, u32::MAX);
        let one = Take {
            counter,
            count: 1,
            keyed: None,
        };
        let error = counters.take(one).await.unwrap_err();
        assert!(matches!(error, Error::Exhausted) && !error.retryable());
        assert_eq!(counters.last(counter).await.unwrap(), Some(u32::MAX));
    }
}

/// No number that stands in the log, applied or not, is given again after a restart.
pub async fn no_number_is_given_again_after_a_restart(fixture: &impl Fixture) {
    let ports = opened(fixture).await;
    let chats = Counter::Chats(token(1));
    let messages = with_chat(&*ports.counters).await;
    append(&ports, application_created(None)).await;
    append(&ports, chat_created(1, None)).await;
    let number = granted(&*ports.counters, chats, 1).await;
    append(&ports, chat_created(number, None)).await;
    let first = granted(&*ports.counters, messages, 3).await;
    append(&ports, messages_created(chat(1, 1), first, 3, None)).await;

    let ports = reopen(fixture, ports).await;
    assert_eq!(recovered(&ports, chats).await, number + 1);
    assert_eq!(recovered(&ports, messages).await, first + 3);
    // A chat whose create stands in the log, and nothing else of it.
    assert_eq!(
        recovered(&ports, Counter::Messages(chat(1, number))).await,
        1
    );
}

/// The counters answer when they are asked whether they do.
pub async fn the_counters_answer(fixture: &impl Fixture) {
    fixture.open().await.counters.check().await.unwrap();
}

/// Ports where application 1 has its counter.
pub(crate) async fn opened(fixture: &impl Fixture) -> Ports {
    let ports = fixture.open().await;
    ports.counters.open(token(1), None).await.unwrap();
    ports
}

/// Makes chat 1 of application 1 and answers its counter.
pub(crate) async fn with_chat(counters: &dyn Counters) -> Counter {
    if counters.last(Counter::Chats(token(1))).await.unwrap() == Some(0) {
        granted(counters, Counter::Chats(token(1)), 1).await;
    }
    counters.open_chat(chat(1, 1)).await.unwrap();
    Counter::Messages(chat(1, 1))
}

pub(crate) async fn take(counters: &dyn Counters, counter: Counter, keyed: Option<Keyed>) -> Taken {
    let take = Take {
        counter,
        count: 1,
        keyed,
    };
    counters.take(take).await.unwrap()
}

pub(crate) async fn granted(counters: &dyn Counters, counter: Counter, count: u32) -> u32 {
    let take = Take {
        counter,
        count,
        keyed: None,
    };
    match counters.take(take).await.unwrap() {
        Taken::Granted { first, .. } => first,
        other => panic!("numbers were expected: {other:?}"),
    }
}

async fn generation(counters: &dyn Counters, counter: Counter) -> u32 {
    match take(counters, counter, None).await {
        Taken::Granted { generation, .. } => generation,
        other => panic!("a number was expected: {other:?}"),
    }
}

/// The next number, recovering as the rules do where the store alone is to be asked.
async fn recovered(ports: &Ports, counter: Counter) -> u32 {
    for _ in 0..3 {
        match take(&*ports.counters, counter, None).await {
            Taken::Granted { first, .. } => return first,
            Taken::Unknown(missing) => {
                let last = match missing {
                    Counter::Chats(token) => ports.store.highest_chat(token).await.unwrap(),
                    Counter::Messages(chat) => {
                        let row = ports.store.chat(chat).await.unwrap();
                        row.map_or(0, |row| row.highest)
                    }
                };
                ports.counters.restore(missing, last, 1).await.unwrap();
            }
            other => panic!("a number was expected: {other:?}"),
        }
    }
    panic!("the counter does not stay where it was restored")
}

pub(crate) async fn append(ports: &Ports, (uid, event): (Uuid, Event)) {
    ports
        .log
        .append(event.topic(), event.encode(uid))
        .await
        .unwrap();
}

fn uid_and_key(keyed: Option<Keyed>) -> (Uuid, Option<StoredKey>) {
    (
        keyed.map_or(Uuid::from_u128(1_000), |keyed| keyed.uid),
        keyed.map(|keyed| keyed.key),
    )
}

pub(crate) fn application_created(keyed: Option<Keyed>) -> (Uuid, Event) {
    let (uid, key) = uid_and_key(keyed);
    let event = ApplicationCreated {
        application_token: token(1),
        name: "one".into(),
        created_at: time(0),
        generation: 1,
        key,
    };
    (uid, Event::ApplicationCreated(event))
}

pub(crate) fn chat_created(number: u32, keyed: Option<Keyed>) -> (Uuid, Event) {
    let (uid, key) = uid_and_key(keyed);
    let event = ChatCreated {
        application_token: token(1),
        chat_number: chat(1, number).chat,
        created_at: time(0),
        generation: 1,
        key,
    };
    (uid, Event::ChatCreated(event))
}

pub(crate) fn messages_created(
    chat: ChatKey,
    first: u32,
    count: u32,
    keyed: Option<Keyed>,
) -> (Uuid, Event) {
    let (uid, key) = uid_and_key(keyed);
    let line = |nth: u32| Line {
        uid: Uuid::from_u128(uid.as_u128() + u128::from(nth)),
        body: format!("line {nth}"),
        sender: None,
        sent_at: None,
    };
    let event = MessagesCreated {
        application_token: chat.token,
        chat_number: chat.chat,
        first: MessageNumber::new(first).unwrap(),
        created_at: time(0),
        generation: 1,
        key,
        messages: (0..count).map(line).collect(),
    };
    (uid, Event::MessagesCreated(event))
}
