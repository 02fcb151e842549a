//! How much is stored. Adding up all counts reads a row of every chat, so it is done in the background,
//! and the longer it takes, the more rarely.

use std::sync::Arc;
use std::time::Duration;

use chat_core::port::store::Store;
use chat_wire::admin::stats;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

/// How long the sums are shown before they are made again.
const SHOWN_FOR: Duration = Duration::from_secs(5);
/// Adding up may take this part of the time, as one of so many.
const SHARE: u32 = 20;
/// How long adding up may take before it is given up.
const SUM_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a snapshot waits for sums that are being made.
const PATIENCE: Duration = Duration::from_millis(500);

/// The sums, and whoever makes them.
pub(super) struct Totals {
    store: Arc<dyn Store>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    sums: stats::Totals,
    working: bool,
    again_at: Option<Instant>,
}

impl Totals {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            state: Arc::default(),
        }
    }

    /// The last sums; unknown where they could not be made.
    pub(super) async fn now(&self) -> stats::Totals {
        let due = {
            let mut state = self.state.lock();
            let due = !state.working && state.again_at.is_none_or(|at| Instant::now() >= at);
            state.working |= due;
            due
        };
        if due {
            let (store, state) = (Arc::clone(&self.store), Arc::clone(&self.state));
            let work = tokio::spawn(async move { add_up(&*store, &state).await });
            // It goes on in the background when this is over.
            let _ = timeout(PATIENCE, work).await;
        }
        self.state.lock().sums
    }
}

async fn add_up(store: &dyn Store, state: &Mutex<State>) {
    let began = Instant::now();
    let sums = match timeout(SUM_TIMEOUT, store.totals()).await {
        Ok(Ok(totals)) => stats::Totals {
            applications: Some(totals.applications),
            chats: Some(totals.chats),
            messages: Some(totals.messages),
        },
        Ok(Err(error)) => {
            tracing::debug!(%error, "the totals are unknown");
            stats::Totals::default()
        }
        Err(_) => stats::Totals::default(),
    };
    let pause = SHOWN_FOR.max(began.elapsed() * SHARE);
    *state.lock() = State {
        sums,
        working: false,
        again_at: Some(Instant::now() + pause),
    };
}
