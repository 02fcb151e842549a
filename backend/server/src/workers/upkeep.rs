//! Upkeep: voids for numbers that will never come, retention, checkpoints.

use std::sync::Arc;
use std::time::Duration;

use chat_core::backend::Backend;
use chat_core::error::Error;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metrics;

/// Between two steps of the settler.
const SETTLE_EVERY: Duration = Duration::from_secs(1);
/// Between two rounds of housekeeping.
const HOUSEKEEP_EVERY: Duration = Duration::from_secs(5);

/// Whose numbers are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those of every chat, by looking for gaps in the store.
    Everything,
    /// Those that this process gave out and could not append.
    Own,
}

/// Runs until it is told to stop.
pub async fn run(backend: Backend, metrics: Arc<Metrics>, scope: Scope, stop: CancellationToken) {
    let mut settle = tokio::time::interval(SETTLE_EVERY);
    let mut housekeep = tokio::time::interval(HOUSEKEEP_EVERY);
    for timer in [&mut settle, &mut housekeep] {
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = housekeep.tick() => backend.ports().life.housekeep().await,
            _ = settle.tick() => match settle_step(&backend, scope).await {
                Ok(voids) => {
                    metrics.voids.inc_by(voids);
                }
                Err(error) => tracing::warn!(%error, "settling waits for its next turn"),
            },
        }
    }
}

async fn settle_step(backend: &Backend, scope: Scope) -> Result<u64, Error> {
    if scope == Scope::Everything {
        backend.suspect_gaps().await?;
    }
    backend.settle().await
}
