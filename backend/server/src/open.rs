//! Choosing the adapters: the engines where their URLs are set, else the embedded default. The one
//! place that knows both.

use std::time::Duration;

use chat_core::port::Ports;

use crate::boot::Error;
use crate::config::Config;
use crate::http::door::Door;

/// Hours that records stay in the embedded log.
const EMBEDDED_RETENTION_HOURS: u32 = 24;

fn embedded(config: &Config) -> chat_embedded::open::Config {
    let hours = config
        .log_retention_hours
        .unwrap_or(EMBEDDED_RETENTION_HOURS);
    chat_embedded::open::Config {
        log_retention: Duration::from_secs(u64::from(hours) * 3600),
        ..chat_embedded::open::Config::new(config.data_dir.clone())
    }
}

/// Opens all ports; the door is told what is being waited for.
///
/// # Errors
/// See [`Error`]; an engine that is not up is an error only after the start deadline.
pub(crate) async fn open(config: &Config, door: &Door) -> Result<Ports, Error> {
    #[cfg(feature = "engines")]
    if let Some(engines) = config.for_engines() {
        return waiting::until_up(config, door, || chat_engines::open::connect(&engines)).await;
    }
    let _ = door;
    Ok(chat_embedded::open::open(&embedded(config)).await?)
}

/// Creates or updates the schemas; opening does that on the embedded default.
///
/// # Errors
/// As [`open`].
pub(crate) async fn migrate(config: &Config) -> Result<(), Error> {
    #[cfg(feature = "engines")]
    if let Some(engines) = config.for_engines() {
        let door = Door::default();
        return waiting::until_up(config, &door, || chat_engines::open::migrate(&engines)).await;
    }
    let ports = chat_embedded::open::open(&embedded(config)).await?;
    ports.life.close().await;
    Ok(())
}

#[cfg(feature = "engines")]
mod waiting {
    use std::time::Duration;

    use chat_engines::error::Error as EngineError;
    use tokio::time::Instant;

    use super::{Config, Door, Error};

    /// Between two tries.
    const PAUSE: Duration = Duration::from_millis(500);
    /// How often the same reason is told again.
    const TELL_EVERY: Duration = Duration::from_secs(10);

    /// Tries until it works, or until it cannot.
    pub(super) async fn until_up<T>(
        config: &Config,
        door: &Door,
        mut attempt: impl AsyncFnMut() -> Result<T, EngineError>,
    ) -> Result<T, Error> {
        let began = Instant::now();
        let mut told: Option<(String, Instant)> = None;
        loop {
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) if !error.retryable() => return Err(error.into()),
                Err(error) => error,
            };
            if config
                .start_deadline()
                .is_some_and(|deadline| began.elapsed() >= deadline)
            {
                return Err(error.into());
            }
            let reason = error.to_string();
            door.wait_for(&reason);
            let again = told
                .as_ref()
                .is_none_or(|(last, at)| *last != reason || at.elapsed() >= TELL_EVERY);
            if again {
                tracing::warn!(setting = error.setting(), "chatd waits: {reason}");
                told = Some((reason, Instant::now()));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
