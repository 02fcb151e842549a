//! The job of the index group: rows that the store has, into the index.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::apply::{self, Batch, Numbers};
use chat_core::backend::Backend;
use chat_core::failpoint::{Failpoint, reach};
use chat_core::index::{self, Staged};
use chat_core::port::log::{Group, PollLimits};
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metrics;
use crate::workers::batch::Work;
use crate::workers::run::{Failure, Job, Pace};

/// Records of one commit of the index.
const BATCH_RECORDS: usize = 16_000;
/// A visible change of the index makes a segment, which is merged with others again and again: with
/// many messages a second, waiting for more of them costs less than anything else saves.
const PACE: Pace = Pace {
    steps: &[(64, Duration::from_millis(300))],
};
/// Pause between two looks at the store's position.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Indexes messages.
pub struct SearchJob {
    backend: Backend,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

impl SearchJob {
    /// `stop` ends its wait for the store.
    #[must_use]
    pub const fn new(backend: Backend, metrics: Arc<Metrics>, stop: CancellationToken) -> Self {
        Self {
            backend,
            metrics,
            stop,
        }
    }
}

/// Records, and what the index was given because of them.
pub struct Ready {
    batches: Vec<Batch>,
    staged: Staged,
}

#[async_trait]
impl Job for SearchJob {
    type Ready = Ready;

    fn group(&self) -> Group {
        Group::MessagesIndex
    }

    fn limits(&self) -> PollLimits {
        PollLimits {
            records: BATCH_RECORDS,
            bytes: self.backend.ports().search.batch_bytes(),
            wait_ms: 0,
        }
    }

    fn pace(&self) -> Pace {
        PACE
    }

    /// Waits until the store has what the records say, reads it there (rule 2), and gives it to the index: what
    /// is found early is a row all the same, and by its revision nothing older replaces it.
    async fn prepare(&self, work: &[Work]) -> Result<Self::Ready, Failure> {
        let ports = self.backend.ports();
        let epoch = ports.log.epoch(self.group().topic()).await?;
        let decoded = work.iter().map(|Work { partition, records }| {
            // The store group alone buries what cannot be read (rule 7).
            let (batch, _poison) = Batch::decode(self.group(), *partition, epoch, records.clone());
            batch
        });
        let batches: Vec<Batch> = decoded.collect();
        while !index::ready(ports, &batches).await? {
            tokio::select! {
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                () = self.stop.cancelled() => return Err(Failure::Stopped),
            }
        }
        let documents = index::documents(ports, &batches).await?;
        let staged = index::stage(ports, documents).await?;
        Ok(Ready { batches, staged })
    }

    async fn handle(&self, _: &[Work], ready: Self::Ready) -> Result<(), Failure> {
        let ports = self.backend.ports();
        let Ready { batches, staged } = ready;
        reach(Failpoint::IndexStagePublish);
        let report = index::publish(ports, staged, &[]).await?;
        reach(Failpoint::IndexPublishPosition);
        // All of it is searchable: only now the positions may move (rule 20).
        apply::apply(ports.store.as_ref(), &batches, &Numbers::new()).await?;
        let count = |outcome, events| self.metrics.count(self.group().name(), outcome, events);
        count("indexed", report.indexed);
        count("newer", report.newer);
        count("refused", report.refused.len() as u64);
        for (key, reason) in &report.refused {
            tracing::error!(
                chat.number = key.chat.chat.get(),
                message.number = key.number.get(),
                reason,
                "the index refuses a message; it is stored and cannot be found"
            );
        }
        Ok(())
    }
}
