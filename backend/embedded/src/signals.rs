//! The signals port within one process: a channel for each subject that somebody listens to.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use chat_core::port::signals::{Signals, Subject, Subscription};
use parking_lot::Mutex;
use tokio::sync::watch;

/// Who listens to what. Subjects that nobody listens to are not in it.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    channels: Arc<Mutex<Channels>>,
}

type Channels = HashMap<Subject, watch::Sender<()>>;

struct Listener {
    channels: Arc<Mutex<Channels>>,
    subject: Subject,
    hints: watch::Receiver<()>,
}

#[async_trait]
impl Signals for Hints {
    async fn publish(&self, subjects: &[Subject]) {
        let channels = self.channels.lock();
        if channels.is_empty() {
            return;
        }
        for subject in subjects {
            if let Some(channel) = channels.get(subject) {
                channel.send_replace(());
            }
        }
    }

    async fn subscribe(&self, subject: Subject) -> Box<dyn Subscription> {
        let hints = self
            .channels
            .lock()
            .entry(subject)
            .or_insert_with(|| watch::Sender::new(()))
            .subscribe();
        Box::new(Listener {
            channels: Arc::clone(&self.channels),
            subject,
            hints,
        })
    }
}

#[async_trait]
impl Subscription for Listener {
    async fn changed(&mut self) {
        self.hints
            .changed()
            .await
            .expect("the sender stays as long as somebody listens");
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut channels = self.channels.lock();
        // Under the lock nobody can begin to listen; our own receiver still counts.
        if let Some(channel) = channels.get(&self.subject)
            && channel.receiver_count() <= 1
        {
            channels.remove(&self.subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_wire::ids::AppToken;

    #[tokio::test]
    async fn subjects_without_listeners_are_forgotten() {
        let hints = Hints::default();
        let subject = Subject::Application(AppToken::from_bytes([1; 16]));
        let first = hints.subscribe(subject).await;
        let second = hints.subscribe(subject).await;
        drop(first);
        assert_eq!(hints.channels.lock().len(), 1);
        drop(second);
        assert!(hints.channels.lock().is_empty());
    }
}
