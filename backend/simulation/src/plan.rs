//! The plan of a history: what clients ask for, and which faults strike, all of it decided by one seed.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Milliseconds in which clients ask and faults strike.
pub const BUSY_MS: u64 = 8_000;

/// What one client asks for. Applications and chats are named by their rank; what does not exist yet when
/// its turn comes is passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Makes an application.
    CreateApplication {
        /// With an idempotency key of this name.
        key: Option<u32>,
    },
    /// Makes a chat.
    CreateChat {
        /// In which application.
        application: usize,
        /// With an idempotency key of this name.
        key: Option<u32>,
    },
    /// Makes messages.
    Send {
        /// In which chat.
        chat: usize,
        /// How many at once.
        lines: usize,
        /// With an idempotency key of this name; it is sent again until it is answered.
        key: Option<u32>,
    },
    /// Sends an acknowledged create with a key once more.
    Again {
        /// Which of them.
        nth: usize,
    },
    /// Changes a message.
    Edit {
        /// Which of the acknowledged ones.
        nth: usize,
    },
    /// Deletes a message.
    Delete {
        /// Which of the acknowledged ones.
        nth: usize,
    },
    /// Searches an application.
    Search {
        /// Which.
        application: usize,
    },
    /// Reads all pages of a chat.
    Page {
        /// Which.
        chat: usize,
    },
    /// Puts a record into the log that can never be applied.
    Poison {
        /// In the partition of this chat.
        chat: usize,
    },
    /// Orders a reconciliation of everything.
    Reconcile,
    /// Replays all dead letters.
    Replay,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A process is killed, and started again after so many milliseconds.
    Kill {
        /// Which.
        process: usize,
        /// How long it is away.
        away_ms: u64,
    },
    /// A process does nothing for a while.
    Pause {
        /// Which.
        process: usize,
        /// How long.
        span_ms: u64,
    },
    /// The clock of a process jumps.
    ClockJump {
        /// Which.
        process: usize,
        /// How far, in seconds.
        seconds: i64,
    },
    /// Partitions of a group move.
    Rebalance {
        /// Which, by rank.
        group: usize,
    },
    /// The store forgets its last commits.
    StoreForgets {
        /// How many.
        commits: usize,
    },
    /// The store does not answer for so many milliseconds.
    StoreDown(u64),
    /// The store takes no writes for so many milliseconds.
    StoreReadOnly(u64),
    /// A partition of messages loses its last records.
    LogLosesTail {
        /// Which.
        partition: u32,
        /// How many.
        records: usize,
    },
    /// The topic of messages is made anew, and empty.
    LogRecreated,
    /// The log does not answer for so many milliseconds.
    LogDown(u64),
    /// The log takes nothing, and says so, for so many milliseconds.
    LogFull(u64),
    /// Another server of the counters is promoted, with an older state.
    CountersFailOver {
        /// How much older.
        states: usize,
    },
    /// The counters go back in time, and nobody can know.
    CountersGoBack {
        /// How far.
        states: usize,
    },
    /// The counters lose everything.
    CountersEmpty,
    /// The counters lose some.
    CountersLose,
    /// Somebody sets counters lower by hand.
    CountersByHand,
    /// The counters evict keys.
    CountersEvict,
    /// The counters do not answer for so many milliseconds.
    CountersDown(u64),
    /// The index goes back to an older state.
    IndexRollsBack {
        /// How much older.
        states: usize,
    },
    /// The index is made anew, and empty.
    IndexEmpty,
    /// The index does not answer for so many milliseconds.
    IndexDown(u64),
    /// The index acknowledges and shows nothing new for so many milliseconds.
    IndexStuck(u64),
}

/// Probabilities of faults that strike single calls.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Noise {
    /// A change of the store whose outcome stays unknown.
    pub store_unknown: f64,
    /// An append that never arrives.
    pub append_lost: f64,
    /// An append that arrives late.
    pub append_late: f64,
    /// An append that arrives, and nobody is told.
    pub ack_lost: f64,
    /// An append that arrives twice.
    pub append_twice: f64,
    /// Records that are told again.
    pub told_twice: f64,
    /// A script whose outcome stays unknown.
    pub counters_unknown: f64,
    /// A script that runs twice.
    pub counters_twice: f64,
    /// A call of the index whose outcome stays unknown.
    pub index_unknown: f64,
}

/// Kinds of faults. A history has few of them, so that what fails can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Processes die and start again.
    Crashes,
    /// Processes stop for a while.
    Pauses,
    /// Clocks jump and differ.
    Clocks,
    /// Partitions move.
    Rebalances,
    /// The store forgets.
    StoreForgets,
    /// The store is away, read-only, or leaves outcomes unknown.
    StoreTrouble,
    /// The log loses records.
    LogLoses,
    /// The log is away, full, slow, or tells twice.
    LogTrouble,
    /// The counters lose what they know, in a way that can be noticed.
    CountersLose,
    /// The counters go back in a way that nobody can notice.
    CountersSilent,
    /// The counters are away, slow, or evict keys.
    CountersTrouble,
    /// The index loses documents.
    IndexLoses,
    /// The index is away or shows nothing new.
    IndexTrouble,
}

/// All families.
pub const FAMILIES: [Family; 13] = [
    Family::Crashes,
    Family::Pauses,
    Family::Clocks,
    Family::Rebalances,
    Family::StoreForgets,
    Family::StoreTrouble,
    Family::LogLoses,
    Family::LogTrouble,
    Family::CountersLose,
    Family::CountersSilent,
    Family::CountersTrouble,
    Family::IndexLoses,
    Family::IndexTrouble,
];

/// A whole history before it happens.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Decides everything that the plan leaves open.
    pub seed: u64,
    /// What clients ask for, and when, in milliseconds.
    pub ops: Vec<(u64, Op)>,
    /// What goes wrong, and when.
    pub faults: Vec<(u64, Fault)>,
    /// What goes wrong with single calls.
    pub noise: Noise,
    /// API processes.
    pub apis: usize,
    /// Worker processes, each with all groups.
    pub workers: usize,
    /// Seconds by which the clock of each process is ahead.
    pub skews: Vec<i64>,
}

impl Plan {
    /// The plan of a seed; `only` restricts the families of faults.
    #[must_use]
    pub fn new(seed: u64, only: Option<&BTreeSet<Family>>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x9e37_79b9_7f4a_7c15);
        let rng = &mut rng;
        let allowed: Vec<Family> = FAMILIES
            .into_iter()
            .filter(|family| only.is_none_or(|only| only.contains(family)))
            .collect();
        let count = rng.random_range(0..=allowed.len().min(3));
        let families: BTreeSet<Family> = match only {
            Some(_) => allowed.into_iter().collect(),
            None => allowed.choose_multiple(rng, count).copied().collect(),
        };
        let apis = rng.random_range(1..=2);
        let workers = rng.random_range(1..=2);
        let processes = apis + workers;
        let skewed = families.contains(&Family::Clocks);
        let skew = |rng: &mut StdRng| match skewed {
            true => rng.random_range(-3..=3),
            false => 0,
        };
        let skews = (0..processes).map(|_| skew(rng)).collect();
        let mut faults = Vec::new();
        for family in &families {
            for _ in 0..rng.random_range(1..=2) {
                let at = rng.random_range(500..BUSY_MS);
                faults.extend(fault(*family, processes, rng).map(|fault| (at, fault)));
            }
        }
        faults.sort_by_key(|(at, _)| *at);
        Self {
            seed,
            ops: ops(rng),
            faults,
            noise: noise(&families, rng),
            apis,
            workers,
            skews,
        }
    }
}

fn ops(rng: &mut StdRng) -> Vec<(u64, Op)> {
    let mut keys = 0;
    let mut key = |rng: &mut StdRng| {
        keys += 1;
        rng.random_bool(0.5).then_some(keys)
    };
    let mut ops = vec![
        (0, Op::CreateApplication { key: key(rng) }),
        (
            250,
            Op::CreateChat {
                application: 0,
                key: key(rng),
            },
        ),
    ];
    let count = rng.random_range(10..40);
    for _ in 0..count {
        let at = rng.random_range(400..BUSY_MS);
        let some = rng.random_range(0..4);
        let op = match rng.random_range(0..100_u32) {
            0..3 => Op::CreateApplication { key: key(rng) },
            3..11 => Op::CreateChat {
                application: some % 2,
                key: key(rng),
            },
            11..60 => Op::Send {
                chat: some,
                lines: match rng.random_bool(0.2) {
                    true => rng.random_range(2..5),
                    false => 1,
                },
                key: key(rng),
            },
            60..67 => Op::Again {
                nth: rng.random_range(0..20),
            },
            67..75 => Op::Edit {
                nth: rng.random_range(0..30),
            },
            75..80 => Op::Delete {
                nth: rng.random_range(0..30),
            },
            80..89 => Op::Search {
                application: some % 2,
            },
            89..95 => Op::Page { chat: some },
            95..97 => Op::Poison { chat: some },
            97..99 => Op::Reconcile,
            _ => Op::Replay,
        };
        ops.push((at, op));
    }
    ops.sort_by_key(|(at, _)| *at);
    ops
}

fn fault(family: Family, processes: usize, rng: &mut StdRng) -> Option<Fault> {
    let process = rng.random_range(0..processes);
    let span = rng.random_range(200..2_500);
    let few = rng.random_range(1..8);
    let which = rng.random_range(0..4_u32);
    Some(match (family, which) {
        (Family::Crashes, _) => Fault::Kill {
            process,
            away_ms: span,
        },
        (Family::Pauses, _) => Fault::Pause {
            process,
            span_ms: span * 2,
        },
        (Family::Clocks, 0) => Fault::ClockJump {
            process,
            seconds: 86_500,
        },
        (Family::Clocks, 1) => Fault::ClockJump {
            process,
            seconds: -86_500,
        },
        (Family::Clocks, _) => Fault::ClockJump {
            process,
            seconds: i64::from(which) * 20 - 50,
        },
        (Family::Rebalances, _) => Fault::Rebalance {
            group: which as usize,
        },
        (Family::StoreForgets, _) => Fault::StoreForgets {
            commits: rng.random_range(1..30),
        },
        (Family::StoreTrouble, 0..2) => Fault::StoreDown(span),
        (Family::StoreTrouble, _) => Fault::StoreReadOnly(span),
        (Family::LogLoses, 0) => Fault::LogRecreated,
        (Family::LogLoses, _) => Fault::LogLosesTail {
            partition: which % 2,
            records: few,
        },
        (Family::LogTrouble, 0..2) => Fault::LogDown(span),
        (Family::LogTrouble, 2) => Fault::LogFull(span),
        (Family::CountersLose, 0) => Fault::CountersEmpty,
        (Family::CountersLose, 1) => Fault::CountersLose,
        (Family::CountersLose, 2) => Fault::CountersByHand,
        (Family::CountersLose, _) => Fault::CountersFailOver { states: few },
        (Family::CountersSilent, _) => Fault::CountersGoBack { states: few },
        (Family::CountersTrouble, 0..2) => Fault::CountersDown(span),
        (Family::CountersTrouble, 2) => Fault::CountersEvict,
        (Family::IndexLoses, 0) => Fault::IndexEmpty,
        (Family::IndexLoses, _) => Fault::IndexRollsBack { states: few },
        (Family::IndexTrouble, 0) => Fault::IndexDown(span),
        (Family::IndexTrouble, 1) => Fault::IndexStuck(span),
        _ => return None,
    })
}

fn noise(families: &BTreeSet<Family>, rng: &mut StdRng) -> Noise {
    let mut noise = Noise::default();
    let level = [0.0, 0.01, 0.05][rng.random_range(0..3_usize)];
    if families.contains(&Family::StoreTrouble) {
        noise.store_unknown = level;
    }
    if families.contains(&Family::LogTrouble) {
        noise.append_lost = level;
        noise.append_late = level * 2.0;
        noise.ack_lost = level;
        noise.append_twice = level / 2.0;
        noise.told_twice = level * 2.0;
    }
    if families.contains(&Family::CountersTrouble) {
        noise.counters_unknown = level;
        noise.counters_twice = level / 2.0;
    }
    if families.contains(&Family::IndexTrouble) {
        noise.index_unknown = level;
    }
    noise
}
