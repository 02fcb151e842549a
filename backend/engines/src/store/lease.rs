//! A connection on loan. It goes back to the pool only by [`Lease::release`]: whoever is dropped in
//! the middle of a query would hand over a connection with somebody else's answer in it (sqlx#563).

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use chat_core::port::store::Error;
use sqlx::MySqlConnection;
use tokio::sync::OwnedSemaphorePermit;

use super::pool::{Checked, Pool};
use super::transaction::command;

/// How long one statement may take before its connection is given up. Above the lock timeout, and
/// above what a batch of any allowed size was ever seen to need.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection that is closed when it is dropped.
pub(super) struct Lease {
    pool: Arc<Pool>,
    connection: Option<Checked>,
    _place: OwnedSemaphorePermit,
}

impl Lease {
    /// Waits for a free connection.
    pub(super) async fn of(pool: &Arc<Pool>) -> Result<Self, Error> {
        let (connection, place) = pool.acquire().await?;
        Ok(Self {
            pool: Arc::clone(pool),
            connection: Some(connection),
            _place: place,
        })
    }

    /// The same one, or another in its place where it does not lead to the server any more.
    pub(super) async fn verified(mut self) -> Result<Self, Error> {
        if let Some(connection) = self.connection.take() {
            self.connection = Some(self.pool.verified(connection).await?);
        }
        Ok(self)
    }

    /// Commits, unless another server was found since the connection was verified: what is committed on the one
    /// before is lost.
    pub(super) async fn commit(&mut self) -> Result<(), Error> {
        let current = self
            .connection
            .as_ref()
            .is_some_and(|connection| self.pool.is_current(connection));
        if !current {
            return Err(Error::Unavailable(
                "another server answers for the database since the transaction began".into(),
            ));
        }
        within(command(self, "COMMIT")).await
    }

    /// Gives the connection back: its last query was read to the end.
    pub(super) fn release(mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.put(connection);
        }
    }
}

impl Deref for Lease {
    type Target = MySqlConnection;

    fn deref(&self) -> &MySqlConnection {
        self.connection
            .as_ref()
            .expect("only release takes it, and takes the lease too")
            .connection()
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut MySqlConnection {
        self.connection
            .as_mut()
            .expect("only release takes it, and takes the lease too")
            .connection_mut()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // The socket closes with it, and the server rolls back. What failed here may have failed for all.
        if self.connection.take().is_some() {
            self.pool.suspect();
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
