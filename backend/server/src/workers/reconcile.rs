//! The scheduled reconciliation: what changed since the last one, every few minutes.

use std::time::Duration;

use chat_core::backend::Backend;
use chat_core::error::Error;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between the start of the process and the first run, where the schedule is not shorter.
const FIRST: Duration = Duration::from_secs(30);
/// How often it looks whether the index lacks something that only a run can give it.
const LOOK: Duration = Duration::from_secs(10);

/// Runs until it is told to stop; [`chat_core::reconcile::Reconciler::close`] ends a run in the middle.
pub async fn run(backend: Backend, every: Duration, stop: CancellationToken) {
    let mut pause = every.min(FIRST);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = due(&backend, pause) => {}
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

/// Waits until a run is due: when the schedule says so, or as soon as the index lacks what only a run can give it.
/// Searches are not complete until then.
async fn due(backend: &Backend, pause: Duration) {
    let at = Instant::now() + pause;
    while Instant::now() < at {
        let left = at.saturating_duration_since(Instant::now());
        tokio::time::sleep(left.min(LOOK)).await;
        if backend.lacks_documents().await {
            return;
        }
    }
}
