//! The notice board: what the last comparison found and which dead letters wait, for snapshots.

use std::sync::Arc;
use std::time::Duration;

use chat_core::backend::Backend;
use chat_core::error::Error;
use chat_core::letters::Watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::stats::{Board, DeadLetters};

/// Between two looks. Both are known to the store and the log alone, whichever process decided.
const EVERY: Duration = Duration::from_secs(1);

/// Runs until it is told to stop. What cannot be asked leaves the board as unknown.
pub async fn run(backend: Backend, board: Arc<Board>, stop: CancellationToken) {
    let mut watch = Watch::default();
    let mut look = tokio::time::interval(EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = look.tick() => {}
        }
        // What was seen last stays what was seen last, with its time.
        if let Ok(seen) = backend.drift_seen().await {
            *board.drift.write() = seen;
        }
        *board.dead_letters.write() = letters(&backend, &mut watch).await.ok();
    }
}

async fn letters(backend: &Backend, watch: &mut Watch) -> Result<DeadLetters, Error> {
    let waiting = backend.letters_waiting().await?;
    let oldest_at = match waiting {
        0 => None,
        _ => backend.oldest_letter(watch).await?,
    };
    Ok(DeadLetters { waiting, oldest_at })
}
