//! What an adapter gives the tests.

use std::future::Future;
use std::time::Duration;

use chat_core::port::Ports;

/// How long anything may take that has to happen.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// How long nothing must happen before a test believes that it does not.
pub const QUIET: Duration = Duration::from_millis(100);

/// One place for data that nobody else uses: a directory, or a namespace on the engines.
///
/// Topics, groups, tables, keys and indices are empty at first. Dropping it may remove them.
pub trait Fixture: Send + Sync + Sized {
    /// A new one.
    fn fresh() -> impl Future<Output = Self> + Send;

    /// Opens the ports on it. Whatever was opened on it before has been closed.
    fn open(&self) -> impl Future<Output = Ports> + Send;
}

/// Closes the ports and opens them again on the same data.
pub async fn reopen(fixture: &impl Fixture, ports: Ports) -> Ports {
    ports.life.close().await;
    drop(ports);
    fixture.open().await
}

/// Waits for what has to happen.
pub async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, happens).await {
        Ok(value) => value,
        Err(_) => panic!("within {DEADLINE:?} this did not happen: {what}"),
    }
}

/// Whether something stays undone for a while.
pub async fn stays_pending<T>(happens: impl Future<Output = T>) -> bool {
    tokio::time::timeout(QUIET, happens).await.is_err()
}
