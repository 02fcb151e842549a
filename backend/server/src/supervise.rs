//! Supervision: a background task that ends though nobody told it to is started again, and counted.
//!
//! A task that is gone is worse than one that fails: whatever it did no longer happens, and nothing says
//! so. Every loop of the process is spawned here.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use prometheus_client::encoding::EncodeLabelSet;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metrics;

/// First pause before a task is started again.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A task that ran for so long is started again as if it had never failed.
const SOUND_AFTER: Duration = Duration::from_secs(60);

/// A background task.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TaskName {
    /// What it does.
    pub task: &'static str,
}

/// The background tasks of a process.
pub(crate) struct Supervisor {
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Supervisor {
    /// Its tasks are told to stop by this token.
    pub(crate) fn new(metrics: Arc<Metrics>, stop: CancellationToken) -> Self {
        Self {
            metrics,
            stop,
            tasks: JoinSet::new(),
        }
    }

    /// Runs a task, and runs it again from its beginning when it panics or ends before it is told to stop.
    pub(crate) fn spawn<F, Fut>(&mut self, name: &'static str, task: F)
    where
        F: Fn(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let label = TaskName { task: name };
        // There from the start: a counter that appears with its first count has no rate then.
        let restarts = self.metrics.restarts.get_or_create(&label).clone();
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let mut backoff = BACKOFF_MIN;
            loop {
                let began = Instant::now();
                let ended = AssertUnwindSafe(task(stop.clone())).catch_unwind().await;
                if stop.is_cancelled() {
                    return;
                }
                restarts.inc();
                if began.elapsed() >= SOUND_AFTER {
                    backoff = BACKOFF_MIN;
                }
                tracing::error!(
                    task = name,
                    panicked = ended.is_err(),
                    pause_ms = u64::try_from(backoff.as_millis()).unwrap_or(u64::MAX),
                    "a background task ended unexpectedly and is started again"
                );
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        });
    }

    /// Waits until all of them have ended.
    pub(crate) async fn join(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_or_ends_is_started_again_and_counted() {
        let (metrics, stop) = (Arc::new(Metrics::default()), CancellationToken::new());
        let mut supervisor = Supervisor::new(Arc::clone(&metrics), stop.clone());
        let starts = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&starts);
        let (told, mut ready) = tokio::sync::mpsc::channel(1);
        supervisor.spawn("job", move |stop| {
            let (nth, told) = (count.fetch_add(1, Ordering::Relaxed), told.clone());
            async move {
                match nth {
                    0 => panic!("a mistake"),
                    1 => {}
                    _ => {
                        told.send(()).await.unwrap();
                        stop.cancelled().await;
                    }
                }
            }
        });
        ready.recv().await.unwrap();
        assert_eq!(starts.load(Ordering::Relaxed), 3);
        let label = TaskName { task: "job" };
        assert_eq!(metrics.restarts.get_or_create(&label).get(), 2);
        stop.cancel();
        supervisor.join().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_always_fails_is_started_less_and_less_often() {
        let (metrics, stop) = (Arc::new(Metrics::default()), CancellationToken::new());
        let mut supervisor = Supervisor::new(Arc::clone(&metrics), stop.clone());
        supervisor.spawn("job", |_| async { panic!("a mistake") });
        tokio::time::sleep(Duration::from_secs(60)).await;
        stop.cancel();
        supervisor.join().await;
        let label = TaskName { task: "job" };
        let restarts = metrics.restarts.get_or_create(&label).get();
        assert!((8..20).contains(&restarts), "{restarts}");
    }
}
