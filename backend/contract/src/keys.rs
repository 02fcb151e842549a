//! The promises of the counters about idempotency keys.

use std::sync::Arc;

use chat_core::key::StoredKey;
use chat_core::port::counters::{Counter, Counters, Grant, Keyed, Opened, Take, Taken};
use uuid::Uuid;

use crate::counters::{
    append, application_created, chat_created, granted, messages_created, opened, take, with_chat,
};
use crate::fixture::{Fixture, reopen, soon};
use crate::sample::{chat, key, token};

/// Longer than any test.
const LONG_MS: u64 = 600_000;
/// Over as soon as it is given.
const SHORT_MS: u64 = 1;

/// A key that was acknowledged repeats its answer and takes no number.
pub async fn a_key_repeats_its_answer(fixture: &impl Fixture) {
    let counters = opened(fixture).await.counters;
    for (nth, counter) in (1..).zip([Counter::Chats(token(1)), with_chat(&*counters).await]) {
        let first = keyed(key(nth, 1), 10 + nth, LONG_MS);
        let grant = granted_for(&*counters, counter, first).await;
        counters.acknowledge(token(1), first.key).await.unwrap();
        for _ in 0..2 {
            let again = keyed(key(nth, 1), 99, LONG_MS);
            assert_eq!(
                take(&*counters, counter, Some(again)).await,
                Taken::Repeat(grant)
            );
        }
        let last = grant.first + grant.count - 1;
        assert_eq!(counters.last(counter).await.unwrap(), Some(last));
        assert_eq!(granted(&*counters, counter, 1).await, last + 1);
    }
}

/// A run of numbers is repeated as a whole.
pub async fn a_key_repeats_a_run(fixture: &impl Fixture) {
    let counters = opened(fixture).await.counters;
    let counter = with_chat(&*counters).await;
    granted(&*counters, counter, 4).await;
    let keyed = keyed(key(1, 1), 5, LONG_MS);
    let run = Take {
        counter,
        count: 250,
        keyed: Some(keyed),
    };
    let Taken::Granted {
        first: 5,
        generation,
    } = counters.take(run).await.unwrap()
    else {
        panic!("the run begins at 5")
    };
    counters.acknowledge(token(1), keyed.key).await.unwrap();
    let grant = Grant {
        first: 5,
        count: 250,
        uid: keyed.uid,
        generation,
    };
    assert_eq!(counters.take(run).await.unwrap(), Taken::Repeat(grant));
}

/// A key that is under way says so until its lease is over, and takes no number.
pub async fn a_key_is_in_flight_until_its_lease_ends(fixture: &impl Fixture) {
    let counters = opened(fixture).await.counters;
    let counter = with_chat(&*counters).await;
    granted_for(&*counters, counter, keyed(key(1, 1), 5, LONG_MS)).await;
    for _ in 0..3 {
        let again = keyed(key(1, 1), 6, SHORT_MS);
        assert_eq!(
            take(&*counters, counter, Some(again)).await,
            Taken::InFlight
        );
    }
    assert_eq!(counters.last(counter).await.unwrap(), Some(1));
}

/// A key whose event is certainly not in the log is released: the next retry resumes at once. The key of
/// another event, and one that was acknowledged, stays as it is.
pub async fn a_released_key_resumes_at_once(fixture: &impl Fixture) {
    let counters = opened(fixture).await.counters;
    let counter = with_chat(&*counters).await;
    let first = keyed(key(1, 1), 5, LONG_MS);
    let grant = granted_for(&*counters, counter, first).await;
    let other = Grant {
        uid: Uuid::from_u128(6),
        ..grant
    };
    counters.release(token(1), first.key, other).await.unwrap();
    let retry = keyed(key(1, 1), 7, LONG_MS);
    assert_eq!(
        take(&*counters, counter, Some(retry)).await,
        Taken::InFlight
    );
    counters.release(token(1), first.key, grant).await.unwrap();
    assert_eq!(
        settled(&*counters, counter, retry).await,
        Taken::Resume(grant)
    );
    assert_eq!(
        take(&*counters, counter, Some(retry)).await,
        Taken::InFlight
    );
    counters.acknowledge(token(1), first.key).await.unwrap();
    counters.release(token(1), first.key, grant).await.unwrap();
    assert_eq!(
        take(&*counters, counter, Some(retry)).await,
        Taken::Repeat(grant)
    );
}

/// When the lease is over the same event may be appended again, by one retry at a time.
pub async fn a_key_resumes_when_its_lease_is_over(fixture: &impl Fixture) {
    let counters = opened(fixture).await.counters;
    let counter = with_chat(&*counters).await;
    let grant = granted_for(&*counters, counter, keyed(key(1, 1), 5, SHORT_MS)).await;
    let retry = keyed(key(1, 1), 6, LONG_MS);
    let resumed = settled(&*counters, counter, retry).await;
    assert_eq!(resumed, Taken::Resume(grant));
    // That renewed the lease.
    assert_eq!(
        take(&*counters, counter, Some(retry)).await,
        Taken::InFlight
    );
    counters.acknowledge(token(1), retry.key).await.unwrap();
    assert_eq!(
        take(&*counters, counter, Some(retry)).await,
        Taken::Repeat(grant)
    );
    assert_eq!(counters.last(counter).await.unwrap(), Some(1));
}

/// A lease of an earlier generation goes on in the counter's own: an event of the earlier one would lose against
/// any other. Numbers that the recovery found taken are the key's still.
pub async fn a_key_resumes_in_the_generation_of_its_counter(fixture: &impl Fixture) {
    let counters = opened(fixture).await.counters;
    let counter = with_chat(&*counters).await;
    let grant = granted_for(&*counters, counter, keyed(key(1, 1), 5, SHORT_MS)).await;
    let last = granted(&*counters, counter, 1).await;
    let generation = grant.generation + 1;
    counters.restore(counter, last, generation).await.unwrap();
    let retry = keyed(key(1, 1), 6, LONG_MS);
    let resumed = settled(&*counters, counter, retry).await;
    let current = Grant {
        generation,
        ..grant
    };
    assert_eq!(resumed, Taken::Resume(current));
    counters.acknowledge(token(1), retry.key).await.unwrap();
    let again = take(&*counters, counter, Some(retry)).await;
    assert_eq!(again, Taken::Repeat(current));
}

/// Of many retries at once one goes on, the others see it under way.
pub async fn one_retry_at_a_time_goes_on(fixture: &impl Fixture) {
    let counters = opened(fixture).await.counters;
    let tasks: Vec<_> = (0..16)
        .map(|nth| {
            let counters = Arc::clone(&counters);
            let keyed = keyed(key(1, 1), nth, LONG_MS);
            tokio::spawn(
                async move { take(&*counters, Counter::Chats(token(1)), Some(keyed)).await },
            )
        })
        .collect();
    let mut granted = 0;
    for task in tasks {
        match task.await.unwrap() {
            Taken::Granted { .. } => granted += 1,
            other => assert_eq!(other, Taken::InFlight),
        }
    }
    assert_eq!(granted, 1);
    assert_eq!(
        counters.last(Counter::Chats(token(1))).await.unwrap(),
        Some(1)
    );
}

/// A key with another body is refused, in flight or answered, and takes no number.
pub async fn a_key_has_one_body(fixture: &impl Fixture) {
    let counters = opened(fixture).await.counters;
    let counter = with_chat(&*counters).await;
    let first = keyed(key(1, 1), 5, LONG_MS);
    granted_for(&*counters, counter, first).await;
    let other = keyed(key(1, 2), 6, LONG_MS);
    assert_eq!(
        take(&*counters, counter, Some(other)).await,
        Taken::OtherBody
    );
    counters.acknowledge(token(1), first.key).await.unwrap();
    assert_eq!(
        take(&*counters, counter, Some(other)).await,
        Taken::OtherBody
    );
    assert_eq!(counters.last(counter).await.unwrap(), Some(1));
}

/// Different keys get different numbers, also for equal bodies.
pub async fn keys_are_apart(fixture: &impl Fixture) {
    let counters = opened(fixture).await.counters;
    let counter = with_chat(&*counters).await;
    let first = granted_for(&*counters, counter, keyed(key(1, 7), 5, LONG_MS)).await;
    let second = granted_for(&*counters, counter, keyed(key(2, 7), 6, LONG_MS)).await;
    assert_eq!((first.first, second.first), (1, 2));
}

/// After a recovery the store is asked before a key is taken for new.
pub async fn a_recovered_application_asks_the_store(fixture: &impl Fixture) {
    let counters = fixture.open().await.counters;
    let counter = Counter::Chats(token(1));
    counters.restore(counter, 5, 1).await.unwrap();
    let first = keyed(key(1, 1), 5, LONG_MS);
    assert_eq!(
        take(&*counters, counter, Some(first)).await,
        Taken::AskStore
    );
    assert_eq!(counters.last(counter).await.unwrap(), Some(5));
    let asked = Keyed {
        absent_in_store: true,
        ..first
    };
    let taken = take(&*counters, counter, Some(asked)).await;
    assert!(
        matches!(taken, Taken::Granted { first: 6, .. }),
        "{taken:?}"
    );
}

/// An answer that recovery found in the log is repeated.
pub async fn a_restored_key_repeats(fixture: &impl Fixture) {
    let counters = opened(fixture).await.counters;
    let counter = with_chat(&*counters).await;
    let grant = Grant {
        first: 3,
        count: 2,
        uid: Uuid::from_u128(8),
        generation: 1,
    };
    counters
        .restore_key(token(1), key(1, 1), grant)
        .await
        .unwrap();
    let again = keyed(key(1, 1), 9, LONG_MS);
    assert_eq!(
        take(&*counters, counter, Some(again)).await,
        Taken::Repeat(grant)
    );
    let other = keyed(key(1, 2), 9, LONG_MS);
    assert_eq!(
        take(&*counters, counter, Some(other)).await,
        Taken::OtherBody
    );
}

/// Restoring a key replaces the same event's answer, which may have moved, and another event's only
/// from a later generation.
pub async fn a_restored_key_replaces_its_own_answer(fixture: &impl Fixture) {
    let counters = opened(fixture).await.counters;
    let counter = with_chat(&*counters).await;
    let first = keyed(key(1, 1), 5, LONG_MS);
    let grant = granted_for(&*counters, counter, first).await;
    counters.acknowledge(token(1), first.key).await.unwrap();
    let moved = Grant { first: 40, ..grant };
    let other = Grant {
        first: 50,
        uid: Uuid::from_u128(6),
        ..grant
    };
    let later = Grant {
        generation: grant.generation + 1,
        ..other
    };
    for (restored, answer) in [(moved, moved), (other, moved), (later, later)] {
        counters
            .restore_key(token(1), first.key, restored)
            .await
            .unwrap();
        assert_eq!(
            take(&*counters, counter, Some(first)).await,
            Taken::Repeat(answer)
        );
    }
}

/// A create of an application keeps its key's answer as any other create does.
pub async fn an_application_repeats_its_key(fixture: &impl Fixture) {
    let counters = fixture.open().await.counters;
    let first = keyed(key(1, 1), 5, SHORT_MS);
    let opened = open(&*counters, 1, first).await;
    let Opened::Granted { generation } = opened else {
        panic!("the first is granted: {opened:?}")
    };
    let retry = keyed(key(1, 1), 6, LONG_MS);
    let resumed = soon("the lease is over", async {
        loop {
            match open(&*counters, 2, retry).await {
                Opened::InFlight => tokio::task::yield_now().await,
                other => return other,
            }
        }
    })
    .await;
    let expected = Opened::Resume {
        token: token(1),
        uid: first.uid,
        generation,
    };
    assert_eq!(resumed, expected);
    assert_eq!(open(&*counters, 2, retry).await, Opened::InFlight);
    let other = keyed(key(1, 2), 6, LONG_MS);
    assert_eq!(open(&*counters, 2, other).await, Opened::OtherBody);
    counters.acknowledge(token(1), retry.key).await.unwrap();
    assert_eq!(open(&*counters, 2, retry).await, Opened::Repeat(token(1)));
    assert_eq!(
        counters.last(Counter::Chats(token(1))).await.unwrap(),
        Some(0)
    );
    assert_eq!(counters.last(Counter::Chats(token(2))).await.unwrap(), None);
}

/// A key whose event stands in the log, applied or not, repeats its answer after a restart.
pub async fn keys_in_the_log_survive_a_restart(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let opening = keyed(key(1, 1), 1, LONG_MS);
    open(&*ports.counters, 1, opening).await;
    append(&ports, application_created(Some(opening))).await;
    let chats = Counter::Chats(token(1));
    let create = keyed(key(2, 1), 2, LONG_MS);
    let chat_grant = granted_for(&*ports.counters, chats, create).await;
    append(&ports, chat_created(chat_grant.first, Some(create))).await;
    ports.counters.open_chat(chat(1, 1)).await.unwrap();
    let send = keyed(key(3, 1), 3, LONG_MS);
    let messages = Counter::Messages(chat(1, 1));
    let take_two = Take {
        counter: messages,
        count: 2,
        keyed: Some(send),
    };
    let taken = ports.counters.take(take_two).await.unwrap();
    assert!(
        matches!(taken, Taken::Granted { first: 1, .. }),
        "{taken:?}"
    );
    append(&ports, messages_created(chat(1, 1), 1, 2, Some(send))).await;
    for key in [opening.key, create.key, send.key] {
        ports.counters.acknowledge(token(1), key).await.unwrap();
    }

    let ports = reopen(fixture, ports).await;
    let counters = &*ports.counters;
    assert_eq!(open(counters, 2, opening).await, Opened::Repeat(token(1)));
    assert_eq!(
        take(counters, chats, Some(create)).await,
        Taken::Repeat(chat_grant)
    );
    let Taken::Repeat(grant) = counters.take(take_two).await.unwrap() else {
        panic!("the batch is repeated")
    };
    assert_eq!((grant.first, grant.count, grant.uid), (1, 2, send.uid));
}

fn keyed(key: StoredKey, uid: u128, lease_ms: u64) -> Keyed {
    Keyed {
        key,
        uid: Uuid::from_u128(uid),
        lease_ms,
        absent_in_store: false,
    }
}

/// Takes, looking in the store (which knows nothing) where that is asked for.
async fn settled(counters: &dyn Counters, counter: Counter, mut keyed: Keyed) -> Taken {
    soon("the key is decided", async {
        loop {
            match take(counters, counter, Some(keyed)).await {
                Taken::AskStore => keyed.absent_in_store = true,
                Taken::InFlight => tokio::task::yield_now().await,
                other => return other,
            }
        }
    })
    .await
}

async fn granted_for(counters: &dyn Counters, counter: Counter, keyed: Keyed) -> Grant {
    match settled(counters, counter, keyed).await {
        Taken::Granted { first, generation } => Grant {
            first,
            count: 1,
            uid: keyed.uid,
            generation,
        },
        other => panic!("a number was expected: {other:?}"),
    }
}

async fn open(counters: &dyn Counters, application: u8, mut keyed: Keyed) -> Opened {
    let opened = counters
        .open(token(application), Some(keyed))
        .await
        .unwrap();
    if opened != Opened::AskStore {
        return opened;
    }
    keyed.absent_in_store = true;
    counters
        .open(token(application), Some(keyed))
        .await
        .unwrap()
}
