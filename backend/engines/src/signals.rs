//! The signals port on Redis: a channel a subject, one subscriber connection for the process.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::port::signals::{Signals, Subject, Subscription};
use futures_util::StreamExt;
use parking_lot::Mutex;
use redis::Client;
use redis::aio::{ConnectionManager, ConnectionManagerConfig, PubSub, PubSubSink, PubSubStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::config::Config;

/// Publications that wait for Redis; more are dropped, as hints may be.
const QUEUE: usize = 1_024;
/// How long a listener waits until the server has heard of it.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long one publication may take.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause between two attempts to connect.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
/// How often the subscriber asks whether the server is still there.
const PING_EVERY: Duration = Duration::from_secs(5);

/// Hints through one Redis.
pub(crate) struct Hints {
    prefix: String,
    publish: mpsc::Sender<Vec<String>>,
    subscribe: mpsc::UnboundedSender<Command>,
    channels: Arc<Channels>,
    /// The publisher and the subscriber.
    tasks: tokio::sync::Mutex<JoinSet<()>>,
}

/// Who listens, by channel.
#[derive(Default)]
struct Channels {
    listeners: Mutex<HashMap<String, Listeners>>,
}

struct Listeners {
    hint: watch::Sender<()>,
    /// How many; the channel goes with the last one.
    count: usize,
}

enum Command {
    /// Somebody listens; answered when the server knows.
    Listen(String, oneshot::Sender<()>),
    /// Nobody listens any more.
    Silence(String),
}

/// One listener.
struct Listener {
    channel: String,
    hint: watch::Receiver<()>,
    channels: Arc<Channels>,
    subscribe: mpsc::UnboundedSender<Command>,
}

impl Hints {
    /// Starts the publisher and the subscriber; they connect by themselves, now and after every loss.
    pub(crate) fn start(config: &Config) -> Result<Self, crate::error::Error> {
        let client = crate::counters::client(config)?;
        let (publish, publications) = mpsc::channel(QUEUE);
        let (subscribe, commands) = mpsc::unbounded_channel();
        let channels = Arc::new(Channels::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(publisher(client.clone(), publications));
        tasks.spawn(subscriber(client, commands, Arc::clone(&channels)));
        Ok(Self {
            tasks: tokio::sync::Mutex::new(tasks),
            prefix: config.redis_prefix.clone(),
            publish,
            subscribe,
            channels,
        })
    }

    /// Waits until a task has panicked: it held its end of a queue, which cannot be made again.
    pub(crate) async fn failed(&self) -> String {
        let mut tasks = self.tasks.lock().await;
        while let Some(ended) = tasks.join_next().await {
            if let Err(failure) = ended {
                return format!("a task that carries hints between processes failed: {failure}");
            }
        }
        std::future::pending().await
    }

    fn channel(&self, subject: Subject) -> String {
        match subject {
            Subject::Application(token) => format!("{}signal:{{{}}}", self.prefix, token.reveal()),
            Subject::Chat(token, chat) => {
                format!("{}signal:{{{}}}|{chat}", self.prefix, token.reveal())
            }
            Subject::Overload => format!("{}signal:overload", self.prefix),
        }
    }
}

#[async_trait]
impl Signals for Hints {
    async fn publish(&self, subjects: &[Subject]) {
        let subjects: BTreeSet<Subject> = subjects.iter().copied().collect();
        if subjects.is_empty() {
            return;
        }
        let channels = subjects.into_iter().map(|subject| self.channel(subject));
        // Nobody should wait for a hint: with the queue full, listeners read again by themselves.
        let _ = self.publish.try_send(channels.collect());
    }

    async fn subscribe(&self, subject: Subject) -> Box<dyn Subscription> {
        let channel = self.channel(subject);
        let hint = self.channels.add(&channel);
        let listener = Listener {
            channel: channel.clone(),
            hint,
            channels: Arc::clone(&self.channels),
            subscribe: self.subscribe.clone(),
        };
        // Every listener asks, because the first one's request may still be under way. Either failure
        // means that hints do not come for now, which hints may do.
        let (known, heard) = oneshot::channel();
        let _ = self.subscribe.send(Command::Listen(channel, known));
        let _ = tokio::time::timeout(SUBSCRIBE_TIMEOUT, heard).await;
        Box::new(listener)
    }
}

#[async_trait]
impl Subscription for Listener {
    async fn changed(&mut self) {
        if self.hint.changed().await.is_err() {
            // The adapter was closed; nothing will ever come.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.channels.remove(&self.channel) {
            // The subscriber ends before its listeners only when the process does.
            let _ = self.subscribe.send(Command::Silence(self.channel.clone()));
        }
    }
}

impl Channels {
    fn add(&self, channel: &str) -> watch::Receiver<()> {
        let mut listeners = self.listeners.lock();
        if let Some(there) = listeners.get_mut(channel) {
            there.count += 1;
            return there.hint.subscribe();
        }
        let (hint, heard) = watch::channel(());
        listeners.insert(channel.to_owned(), Listeners { hint, count: 1 });
        heard
    }

    /// Whether that was the last listener.
    fn remove(&self, channel: &str) -> bool {
        let mut listeners = self.listeners.lock();
        let Some(there) = listeners.get_mut(channel) else {
            return false;
        };
        there.count -= 1;
        if there.count > 0 {
            return false;
        }
        listeners.remove(channel);
        true
    }

    fn tell(&self, channel: &str) {
        if let Some(there) = self.listeners.lock().get(channel) {
            there.hint.send_replace(());
        }
    }

    /// After a loss anybody may have missed something.
    fn tell_all(&self) {
        for there in self.listeners.lock().values() {
            there.hint.send_replace(());
        }
    }

    fn all(&self) -> Vec<String> {
        self.listeners.lock().keys().cloned().collect()
    }

    fn has(&self, channel: &str) -> bool {
        self.listeners.lock().contains_key(channel)
    }
}

async fn publisher(client: Client, mut publications: mpsc::Receiver<Vec<String>>) {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(PUBLISH_TIMEOUT))
        .set_response_timeout(Some(PUBLISH_TIMEOUT))
        .set_number_of_retries(1);
    let mut manager: Option<ConnectionManager> = None;
    while let Some(first) = publications.recv().await {
        let mut channels = first;
        while let Ok(more) = publications.try_recv() {
            channels.extend(more);
        }
        channels.sort_unstable();
        channels.dedup();
        if manager.is_none() {
            let connecting = ConnectionManager::new_with_config(client.clone(), config.clone());
            manager = tokio::time::timeout(PUBLISH_TIMEOUT * 2, connecting)
                .await
                .ok()
                .and_then(Result::ok);
        }
        let Some(manager) = &mut manager else {
            continue;
        };
        let mut pipe = redis::pipe();
        for channel in &channels {
            pipe.cmd("PUBLISH").arg(channel).arg("").ignore();
        }
        if let Err(error) = pipe.exec_async(manager).await {
            tracing::debug!(%error, "hints were lost");
        }
    }
}

async fn subscriber(
    client: Client,
    mut commands: mpsc::UnboundedReceiver<Command>,
    channels: Arc<Channels>,
) {
    loop {
        let connected = tokio::time::timeout(PUBLISH_TIMEOUT * 2, client.get_async_pubsub()).await;
        match connected {
            Ok(Ok(pubsub)) => match listen(pubsub, &mut commands, &channels).await {
                End::Closed => return,
                End::Lost => {
                    tracing::debug!("the subscriber lost its connection and connects anew");
                }
            },
            _ => tracing::debug!("the subscriber cannot connect and tries again"),
        }
        // Whoever began to listen meanwhile is subscribed with all others.
        if commands.is_closed() && commands.is_empty() {
            return;
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

enum End {
    /// Nobody can listen any more.
    Closed,
    /// The connection is gone.
    Lost,
}

async fn listen(
    pubsub: PubSub,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    channels: &Channels,
) -> End {
    let (mut sink, mut stream): (PubSubSink, PubSubStream) = pubsub.split();
    let all = channels.all();
    if !all.is_empty() && sink.subscribe(&all).await.is_err() {
        return End::Lost;
    }
    channels.tell_all();
    let mut ping = tokio::time::interval(PING_EVERY);
    loop {
        tokio::select! {
            message = stream.next() => match message {
                Some(message) => channels.tell(message.get_channel_name()),
                None => return End::Lost,
            },
            command = commands.recv() => {
                let done = match command {
                    None => return End::Closed,
                    Some(Command::Listen(channel, known)) => {
                        let done = within(sink.subscribe(&channel)).await;
                        let _ = known.send(());
                        done
                    }
                    // Somebody may have begun to listen again before this was read.
                    Some(Command::Silence(channel)) if channels.has(&channel) => true,
                    Some(Command::Silence(channel)) => within(sink.unsubscribe(&channel)).await,
                };
                if !done {
                    return End::Lost;
                }
            }
            _ = ping.tick() => {
                if !within(sink.ping::<redis::Value>()).await {
                    return End::Lost;
                }
            }
        }
    }
}

async fn within(work: impl Future<Output = redis::RedisResult<impl Sized>>) -> bool {
    matches!(tokio::time::timeout(PUBLISH_TIMEOUT, work).await, Ok(Ok(_)))
}
