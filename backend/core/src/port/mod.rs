//! The five ports. An adapter crate implements all of them; there is no mixing.

pub mod counters;
pub mod log;
pub mod search;
pub mod signals;
pub mod store;

use std::sync::Arc;

use async_trait::async_trait;
use chat_wire::admin::doctor::Examined;

/// Everything that the rules need from outside, as one set.
#[derive(Clone)]
pub struct Ports {
    /// Rows: the truth about what has been applied.
    pub store: Arc<dyn store::Store>,
    /// Events: the truth about what has been acknowledged.
    pub log: Arc<dyn log::Log>,
    /// Numbers: a cache that can be rebuilt from the two above.
    pub counters: Arc<dyn counters::Counters>,
    /// Hints that something changed.
    pub signals: Arc<dyn signals::Signals>,
    /// The index: a projection of rows.
    pub search: Arc<dyn search::Search>,
    /// What only the whole adapter can do.
    pub life: Arc<dyn Life>,
}

/// The life of an adapter as a whole.
#[async_trait]
pub trait Life: Send + Sync {
    /// Work that is due every few seconds: checkpoints, retention.
    async fn housekeep(&self);

    /// Looks for what is wrong with what the adapter stands on: the doctor's checks, in the order in
    /// which they should be mended. Answers within three seconds, whatever does not.
    async fn examine(&self) -> Vec<Examined>;

    /// Waits until the adapter cannot go on without losing what it promised, and says why. The process
    /// has to end with an error then; the next start finds out what is there.
    async fn failed(&self) -> String {
        std::future::pending().await
    }

    /// Flushes and lets go of everything; the ports answer nothing afterwards.
    async fn close(&self);
}
