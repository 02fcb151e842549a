//! Processes: API and workers as the server composes them, killed and started again.

use std::sync::Arc;
use std::time::Duration;

use chat_core::backend::{Backend, Settings};
use chat_core::clock::{Sources, TrustedClock};
use chat_core::key::KEY_ROW_LIFE;
use chat_core::lag::valve::Limits;
use chat_core::port::log::Group;
use chat_core::port::signals::{Signals, Subject, Subscription};
use chat_core::port::{Life, Ports};
use chat_server::pressure::Pressure;
use chat_server::telemetry::Metrics;
use chat_server::workers::overload::Overload;
use chat_server::workers::search::SearchJob;
use chat_server::workers::store::StoreJob;
use chat_server::workers::{reconcile, run, upkeep};
use chat_wire::admin::doctor::Examined;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::counters::SimCounters;
use crate::index::SimSearch;
use crate::log::SimLog;
use crate::store::SimStore;
use crate::world::{CREATE_DEADLINE, Incarnation, Link, SimSources, World};

/// Between two scheduled reconciliations.
const RECONCILE_EVERY: Duration = Duration::from_secs(6);

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It accepts requests.
    Api,
    /// It has all consumer groups.
    Worker,
}

/// One process.
pub struct Process {
    /// What it is.
    pub kind: Kind,
    /// Its present life.
    pub incarnation: Arc<Incarnation>,
    /// Its rules over the simulated ports.
    pub backend: Backend,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Process {
    /// Starts one.
    #[must_use]
    pub fn start(world: &Arc<World>, kind: Kind, name: String, skew_seconds: i64) -> Self {
        let incarnation = Incarnation::new(name, skew_seconds * 1_000_000);
        let link = Link {
            world: Arc::clone(world),
            process: Arc::clone(&incarnation),
        };
        let sources = Arc::new(SimSources { link: link.clone() });
        let sources = Sources {
            clock: Arc::clone(&sources) as _,
            ids: sources,
        };
        let settings = Settings {
            create_deadline: CREATE_DEADLINE,
        };
        let backend = Backend::with_sources(ports(&link), settings, sources);
        backend.reconciler().name(incarnation.name.clone());
        let mut process = Self {
            kind,
            incarnation,
            backend,
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
        };
        process.spawn();
        link.note(|| "started".to_owned());
        process
    }

    fn spawn(&mut self) {
        let metrics = Arc::<Metrics>::default();
        let scope = match self.kind {
            Kind::Api => upkeep::Scope::Own,
            Kind::Worker => upkeep::Scope::Everything,
        };
        let (backend, stop) = (self.backend.clone(), self.stop.clone());
        self.tasks
            .spawn(upkeep::settle(backend, Arc::clone(&metrics), scope, stop));
        let (backend, stop) = (self.backend.clone(), self.stop.clone());
        self.tasks.spawn(upkeep::housekeep(backend, stop));
        if self.kind == Kind::Api {
            let (backend, stop) = (self.backend.clone(), self.stop.clone());
            self.tasks.spawn(upkeep::probe(backend, stop));
        }
        if self.kind == Kind::Api {
            return;
        }
        let pressure = Arc::new(Pressure::within(Limits::default()));
        let overload = Arc::new(Overload::new(Arc::clone(&metrics), pressure));
        for group in Group::ALL {
            let (metrics, overload) = (Arc::clone(&metrics), Arc::clone(&overload));
            let (backend, stop) = (self.backend.clone(), self.stop.clone());
            let ports = backend.ports().clone();
            if group == Group::MessagesIndex {
                let job = SearchJob::new(backend, Arc::clone(&metrics), stop.clone());
                self.tasks
                    .spawn(async move { run::run(ports, job, &metrics, &overload, stop).await });
            } else {
                let job = StoreJob::new(backend, group, Arc::clone(&metrics));
                self.tasks
                    .spawn(async move { run::run(ports, job, &metrics, &overload, stop).await });
            }
        }
        let (backend, stop) = (self.backend.clone(), self.stop.clone());
        self.tasks
            .spawn(reconcile::run(backend, RECONCILE_EVERY, stop));
    }

    /// Ends it in the middle of whatever it does.
    pub fn kill(&mut self) {
        self.incarnation.kill();
        self.tasks.abort_all();
    }

    /// Whether a task has ended that should run for as long as the process.
    pub fn has_lost_a_task(&mut self) -> bool {
        !self.incarnation.is_dead() && self.tasks.try_join_next().is_some()
    }
}

fn ports(link: &Link) -> Ports {
    Ports {
        store: Arc::new(SimStore { link: link.clone() }),
        log: Arc::new(SimLog { link: link.clone() }),
        counters: Arc::new(SimCounters { link: link.clone() }),
        signals: Arc::new(Silent),
        search: Arc::new(SimSearch { link: link.clone() }),
        life: Arc::new(SimLife {
            link: link.clone(),
            clock: TrustedClock::new(Arc::new(SimSources { link: link.clone() })),
        }),
    }
}

/// Hints that never come: whoever waits must read again by itself.
struct Silent;

#[async_trait::async_trait]
impl Subscription for Silent {
    async fn changed(&mut self) {
        std::future::pending::<()>().await;
    }
}

#[async_trait::async_trait]
impl Signals for Silent {
    async fn publish(&self, _subjects: &[Subject]) {}

    async fn subscribe(&self, _subject: Subject) -> Box<dyn Subscription> {
        Box::new(Self)
    }
}

/// The adapter as a whole: it forgets old idempotency keys.
struct SimLife {
    link: Link,
    clock: TrustedClock,
}

#[async_trait::async_trait]
impl Life for SimLife {
    async fn housekeep(&self) {
        let before = self.clock.now().minus(KEY_ROW_LIFE);
        let store = SimStore {
            link: self.link.clone(),
        };
        // What stays goes with the next round.
        let _ = chat_core::port::store::Store::forget_keys(&store, before).await;
    }

    async fn examine(&self) -> Vec<Examined> {
        Vec::new()
    }

    async fn close(&self) {}
}
