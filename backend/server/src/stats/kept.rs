//! An answer that is costly: kept for a while, and made again in the background, the more rarely the
//! longer that takes.

use std::sync::Arc;
use std::time::Duration;

use chat_core::error::Error;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

/// Making it may take this part of the time, as one of so many.
const SHARE: u32 = 20;
/// How long making it may take before it is given up.
const MAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long whoever asks waits for an answer that is being made.
const PATIENCE: Duration = Duration::from_millis(500);

/// Asks for the answer.
type Make<T> = dyn Fn() -> BoxFuture<'static, Result<T, Error>> + Send + Sync;

/// One answer, and how it is made.
pub(super) struct Kept<T> {
    what: &'static str,
    shown_for: Duration,
    make: Arc<Make<T>>,
    state: Arc<Mutex<State<T>>>,
}

struct State<T> {
    answer: Option<T>,
    working: bool,
    again_at: Option<Instant>,
}

impl<T: Clone + Send + 'static> Kept<T> {
    /// An answer about `what`, shown for so long.
    pub(super) fn new(
        what: &'static str,
        shown_for: Duration,
        make: impl Fn() -> BoxFuture<'static, Result<T, Error>> + Send + Sync + 'static,
    ) -> Self {
        let nothing = State {
            answer: None,
            working: false,
            again_at: None,
        };
        Self {
            what,
            shown_for,
            make: Arc::new(make),
            state: Arc::new(Mutex::new(nothing)),
        }
    }

    /// The last answer; `None` before the first, and where the last try failed.
    pub(super) async fn now(&self) -> Option<T> {
        let due = {
            let mut state = self.state.lock();
            let due = !state.working && state.again_at.is_none_or(|at| Instant::now() >= at);
            state.working |= due;
            due
        };
        if due {
            let (what, shown_for) = (self.what, self.shown_for);
            let (make, state) = (Arc::clone(&self.make), Arc::clone(&self.state));
            let work = tokio::spawn(async move {
                let began = Instant::now();
                let answer = ask(what, make()).await;
                *state.lock() = State {
                    answer,
                    working: false,
                    again_at: Some(Instant::now() + shown_for.max(began.elapsed() * SHARE)),
                };
            });
            // It goes on in the background when this is over.
            let _ = timeout(PATIENCE, work).await;
        }
        self.state.lock().answer.clone()
    }
}

async fn ask<T>(what: &str, answer: impl Future<Output = Result<T, Error>>) -> Option<T> {
    match timeout(MAKE_TIMEOUT, answer).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::debug!(what, %error, "a part of the snapshot is unknown");
            None
        }
        Err(_) => {
            tracing::debug!(what, "a part of the snapshot takes too long and is unknown");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use chat_core::port::store;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Counts how often it is made; each time takes so long.
    fn counting(takes: Duration, fails: bool) -> (Kept<u32>, Arc<AtomicU32>) {
        let made = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&made);
        let kept = Kept::new("a test", SECOND, move || {
            let counter = Arc::clone(&counter);
            Box::pin(async move {
                tokio::time::sleep(takes).await;
                let nth = counter.fetch_add(1, Ordering::Relaxed) + 1;
                match fails && nth > 1 {
                    true => Err(store::Error::Unavailable("away".into()).into()),
                    false => Ok(nth),
                }
            })
        });
        (kept, made)
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_made_once_for_all_who_ask_within_a_while() {
        let (kept, made) = counting(Duration::ZERO, false);
        for _ in 0..10 {
            assert_eq!(kept.now().await, Some(1));
        }
        tokio::time::advance(SECOND).await;
        assert_eq!(kept.now().await, Some(2));
        assert_eq!(made.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_is_made_rarely_and_waited_for_briefly() {
        let (kept, made) = counting(SECOND * 10, false);
        assert_eq!(kept.now().await, None);
        tokio::time::sleep(SECOND * 10).await;
        assert_eq!(kept.now().await, Some(1));
        tokio::time::sleep(SECOND * 100).await;
        assert_eq!(kept.now().await, Some(1));
        tokio::time::sleep(SECOND * 120).await;
        assert_eq!(kept.now().await, Some(1), "the new one is being made");
        tokio::time::sleep(SECOND * 10).await;
        assert_eq!(kept.now().await, Some(2));
        assert_eq!(made.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_unknown_and_not_as_before() {
        let (kept, _) = counting(Duration::ZERO, true);
        assert_eq!(kept.now().await, Some(1));
        tokio::time::advance(SECOND).await;
        assert_eq!(kept.now().await, None);
    }
}
