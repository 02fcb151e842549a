//! Creates of every kind, written down before they are sent and when they are answered.

use std::sync::Arc;
use std::time::Duration;

use chat_client::client::{Client, Create};
use chat_client::error::Error;
use chat_client::key::IdempotencyKey;
use chat_wire::applications::NewApplication;
use chat_wire::ids::{AppToken, ChatNumber};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use super::child::{Child, End};
use super::damage::Damage;
use crate::harness::{Chat, PATIENCE, eventually, message};

/// In every body, so that a search for it finds every message.
pub(super) const MARK: &str = "needle";
/// Messages of each old chat.
pub(super) const OLD_MESSAGES: u32 = 10;
const OLD_CHATS: usize = 3;
const WRITERS: usize = 4;
/// Between two creates of a writer: what is stored has to be compared afterwards.
const PACE: Duration = Duration::from_millis(4);

/// Something that was asked for, and what was acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Tried<W, A> {
    pub(super) wanted: W,
    pub(super) key: IdempotencyKey,
    pub(super) answer: Option<A>,
}

/// Messages of one create.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    pub(super) chat: Chat,
    pub(super) bodies: Vec<String>,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Book {
    pub(super) applications: Vec<Tried<String, AppToken>>,
    pub(super) chats: Vec<Tried<AppToken, ChatNumber>>,
    /// The number of the first line is acknowledged.
    pub(super) messages: Vec<Tried<Lines, u32>>,
}

/// Everything that was asked for.
#[derive(Debug, Default, Clone)]
pub(super) struct Ledger(Arc<Mutex<Book>>);

impl Ledger {
    pub(super) fn read(&self) -> Book {
        self.0.lock().clone()
    }

    /// Writes down, asks, and writes down the answer.
    async fn note<W: Clone, A: Clone>(
        &self,
        book: fn(&mut Book) -> &mut Vec<Tried<W, A>>,
        wanted: W,
        ask: impl AsyncFnOnce(W, IdempotencyKey) -> Result<A, Error>,
    ) -> Result<A, Error> {
        let key = IdempotencyKey::random();
        let tried = Tried {
            wanted: wanted.clone(),
            key: key.clone(),
            answer: None,
        };
        let at = {
            let mut whole = self.0.lock();
            let tries = book(&mut whole);
            tries.push(tried);
            tries.len() - 1
        };
        let answer = ask(wanted, key).await?;
        book(&mut self.0.lock())[at].answer = Some(answer.clone());
        Ok(answer)
    }
}

/// Asks for an application.
pub(super) async fn application(
    client: &Client,
    name: String,
    key: IdempotencyKey,
) -> Result<AppToken, Error> {
    let new = NewApplication { name };
    let created = client.create_application(&new, &keyed(key, None)).await?;
    Ok(created.value.token)
}

/// Asks for a chat.
pub(super) async fn chat(
    client: &Client,
    token: AppToken,
    key: IdempotencyKey,
) -> Result<ChatNumber, Error> {
    let created = client.create_chat(token, &keyed(key, None)).await?;
    Ok(created.value.chat_number)
}

/// Asks for messages; returns the number of the first one.
pub(super) async fn messages(
    client: &Client,
    lines: Lines,
    key: IdempotencyKey,
    wait: Option<Duration>,
) -> Result<u32, Error> {
    let Chat { token, number } = lines.chat;
    let create = keyed(key, wait);
    if let [body] = &lines.bodies[..] {
        let new = message(body);
        let created = client.create_message(token, number, &new, &create).await?;
        return Ok(created.value.message_number.get());
    }
    let text: String = lines
        .bodies
        .iter()
        .map(|body| serde_json::to_string(&message(body)).unwrap() + "\n")
        .collect();
    let created = client.create_batch(token, number, text.into(), &create);
    Ok(created.await?.value.first.get())
}

fn keyed(key: IdempotencyKey, wait: Option<Duration>) -> Create {
    let key = Some(key);
    Create { key, wait }
}

/// A body that no other message has.
pub(super) fn body() -> String {
    format!("{MARK} {}", Uuid::new_v4())
}

/// An application with chats that have messages, all of them stored and indexed.
pub(super) async fn prepare(child: &Child, ledger: &Ledger) -> Vec<Chat> {
    let client = &child.patient;
    let ask = async |name, key| application(client, name, key).await;
    let token = ledger.note(|book| &mut book.applications, "old".to_owned(), ask);
    let token = token.await.unwrap();
    let mut old = Vec::new();
    for _ in 0..OLD_CHATS {
        let ask = async |token, key| chat(client, token, key).await;
        let number = ledger
            .note(|book| &mut book.chats, token, ask)
            .await
            .unwrap();
        let new = Chat { token, number };
        for _ in 0..OLD_MESSAGES {
            let bodies = vec![body()];
            let lines = Lines { chat: new, bodies };
            let ask = async |lines, key| messages(client, lines, key, None).await;
            ledger
                .note(|book| &mut book.messages, lines, ask)
                .await
                .unwrap();
        }
        old.push(new);
    }
    settled(child).await;
    old
}

/// Waits until every group has read the log to its end.
pub(super) async fn settled(child: &Child) {
    eventually("no lag", async || {
        let lag = child.admin.lag().await.unwrap();
        lag.groups
            .iter()
            .all(|group| group.figures.lag_records == Some(0))
            .then_some(())
    })
    .await;
}

/// Creates, and does whatever else the damage asks for, until the process has ended.
pub(super) async fn until_the_end(
    child: Child,
    ledger: &Ledger,
    old: &[Chat],
    damage: Damage,
) -> End {
    let mut writers = JoinSet::new();
    for nth in 0..WRITERS {
        let writer = Writer {
            client: child.client.clone(),
            ledger: ledger.clone(),
            old: old.to_vec(),
            nth,
        };
        writers.spawn(writer.run());
    }
    let admin = child.admin.clone();
    writers.spawn(async move { damage.order(&admin).await });
    let end = child.end().await;
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    end
}

struct Writer {
    client: Client,
    ledger: Ledger,
    old: Vec<Chat>,
    nth: usize,
}

impl Writer {
    /// Until nobody answers any more.
    async fn run(self) {
        let deadline = Instant::now() + PATIENCE;
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = self.nth;
        while Instant::now() < deadline {
            pace.tick().await;
            if let Err(Error::Unreachable { .. }) = self.round(round).await {
                return;
            }
            round += 1;
        }
    }

    /// Something new now and then, and messages in old chats mostly. An answer that is no success is an
    /// outcome that nobody knows; only where nobody answers this ends.
    async fn round(&self, round: usize) -> Result<(), Error> {
        let chat = self.old[round % self.old.len()];
        match round % 12 {
            0 => {
                let ask = async |name, key| application(&self.client, name, key).await;
                let name = format!("new {}", Uuid::new_v4());
                let note = self.ledger.note(|book| &mut book.applications, name, ask);
                self.fill(note.await?).await
            }
            6 => self.fill(chat.token).await,
            4 => self.say(chat, 3, None).await,
            2 => self.say(chat, 1, Some(Duration::from_secs(1))).await,
            _ => self.say(chat, 1, None).await,
        }
    }

    /// A new chat with a message.
    async fn fill(&self, token: AppToken) -> Result<(), Error> {
        let ask = async |token, key| chat(&self.client, token, key).await;
        let note = self.ledger.note(|book| &mut book.chats, token, ask);
        let number = note.await?;
        self.say(Chat { token, number }, 1, None).await
    }

    async fn say(&self, chat: Chat, count: usize, wait: Option<Duration>) -> Result<(), Error> {
        let bodies = (0..count).map(|_| body()).collect();
        let lines = Lines { chat, bodies };
        let ask = async |lines, key| messages(&self.client, lines, key, wait).await;
        let note = self.ledger.note(|book| &mut book.messages, lines, ask);
        note.await.map(drop)
    }
}
