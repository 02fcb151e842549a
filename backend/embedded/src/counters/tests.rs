//! The state machine, alone: no sequence of calls lowers a counter or gives a number twice.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use chat_core::key::{KeyHash, StoredKey};
use chat_core::port::counters::{Counter, Error, Grant, Keyed, Opened, Take, Taken};
use chat_core::port::store::ChatKey;
use chat_wire::ids::{AppToken, ChatNumber};
use proptest::prelude::*;
use uuid::Uuid;

use super::state::{Horizon, KEYS_KEPT, Mark, State};

/// A log that grows by hand.
#[derive(Default)]
struct Log {
    end: u64,
    applied: u64,
}

impl Horizon for Log {
    fn end(&self) -> Mark {
        [self.end; 3]
    }

    fn applied(&self, mark: &Mark) -> bool {
        mark.iter().all(|mark| self.applied >= *mark)
    }
}

const LEASE: Duration = Duration::from_secs(10);

fn token(nth: u8) -> AppToken {
    AppToken::from_bytes([nth; 16])
}

fn chat(application: u8, number: u32) -> ChatKey {
    ChatKey {
        token: token(application),
        chat: ChatNumber::new(number).unwrap(),
    }
}

fn counter(application: u8, number: u32) -> Counter {
    match number {
        0 => Counter::Chats(token(application)),
        number => Counter::Messages(chat(application, number)),
    }
}

fn key(nth: u128) -> StoredKey {
    StoredKey {
        hash: KeyHash::from_bytes(nth.to_be_bytes()),
        body_hash: KeyHash::from_bytes([0; 16]),
    }
}

fn keyed(nth: u128, uid: u128) -> Keyed {
    Keyed {
        key: key(nth),
        uid: Uuid::from_u128(uid),
        lease_ms: 10_000,
        absent_in_store: true,
    }
}

/// One call. Applications, chats and keys are few, so that calls meet.
#[derive(Debug, Clone)]
enum Call {
    Open(u8),
    OpenChat(u8, u32),
    Take {
        of: (u8, u32),
        count: u32,
        key: Option<u128>,
    },
    Acknowledge(u128),
    Restore {
        of: (u8, u32),
        last: u32,
        generation: u32,
    },
    Forget,
    Wait,
    Apply,
}

fn call() -> impl Strategy<Value = Call> {
    let of = || (0..2_u8, 0..3_u32);
    let last = prop_oneof![0..20_u32, u32::MAX - 3..=u32::MAX];
    prop_oneof![
        (0..2_u8).prop_map(Call::Open),
        (0..2_u8, 1..3_u32).prop_map(|(application, chat)| Call::OpenChat(application, chat)),
        (of(), 1..5_u32, proptest::option::of(0..4_u128)).prop_map(|(of, count, key)| Call::Take {
            of,
            count,
            key
        }),
        (of(), 1..5_u32).prop_map(|(of, count)| Call::Take {
            of,
            count,
            key: None
        }),
        (0..4_u128).prop_map(Call::Acknowledge),
        (of(), last, 0..4_u32).prop_map(|(of, last, generation)| Call::Restore {
            of,
            last,
            generation
        }),
        Just(Call::Forget),
        Just(Call::Wait),
        Just(Call::Apply),
    ]
}

/// What every sequence of calls must keep.
#[derive(Default)]
struct Witness {
    given: HashSet<(Counter, u32)>,
    last: HashMap<Counter, u32>,
    generation: HashMap<AppToken, u32>,
    /// The last answer of each key.
    answers: HashMap<u128, (Counter, Grant)>,
    /// The keys that must still be remembered.
    held: HashSet<u128>,
    /// Where the log ended when a key was first acknowledged.
    marks: HashMap<u128, u64>,
}

impl Witness {
    fn granted(&mut self, of: Counter, grant: Grant) {
        for number in grant.first..=grant.first + (grant.count - 1) {
            assert!(self.given.insert((of, number)), "{number} was given twice");
        }
        let generation = self.generation.entry(of.token()).or_default();
        assert!(*generation <= grant.generation);
        *generation = grant.generation;
    }

    fn look(&mut self, state: &State) {
        for of in (0..2).flat_map(|application| (0..3).map(move |n| counter(application, n))) {
            let last = state.last(of);
            if let Some(before) = self.last.get(&of) {
                assert!(
                    last >= Some(*before),
                    "a counter went down or was forgotten"
                );
            }
            if let Some(last) = last {
                self.last.insert(of, last);
            }
        }
    }
}

fn run(calls: &[Call]) {
    let mut state = State::default();
    let mut log = Log::default();
    let mut now = Instant::now();
    let mut witness = Witness::default();
    for (uid, call) in (1..).zip(calls) {
        match *call {
            Call::Open(application) => {
                state.open(token(application), None, now, &log).unwrap();
            }
            Call::OpenChat(application, number) => state.open_chat(chat(application, number)),
            Call::Take {
                of: (application, number),
                count,
                key,
            } => {
                let counter = counter(application, number);
                // A key belongs to one path, so to one counter.
                let name =
                    key.map(|key| key * 10 + u128::from(application) * 3 + u128::from(number));
                let keyed = name.map(|name| keyed(name, uid));
                let take = Take {
                    counter,
                    count,
                    keyed,
                };
                match state.take(&take, now, &log) {
                    Ok(Taken::Granted { first, generation }) => {
                        let uid = keyed.map_or(Uuid::nil(), |keyed| keyed.uid);
                        let grant = Grant {
                            first,
                            count,
                            uid,
                            generation,
                        };
                        witness.granted(counter, grant);
                        if let Some(name) = name {
                            witness.answers.insert(name, (counter, grant));
                            let new = witness.held.insert(name);
                            assert!(new, "a key that is remembered took a number");
                        }
                    }
                    Ok(Taken::Repeat(grant) | Taken::Resume(grant)) => {
                        let (of, known) = witness.answers.get_mut(&name.unwrap()).unwrap();
                        // A lease that goes on does so in the generation of its counter.
                        assert!(grant.generation >= known.generation);
                        known.generation = grant.generation;
                        assert_eq!((*of, *known), (counter, grant));
                    }
                    Ok(_) | Err(Error::Exhausted) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Call::Acknowledge(key) => {
                log.end += 1;
                for name in key * 10..key * 10 + 6 {
                    state.acknowledge(self::key(name), &log);
                    if witness.held.contains(&name) {
                        witness.marks.entry(name).or_insert(log.end);
                    }
                }
            }
            Call::Restore {
                of: (application, number),
                last,
                generation,
            } => {
                state.restore(counter(application, number), last, generation);
            }
            Call::Forget => {
                now += Duration::from_secs(24 * 60 * 60);
                state.forget(now, &log, 1_000);
                // What is in the store may have gone, and the store answers from now on.
                let Witness { held, marks, .. } = &mut witness;
                held.retain(|name| *marks.get(name).unwrap_or(&log.end) > log.applied);
                marks.retain(|name, _| held.contains(name));
            }
            Call::Wait => now += LEASE,
            Call::Apply => log.applied = log.end,
        }
        witness.look(&state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn no_number_is_given_twice(calls in proptest::collection::vec(call(), 1..60)) {
        run(&calls);
    }
}

/// A state with application 0 and its counter.
fn opened() -> (State, Log, Instant) {
    let (mut state, log, now) = (State::default(), Log::default(), Instant::now());
    state.open(token(0), None, now, &log).unwrap();
    (state, log, now)
}

fn take(state: &mut State, keyed: Keyed, now: Instant, log: &Log) -> Taken {
    let take = Take {
        counter: counter(0, 0),
        count: 1,
        keyed: Some(keyed),
    };
    state.take(&take, now, log).unwrap()
}

#[test]
fn keys_go_only_when_the_store_has_them() {
    let (mut state, mut log, now) = opened();
    let asking = |nth| Keyed {
        absent_in_store: false,
        ..keyed(nth, nth)
    };
    let kept = u128::try_from(KEYS_KEPT).unwrap();
    for nth in 0..kept {
        let taken = take(&mut state, asking(nth), now, &log);
        assert!(matches!(taken, Taken::Granted { .. }), "{taken:?}");
        log.end += 1;
        state.acknowledge(key(nth), &log);
    }
    // Nothing is applied: the first one stays, however many come.
    for nth in kept..kept + 100 {
        let taken = take(&mut state, asking(nth), now, &log);
        assert!(matches!(taken, Taken::Granted { .. }), "{taken:?}");
    }
    let first = take(&mut state, asking(0), now, &log);
    assert!(
        matches!(first, Taken::Repeat(Grant { first: 1, .. })),
        "{first:?}"
    );
    // Once all is applied the oldest go, and from then on the store is asked.
    log.applied = log.end;
    let next = kept + 100;
    let taken = take(&mut state, asking(next), now, &log);
    assert!(matches!(taken, Taken::Granted { .. }), "{taken:?}");
    let gone =
        (0..kept).find(|nth| matches!(take(&mut state, asking(*nth), now, &log), Taken::AskStore));
    assert!(gone.is_some());
    let unknown = take(&mut state, asking(next + 1), now, &log);
    assert_eq!(unknown, Taken::AskStore);
}

#[test]
fn a_key_lives_for_a_day() {
    let (mut state, mut log, start) = opened();
    let mut now = start;
    take(&mut state, keyed(1, 1), now, &log);
    log.end = 1;
    state.acknowledge(key(1), &log);
    log.applied = 1;
    now += Duration::from_secs(24 * 60 * 60 - 1);
    state.forget(now, &log, 10);
    let taken = take(&mut state, keyed(1, 2), now, &log);
    assert!(matches!(taken, Taken::Repeat(_)), "{taken:?}");
    now += Duration::from_secs(1);
    state.forget(now, &log, 10);
    let taken = take(&mut state, keyed(1, 3), now, &log);
    assert!(
        matches!(taken, Taken::Granted { first: 2, .. }),
        "{taken:?}"
    );
}

#[test]
fn an_unkeyed_open_twice_keeps_the_counter() {
    let (mut state, log, now) = opened();
    take(&mut state, keyed(1, 1), now, &log);
    let again = state.open(token(0), None, now, &log).unwrap();
    assert_eq!(again, Opened::Granted { generation: 1 });
    assert_eq!(state.last(counter(0, 0)), Some(1));
}

#[test]
fn the_last_numbers_of_all_survive_a_recovery() {
    let (mut state, log) = (State::default(), Log::default());
    let chats = counter(1, 0);
    state.restore(chats, u32::MAX - 2, 1);
    let take = Take {
        counter: chats,
        count: 2,
        keyed: Some(keyed(1, 1)),
    };
    let began = Instant::now();
    let taken = state.take(&take, began, &log).unwrap();
    let (first, generation) = (u32::MAX - 1, 1);
    assert_eq!(taken, Taken::Granted { first, generation });
    // The counter never goes down, so what it gave out is below where it is recovered.
    state.restore(chats, u32::MAX - 2, 2);
    let resumed = state.take(&take, began + LEASE, &log).unwrap();
    let grant = Grant {
        first,
        count: 2,
        uid: Uuid::from_u128(1),
        generation: 2,
    };
    assert_eq!(resumed, Taken::Resume(grant));
}

#[test]
fn an_application_is_resumed_in_the_generation_of_its_counter() {
    let (mut state, log) = (State::default(), Log::default());
    let began = Instant::now();
    let opened = state.open(token(1), Some(keyed(1, 1)), began, &log);
    assert_eq!(opened.unwrap(), Opened::Granted { generation: 1 });
    state.restore(counter(1, 0), 0, 2);
    let resumed = state.open(token(1), Some(keyed(1, 2)), began + LEASE, &log);
    let resume = Opened::Resume {
        token: token(1),
        uid: Uuid::from_u128(1),
        generation: 2,
    };
    assert_eq!(resumed.unwrap(), resume);
}
