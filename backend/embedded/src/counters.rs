//! The counters port in this process: rebuilt at start from the log's tail, and from the store when asked.

mod state;
pub(crate) mod tail;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use chat_core::key::StoredKey;
use chat_core::port::counters::{
    Counter, Counters, Error, Floor, Grant, Keyed, Opened, Take, Taken,
};
use chat_core::port::store::ChatKey;
use chat_wire::ids::AppToken;
use parking_lot::Mutex;

use self::state::{FIRST_GENERATION, Horizon, Mark, STORE_GROUPS, State};
use crate::log::Events;
use crate::progress::Progress;

/// Keys that one call of housekeeping lets go at most.
const FORGET_KEYS: usize = 10_000;

/// The numbers of one data directory. A lock for all of them: it is held for well under a microsecond.
pub(crate) struct Numbers {
    state: Mutex<State>,
    horizon: LogHorizon,
}

struct LogHorizon {
    log: Arc<Events>,
    progress: Arc<Progress>,
}

impl Horizon for LogHorizon {
    fn end(&self) -> Mark {
        STORE_GROUPS.map(|group| self.log.end(group.topic()))
    }

    fn applied(&self, mark: &Mark) -> bool {
        let mut marks = STORE_GROUPS.into_iter().zip(mark);
        marks.all(|(group, mark)| self.progress.next(group) >= *mark)
    }
}

impl Numbers {
    /// Where a counter stands, if it was restored.
    pub(crate) fn known(&self, counter: Counter) -> Option<u32> {
        self.state.lock().last(counter)
    }

    /// Raises a counter that was restored; any other one is restored from the store when it is needed.
    pub(crate) fn raise(&self, counter: Counter, last: u32) {
        let mut state = self.state.lock();
        if state.last(counter).is_some() {
            state.restore(counter, last, FIRST_GENERATION);
        }
    }

    /// Forgets keys that the store has forgotten.
    pub(crate) fn housekeep(&self) {
        self.state
            .lock()
            .forget(Instant::now(), &self.horizon, FORGET_KEYS);
    }
}

#[async_trait]
impl Counters for Numbers {
    async fn take(&self, take: Take) -> Result<Taken, Error> {
        self.state.lock().take(&take, Instant::now(), &self.horizon)
    }

    async fn open(&self, token: AppToken, keyed: Option<Keyed>) -> Result<Opened, Error> {
        self.state
            .lock()
            .open(token, keyed, Instant::now(), &self.horizon)
    }

    async fn open_chat(&self, chat: ChatKey) -> Result<(), Error> {
        self.state.lock().open_chat(chat);
        Ok(())
    }

    async fn acknowledge(&self, _token: AppToken, key: StoredKey) -> Result<(), Error> {
        self.state.lock().acknowledge(key, &self.horizon);
        Ok(())
    }

    async fn release(&self, _token: AppToken, key: StoredKey, grant: Grant) -> Result<(), Error> {
        self.state.lock().release(key, grant, Instant::now());
        Ok(())
    }

    async fn last(&self, counter: Counter) -> Result<Option<u32>, Error> {
        Ok(self.state.lock().last(counter))
    }

    async fn restore(&self, counter: Counter, last: u32, generation: u32) -> Result<(), Error> {
        self.state.lock().restore(counter, last, generation);
        Ok(())
    }

    async fn restore_key(
        &self,
        token: AppToken,
        key: StoredKey,
        grant: Grant,
    ) -> Result<(), Error> {
        self.state
            .lock()
            .restore_key(token, key, grant, Instant::now(), &self.horizon);
        Ok(())
    }

    fn floor(&self) -> Floor {
        Floor::Store
    }

    async fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}
