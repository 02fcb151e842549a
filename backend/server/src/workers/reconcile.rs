//! The scheduled reconciliation: what changed since the last one, every few minutes.

use std::time::Duration;

use chat_core::backend::Backend;
use chat_core::error::Error;
use tokio_util::sync::CancellationToken;

/// Between the start of the process and the first run, where the schedule is not shorter.
const FIRST: Duration = Duration::from_secs(30);

/// Runs until it is told to stop; [`chat_core::reconcile::Reconciler::close`] ends a run in the middle.
pub async fn run(backend: Backend, every: Duration, stop: CancellationToken) {
    let mut pause = every.min(FIRST);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = every;
        match backend.begin_due_run().await {
            Ok(work) => drop(backend.carry_out(work).await),
            // Whoever is at work does what is due.
            Err(busy @ Error::Busy { .. }) => tracing::debug!("no reconciliation now: {busy}"),
            Err(error) => tracing::warn!(%error, "a reconciliation waits for its next turn"),
        }
    }
}
