//! The simulated counters port: what the scripts of Redis do, on a server that may lose or fork its state.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::key::{KeyHash, StoredKey};
use chat_core::port::counters::{
    Counter, Counters, Error, Floor, Grant, Keyed, Opened, Take, Taken,
};
use chat_core::port::store::ChatKey;
use chat_wire::ids::AppToken;
use rand::Rng;
use tokio::time::Instant;
use uuid::Uuid;

use crate::world::{CREATE_DEADLINE, Link, Outage};

/// How long a key lives.
const KEY_LIFE: Duration = Duration::from_secs(25 * 60 * 60);

/// One counter.
#[derive(Debug, Clone, Copy)]
pub struct CounterState {
    /// The last number.
    pub last: u32,
    /// The same, so that a change by hand shows.
    pub copy: u32,
    /// Of the counters.
    pub generation: u32,
    /// Which server wrote it.
    pub server: u64,
    /// When the application was recovered last.
    recovered: Option<Instant>,
    /// Where a recovery has found it.
    base: Option<u32>,
}

/// One idempotency key.
#[derive(Debug, Clone, Copy)]
struct KeyState {
    token: AppToken,
    body: KeyHash,
    grant: Grant,
    lease: Instant,
    done: bool,
    expires: Instant,
}

/// The server's memory.
#[derive(Debug, Clone, Default)]
struct Memory {
    counters: BTreeMap<Counter, CounterState>,
    fences: BTreeMap<Counter, Instant>,
    keys: BTreeMap<KeyHash, KeyState>,
}

/// The counters.
#[derive(Debug, Default)]
pub struct CountersState {
    memory: Memory,
    /// Which server answers.
    pub server: u64,
    /// Earlier states, the last one first to come back.
    snapshots: Vec<Memory>,
    writes: u64,
    /// It does not answer.
    pub down: Outage,
    /// Times something was lost.
    pub losses: u64,
}

impl CountersState {
    /// Another server is promoted, which has an older state.
    pub fn fail_over(&mut self, states: usize) {
        self.server += 1;
        self.go_back(states);
    }

    /// The same server goes back in time and knows nothing of it.
    pub fn go_back(&mut self, states: usize) {
        let at = self.snapshots.len().saturating_sub(states);
        if let Some(memory) = self.snapshots.drain(at..).next() {
            self.memory = memory;
        }
        self.losses += 1;
    }

    /// Loses everything.
    pub fn empty(&mut self) {
        self.server += 1;
        self.memory = Memory::default();
        self.losses += 1;
    }

    /// Loses some counters.
    pub fn lose(&mut self, rng: &mut impl Rng) {
        self.memory.counters.retain(|_, _| rng.random_bool(0.5));
        self.losses += 1;
    }

    /// Sets a counter lower by hand.
    pub fn set_by_hand(&mut self, rng: &mut impl Rng) {
        for counter in self.memory.counters.values_mut() {
            if counter.last > 0 && rng.random_bool(0.5) {
                counter.last -= 1;
            }
        }
        self.losses += 1;
    }

    /// Evicts keys.
    pub fn evict(&mut self, rng: &mut impl Rng) {
        self.memory.keys.retain(|_, _| rng.random_bool(0.3));
    }

    /// The last number that a counter has given out, as far as it is known.
    #[must_use]
    pub fn known(&self, counter: Counter) -> Option<u32> {
        let own = self.memory.counters.get(&counter)?;
        self.believed(own).then_some(own.last)
    }

    const fn believed(&self, own: &CounterState) -> bool {
        own.last == own.copy && own.server == self.server
    }

    fn write(&mut self) -> &mut Memory {
        self.writes += 1;
        if self.writes.is_multiple_of(3) {
            self.snapshots.push(self.memory.clone());
        }
        &mut self.memory
    }

    fn fenced(&self, counter: Counter) -> bool {
        let fence = self.memory.fences.get(&counter);
        fence.is_some_and(|until| Instant::now() < *until)
    }

    fn trusted(&self, counter: Counter) -> Option<CounterState> {
        let own = self.memory.counters.get(&counter).copied()?;
        self.believed(&own).then_some(own)
    }

    fn take(&mut self, take: &Take) -> Result<Taken, Error> {
        let chats = Counter::Chats(take.counter.token());
        let Some(application) = self.trusted(chats) else {
            if !self.fenced(chats) {
                return Ok(Taken::Unknown(chats));
            }
            if take.counter != chats
                && !self.fenced(take.counter)
                && self.trusted(take.counter).is_none()
            {
                return Ok(Taken::Unknown(take.counter));
            }
            return Ok(Taken::Fenced);
        };
        let own = match take.counter {
            Counter::Chats(_) => application,
            Counter::Messages(chat) => {
                if chat.chat.get() > application.last {
                    return Ok(Taken::OutOfRange);
                }
                match self.trusted(take.counter) {
                    Some(own) => own,
                    None if self.fenced(take.counter) => return Ok(Taken::Fenced),
                    None => return Ok(Taken::Unknown(take.counter)),
                }
            }
        };
        if let Some(keyed) = &take.keyed
            && let Some(taken) = self.recall(keyed, own)
        {
            return Ok(taken);
        }
        let new = own.last.checked_add(take.count).ok_or(Error::Exhausted)?;
        let grant = |uid: Uuid| Grant {
            first: own.last + 1,
            count: take.count,
            uid,
            generation: own.generation,
        };
        let memory = self.write();
        if let Some(counter) = memory.counters.get_mut(&take.counter) {
            (counter.last, counter.copy) = (new, new);
        }
        if let Some(keyed) = &take.keyed {
            let state = key_state(take.counter.token(), keyed, grant(keyed.uid));
            memory.keys.insert(keyed.key.hash, state);
        }
        Ok(Taken::Granted {
            first: own.last + 1,
            generation: own.generation,
        })
    }

    fn recall(&mut self, keyed: &Keyed, own: CounterState) -> Option<Taken> {
        let now = Instant::now();
        let known = self.memory.keys.get_mut(&keyed.key.hash);
        let Some(known) = known.filter(|known| now < known.expires) else {
            // A key that is not here may be in the store: it may have been evicted.
            return (!keyed.absent_in_store).then_some(Taken::AskStore);
        };
        if known.body != keyed.key.body_hash {
            return Some(Taken::OtherBody);
        }
        if known.done {
            return Some(Taken::Repeat(known.grant));
        }
        if now < known.lease {
            return Some(Taken::InFlight);
        }
        // What was not in the log when the counter was recovered, and is above what was found there, may have
        // been given to somebody else since.
        let last = known.grant.first + known.grant.count - 1;
        if known.grant.generation != own.generation && own.base.is_some_and(|base| last > base) {
            return None;
        }
        known.grant.generation = own.generation;
        known.lease = now + Duration::from_millis(keyed.lease_ms);
        Some(Taken::Resume(known.grant))
    }

    fn open_key(&mut self, token: AppToken, keyed: &Keyed) -> Opened {
        let now = Instant::now();
        match self.memory.keys.get_mut(&keyed.key.hash) {
            Some(known) if now < known.expires => {
                if known.body != keyed.key.body_hash {
                    Opened::OtherBody
                } else if known.done {
                    Opened::Repeat(known.token)
                } else if now < known.lease {
                    Opened::InFlight
                } else {
                    known.lease = now + Duration::from_millis(keyed.lease_ms);
                    Opened::Resume {
                        token: known.token,
                        uid: known.grant.uid,
                        generation: known.grant.generation,
                    }
                }
            }
            _ if !keyed.absent_in_store => Opened::AskStore,
            _ => {
                let grant = Grant {
                    first: 0,
                    count: 0,
                    uid: keyed.uid,
                    generation: 1,
                };
                let state = key_state(token, keyed, grant);
                self.write().keys.insert(keyed.key.hash, state);
                Opened::Granted { generation: 1 }
            }
        }
    }

    /// The generation of an application's counter, which is made where the application's create is a first try;
    /// `None` where it has to be recovered first.
    fn make(&mut self, token: AppToken, is_first_try: bool) -> Option<u32> {
        let counter = Counter::Chats(token);
        if self.memory.counters.contains_key(&counter) {
            return self.trusted(counter).map(|own| own.generation);
        }
        if !is_first_try {
            return None;
        }
        let server = self.server;
        self.write().counters.insert(counter, fresh(0, 1, server));
        Some(1)
    }

    fn open_chat(&mut self, chat: ChatKey) {
        let counter = Counter::Messages(chat);
        if self.memory.counters.contains_key(&counter) {
            return;
        }
        let Some(application) = self.trusted(Counter::Chats(chat.token)) else {
            return;
        };
        let under_way = CREATE_DEADLINE + Duration::from_secs(1);
        if application
            .recovered
            .is_some_and(|at| at.elapsed() < under_way)
        {
            return;
        }
        let server = self.server;
        let own = fresh(0, application.generation, server);
        self.write().counters.insert(counter, own);
    }

    fn restore(&mut self, counter: Counter, last: u32, generation: u32) {
        let server = self.server;
        let memory = self.write();
        let own = memory.counters.get(&counter).copied();
        let known = own.map_or(0, |own| own.last.max(own.copy));
        let generation = own.map_or(0, |own| own.generation).max(generation);
        let recovered = own.and_then(|own| own.recovered);
        let last = known.max(last);
        let new = CounterState {
            recovered,
            base: Some(last),
            ..fresh(last, generation, server)
        };
        memory.counters.insert(counter, new);
        memory.fences.remove(&counter);
        if let Some(application) = memory.counters.get_mut(&Counter::Chats(counter.token())) {
            application.recovered = Some(Instant::now());
        }
    }

    fn restore_key(&mut self, token: AppToken, key: StoredKey, grant: Grant) {
        if let Some(known) = self.memory.keys.get(&key.hash)
            && known.grant.uid != grant.uid
            && known.grant.generation >= grant.generation
        {
            return;
        }
        let now = Instant::now();
        let state = KeyState {
            token,
            body: key.body_hash,
            grant,
            lease: now,
            done: true,
            expires: now + KEY_LIFE,
        };
        self.write().keys.insert(key.hash, state);
    }
}

const fn fresh(last: u32, generation: u32, server: u64) -> CounterState {
    CounterState {
        last,
        copy: last,
        generation,
        server,
        recovered: None,
        base: None,
    }
}

fn key_state(token: AppToken, keyed: &Keyed, grant: Grant) -> KeyState {
    let now = Instant::now();
    KeyState {
        token,
        body: keyed.key.body_hash,
        grant,
        lease: now + Duration::from_millis(keyed.lease_ms),
        done: false,
        expires: now + KEY_LIFE,
    }
}

/// The counters as one process reaches them.
#[derive(Debug, Clone)]
pub struct SimCounters {
    /// The way there.
    pub link: Link,
}

impl SimCounters {
    async fn script<T>(&self, run: impl Fn(&mut CountersState) -> T + Send) -> Result<T, Error> {
        self.link.call().await;
        let unavailable = |reason: &str| Err(Error::Unavailable(reason.into()));
        let answer = self.link.world.with(|state| {
            if state.counters.down.lasts() {
                return unavailable("no connection");
            }
            // A connection leads to one server for as long as it lives.
            let server = state.counters.server;
            let connected = self.link.process.server.lock().replace(server);
            if connected.is_some_and(|connected| connected != server) {
                return unavailable("the connection broke");
            }
            let noise = state.noise.counters_unknown;
            if state.rng.random_bool(noise / 2.0) {
                return unavailable("no answer");
            }
            if state.rng.random_bool(state.noise.counters_twice) {
                run(&mut state.counters);
            }
            let answer = run(&mut state.counters);
            match state.rng.random_bool(noise / 2.0) {
                true => unavailable("no answer"),
                false => Ok(answer),
            }
        });
        self.link.reply().await;
        answer
    }
}

#[async_trait]
impl Counters for SimCounters {
    async fn take(&self, take: Take) -> Result<Taken, Error> {
        let taken = self.script(|state| state.take(&take)).await?;
        self.link.note(|| {
            format!(
                "counters: {} -> {}",
                counter_name(take.counter),
                taken_text(&taken)
            )
        });
        taken
    }

    async fn open(&self, token: AppToken, keyed: Option<Keyed>) -> Result<Opened, Error> {
        let (token, uid, is_first_try) = match keyed {
            None => (token, None, true),
            Some(keyed) => match self.script(|state| state.open_key(token, &keyed)).await? {
                Opened::Granted { .. } => (token, Some(keyed.uid), true),
                Opened::Resume { token, uid, .. } => (token, Some(uid), false),
                other => return Ok(other),
            },
        };
        let generation = self.script(|state| state.make(token, is_first_try)).await?;
        match (generation, uid) {
            (Some(generation), Some(uid)) if !is_first_try => Ok(Opened::Resume {
                token,
                uid,
                generation,
            }),
            (Some(generation), _) => Ok(Opened::Granted { generation }),
            (None, Some(uid)) => Ok(Opened::Lost { token, uid }),
            (None, None) => Err(Error::Unavailable(
                "the application's counter has to be recovered first".into(),
            )),
        }
    }

    async fn open_chat(&self, chat: ChatKey) -> Result<(), Error> {
        self.script(|state| state.open_chat(chat)).await
    }

    async fn acknowledge(&self, _token: AppToken, key: StoredKey) -> Result<(), Error> {
        self.script(|state| {
            let memory = state.write();
            if let Some(known) = memory.keys.get_mut(&key.hash)
                && known.body == key.body_hash
            {
                known.done = true;
                known.expires = Instant::now() + KEY_LIFE;
            }
        })
        .await
    }

    async fn release(&self, _token: AppToken, key: StoredKey, grant: Grant) -> Result<(), Error> {
        self.script(|state| {
            let memory = state.write();
            if let Some(known) = memory.keys.get_mut(&key.hash)
                && known.grant.uid == grant.uid
                && !known.done
            {
                known.lease = Instant::now();
            }
        })
        .await
    }

    async fn last(&self, counter: Counter) -> Result<Option<u32>, Error> {
        self.script(|state| state.known(counter)).await
    }

    async fn restore(&self, counter: Counter, last: u32, generation: u32) -> Result<(), Error> {
        self.script(|state| state.restore(counter, last, generation))
            .await?;
        self.link.note(|| {
            let name = counter_name(counter);
            format!("counters: {name} restored at {last}, generation {generation}")
        });
        Ok(())
    }

    async fn restore_key(
        &self,
        token: AppToken,
        key: StoredKey,
        grant: Grant,
    ) -> Result<(), Error> {
        self.script(|state| state.restore_key(token, key, grant))
            .await
    }

    async fn claim(&self, counter: Counter, lease_ms: u64) -> Result<Option<Duration>, Error> {
        self.script(|state| {
            if state.fenced(counter) {
                return None;
            }
            let until = Instant::now() + Duration::from_millis(lease_ms);
            state.write().fences.insert(counter, until);
            Some(Duration::ZERO)
        })
        .await
    }

    fn floor(&self) -> Floor {
        Floor::Log
    }

    async fn check(&self) -> Result<(), Error> {
        self.script(|_| ()).await
    }
}

/// A counter as the trace shows it.
#[must_use]
pub fn counter_name(counter: Counter) -> String {
    match counter {
        Counter::Chats(_) => "chats".to_owned(),
        Counter::Messages(chat) => format!("chat {}", chat.chat),
    }
}

fn taken_text(taken: &Result<Taken, Error>) -> String {
    match taken {
        Ok(Taken::Granted { first, generation }) => format!("{first}, generation {generation}"),
        Ok(Taken::Repeat(grant)) => format!("repeat {}", grant.first),
        Ok(Taken::Resume(grant)) => format!("resume {}", grant.first),
        Ok(other) => format!("{other:?}").chars().take(30).collect(),
        Err(error) => error.to_string(),
    }
}
