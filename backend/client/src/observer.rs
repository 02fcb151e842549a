//! What a caller may watch: each answer, and each attempt that is repeated.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;

/// Something that happened on the wire. Tokens are never part of it.
#[derive(Debug)]
pub enum Event<'a> {
    /// An attempt was answered.
    Answered {
        /// For example `POST`.
        method: &'a str,
        /// The path, with the token blotted out.
        path: &'a str,
        /// The HTTP status.
        status: u16,
        /// From sending to the end of the body.
        elapsed: Duration,
    },
    /// An attempt failed and will be repeated.
    Retrying {
        /// Why it failed.
        cause: &'a Error,
        /// Pause before the next attempt.
        after: Duration,
    },
}

/// Called with every [`Event`], on the task that makes the call.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(&Event<'_>) + Send + Sync>);

impl Observer {
    /// Calls this function.
    #[must_use]
    pub fn new(observe: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observe))
    }

    pub(crate) fn tell(&self, event: &Event<'_>) {
        (self.0)(event);
    }
}

impl Default for Observer {
    /// Watches nothing.
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
