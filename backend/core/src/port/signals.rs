//! Signals: hints that something changed. They may be lost; whoever waits reads again each second.

use async_trait::async_trait;
use chat_wire::ids::{AppToken, ChatNumber};

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The application's row, or the row of one of its chats.
    Application(AppToken),
    /// Messages of a chat.
    Chat(AppToken, ChatNumber),
    /// Somewhere clients are turned away for want of a place.
    Overload,
}

/// One listener.
#[async_trait]
pub trait Subscription: Send {
    /// Returns at the next hint; many at once count as one. May also return without a reason.
    async fn changed(&mut self);
}

/// Hints across processes.
#[async_trait]
pub trait Signals: Send + Sync {
    /// Tells whoever listens. Never fails: it is a hint.
    async fn publish(&self, subjects: &[Subject]);

    /// Hears every hint from now on.
    async fn subscribe(&self, subject: Subject) -> Box<dyn Subscription>;
}
