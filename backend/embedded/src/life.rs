//! The life of the data directory: retention, and closing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::clock::TrustedClock;
use chat_core::key::KEY_ROW_LIFE;
use chat_core::port::log::{Group, Topic};
use chat_core::port::store::Store;
use chat_core::port::{Life, log, search, store};
use chat_wire::admin::doctor::Examined;
use chat_wire::time::Timestamp;
use parking_lot::Mutex;

use crate::counters::Numbers;
use crate::examine::{self, Premises};
use crate::lock::Lock;
use crate::log::Events;
use crate::progress::Progress;
use crate::search::Index;
use crate::store::Rows;

/// Steps of retention, and of giving pages back, in one call. Appends go on between them.
const STEPS: usize = 64;

/// Everything that is open.
pub(crate) struct Estate {
    pub(crate) rows: Arc<Rows>,
    pub(crate) log: Arc<Events>,
    pub(crate) numbers: Arc<Numbers>,
    pub(crate) index: Arc<Index>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) premises: Premises,
    /// Decides which idempotency keys are old.
    pub(crate) clock: TrustedClock,
    /// `None` once it is closed.
    pub(crate) lock: Mutex<Option<Lock>>,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Log(#[from] log::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Search(#[from] search::Error),
}

impl Estate {
    async fn tidy(&self) -> Result<(), Trouble> {
        self.numbers.housekeep();
        self.retain().await?;
        let before = self.clock.now().minus(KEY_ROW_LIFE);
        self.rows.forget_keys(before).await?;
        self.index.housekeep().await?;
        Ok(())
    }

    /// Removes records that every group has passed and that are older than the retention. Dead
    /// letters stay: nobody but an operator is done with them.
    async fn retain(&self) -> Result<(), Trouble> {
        let before = ago(self.premises.retention);
        let mut checkpointed = false;
        for topic in [Topic::Applications, Topic::Chats, Topic::Messages] {
            let below = self.passed(topic);
            if !self.log.prunable(topic, below, before).await? {
                continue;
            }
            // What leaves the log must be in the store's own file first, synced, or a crash could take
            // both. The positions above were committed before this checkpoint.
            if !checkpointed && !self.rows.checkpoint().await? {
                return Ok(());
            }
            checkpointed = true;
            for _ in 0..STEPS {
                if self.log.prune(topic, below, before).await? == 0 {
                    break;
                }
            }
        }
        for _ in 0..STEPS {
            if !self.log.shrink().await? {
                break;
            }
        }
        Ok(())
    }

    /// The first offset of a topic that some group has not applied.
    pub(crate) fn passed(&self, topic: Topic) -> u64 {
        let readers = Group::ALL
            .into_iter()
            .filter(|group| group.topic() == topic);
        readers
            .map(|group| self.progress.next(group))
            .min()
            .unwrap_or(0)
    }
}

/// A time in the past.
fn ago(span: Duration) -> Timestamp {
    let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    let now = Timestamp::now();
    Timestamp::from_micros(now.as_micros().saturating_sub(micros)).unwrap_or(now)
}

#[async_trait]
impl Life for Estate {
    async fn housekeep(&self) {
        if let Err(error) = self.tidy().await {
            tracing::warn!(%error, "housekeeping stopped half-way; it is tried again");
        }
    }

    async fn examine(&self) -> Vec<Examined> {
        examine::examine(self).await
    }

    async fn failed(&self) -> String {
        self.log.failed().await
    }

    async fn close(&self) {
        // The log first: what was accepted is written. Then the rest, in no order that matters.
        self.log.close().await;
        self.rows.close().await;
        self.index.close().await;
        self.lock.lock().take();
    }
}
