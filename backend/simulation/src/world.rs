//! The simulated world: the state of the engines, the faults that are in force, time and chance.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chat_core::clock::{Clock, IdSource};
use chat_wire::ids::AppToken;
use chat_wire::time::Timestamp;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use crate::counters::CountersState;
use crate::index::IndexState;
use crate::log::LogState;
use crate::plan::Noise;
use crate::rows::StoreState;

/// How long a create may take from its number to its acknowledgement.
pub const CREATE_DEADLINE: Duration = Duration::from_secs(1);
/// Microseconds since 1970 at which every history begins: 2026-01-01T00:00:00Z.
const EPOCH_MICROS: i64 = 1_767_225_600_000_000;

/// Everything that is outside of the processes.
#[derive(Debug)]
pub struct State {
    /// Chance; consumed by every call, so its order is the order of the history.
    pub rng: StdRng,
    /// Rows and positions.
    pub store: StoreState,
    /// Records.
    pub log: LogState,
    /// Numbers.
    pub counters: CountersState,
    /// Documents.
    pub index: IndexState,
    /// Faults that strike single calls.
    pub noise: Noise,
    /// What happened, in words, where somebody reads it.
    trace: Option<Vec<String>>,
    /// Folds every step, so that two runs of one seed can be compared.
    pub digest: u64,
}

/// The world, shared by all processes.
pub struct World {
    state: Mutex<State>,
    began: Instant,
    /// Told when records came or members changed.
    pub news: Notify,
    ids: AtomicU64,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl World {
    /// A world in which nothing has happened. Must be called within a runtime whose time is paused.
    #[must_use]
    pub fn new(seed: u64, noise: Noise, traced: bool) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                rng: StdRng::seed_from_u64(seed),
                store: StoreState::default(),
                log: LogState::new(seed),
                counters: CountersState::default(),
                index: IndexState::default(),
                noise,
                trace: traced.then(Vec::new),
                digest: seed,
            }),
            began: Instant::now(),
            news: Notify::new(),
            ids: AtomicU64::new(1),
        })
    }

    /// Looks at the state and changes it, as one step that nobody sees half of.
    pub fn with<T>(&self, step: impl FnOnce(&mut State) -> T) -> T {
        step(&mut self.state.lock())
    }

    /// Time since the history began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The time by a clock that nobody has touched.
    #[must_use]
    pub fn true_time(&self) -> Timestamp {
        shifted(self.elapsed(), 0)
    }

    /// Notes what happened; `what` is asked for only where somebody reads it.
    pub fn note(&self, who: &str, what: impl FnOnce() -> String) {
        let elapsed = self.elapsed();
        self.with(|state| state.note(elapsed, who, what));
    }

    /// What happened, in order.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.with(|state| state.trace.clone().unwrap_or_default())
    }

    /// Runs `step` for chance alone.
    pub fn chance<T>(&self, step: impl FnOnce(&mut StdRng) -> T) -> T {
        self.with(|state| step(&mut state.rng))
    }

    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }
}

impl State {
    /// Notes what happened at a time.
    pub fn note(&mut self, elapsed: Duration, who: &str, what: impl FnOnce() -> String) {
        // FNV-1a over who did something when: cheap, and any difference between two runs shows.
        for byte in who
            .bytes()
            .chain((elapsed.as_millis() as u64).to_le_bytes())
        {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(trace) = &mut self.trace {
            trace.push(format!(
                "{:>9.3}  {who:<8}  {}",
                elapsed.as_secs_f64(),
                what()
            ));
        }
    }
}

fn shifted(elapsed: Duration, skew_micros: i64) -> Timestamp {
    let elapsed = i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
    let micros = EPOCH_MICROS
        .saturating_add(elapsed)
        .saturating_add(skew_micros);
    Timestamp::from_micros(micros)
        .unwrap_or_else(|_| Timestamp::from_micros(EPOCH_MICROS).expect("it is a time"))
}

/// One incarnation of a process: what decides whether its calls still do anything.
#[derive(Debug)]
pub struct Incarnation {
    /// Shown in the trace.
    pub name: String,
    dead: AtomicBool,
    paused_until: Mutex<Option<Instant>>,
    skew_micros: Mutex<i64>,
    /// The counters' server that this process is connected to.
    pub server: Mutex<Option<u64>>,
    /// How many commits the store had forgotten when this process read it last.
    pub store: Mutex<Option<u64>>,
    /// The state of the index that this process saw last.
    pub index: Mutex<Option<u64>>,
}

impl Incarnation {
    /// One that lives.
    #[must_use]
    pub fn new(name: String, skew_micros: i64) -> Arc<Self> {
        Arc::new(Self {
            name,
            dead: AtomicBool::new(false),
            paused_until: Mutex::default(),
            skew_micros: Mutex::new(skew_micros),
            server: Mutex::default(),
            store: Mutex::default(),
            index: Mutex::default(),
        })
    }

    /// Whether it was killed.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// From now on nothing that it begins has an effect.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::Release);
    }

    /// Does nothing for so long.
    pub fn pause(&self, span: Duration) {
        *self.paused_until.lock() = Some(Instant::now() + span);
    }

    /// Moves its wall clock.
    pub fn jump(&self, micros: i64) {
        let mut skew = self.skew_micros.lock();
        *skew = skew.saturating_add(micros);
    }
}

/// A process's way to the world: every call takes time, and may find its process paused or dead.
#[derive(Debug, Clone)]
pub struct Link {
    /// The world.
    pub world: Arc<World>,
    /// The process.
    pub process: Arc<Incarnation>,
}

impl Link {
    /// On the way to an engine.
    pub async fn call(&self) {
        self.travel().await;
    }

    /// On the way back.
    pub async fn reply(&self) {
        self.travel().await;
    }

    async fn travel(&self) {
        let millis = self.world.chance(|rng| match rng.random_range(0..100_u32) {
            0..70 => 0,
            70..95 => rng.random_range(1..4),
            95..99 => rng.random_range(4..40),
            _ => rng.random_range(40..400),
        });
        if millis > 0 {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        } else {
            tokio::task::yield_now().await;
        }
        self.alive().await;
    }

    /// Returns while the process runs; never where it is dead.
    pub async fn alive(&self) {
        loop {
            if self.process.is_dead() {
                std::future::pending::<()>().await;
            }
            let until = *self.process.paused_until.lock();
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => tokio::time::sleep_until(until).await,
                None => return,
            }
        }
    }

    /// Notes what this process did.
    pub fn note(&self, what: impl FnOnce() -> String) {
        self.world.note(&self.process.name, what);
    }
}

/// Time and identifiers of one process.
#[derive(Debug)]
pub struct SimSources {
    /// Of which process, in which world.
    pub link: Link,
}

impl Clock for SimSources {
    fn now(&self) -> Timestamp {
        shifted(
            self.link.world.elapsed(),
            *self.link.process.skew_micros.lock(),
        )
    }

    fn uptime(&self) -> Duration {
        self.link.world.elapsed()
    }
}

impl IdSource for SimSources {
    fn uid(&self) -> Uuid {
        // Version 7 in form: the number of the identifier stands where the random bits would, shifted so
        // that uids of the lines of a batch, which count on, never meet another event's.
        let id = u128::from(self.link.world.next_id());
        let millis = self.link.world.elapsed().as_millis() & 0xffff_ffff_ffff;
        Uuid::from_u128((millis << 80) | (7 << 76) | (0b10 << 62) | (id << 16))
    }

    fn token(&self) -> AppToken {
        AppToken::from_bytes(u128::from(self.link.world.next_id()).to_be_bytes())
    }
}

/// Times until which something is out of order.
#[derive(Debug, Default)]
pub struct Outage(Option<Instant>);

impl Outage {
    /// Begins or prolongs it.
    pub fn for_span(&mut self, span: Duration) {
        self.0 = Some(Instant::now() + span);
    }

    /// Ends it.
    pub fn end(&mut self) {
        self.0 = None;
    }

    /// Whether it lasts.
    #[must_use]
    pub fn lasts(&self) -> bool {
        self.0.is_some_and(|until| Instant::now() < until)
    }
}

/// Inserts or removes, as an undo does.
pub(crate) fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => {
            map.insert(key, value);
        }
        None => {
            map.remove(&key);
        }
    }
}
