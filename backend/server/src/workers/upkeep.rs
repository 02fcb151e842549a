//! Upkeep: voids for numbers that will never come, retention, checkpoints.

use std::sync::Arc;
use std::time::Duration;

use chat_core::backend::Backend;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metrics;

/// Between two steps of the settler.
const SETTLE_EVERY: Duration = Duration::from_secs(1);
/// Between two rounds of housekeeping.
const HOUSEKEEP_EVERY: Duration = Duration::from_secs(5);

/// Runs until it is told to stop.
pub async fn run(backend: Backend, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut settle = tokio::time::interval(SETTLE_EVERY);
    let mut housekeep = tokio::time::interval(HOUSEKEEP_EVERY);
    for timer in [&mut settle, &mut housekeep] {
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = housekeep.tick() => backend.ports().life.housekeep().await,
            _ = settle.tick() => match backend.settle().await {
                Ok(voids) => {
                    metrics.voids.inc_by(voids);
                }
                Err(error) => tracing::warn!(%error, "settling waits for its next turn"),
            },
        }
    }
}
