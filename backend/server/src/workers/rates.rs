//! Reads what operators have set for single applications, again and again: every process that takes
//! creates heeds it within seconds.

use std::sync::Arc;
use std::time::Duration;

use chat_core::backend::Backend;
use tokio_util::sync::CancellationToken;

use crate::http::guard::Guard;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Looks until it is told to stop. Where the store does not answer, what is known holds on.
pub(crate) async fn run(backend: Backend, guard: Arc<Guard>, stop: CancellationToken) {
    let mut told = false;
    loop {
        let rates = tokio::select! {
            () = stop.cancelled() => return,
            rates = backend.rates() => rates,
        };
        match rates {
            Ok(rates) => {
                guard.set(rates);
                told = false;
            }
            Err(error) if !told => {
                tracing::warn!(%error, "the limits of applications cannot be read; those that are known hold");
                told = true;
            }
            Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}
