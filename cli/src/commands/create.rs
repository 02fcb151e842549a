//! What all creates have in common.

use std::time::Duration;

use chat_client::client::{Create, Created};
use chat_client::key::IdempotencyKey;
use clap::Args;

use crate::session::Session;
use crate::settings::duration;

/// Flags of every create.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Repeat the answer of an earlier create with the same key instead of creating again [default: a random key, so that retries are safe]
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<IdempotencyKey>,

    /// Wait until it is stored, at most this long
    #[arg(long, value_name = "TIME", value_parser = duration)]
    wait: Option<Duration>,
}

impl CreateArgs {
    /// For the client.
    pub(crate) fn options(&self) -> Create {
        Create {
            key: self.idempotency_key.clone(),
            wait: self.wait.map(whole_seconds),
        }
    }

    /// Says so where waiting was not long enough.
    pub(crate) fn report<T>(&self, session: &Session, created: &Created<T>) {
        if self.wait.is_some() && !created.stored {
            session.remark("accepted and durable, but not stored yet");
        }
    }
}

/// The header counts in whole seconds, so a part of one is a whole one.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs_f64(time.as_secs_f64().ceil())
}
