//! The composition root: ports, rules, workers and listeners, put together and taken apart.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chat_core::backend::{Backend, Settings};
use chat_core::port::Ports;
use chat_core::port::log::Group;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::http::admin::{self, Admin};
use crate::http::guard::Guard;
use crate::http::{self, Api, serve};
use crate::telemetry::Metrics;
use crate::workers::search::SearchJob;
use crate::workers::store::StoreJob;
use crate::workers::{run, upkeep};

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
    /// The embedded adapters cannot be opened.
    #[error(transparent)]
    Embedded(#[from] chat_embedded::open::OpenError),
}

/// A backend at work.
pub struct Running {
    /// Where the API listens.
    pub api: SocketAddr,
    /// Where health, metrics and administration listen.
    pub admin: SocketAddr,
    backend: Backend,
    stop_listening: CancellationToken,
    stop_working: CancellationToken,
    listeners: JoinSet<()>,
    workers: JoinSet<()>,
    stop_deadline: Duration,
}

/// Creates or updates the schemas.
///
/// # Errors
/// See [`Error`].
pub async fn migrate(config: &Config) -> Result<(), Error> {
    // Opening migrates: the embedded default needs no step of its own.
    open(config).await?.life.close().await;
    tracing::info!(data_dir = %config.data_dir.display(), "the schemas are up to date");
    Ok(())
}

async fn open(config: &Config) -> Result<Ports, Error> {
    let embedded = chat_embedded::open::Config {
        log_retention: Duration::from_secs(u64::from(config.log_retention_hours) * 3600),
        ..chat_embedded::open::Config::new(config.data_dir.clone())
    };
    Ok(chat_embedded::open::open(&embedded).await?)
}

impl Running {
    /// Opens everything, starts workers and listeners.
    ///
    /// # Errors
    /// See [`Error`]; nothing is left running then.
    pub async fn start(config: Config) -> Result<Self, Error> {
        // The addresses first: a second process should not touch the data before it fails.
        let api_listener = listen("CHATD_LISTEN", config.listen).await?;
        let admin_listener = listen("CHATD_ADMIN_LISTEN", config.admin_listen).await?;
        let api_address = address(&api_listener, config.listen);
        let admin_address = address(&admin_listener, config.admin_listen);

        let ports = open(&config).await?;
        let settings = Settings {
            create_deadline: config.create_deadline(),
        };
        let backend = Backend::new(ports, settings);
        let metrics = Arc::new(Metrics::default());
        let mut running = Self {
            api: api_address,
            admin: admin_address,
            backend: backend.clone(),
            stop_listening: CancellationToken::new(),
            stop_working: CancellationToken::new(),
            listeners: JoinSet::new(),
            workers: JoinSet::new(),
            stop_deadline: config.stop_deadline(),
        };
        running.start_workers(&metrics);
        let api = Api {
            backend: backend.clone(),
            guard: Arc::new(Guard::new(&config)),
            metrics: Arc::clone(&metrics),
            stop: running.stop_listening.clone(),
        };
        let admin = Admin {
            backend,
            metrics,
            key: config
                .admin_key
                .as_deref()
                .filter(|key| !key.is_empty())
                .map(Arc::from),
        };
        running.start_listener(api_listener, http::router(api), &config);
        running.start_listener(admin_listener, admin::router(admin), &config);
        tracing::info!(
            api = %format_args!("http://{api_address}"),
            admin = %format_args!("http://{admin_address}"),
            data_dir = %config.data_dir.display(),
            "chatd is ready"
        );
        Ok(running)
    }

    /// The rules behind the listeners, for whoever runs the server in a process of its own.
    #[must_use]
    pub const fn backend(&self) -> &Backend {
        &self.backend
    }

    fn start_listener(&mut self, listener: TcpListener, router: axum::Router, config: &Config) {
        self.listeners.spawn(serve::serve(
            listener,
            router,
            config.max_connections,
            self.stop_listening.clone(),
            self.stop_deadline,
        ));
    }

    fn start_workers(&mut self, metrics: &Arc<Metrics>) {
        for group in [
            Group::ApplicationsStore,
            Group::ChatsStore,
            Group::MessagesStore,
        ] {
            let job = StoreJob::new(self.backend.clone(), group, Arc::clone(metrics));
            let (ports, metrics) = (self.backend.ports().clone(), Arc::clone(metrics));
            let stop = self.stop_working.clone();
            self.workers
                .spawn(async move { run::run(ports, job, &metrics, stop).await });
        }
        let stop = self.stop_working.clone();
        let job = SearchJob::new(self.backend.clone(), Arc::clone(metrics), stop.clone());
        let (ports, index_metrics) = (self.backend.ports().clone(), Arc::clone(metrics));
        self.workers
            .spawn(async move { run::run(ports, job, &index_metrics, stop).await });
        let stop = self.stop_working.clone();
        self.workers
            .spawn(upkeep::run(self.backend.clone(), Arc::clone(metrics), stop));
    }

    /// Ends in order: no new requests, the ones at work answered, the batches at work committed, the files closed.
    pub async fn stop(mut self) {
        tracing::info!("chatd is stopping");
        self.stop_listening.cancel();
        while self.listeners.join_next().await.is_some() {}
        self.stop_working.cancel();
        let workers = async { while self.workers.join_next().await.is_some() {} };
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

async fn listen(setting: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen {
            setting,
            address,
            source,
        })
}

/// The address with the port that the system chose.
fn address(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}
