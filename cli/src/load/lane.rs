//! Lanes: threads that send requests and receive their answers, each with connections of its own.
//!
//! Within a lane nobody has to be woken by another thread: what is due, what is answered and what is
//! measured meet in one place, which is most of what a request costs a generator.

use std::future::Future;
use std::sync::Arc;

use chat_client::client::{Client, Config};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::load::alarm::Alarm;
use crate::load::environment;

/// A thread of the generator. It ends with this.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) client: Client,
    pub(crate) alarm: Alarm,
    runtime: Handle,
    /// Never sent: the thread ends when it is dropped.
    _end: oneshot::Sender<()>,
}

/// As many as the processors of this machine ask for: the server has the others.
fn default_count() -> u32 {
    (environment::cpus() / 2).max(1)
}

impl Lane {
    /// Starts so many, or as many as are good for this machine where it is 0.
    ///
    /// # Errors
    /// Those of the system; [`Error::usage`] for an address that is none.
    pub(crate) fn start(count: u32, config: &Config) -> Result<Arc<[Self]>, Error> {
        let count = match count {
            0 => default_count(),
            count => count,
        };
        (0..count).map(|nth| Self::one(nth, config)).collect()
    }

    fn one(nth: u32, config: &Config) -> Result<Self, Error> {
        let failed = |error: std::io::Error| {
            Error::failure(format!("cannot start the threads that send: {error}")).with_hint(
                "allow more threads or open files (ulimit -u, -n), or give fewer --threads",
            )
        };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let handle = runtime.handle().clone();
        let alarm = {
            let _within = handle.enter();
            Alarm::new().map_err(failed)?
        };
        let (end, ended) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name(format!("load-{nth}"))
            .spawn(move || {
                let _ = runtime.block_on(ended);
            })
            .map_err(failed)?;
        Ok(Self {
            client: Client::new(config.clone())?,
            alarm,
            runtime: handle,
            _end: end,
        })
    }

    /// Runs something on the thread.
    pub(crate) fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.runtime.spawn(work)
    }
}
