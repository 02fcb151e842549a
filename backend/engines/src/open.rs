//! Putting the five ports together: [`connect`] for a process, [`migrate`] for an installation.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::clock::{System, TrustedClock};
use chat_core::key::KEY_ROW_LIFE;
use chat_core::port::counters::Counters;
use chat_core::port::store::Store as _;
use chat_core::port::{Life, Ports};
use chat_wire::admin::doctor::Examined;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::Config;
use crate::counters::Numbers;
use crate::error::Error;
use crate::examine::Engines;
use crate::log::Events;
use crate::search::Index;
use crate::signals::Hints;
use crate::store::Rows;

/// How often old keys are removed.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// Reaches all four engines and checks what is ours in them.
///
/// # Errors
/// [`Error`] names the setting and the remedy; [`Error::retryable`] tells whether waiting may help.
pub async fn connect(config: &Config) -> Result<Ports, Error> {
    let rows = Arc::new(Rows::connect(&config.database_url, config.database_connections).await?);
    let counters = Arc::new(Numbers::connect(config).await?);
    let log = Arc::new(Events::connect(config, Arc::clone(&rows)).await?);
    let search = Arc::new(Index::connect(config).await?);
    let signals = Arc::new(Hints::start(config)?);
    let life = Arc::new(Whole {
        rows: Arc::clone(&rows),
        log: Arc::clone(&log),
        engines: Engines::new(
            config,
            Arc::clone(&rows),
            Arc::clone(&log),
            Arc::clone(&counters),
            Arc::clone(&search),
        ),
        signals: Arc::clone(&signals),
        forgot_at: Mutex::new(None),
        clock: TrustedClock::new(Arc::new(System)),
    });
    Ok(Ports {
        store: rows,
        log,
        counters,
        signals,
        search,
        life,
    })
}

/// Reaches Redis alone and answers the counters.
///
/// # Errors
/// As [`connect`].
pub async fn counters(config: &Config) -> Result<Arc<dyn Counters>, Error> {
    Ok(Arc::new(Numbers::connect(config).await?))
}

/// Makes what is missing: database and tables, topics, the index. Running it again is harmless.
///
/// # Errors
/// As [`connect`].
pub async fn migrate(config: &Config) -> Result<(), Error> {
    Rows::migrate(&config.database_url).await?;
    let rows = Rows::connect(&config.database_url, 2).await?;
    let made = Events::migrate(config, &rows).await;
    rows.close().await;
    made?;
    Index::migrate(config).await
}

/// The adapter as a whole.
struct Whole {
    rows: Arc<Rows>,
    log: Arc<Events>,
    engines: Engines,
    signals: Arc<Hints>,
    forgot_at: Mutex<Option<Instant>>,
    /// Decides which idempotency keys are old.
    clock: TrustedClock,
}

#[async_trait]
impl Life for Whole {
    async fn housekeep(&self) {
        // Retention is Kafka's business, and so is every checkpoint the databases'.
        {
            let mut forgot_at = self.forgot_at.lock();
            if forgot_at.is_some_and(|at| at.elapsed() < FORGET_EVERY) {
                return;
            }
            *forgot_at = Some(Instant::now());
        }
        let before = self.clock.now().minus(KEY_ROW_LIFE);
        if let Err(error) = self.rows.forget_keys(before).await {
            tracing::warn!(%error, "old idempotency keys stay for now");
        }
    }

    async fn examine(&self) -> Vec<Examined> {
        self.engines.examine().await
    }

    async fn failed(&self) -> String {
        self.signals.failed().await
    }

    async fn close(&self) {
        self.log.close().await;
        self.rows.close().await;
    }
}
