//! One history: a plan that happens, a system that recovers from it, and what is broken then.

use std::sync::Arc;
use std::time::Duration;

use chat_core::backend::Backend;
use chat_core::error::Error;
use chat_core::port::log::{Group, LogId, PartitionId, Topic};
use chat_wire::admin::reconcile::Order;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::check::{self, Excuses};
use crate::clients::{Clients, all_hits, all_messages};
use crate::ledger::Ledger;
use crate::plan::{BUSY_MS, Fault, Noise, Plan};
use crate::process::{Kind, Process};
use crate::reports::{self, Collector};
use crate::world::World;

/// Full reconciliations behind a history, at most.
const RUNS: usize = 3;
/// How long a system without faults may take until nothing moves any more.
const SETTLING: Duration = Duration::from_secs(120);

/// How a history ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Broken promises.
    pub breaches: Vec<String>,
    /// Equal for two runs of one plan.
    pub digest: u64,
    /// What happened, where it was asked for.
    pub trace: Vec<String>,
    /// What the system reported.
    pub reports: Vec<String>,
}

/// Runs a plan to its end.
///
/// # Panics
/// A runtime cannot be made.
#[must_use]
pub fn run(plan: &Plan, traced: bool) -> Outcome {
    let subscriber = tracing_subscriber::registry().with(Collector);
    tracing::subscriber::with_default(subscriber, || {
        drop(reports::take());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime of one thread needs nothing");
        // Made within, because the time outside is not the paused one.
        runtime.block_on(async { History::new(plan, traced).run().await })
    })
}

struct History<'p> {
    plan: &'p Plan,
    world: Arc<World>,
    clients: Clients,
    processes: Vec<Process>,
    restarts: Vec<(Instant, usize)>,
    excuses: Excuses,
    lives: u32,
}

impl<'p> History<'p> {
    fn new(plan: &'p Plan, traced: bool) -> Self {
        let world = World::new(plan.seed, plan.noise, traced);
        Self {
            plan,
            clients: Clients {
                world: Arc::clone(&world),
                ledger: Arc::new(Mutex::new(Ledger::default())),
                apis: Arc::default(),
            },
            world,
            processes: Vec::new(),
            restarts: Vec::new(),
            excuses: Excuses::default(),
            lives: 0,
        }
    }

    async fn run(mut self) -> Outcome {
        for nth in 0..self.plan.apis + self.plan.workers {
            let process = self.start(nth);
            self.processes.push(process);
        }
        self.publish_apis();
        let began = Instant::now();
        let mut events: Vec<(u64, Result<usize, usize>)> = Vec::new();
        events.extend(
            self.plan
                .ops
                .iter()
                .enumerate()
                .map(|(nth, (at, _))| (*at, Ok(nth))),
        );
        events.extend(
            self.plan
                .faults
                .iter()
                .enumerate()
                .map(|(nth, (at, _))| (*at, Err(nth))),
        );
        events.sort_by_key(|(at, _)| *at);
        for (at, event) in events {
            self.wait_until(began + Duration::from_millis(at)).await;
            match event {
                Ok(nth) => {
                    let (_, op) = &self.plan.ops[nth];
                    tokio::spawn(self.clients.clone().run(op.clone()));
                }
                Err(nth) => {
                    let (_, fault) = &self.plan.faults[nth];
                    self.strike(fault);
                }
            }
        }
        self.wait_until(began + Duration::from_millis(BUSY_MS))
            .await;
        let mut breaches = self.recover().await;
        if breaches.is_empty() {
            breaches = self.judge().await;
        }
        let met = std::mem::take(&mut self.clients.ledger.lock().breaches);
        breaches.append(&mut self.clients.ledger.lock().certain);
        if !self.excuses.log_lost && !self.excuses.counters_silent {
            breaches.extend(met);
        }
        let reports = reports::take();
        let reports = reports
            .into_iter()
            .map(|(level, text)| format!("{level} {text}"));
        Outcome {
            breaches,
            digest: self.world.with(|state| state.digest),
            trace: self.world.trace(),
            reports: reports.collect(),
        }
    }

    fn kind(&self, nth: usize) -> Kind {
        match nth < self.plan.apis {
            true => Kind::Api,
            false => Kind::Worker,
        }
    }

    fn start(&mut self, nth: usize) -> Process {
        self.lives += 1;
        let kind = self.kind(nth);
        let role = match kind {
            Kind::Api => "api",
            Kind::Worker => "worker",
        };
        let skew = self.plan.skews.get(nth).copied().unwrap_or(0);
        Process::start(&self.world, kind, format!("{role}{}", self.lives), skew)
    }

    fn publish_apis(&self) {
        let living = self
            .processes
            .iter()
            .filter(|process| process.kind == Kind::Api && !process.incarnation.is_dead());
        *self.clients.apis.lock() = living.map(|process| process.backend.clone()).collect();
    }

    /// Waits, and starts what is due to be started again meanwhile.
    async fn wait_until(&mut self, at: Instant) {
        loop {
            let due = self.restarts.iter().map(|(due, _)| *due).min();
            match due.filter(|due| *due <= at) {
                Some(due) => {
                    sleep_until(due).await;
                    self.restart_due();
                }
                None => {
                    sleep_until(at).await;
                    return;
                }
            }
        }
    }

    fn restart_due(&mut self) {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.restarts)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.restarts = later;
        for (_, nth) in due {
            self.processes[nth] = self.start(nth);
        }
        self.publish_apis();
    }

    fn strike(&mut self, fault: &Fault) {
        self.world.note("FAULT", || format!("{fault:?}"));
        let ms = Duration::from_millis;
        match fault {
            Fault::Kill { process, away_ms } => {
                if !self.processes[*process].incarnation.is_dead() {
                    self.processes[*process].kill();
                    self.restarts
                        .push((Instant::now() + ms(*away_ms), *process));
                    self.publish_apis();
                }
                return;
            }
            Fault::Pause { process, span_ms } => {
                self.processes[*process].incarnation.pause(ms(*span_ms));
                return;
            }
            Fault::ClockJump { process, seconds } => {
                self.excuses.clocks = true;
                self.processes[*process]
                    .incarnation
                    .jump(seconds * 1_000_000);
                return;
            }
            Fault::CountersGoBack { .. } => self.excuses.counters_silent = true,
            Fault::CountersEvict => self.excuses.keys_lost = true,
            Fault::CountersEmpty | Fault::CountersLose | Fault::CountersFailOver { .. } => {
                self.excuses.counters_lost = true;
            }
            Fault::StoreForgets { .. } => self.excuses.store_forgot = true,
            _ => {}
        }
        self.world.with(|state| match fault {
            Fault::Rebalance { group } => {
                let group = Group::ALL[group % Group::ALL.len()];
                state.log.shuffle(group);
            }
            Fault::StoreForgets { commits } => {
                state.store.roll_back(*commits);
            }
            Fault::StoreDown(span) => state.store.down.for_span(ms(*span)),
            Fault::StoreReadOnly(span) => state.store.read_only.for_span(ms(*span)),
            Fault::LogLosesTail { partition, records } => {
                let partition = PartitionId {
                    topic: Topic::Messages,
                    index: *partition,
                };
                self.excuses.log_lost |= state.log.truncate(partition, *records) > 0;
            }
            Fault::LogRecreated => {
                for index in 0..crate::log::partitions(Topic::Messages) {
                    let partition = PartitionId {
                        topic: Topic::Messages,
                        index,
                    };
                    self.excuses.log_lost |= state.log.truncate(partition, usize::MAX) > 0;
                }
                state.log.id =
                    LogId::of_name(&format!("log {} anew {}", self.plan.seed, state.log.losses));
            }
            Fault::LogDown(span) => state.log.down.for_span(ms(*span)),
            Fault::LogFull(span) => state.log.full.for_span(ms(*span)),
            Fault::CountersFailOver { states } => state.counters.fail_over(*states),
            Fault::CountersGoBack { states } => state.counters.go_back(*states),
            Fault::CountersEmpty => state.counters.empty(),
            Fault::CountersLose => state.counters.lose(&mut state.rng),
            Fault::CountersByHand => state.counters.set_by_hand(&mut state.rng),
            Fault::CountersEvict => state.counters.evict(&mut state.rng),
            Fault::CountersDown(span) => state.counters.down.for_span(ms(*span)),
            Fault::IndexRollsBack { states } => {
                state.index.roll_back(*states);
            }
            Fault::IndexEmpty => state.index.empty(),
            Fault::IndexDown(span) => state.index.down.for_span(ms(*span)),
            Fault::IndexStuck(span) => state.index.stuck.for_span(ms(*span)),
            Fault::Kill { .. } | Fault::Pause { .. } | Fault::ClockJump { .. } => {}
        });
        self.world.news.notify_waiters();
    }

    /// No faults any more: the system has to come to rest by itself, and once more behind a reconciliation.
    async fn recover(&mut self) -> Vec<String> {
        self.world.note("FAULT", || "none any more".to_owned());
        self.world.with(|state| {
            state.noise = Noise::default();
            state.store.down.end();
            state.store.read_only.end();
            state.store.replaced.end();
            state.log.down.end();
            state.log.full.end();
            state.counters.down.end();
            state.index.down.end();
            state.index.stuck.end();
        });
        for (at, _) in &mut self.restarts {
            *at = Instant::now();
        }
        self.restart_due();
        for process in &self.processes {
            process.incarnation.pause(Duration::ZERO);
        }
        // Clients that still ask give up or are answered.
        sleep(Duration::from_secs(20)).await;
        let mut breaches = self.come_to_rest("without a reconciliation").await;
        if !breaches.is_empty() {
            return breaches;
        }
        let api = self.processes[0].backend.clone();
        // A run that has to begin a new epoch leaves the documents of that one to the next.
        for _ in 0..RUNS {
            if let Err(error) = reconcile(&api).await {
                breaches.push(format!("the reconciliation failed: {error}"));
                return breaches;
            }
            breaches = self.come_to_rest("behind a reconciliation").await;
            if !breaches.is_empty() || !api.lacks_documents().await {
                return breaches;
            }
        }
        breaches
    }

    async fn come_to_rest(&mut self, when: &str) -> Vec<String> {
        let deadline = Instant::now() + SETTLING;
        while !self.world.with(|state| check::is_quiet(state)) {
            if Instant::now() >= deadline {
                let why = self.world.with(|state| check::unrest(state));
                return vec![format!("it does not come to rest {when}: {why}")];
            }
            sleep(Duration::from_millis(250)).await;
        }
        let mut breaches = Vec::new();
        for process in &mut self.processes {
            if process.has_lost_a_task() {
                breaches.push(format!("a task of {} has ended", process.incarnation.name));
            }
        }
        breaches
    }

    async fn judge(&mut self) -> Vec<String> {
        let reported = reports::count() > 0;
        let mut breaches = {
            let ledger = self.clients.ledger.lock();
            self.world
                .with(|state| check::check(state, &ledger, self.excuses, reported))
        };
        let api = self.processes[0].backend.clone();
        let (tokens, chats) = self.world.with(|state| {
            let tokens: Vec<_> = state.store.rows.applications.keys().copied().collect();
            let chats: Vec<_> = state.store.rows.chats.keys().copied().collect();
            (tokens, chats)
        });
        for token in tokens {
            let mut live = self
                .world
                .with(|state| check::live_texts(state, |key| key.chat.token == token));
            match patient(async || all_hits(&api, token).await).await {
                Ok((mut hits, complete)) => {
                    live.sort_unstable();
                    hits.sort_unstable();
                    if !complete {
                        breaches.push("search: not complete in the end".to_owned());
                    }
                    if hits != live {
                        breaches.push(format!("search: {hits:?} instead of {live:?}"));
                    }
                }
                Err(error) => breaches.push(format!("search: {error}")),
            }
        }
        for chat in chats {
            let live = self
                .world
                .with(|state| check::live_texts(state, |key| key.chat == chat));
            match patient(async || all_messages(&api, chat).await).await {
                Ok((found, _)) if found == live => {}
                Ok((found, _)) => breaches.push(format!("pages: {found:?} instead of {live:?}")),
                Err(error) => breaches.push(format!("pages: {error}")),
            }
        }
        breaches
    }
}

/// Asks again while a counter is recovered, as a client does that is told to come back.
async fn patient<T>(mut ask: impl AsyncFnMut() -> Result<T, Error>) -> Result<T, Error> {
    let mut answer = ask().await;
    for _ in 0..20 {
        if !matches!(answer, Err(Error::Fenced)) {
            break;
        }
        sleep(Duration::from_secs(1)).await;
        answer = ask().await;
    }
    answer
}

async fn reconcile(api: &Backend) -> Result<(), String> {
    let order = Order {
        token: None,
        chat: None,
        full: true,
        execute: true,
    };
    // An index may be waited for that remembers deletes for a while.
    for _ in 0..180 {
        match api.begin_run(order).await {
            Ok(work) => {
                let run = api.carry_out(work).await;
                return match (run.detail, run.failed) {
                    (None, 0) => Ok(()),
                    (detail, failed) => Err(format!("{failed} steps failed, {detail:?}")),
                };
            }
            Err(Error::Busy { .. }) => sleep(Duration::from_secs(1)).await,
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("others are at work all the time".to_owned())
}
