//! Recovery: puts back counters that are missing, from the store and, where they may have been lost, from the log.
//!
//! The counters are a cache (DESIGN, section 6). What the store alone says would reissue the numbers
//! that are still in the log; who may lose counters therefore reads the log's tail too (rule 16).

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::error::Error;
use crate::port::counters::{Counter, Floor};
use crate::port::store::ChatKey;

/// How long "there is no such application" is remembered (rule 17).
const ABSENT_FOR: Duration = Duration::from_secs(1);
/// How many of those are remembered.
const ABSENT_MAX: usize = 10_000;
/// The generation of counters that never lose what they know.
const FIRST_GENERATION: u32 = 1;

/// What recoveries of this process share.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    /// One look at a time, so that a storm of unknown tokens costs one look-up each, not one a request.
    one: tokio::sync::Mutex<()>,
    absent: Mutex<HashMap<Counter, Instant>>,
}

impl Recovery {
    fn is_absent(&self, counter: Counter) -> bool {
        let absent = self.absent.lock();
        absent
            .get(&counter)
            .is_some_and(|since| since.elapsed() < ABSENT_FOR)
    }

    fn remember_absent(&self, counter: Counter) {
        let mut absent = self.absent.lock();
        if absent.len() >= ABSENT_MAX {
            absent.retain(|_, since| since.elapsed() < ABSENT_FOR);
            if absent.len() >= ABSENT_MAX {
                absent.clear();
            }
        }
        absent.insert(counter, Instant::now());
    }
}

impl Backend {
    /// Puts a missing counter back.
    ///
    /// # Errors
    /// [`Error::UnknownApplication`] or [`Error::UnknownChat`] where nothing was ever handed out; those of the ports.
    pub(crate) async fn recover(&self, counter: Counter) -> Result<(), Error> {
        let recovery = self.recovery();
        if recovery.is_absent(counter) {
            return Err(unknown(counter));
        }
        let _one = recovery.one.lock().await;
        if recovery.is_absent(counter) {
            return Err(unknown(counter));
        }
        let counters = &self.ports().counters;
        if counters.last(counter).await?.is_some() {
            return Ok(());
        }
        let found = match counters.floor() {
            Floor::Store => self.last_in_store(counter).await?,
        };
        match found {
            Some(last) => Ok(counters.restore(counter, last, FIRST_GENERATION).await?),
            None => {
                recovery.remember_absent(counter);
                Err(unknown(counter))
            }
        }
    }

    async fn last_in_store(&self, counter: Counter) -> Result<Option<u32>, Error> {
        match counter {
            Counter::Chats(token) => self.last_chat_in_store(token).await,
            Counter::Messages(chat) => self.last_message_in_store(chat).await,
        }
    }

    async fn last_chat_in_store(
        &self,
        token: chat_wire::ids::AppToken,
    ) -> Result<Option<u32>, Error> {
        let store = &self.ports().store;
        if store.application(token).await?.is_none() {
            return Ok(None);
        }
        Ok(Some(store.highest_chat(token).await?))
    }

    async fn last_message_in_store(&self, chat: ChatKey) -> Result<Option<u32>, Error> {
        let row = self.ports().store.chat(chat).await?;
        Ok(row.map(|row| row.highest))
    }
}

const fn unknown(counter: Counter) -> Error {
    match counter {
        Counter::Chats(_) => Error::UnknownApplication,
        Counter::Messages(_) => Error::UnknownChat,
    }
}
