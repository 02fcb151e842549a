//! The job of the index group: rows that the store has, into the index.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::apply::{self, Batch, Numbers};
use chat_core::backend::Backend;
use chat_core::index;
use chat_core::port::log::{Group, PollLimits};
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metrics;
use crate::workers::run::{Failure, Job, Work};

/// Records of one commit of the index.
const BATCH_RECORDS: usize = 16_000;
/// Partitions of one commit of the index.
const PARTITIONS: usize = 64;
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

#[async_trait]
impl Job for SearchJob {
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

    fn partitions(&self) -> usize {
        PARTITIONS
    }

    async fn handle(&self, work: &[Work]) -> Result<(), Failure> {
        let ports = self.backend.ports();
        let mut batches = Vec::with_capacity(work.len());
        for Work { partition, records } in work {
            let epoch = ports.log.epoch(partition.topic).await?;
            // The store group alone buries what cannot be read (rule 7).
            let (batch, _poison) = Batch::decode(self.group(), *partition, epoch, records.clone());
            while !index::ready(ports, *partition, batch.next).await? {
                tokio::select! {
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                    () = self.stop.cancelled() => return Err(Failure::Stopped),
                }
            }
            batches.push(batch);
        }
        let report = index::index(ports, &batches).await?;
        // All of it is searchable: only now the positions may move (rule 20).
        for batch in &batches {
            apply::apply(ports.store.as_ref(), batch, &Numbers::new()).await?;
        }
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
