//! A server on ports that the system chooses and a directory that goes away with it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat_client::admin::Admin;
use chat_client::client::{Client, Config as ClientConfig, Create};
use chat_core::backend::Backend;
use chat_core::error::Error as CoreError;
use chat_core::key::StoredKey;
use chat_core::port::log::{Log, NewRecord, Topic};
use chat_core::port::store::Transaction;
use chat_server::boot::{Error, Role, Running};
use chat_server::config::Worker;
use chat_wire::applications::NewApplication;
use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::messages::NewMessage;
use tempfile::TempDir;
use tokio::time::Instant;
use uuid::Uuid;

use crate::mode;
use crate::raw::Request;

/// How long anything that is awaited may take; the machine may be busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at something that is awaited.
const LOOK_AGAIN: Duration = Duration::from_millis(3);

pub(crate) struct Server {
    api: SocketAddr,
    running: Running,
    data: Arc<TempDir>,
    flags: Vec<&'static str>,
    /// What keeps the workers of an idle one from their work.
    held: Mutex<Option<Box<dyn Transaction>>>,
    pub(crate) client: Client,
    pub(crate) admin: Admin,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With these flags beside the ports and the directory.
    pub(crate) async fn with(flags: &[&'static str]) -> Self {
        let data = Arc::new(tempfile::tempdir().unwrap());
        Self::on(data, flags.to_vec()).await.unwrap()
    }

    async fn on(data: Arc<TempDir>, flags: Vec<&'static str>) -> Result<Self, Error> {
        Self::as_role(data, flags, Role::All).await
    }

    async fn as_role(
        data: Arc<TempDir>,
        flags: Vec<&'static str>,
        role: Role,
    ) -> Result<Self, Error> {
        let config = mode::config(data.path(), &flags);
        mode::prepare(&config).await?;
        let running = Running::start(config, role).await?;
        let api = running.api.expect("it serves the API");
        let client = Client::new(patient(api)).unwrap();
        let admin = Admin::new(patient(running.admin)).unwrap();
        Ok(Self {
            api,
            running,
            data,
            flags,
            held: Mutex::default(),
            client,
            admin,
        })
    }

    /// Only the API, with these flags; no worker is there unless somebody starts one.
    pub(crate) async fn api_alone(flags: &[&'static str]) -> Self {
        let data = Arc::new(tempfile::tempdir().unwrap());
        Self::as_role(data, flags.to_vec(), Role::Api)
            .await
            .unwrap()
    }

    /// One whose messages are appended and not applied, until it is told to [`Server::work`].
    ///
    /// On the engines no worker is there. The embedded default has them all in its process; they wait
    /// for a transaction that somebody else has begun.
    pub(crate) async fn idle(flags: &[&'static str]) -> Self {
        if mode::on_engines() {
            return Self::api_alone(flags).await;
        }
        let server = Self::with(flags).await;
        let store = &server.backend().ports().store;
        let held = store.begin_free().await.unwrap();
        *server.held.lock().unwrap() = Some(held);
        server
    }

    /// Lets an idle one begin to apply; what comes back works as long as it is kept.
    pub(crate) async fn work(&self) -> Vec<Running> {
        drop(self.held.lock().unwrap().take());
        let mut workers = Vec::new();
        if mode::on_engines() {
            for worker in [
                Worker::Applications,
                Worker::Chats,
                Worker::Messages,
                Worker::Search,
            ] {
                workers.push(self.worker(worker).await);
            }
        }
        workers
    }

    /// A worker beside it, on the same data.
    pub(crate) async fn worker(&self, worker: Worker) -> Running {
        let config = mode::config(self.data.path(), &self.flags);
        Running::start(config, Role::Worker(worker)).await.unwrap()
    }

    /// A second server on the same directory.
    pub(crate) async fn second(&self) -> Result<Self, Error> {
        Self::on(Arc::clone(&self.data), self.flags.clone()).await
    }

    /// Stops it and starts another on what it left.
    pub(crate) async fn restart(self) -> Self {
        let (data, flags) = (Arc::clone(&self.data), self.flags.clone());
        self.stop().await;
        Self::on(data, flags).await.unwrap()
    }

    pub(crate) async fn stop(self) {
        self.running.stop().await;
    }

    /// The rules behind the listeners, for what no client can do.
    pub(crate) const fn backend(&self) -> &Backend {
        self.running.backend()
    }

    /// Where its data are.
    pub(crate) fn data(&self) -> &std::path::Path {
        self.data.path()
    }

    pub(crate) const fn api_address(&self) -> SocketAddr {
        self.api
    }

    pub(crate) fn request(&self, method: &str, path: impl Into<String>) -> Request {
        Request::new(self.api, method, path.into())
    }

    pub(crate) fn get(&self, path: impl Into<String>) -> Request {
        self.request("GET", path)
    }

    pub(crate) fn post(&self, path: impl Into<String>) -> Request {
        self.request("POST", path)
    }

    pub(crate) fn put(&self, path: impl Into<String>) -> Request {
        self.request("PUT", path)
    }

    pub(crate) fn delete(&self, path: impl Into<String>) -> Request {
        self.request("DELETE", path)
    }

    /// Asks the admin listener.
    pub(crate) fn admin_request(&self, method: &str, path: impl Into<String>) -> Request {
        Request::new(self.running.admin, method, path.into()).on_admin()
    }

    pub(crate) fn admin_get(&self, path: impl Into<String>) -> Request {
        self.admin_request("GET", path)
    }

    /// Waits until all of these lines are on one page of `/metrics`.
    pub(crate) async fn shows(&self, lines: &[&str]) {
        let mut text = String::new();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            text = self.admin_get("/metrics").send().await.text().to_owned();
            let there = |line: &&str| text.lines().any(|found| found == *line);
            if lines.iter().all(there) {
                return;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        panic!("never all of {lines:#?} on\n{text}");
    }

    /// A new application.
    pub(crate) async fn app(&self) -> AppToken {
        let new = NewApplication {
            name: "test".into(),
        };
        let create = Create::default();
        let created = self.client.create_application(&new, &create).await;
        created.unwrap().value.token
    }

    /// A new chat of a new application.
    pub(crate) async fn chat(&self) -> Chat {
        let token = self.app().await;
        self.chat_of(token).await
    }

    pub(crate) async fn chat_of(&self, token: AppToken) -> Chat {
        let created = self.client.create_chat(token, &Create::default()).await;
        let number = created.unwrap().value.chat_number;
        Chat { token, number }
    }

    /// Creates a message and returns its number.
    pub(crate) async fn say(&self, chat: Chat, body: &str) -> u32 {
        let (new, create) = (message(body), Create::default());
        let (client, token, number) = (&self.client, chat.token, chat.number);
        let created = client.create_message(token, number, &new, &create).await;
        created.unwrap().value.message_number.get()
    }

    /// Creates messages in one batch, which get the numbers from 1 in a new chat; waits for the rows.
    pub(crate) async fn say_all(&self, chat: Chat, bodies: &[impl AsRef<str>]) {
        for some in bodies.chunks(500) {
            let lines: String = some
                .iter()
                .map(|body| serde_json::to_string(&message(body.as_ref())).unwrap() + "\n")
                .collect();
            let create = Create {
                key: None,
                wait: Some(PATIENCE),
            };
            let (token, number) = (chat.token, chat.number);
            let created = self
                .client
                .create_batch(token, number, lines.into(), &create);
            assert!(created.await.unwrap().stored);
        }
    }

    /// Waits until every group has read the log to its end.
    pub(crate) async fn settled(&self) {
        eventually("no lag", async || {
            let lag = self.admin.lag().await.unwrap();
            lag.groups
                .iter()
                .all(|group| group.figures.lag_records == Some(0))
                .then_some(())
        })
        .await;
    }
}

/// Where messages are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chat {
    pub(crate) token: AppToken,
    pub(crate) number: ChatNumber,
}

impl Chat {
    /// The path of what is below the chat.
    pub(crate) fn path(&self, below: &str) -> String {
        format!(
            "/applications/{}/chats/{}{below}",
            self.token.reveal(),
            self.number
        )
    }

    pub(crate) fn message(&self, number: u32) -> String {
        self.path(&format!("/messages/{number}"))
    }
}

pub(crate) fn message(body: &str) -> NewMessage {
    NewMessage {
        body: body.into(),
        sender: None,
        sent_at: None,
    }
}

/// Asks again until there is an answer; fails when that takes longer than [`PATIENCE`].
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Creates with a key of its own, and asks again as a client does, until the log has acknowledged in
/// time: a deadline that is short for a test is too short for a busy machine now and then.
pub(crate) async fn acknowledged<T>(
    mut create: impl AsyncFnMut(StoredKey) -> Result<T, CoreError>,
) -> T {
    let key = StoredKey::new(None, "", &Uuid::now_v7().to_string(), b"");
    eventually("an acknowledgement", async || match create(key).await {
        Ok(created) => Some(created),
        Err(CoreError::NotAcknowledged | CoreError::NotAppended(_) | CoreError::KeyInFlight) => {
            None
        }
        Err(error) => panic!("{error}"),
    })
    .await
}

/// Appends until the log says that it has; the record may be there more than once.
pub(crate) async fn append(log: &dyn Log, topic: Topic, record: NewRecord) {
    eventually("an append", async || {
        match log.append(topic, record.clone()).await {
            Ok(_) => Some(()),
            Err(error) if error.retryable() => None,
            Err(error) => panic!("{error}"),
        }
    })
    .await;
}

fn patient(address: SocketAddr) -> ClientConfig {
    ClientConfig {
        timeout: PATIENCE,
        ..ClientConfig::new(format!("http://{address}"))
    }
}
