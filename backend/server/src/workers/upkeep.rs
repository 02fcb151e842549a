//! Upkeep: voids for numbers that will never come, retention, checkpoints.

use std::sync::Arc;
use std::time::Duration;

use chat_core::backend::Backend;
use chat_core::error::Error;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metrics;

/// Between two steps for numbers that are certainly lost, where there are any: whatever stands behind
/// them cannot be read before they are void.
const LOST_EVERY: Duration = Duration::from_millis(250);
/// Of those steps one in so many also looks for gaps.
const SETTLE_STEPS: u32 = 4;
/// Between two rounds of housekeeping.
const HOUSEKEEP_EVERY: Duration = Duration::from_secs(5);
/// Between two trials of a log that takes no records.
const PROBE_EVERY: Duration = Duration::from_millis(250);

/// Whose numbers are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those of every chat, by looking for gaps in the store.
    Everything,
    /// Those that this process gave out and could not append.
    Own,
}

/// Settles numbers until it is told to stop.
pub async fn settle(
    backend: Backend,
    metrics: Arc<Metrics>,
    scope: Scope,
    stop: CancellationToken,
) {
    let mut tick = ticks(LOST_EVERY);
    let mut step = 0_u32;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let voids = match step.is_multiple_of(SETTLE_STEPS) {
            true => settle_step(&backend, scope).await,
            false if backend.settler().has_lost() => backend.settle_lost().await,
            false => Ok(0),
        };
        step = step.wrapping_add(1);
        match voids {
            Ok(voids) => {
                metrics.voids.inc_by(voids);
            }
            Err(error) => tracing::warn!(%error, "settling waits for its next turn"),
        }
    }
}

async fn settle_step(backend: &Backend, scope: Scope) -> Result<u64, Error> {
    if scope == Scope::Everything {
        backend.suspect_gaps().await?;
    }
    backend.settle().await
}

/// Keeps house until it is told to stop.
pub async fn housekeep(backend: Backend, stop: CancellationToken) {
    let mut tick = ticks(HOUSEKEEP_EVERY);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = tick.tick() => backend.ports().life.housekeep().await,
        }
    }
}

/// Tries a log that takes no records, without costing a number, until it is told to stop: where requests
/// are kept away meanwhile, nobody else would find out that it is back.
pub async fn probe(backend: Backend, stop: CancellationToken) {
    let mut tick = ticks(PROBE_EVERY);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = backend.probe_log() => {}
        }
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}
