//! Recovery: puts back counters that are missing, from the store and, where they may have been lost, from the log.
//!
//! The counters are a cache: losing them loses nothing. The store alone would reissue the numbers that are
//! still in the log, so an adapter that may lose counters also reads the log's tail
//! (invariant: recovery-reads-log).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chat_wire::ids::AppToken;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::error::Error;
use crate::failpoint::{Failpoint, reach};
use crate::key::{KeyHash, StoredKey};
use crate::port::counters::{Counter, Floor};
use crate::port::store::ChatKey;
use crate::tail::Tails;

/// How long "there is no such application" is remembered (invariant: unknown-is-cheap).
const ABSENT_FOR: Duration = Duration::from_secs(1);
/// How many of those are remembered.
const ABSENT_MAX: usize = 10_000;
/// The generation of counters that never lose what they know.
const FIRST_GENERATION: u32 = 1;
/// On top of the deadline: for clocks that differ, and for an answer that is on its way.
pub(crate) const MARGIN: Duration = Duration::from_secs(1);
/// How long a recovery is tried again when an engine fails it.
const PERSISTENCE: Duration = Duration::from_secs(10);
/// Pause between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// What recoveries of this process share.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    /// One look at a time, so that a storm of unknown tokens costs one look-up each, not one a request.
    one: tokio::sync::Mutex<()>,
    absent: Mutex<HashMap<Counter, Instant>>,
    tails: Tails,
    figures: Figures,
}

#[derive(Debug, Default)]
struct Figures {
    fenced: AtomicU64,
    recovered: AtomicU64,
    failed: AtomicU64,
}

/// What became of counters that this process could not believe, since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recoveries {
    /// Calls that were told to come back, because the counter was being recovered.
    pub fenced: u64,
    /// Counters that were put back.
    pub recovered: u64,
    /// Recoveries that were given up; the next call begins another.
    pub failed: u64,
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
    /// What became of counters that could not be believed.
    #[must_use]
    pub fn recoveries(&self) -> Recoveries {
        let figures = &self.recovery().figures;
        Recoveries {
            fenced: figures.fenced.load(Ordering::Relaxed),
            recovered: figures.recovered.load(Ordering::Relaxed),
            failed: figures.failed.load(Ordering::Relaxed),
        }
    }

    /// Puts a missing counter back.
    ///
    /// # Errors
    /// [`Error::UnknownApplication`] or [`Error::UnknownChat`] where nothing was ever handed out; those of the ports.
    pub(crate) async fn recover(&self, counter: Counter) -> Result<(), Error> {
        let recovery = self.recovery();
        if recovery.is_absent(counter) {
            return Err(unknown(counter));
        }
        match self.ports().counters.floor() {
            Floor::Store => self.recover_from_store(counter).await,
            Floor::Log => self.recover_from_log(counter).await,
        }
    }

    async fn recover_from_store(&self, counter: Counter) -> Result<(), Error> {
        let recovery = self.recovery();
        let _one = recovery.one.lock().await;
        if recovery.is_absent(counter) {
            return Err(unknown(counter));
        }
        let counters = &self.ports().counters;
        if counters.last(counter).await?.is_some() {
            return Ok(());
        }
        match self.last_in_store(counter).await? {
            Some(last) => {
                reach(Failpoint::RecoveryReadRestore);
                counters.restore(counter, last, FIRST_GENERATION).await?;
                recovery.figures.recovered.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            None => {
                recovery.remember_absent(counter);
                Err(unknown(counter))
            }
        }
    }

    /// Tells at once whether there is such a counter. If there is, its recovery takes longer than a
    /// caller can wait: it goes on by itself, and the caller is told to come back.
    async fn recover_from_log(&self, counter: Counter) -> Result<(), Error> {
        let recovery = self.recovery();
        let counters = &self.ports().counters;
        if counters.last(counter).await?.is_some() {
            return Ok(());
        }
        // What was acknowledged before this question stands in the log by now, so nothing needs to be
        // waited for to know what exists.
        let seen = recovery
            .tails
            .seen(self.ports(), counter, Instant::now())
            .await?;
        if seen.is_none() && self.last_in_store(counter).await?.is_none() {
            recovery.remember_absent(counter);
            return Err(unknown(counter));
        }
        let deadline = self.append_patience();
        let lease = deadline + MARGIN + PERSISTENCE;
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        if let Some(settled) = counters.claim(counter, lease_ms).await? {
            reach(Failpoint::RecoveryClaimRefill);
            if self.is_settled(settled).await && self.refill_now(counter).await {
                return Ok(());
            }
            let backend = self.released();
            tokio::spawn(async move { backend.refill(counter, settled).await });
        }
        recovery.figures.fenced.fetch_add(1, Ordering::Relaxed);
        Err(Error::Fenced)
    }

    /// Whether nobody can still append a number that was given so long ago, whatever deadline its process has.
    async fn is_settled(&self, settled: Duration) -> bool {
        !settled.is_zero()
            && self.read_deadline().await.is_ok()
            && left_to_wait(self.append_patience(), settled).is_zero()
    }

    /// Puts a counter back that nobody can have been given a number of lately; false where an engine fails.
    async fn refill_now(&self, counter: Counter) -> bool {
        match self.put_back(counter, Instant::now()).await {
            Ok((last, generation)) => {
                let figures = &self.recovery().figures;
                figures.recovered.fetch_add(1, Ordering::Relaxed);
                tracing::info!(
                    counter = kind(counter),
                    last,
                    generation,
                    "a counter of a server before is recovered"
                );
                true
            }
            Err(error) => {
                tracing::warn!(counter = kind(counter), %error, "a recovery is tried again");
                false
            }
        }
    }

    /// Waits for whoever was given a number before the counter was fenced, then puts it back.
    async fn refill(&self, counter: Counter, settled: Duration) {
        let figures = &self.recovery().figures;
        let began = Instant::now();
        // Whoever was given a number before the fence had declared its deadline before that.
        if let Err(error) = self.read_deadline().await {
            tracing::warn!(%error, "a recovery waits for the deadlines that are known");
        }
        tokio::time::sleep(left_to_wait(self.append_patience(), settled)).await;
        let since = Instant::now();
        loop {
            match self.put_back(counter, since).await {
                Ok((last, generation)) => {
                    figures.recovered.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(
                        counter = kind(counter),
                        last,
                        generation,
                        duration_ms =
                            u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                        "a counter that was lost, or could not be believed, is recovered"
                    );
                    return;
                }
                Err(error) if since.elapsed() < PERSISTENCE => {
                    tracing::warn!(counter = kind(counter), %error, "a recovery is tried again");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(error) => {
                    figures.failed.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(
                        counter = kind(counter),
                        %error,
                        "a recovery failed; the next request for the counter begins another"
                    );
                    return;
                }
            }
        }
    }

    /// Raises a counter that is there and stands below what is stored, at once: whatever it gives out
    /// meanwhile is taken already, and each of those messages would have to be given another number.
    /// It stands at `to` afterwards, or at what rows and log say where that is more.
    ///
    /// # Errors
    /// Those of the counters, the store and the log.
    pub async fn raise(&self, counter: Counter, to: u32) -> Result<(), Error> {
        let counters = &self.ports().counters;
        let (last, generation) = match counters.floor() {
            Floor::Store => {
                let stored = self.last_in_store(counter).await?.unwrap_or(0);
                (stored, FIRST_GENERATION)
            }
            Floor::Log => self.put_back(counter, Instant::now()).await?,
        };
        let last = last.max(to);
        counters.restore(counter, last, generation).await?;
        tracing::warn!(
            counter = kind(counter),
            last,
            "a counter below its highest number is raised"
        );
        Ok(())
    }

    async fn put_back(&self, counter: Counter, since: Instant) -> Result<(u32, u32), Error> {
        let ports = self.ports();
        let seen = self.recovery().tails.seen(ports, counter, since).await?;
        let seen = seen.unwrap_or_default();
        let stored = self.last_in_store(counter).await?.unwrap_or(0);
        self.recovery().tails.confirm(ports, counter).await?;
        let last = seen.last.max(stored);
        let token = counter.token();
        reach(Failpoint::RecoveryReadRestore);
        let generation = ports.store.raise_generation(token, seen.generation).await?;
        reach(Failpoint::RecoveryGenerationRestore);
        for (key, grant) in seen.keys {
            ports.counters.restore_key(token, key, grant).await?;
        }
        ports.counters.restore(counter, last, generation).await?;
        Ok((last, generation))
    }

    /// The application that was created with a key and may not be in the store yet.
    pub(crate) async fn application_in_log(
        &self,
        key: KeyHash,
    ) -> Result<Option<(StoredKey, AppToken)>, Error> {
        let tails = &self.recovery().tails;
        tails.application(self.ports(), key, Instant::now()).await
    }

    /// Puts back all that a take has found missing. A chat's counter is recovered beside its
    /// application's: one after the other would keep the chat waiting twice.
    pub(crate) async fn recover_for(
        &self,
        counter: Counter,
        missing: Counter,
    ) -> Result<(), Error> {
        let recovered = self.recover(missing).await;
        if missing != counter && matches!(recovered, Err(Error::Fenced)) {
            // Whatever this finds: the application's answer is the one that counts for now.
            let _ = self.recover(counter).await;
        }
        recovered
    }

    async fn last_in_store(&self, counter: Counter) -> Result<Option<u32>, Error> {
        match counter {
            Counter::Chats(token) => self.last_chat_in_store(token).await,
            Counter::Messages(chat) => self.last_message_in_store(chat).await,
        }
    }

    async fn last_chat_in_store(&self, token: AppToken) -> Result<Option<u32>, Error> {
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

/// How long somebody may still append a number that was given before the counter was claimed, where nobody has been
/// given one for so long.
const fn left_to_wait(create_deadline: Duration, settled: Duration) -> Duration {
    create_deadline
        .saturating_add(MARGIN)
        .saturating_sub(settled)
}

const fn kind(counter: Counter) -> &'static str {
    match counter {
        Counter::Chats(_) => "chats",
        Counter::Messages(_) => "messages",
    }
}

const fn unknown(counter: Counter) -> Error {
    match counter {
        Counter::Chats(_) => Error::UnknownApplication,
        Counter::Messages(_) => Error::UnknownChat,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_waits_for_whoever_may_still_append() {
        let deadline = Duration::from_secs(5);
        let left = |settled_ms| left_to_wait(deadline, Duration::from_millis(settled_ms));
        assert_eq!(left(0), deadline + MARGIN);
        assert_eq!(left(5_999), Duration::from_millis(1));
        assert_eq!(left(6_000), Duration::ZERO);
        assert_eq!(left(86_400_000), Duration::ZERO);
    }
}
