//! The composition root: ports, rules, workers and listeners, put together and taken apart.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chat_core::backend::{Backend, Settings};
use chat_core::port::log::Group;
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Worker};
use crate::handles;
use crate::http::admin::{self, Admin};
use crate::http::door::Door;
use crate::http::front::Front;
use crate::http::guard::Guard;
use crate::http::{Api, serve};
use crate::listen::{address, bind, listen};
use crate::open;
use crate::pressure::Pressure;
use crate::sampler::Sampler;
use crate::stats::{Process, Snapshots, Watched};
use crate::supervise::Supervisor;
use crate::telemetry::Metrics;
use crate::workers::overload::Overload;
use crate::workers::search::SearchJob;
use crate::workers::store::StoreJob;
use crate::workers::{rates, reconcile, run, upkeep};

/// Why the process does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on.
    #[error(
        "{setting} is {address}, which cannot be listened on: {source}; end what holds it, or choose another"
    )]
    Listen {
        /// The variable that gave the address.
        setting: &'static str,
        /// As it was given.
        address: SocketAddr,
        /// Of the system.
        source: std::io::Error,
    },
    /// The embedded default cannot be split.
    #[error(
        "the embedded default in {data_dir} is one process by nature: run `chatd` without a command"
    )]
    OneProcess {
        /// Where it would be.
        data_dir: PathBuf,
    },
    /// The store does not take the create deadline of this process.
    #[error("CHATD_CREATE_DEADLINE_MS cannot be declared to the other processes: {0}")]
    Deadline(#[from] chat_core::error::Error),
    /// The embedded adapters cannot be opened.
    #[error(transparent)]
    Embedded(#[from] chat_embedded::open::OpenError),
    /// An engine cannot be used, or was not up in time.
    #[cfg(feature = "engines")]
    #[error(transparent)]
    Engines(#[from] chat_engines::error::Error),
}

/// A backend at work.
pub struct Running {
    /// Where the API listens; a worker has none.
    pub api: Option<SocketAddr>,
    /// Where health, metrics and administration listen.
    pub admin: SocketAddr,
    backend: Backend,
    stop_listening: CancellationToken,
    stop_working: CancellationToken,
    listeners: JoinSet<()>,
    workers: Supervisor,
    stop_deadline: Duration,
}

/// Which part of the backend a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The API and all workers.
    All,
    /// The API alone.
    Api,
    /// One worker alone.
    Worker(Worker),
}

impl Role {
    const fn serves(self) -> bool {
        matches!(self, Self::All | Self::Api)
    }

    /// The groups whose records are applied here.
    fn groups(self) -> Vec<Group> {
        match self {
            Self::All => Group::ALL.to_vec(),
            Self::Api => Vec::new(),
            Self::Worker(Worker::Applications) => vec![Group::ApplicationsStore],
            Self::Worker(Worker::Chats) => vec![Group::ChatsStore],
            Self::Worker(Worker::Messages) => vec![Group::MessagesStore],
            Self::Worker(Worker::Search) => vec![Group::MessagesIndex],
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Api => "api",
            Self::Worker(Worker::Applications) => "worker applications",
            Self::Worker(Worker::Chats) => "worker chats",
            Self::Worker(Worker::Messages) => "worker messages",
            Self::Worker(Worker::Search) => "worker search",
        }
    }
}

/// Creates or updates the schemas.
///
/// # Errors
/// See [`Error`].
pub async fn migrate(config: &Config) -> Result<(), Error> {
    open::migrate(config).await?;
    tracing::info!("the schemas are up to date");
    Ok(())
}

impl Running {
    /// Opens everything, waits for engines that are not up yet, starts workers and listeners.
    ///
    /// While it waits, the admin listener answers already: alive, and not ready.
    ///
    /// # Errors
    /// See [`Error`]; nothing is left running then.
    pub async fn start(config: Config, role: Role) -> Result<Self, Error> {
        if role != Role::All && !config.engines.given() {
            return Err(Error::OneProcess {
                data_dir: config.data_dir,
            });
        }
        // The addresses first: a second process should not touch the data before it fails. The API's
        // begins to listen when there is something behind it: until then a client is refused at once.
        let api_socket = match role.serves() {
            true => Some(bind("CHATD_LISTEN", config.listen)?),
            false => None,
        };
        let admin_listener = listen(
            "CHATD_ADMIN_LISTEN",
            config.admin_listen,
            bind("CHATD_ADMIN_LISTEN", config.admin_listen)?,
        )?;
        let admin_address = address(&admin_listener, config.admin_listen);
        let stop_listening = CancellationToken::new();
        let mut listeners = JoinSet::new();
        let door = Arc::new(Door::default());
        let routes = TowerToHyperService::new(door.router());
        listeners.spawn(serve::serve(
            admin_listener,
            move |stream| (stream, routes.clone()),
            config.max_connections,
            stop_listening.clone(),
            config.stop_deadline(),
        ));

        let ports = open::open(&config, &door).await?;
        let settings = Settings {
            create_deadline: config.create_deadline(),
        };
        let backend = Backend::new(ports, settings);
        declare_deadline(&backend).await?;
        backend.reconciler().name(process_name(role));
        let metrics = Arc::new(Metrics::default());
        let api_listener = match api_socket {
            Some(socket) => Some(listen("CHATD_LISTEN", config.listen, socket)?),
            None => None,
        };
        let stop_working = CancellationToken::new();
        let mut running = Self {
            api: api_listener
                .as_ref()
                .map(|listener| address(listener, config.listen)),
            admin: admin_address,
            backend: backend.clone(),
            stop_listening,
            workers: Supervisor::new(Arc::clone(&metrics), stop_working.clone()),
            stop_working,
            listeners,
            stop_deadline: config.stop_deadline(),
        };
        let pressure = Arc::new(Pressure::new(&config));
        running.start_workers(role, &metrics, &pressure);
        running.start_schedule(role, config.reconcile_every);
        let sampler = Arc::new(Sampler::new(backend.ports().clone(), config.lag_every()));
        if let Some(listener) = api_listener {
            let guard = Arc::new(Guard::new(&config, Arc::clone(&pressure)));
            running.start_limits(&sampler, &pressure, &guard);
            let api = Api {
                backend,
                guard,
                metrics: Arc::clone(&metrics),
                stop: running.stop_listening.clone(),
            };
            let front = Front::new(api);
            running.listeners.spawn(serve::serve(
                listener,
                move |stream| front.connection(stream),
                handles::connections(config.max_connections),
                running.stop_listening.clone(),
                running.stop_deadline,
            ));
        }
        let watched = Watched { sampler, pressure };
        door.open(admin::router(
            running.admin_state(&config, role, watched, metrics),
        ));
        let place = match config.engines.given() {
            true => "on the engines".to_owned(),
            false => config.data_dir.display().to_string(),
        };
        let api = running
            .api
            .map_or_else(|| "none".to_owned(), |api| format!("http://{api}"));
        tracing::info!(
            role = role.name(),
            api,
            admin = %format_args!("http://{admin_address}"),
            data = place,
            "chatd is ready"
        );
        Ok(running)
    }

    /// The rules behind the listeners, for whoever runs the server in a process of its own.
    #[must_use]
    pub const fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Starts what creates are limited by: the looks at the lag, and at what operators have set.
    fn start_limits(
        &mut self,
        sampler: &Arc<Sampler>,
        pressure: &Arc<Pressure>,
        guard: &Arc<Guard>,
    ) {
        let (pressure, sampler) = (Arc::clone(pressure), Arc::clone(sampler));
        let backend = self.backend.clone();
        self.workers.spawn("pressure", move |stop| {
            let (sampler, backend) = (Arc::clone(&sampler), backend.clone());
            Arc::clone(&pressure).run(sampler, backend, stop)
        });
        let (backend, guard) = (self.backend.clone(), Arc::clone(guard));
        self.workers.spawn("rates", move |stop| {
            rates::run(backend.clone(), Arc::clone(&guard), stop)
        });
    }

    /// Starts the looks at the lag that are kept; returns what the admin listener works with.
    fn admin_state(
        &mut self,
        config: &Config,
        role: Role,
        Watched { sampler, pressure }: Watched,
        metrics: Arc<Metrics>,
    ) -> Admin {
        let looks = Arc::clone(&sampler);
        self.workers
            .spawn("sampler", move |stop| Arc::clone(&looks).run(stop));
        let process = Process {
            mode: match config.engines.given() {
                true => "engines",
                false => "embedded",
            },
            role: role.name(),
        };
        let snapshots = Snapshots::new(
            process,
            self.backend.clone(),
            Watched {
                sampler: Arc::clone(&sampler),
                pressure: Arc::clone(&pressure),
            },
            Arc::clone(&metrics),
        );
        Admin {
            backend: self.backend.clone(),
            metrics,
            sampler,
            pressure,
            default_rate: config.rate_limit,
            snapshots: Arc::new(snapshots),
            stop: self.stop_listening.clone(),
            key: config
                .admin_key
                .as_deref()
                .filter(|key| !key.is_empty())
                .map(Arc::from),
        }
    }

    fn start_workers(&mut self, role: Role, metrics: &Arc<Metrics>, pressure: &Arc<Pressure>) {
        let groups = role.groups();
        let overload = Arc::new(Overload::new(Arc::clone(metrics), Arc::clone(pressure)));
        if role.serves() {
            let (overload, ports) = (Arc::clone(&overload), self.backend.ports().clone());
            self.workers.spawn("overload signal", move |stop| {
                Arc::clone(&overload).tell(ports.clone(), stop)
            });
            let backend = self.backend.clone();
            self.workers.spawn("log probe", move |stop| {
                upkeep::probe(backend.clone(), stop)
            });
        }
        if groups.iter().copied().any(run::yields) {
            let (overload, ports) = (Arc::clone(&overload), self.backend.ports().clone());
            self.workers.spawn("overload listener", move |stop| {
                Arc::clone(&overload).listen(ports.clone(), stop)
            });
        }
        for group in groups.iter().copied() {
            let (backend, metrics) = (self.backend.clone(), Arc::clone(metrics));
            let overload = Arc::clone(&overload);
            self.workers.spawn(group.name(), move |stop| {
                let (backend, metrics) = (backend.clone(), Arc::clone(&metrics));
                work(group, backend, metrics, Arc::clone(&overload), stop)
            });
        }
        // Whoever applies messages also looks for numbers without one; an API process sees to those
        // that it gave out itself.
        let scope = if groups.contains(&Group::MessagesStore) {
            upkeep::Scope::Everything
        } else {
            upkeep::Scope::Own
        };
        let (backend, metrics) = (self.backend.clone(), Arc::clone(metrics));
        self.workers.spawn("settler", move |stop| {
            upkeep::settle(backend.clone(), Arc::clone(&metrics), scope, stop)
        });
        let backend = self.backend.clone();
        self.workers.spawn("housekeeping", move |stop| {
            upkeep::housekeep(backend.clone(), stop)
        });
    }

    /// Whoever applies messages also reconciles, so that a system of several processes does it as
    /// often as one.
    fn start_schedule(&mut self, role: Role, every: Duration) {
        if every.is_zero() || !role.groups().contains(&Group::MessagesStore) {
            return;
        }
        let backend = self.backend.clone();
        self.workers.spawn("reconciliation schedule", move |stop| {
            reconcile::run(backend.clone(), every, stop)
        });
    }

    /// Waits until the process cannot go on, and says why: whoever started it should end it with an error.
    pub async fn failed(&mut self) -> String {
        let life = Arc::clone(&self.backend.ports().life);
        tokio::select! {
            // A listener ends when it is told to, and nobody has told it.
            Some(ended) = self.listeners.join_next() => match ended {
                Ok(()) => "a listener ended unexpectedly".to_owned(),
                Err(failure) => format!("a listener ended unexpectedly: {failure}"),
            },
            reason = life.failed() => reason,
        }
    }

    /// Ends in order: no new requests, the ones at work answered, the batches at work committed, the files closed.
    pub async fn stop(mut self) {
        tracing::info!("chatd is stopping");
        self.stop_listening.cancel();
        while self.listeners.join_next().await.is_some() {}
        self.stop_working.cancel();
        let workers = async {
            self.backend.reconciler().close().await;
            self.workers.join().await;
        };
        if tokio::time::timeout(self.stop_deadline, workers)
            .await
            .is_err()
        {
            tracing::warn!(
                "a worker did not end within the stop deadline; its batch will be told again"
            );
        }
        self.backend.ports().life.close().await;
        tracing::info!("chatd has stopped");
    }
}

/// Declares how long this process may take to append; others wait for it.
async fn declare_deadline(backend: &Backend) -> Result<(), Error> {
    let own = backend.settings().create_deadline;
    let before = backend.declare_deadline().await?;
    if let Some(before) = before.filter(|before| *before != own) {
        tracing::warn!(
            own_ms = millis(own),
            declared_ms = millis(before),
            "CHATD_CREATE_DEADLINE_MS differs from what another process has declared: numbers that were not \
             acknowledged wait for the longer of the two; set the same everywhere"
        );
    }
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The worker of a group.
async fn work(
    group: Group,
    backend: Backend,
    metrics: Arc<Metrics>,
    overload: Arc<Overload>,
    stop: CancellationToken,
) {
    let ports = backend.ports().clone();
    if group == Group::MessagesIndex {
        let job = SearchJob::new(backend, Arc::clone(&metrics), stop.clone());
        run::run(ports, job, &metrics, &overload, stop).await;
    } else {
        let job = StoreJob::new(backend, group, Arc::clone(&metrics));
        run::run(ports, job, &metrics, &overload, stop).await;
    }
}

/// How others know this process: host, process id, role.
fn process_name(role: Role) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_default();
    let host = match host.trim() {
        "" => "a host without a name",
        host => host,
    };
    format!("{host}, process {}, {}", std::process::id(), role.name())
}
