//! A connection on loan. It goes back to the pool only by [`Lease::release`]: whoever is dropped in
//! the middle of a query would hand over a connection with somebody else's answer in it (sqlx#563).

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use chat_core::port::store::Error;
use sqlx::pool::PoolConnection;
use sqlx::{MySql, MySqlConnection, MySqlPool};

use super::failure::told;

/// How long one statement may take before its connection is given up. Above the lock timeout, and
/// above what a batch of any allowed size was ever seen to need.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection that is closed when it is dropped.
pub(super) struct Lease {
    connection: Option<PoolConnection<MySql>>,
}

impl Lease {
    /// Waits for a free connection.
    pub(super) async fn of(pool: &MySqlPool) -> Result<Self, Error> {
        Ok(Self {
            connection: Some(pool.acquire().await.map_err(told)?),
        })
    }

    /// Gives the connection back: its last query was read to the end.
    pub(super) fn release(mut self) {
        self.connection = None;
    }
}

impl Deref for Lease {
    type Target = MySqlConnection;

    fn deref(&self) -> &MySqlConnection {
        self.connection
            .as_deref()
            .expect("only release takes it, and takes the lease too")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut MySqlConnection {
        self.connection
            .as_deref_mut()
            .expect("only release takes it, and takes the lease too")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // The socket closes with it, and the server rolls back.
            drop(connection.detach());
        }
    }
}

/// Gives up on an engine that is frozen.
pub(super) async fn within<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(STATEMENT_TIMEOUT, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::Unavailable(format!(
            "no answer within {} s",
            STATEMENT_TIMEOUT.as_secs()
        ))),
    }
}
