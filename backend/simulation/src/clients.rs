//! Clients: they ask, retry with their key, and note what they were answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat_core::applications::Read;
use chat_core::backend::Backend;
use chat_core::error::Error;
use chat_core::key::StoredKey;
use chat_core::messages::Cursor;
use chat_core::port::log::{Headers, NewRecord, Topic};
use chat_core::port::store::{ChatKey, MessageKey};
use chat_core::search::Request;
use chat_wire::admin::dlq;
use chat_wire::admin::reconcile::Order;
use chat_wire::ids::{AppToken, MessageNumber};
use chat_wire::messages::NewMessage;
use chat_wire::search::Sort;
use parking_lot::Mutex;
use rand::Rng;
use tokio::time::{Instant, sleep, timeout};

use crate::check::live_texts;
use crate::ledger::{Answer, Change, Create, Ledger, Made};
use crate::plan::Op;
use crate::world::World;

/// A client that hears nothing for so long asks again.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often a client with a key asks.
const TRIES: u32 = 8;

/// All clients.
#[derive(Clone)]
pub struct Clients {
    /// The world.
    pub world: Arc<World>,
    /// What they know.
    pub ledger: Arc<Mutex<Ledger>>,
    /// API processes that live.
    pub apis: Arc<Mutex<Vec<Backend>>>,
}

impl Clients {
    fn api(&self) -> Option<Backend> {
        let apis = self.apis.lock();
        let nth = self
            .world
            .chance(|rng| rng.random_range(0..apis.len().max(1)));
        apis.get(nth).cloned()
    }

    fn breach(&self, text: String) {
        self.world.note("client", || format!("BREACH {text}"));
        self.ledger.lock().breaches.push(text);
    }

    /// Carries one operation out.
    pub async fn run(self, op: Op) {
        match op {
            Op::CreateApplication { key } => self.create(Made::Application, 1, key).await,
            Op::CreateChat { application, key } => {
                let token = self.ledger.lock().applications().get(application).copied();
                if let Some(token) = token {
                    self.create(Made::Chat(token), 1, key).await;
                }
            }
            Op::Send { chat, lines, key } => {
                let chat = self.ledger.lock().chats().get(chat).copied();
                if let Some(chat) = chat {
                    self.create(Made::Messages(chat), lines, key).await;
                }
            }
            Op::Again { nth } => self.again(nth).await,
            Op::Edit { nth } => self.change(nth, true).await,
            Op::Delete { nth } => self.change(nth, false).await,
            Op::Search { application } => {
                let token = self.ledger.lock().applications().get(application).copied();
                if let Some(token) = token {
                    self.search(token).await;
                }
            }
            Op::Page { chat } => {
                let chat = self.ledger.lock().chats().get(chat).copied();
                if let Some(chat) = chat {
                    self.page(chat).await;
                }
            }
            Op::Poison { chat } => self.poison(chat).await,
            Op::Reconcile => self.reconcile().await,
            Op::Replay => self.replay().await,
        }
    }

    async fn create(&self, made: Made, lines: usize, key: Option<u32>) {
        let nth = {
            let mut ledger = self.ledger.lock();
            let nth = ledger.creates.len();
            let texts: Vec<String> = (0..lines)
                .map(|line| format!("needle m{nth}x{line}y"))
                .collect();
            let key = key.map(|key| stored_key(made, key, &texts));
            ledger.creates.push(Create {
                made,
                texts,
                key,
                began: Instant::now(),
                answers: Vec::new(),
                tries: 0,
            });
            nth
        };
        self.try_create(nth).await;
    }

    async fn try_create(&self, nth: usize) {
        let (create, tries) = {
            let mut ledger = self.ledger.lock();
            let create = &mut ledger.creates[nth];
            create.tries += 1;
            let tries = if create.key.is_some() { TRIES } else { 1 };
            (create.clone(), tries)
        };
        for _ in 0..tries {
            let Some(api) = self.api() else {
                sleep(Duration::from_millis(300)).await;
                continue;
            };
            self.world
                .note("client", || format!("asks for #{nth} {:?}", create.texts));
            let answer = timeout(PATIENCE, ask(api, &create)).await;
            match answer {
                Ok(Ok(answer)) => {
                    self.world
                        .note("client", || format!("#{nth} is {answer:?}"));
                    let mut ledger = self.ledger.lock();
                    ledger.creates[nth].answers.push((Instant::now(), answer));
                    return;
                }
                Ok(Err(error)) => self.world.note("client", || format!("#{nth}: {error}")),
                Err(_) => self.world.note("client", || format!("#{nth}: no answer")),
            }
            let pause = self.world.chance(|rng| rng.random_range(200..1_500));
            sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn again(&self, nth: usize) {
        let nth = {
            let ledger = self.ledger.lock();
            let keyed: Vec<usize> = (0..ledger.creates.len())
                .filter(|nth| {
                    let create = &ledger.creates[*nth];
                    create.key.is_some() && !create.answers.is_empty()
                })
                .collect();
            match keyed.is_empty() {
                true => return,
                false => keyed[nth % keyed.len()],
            }
        };
        self.try_create(nth).await;
    }

    async fn change(&self, nth: usize, edit: bool) {
        let (of, target, at, body) = {
            let mut ledger = self.ledger.lock();
            let messages = ledger.messages();
            if messages.is_empty() {
                return;
            }
            let (create, line, chat, number) = messages[nth % messages.len()];
            let Some(number) = MessageNumber::new(number) else {
                return;
            };
            let at = ledger.changes.len();
            let body = edit.then(|| format!("needle e{at}z"));
            ledger.changes.push(Change {
                of: (create, line),
                body: body.clone(),
                began: Instant::now(),
                acknowledged: None,
            });
            ((create, line), MessageKey { chat, number }, at, body)
        };
        let Some(api) = self.api() else { return };
        let asked = async {
            match &body {
                Some(body) => api.edit_message(target, body.clone()).await,
                None => api.delete_message(target).await,
            }
        };
        if let Ok(Ok(())) = timeout(PATIENCE, asked).await {
            self.world.note("client", || {
                let what = if edit { "edited" } else { "deleted" };
                format!("#{} line {} {what}", of.0, of.1)
            });
            self.ledger.lock().changes[at].acknowledged = Some(Instant::now());
        }
    }

    /// What is acknowledged now, and whether anything was begun that may change it.
    fn acknowledged(&self, wanted: impl Fn(&ChatKey) -> bool) -> Vec<(ChatKey, u32, String)> {
        let ledger = self.ledger.lock();
        let changed: Vec<(usize, usize)> = ledger.changes.iter().map(|change| change.of).collect();
        ledger
            .messages()
            .into_iter()
            .filter(|(create, line, chat, _)| wanted(chat) && !changed.contains(&(*create, *line)))
            .map(|(create, line, chat, number)| {
                (chat, number, ledger.creates[create].texts[line].clone())
            })
            .collect()
    }

    async fn search(&self, token: AppToken) {
        let Some(api) = self.api() else { return };
        let expected = self.acknowledged(|chat| chat.token == token);
        let rows = || {
            self.world
                .with(|state| live_texts(state, |key| key.chat.token == token))
        };
        let before = rows();
        let searched = timeout(PATIENCE, all_hits(&api, token)).await;
        let Ok(Ok((hits, true))) = searched else {
            return;
        };
        let after = rows();
        // Whatever was lost: what has a row has to be found.
        let missing = |text: &&String| after.contains(text) && !hits.contains(text);
        for text in before.iter().filter(missing) {
            let text = format!("search: complete, and without a stored message ({text})");
            self.world.note("client", || format!("BREACH {text}"));
            self.ledger.lock().certain.push(text);
        }
        // What was edited meanwhile is no longer what was expected.
        let still = self.acknowledged(|chat| chat.token == token);
        for (chat, number, text) in expected.iter().filter(|one| still.contains(one)) {
            if !hits.contains(text) {
                self.breach(format!(
                    "search: complete, and without the acknowledged message {number} of chat {} ({text})",
                    chat.chat
                ));
            }
        }
    }

    async fn page(&self, chat: ChatKey) {
        let Some(api) = self.api() else { return };
        let expected = self.acknowledged(|of| *of == chat);
        let paged = timeout(PATIENCE, all_messages(&api, chat)).await;
        let Ok(Ok((found, settled))) = paged else {
            return;
        };
        let still = self.acknowledged(|of| *of == chat);
        for one in expected.iter().filter(|one| still.contains(one)) {
            let (_, number, text) = one;
            if *number <= settled && !found.contains(text) {
                self.breach(format!(
                    "page: settled through {settled}, and without the acknowledged message {number} ({text})"
                ));
            }
        }
        let Some((_, number, text)) = expected.last() else {
            return;
        };
        let Some(number) = MessageNumber::new(*number) else {
            return;
        };
        match timeout(PATIENCE, api.message(MessageKey { chat, number })).await {
            Ok(Err(
                error @ (Error::UnknownMessage | Error::UnknownChat | Error::UnknownApplication),
            )) => {
                self.breach(format!(
                    "read: acknowledged message {number} ({text}): {error}"
                ));
            }
            Ok(Ok(Read::Stored(message)))
                if still.iter().any(|one| one.2 == *text)
                    && message.body != *text
                    && !message.body.contains('z') =>
            {
                self.breach(format!(
                    "read: message {number} is {text}, and reads {}",
                    message.body
                ));
            }
            _ => {}
        }
    }

    async fn poison(&self, chat: usize) {
        let Some(chat) = self.ledger.lock().chats().get(chat).copied() else {
            return;
        };
        let Some(api) = self.api() else { return };
        let key = chat_core::event::Event::message_key(chat);
        let record = NewRecord {
            key,
            headers: Headers::default(),
            value: Bytes::from_static(b"garbage"),
        };
        // Whoever writes garbage does not care whether it arrived.
        let _ = timeout(PATIENCE, api.ports().log.append(Topic::Messages, record)).await;
    }

    async fn reconcile(&self) {
        let Some(api) = self.api() else { return };
        let order = Order {
            token: None,
            chat: None,
            full: true,
            execute: true,
        };
        if let Ok(Ok(work)) = timeout(PATIENCE, api.begin_run(order)).await {
            let _ = timeout(PATIENCE * 4, api.carry_out(work)).await;
        }
    }

    async fn replay(&self) {
        let Some(api) = self.api() else { return };
        let order = dlq::Order {
            all: true,
            execute: true,
            ..dlq::Order::default()
        };
        let _ = timeout(PATIENCE * 2, api.replay_letters(&order)).await;
    }
}

fn stored_key(made: Made, key: u32, texts: &[String]) -> StoredKey {
    let body = texts.concat();
    match made {
        Made::Application => {
            StoredKey::new(None, "applications", &key.to_string(), body.as_bytes())
        }
        Made::Chat(token) => {
            StoredKey::new(Some(token), "chats", &key.to_string(), body.as_bytes())
        }
        Made::Messages(chat) => {
            let path = format!("chats/{}/messages", chat.chat);
            StoredKey::new(Some(chat.token), &path, &key.to_string(), body.as_bytes())
        }
    }
}

async fn ask(api: Backend, create: &Create) -> Result<Answer, Error> {
    match create.made {
        Made::Application => {
            let name = create.texts[0].clone();
            let token = api.create_application(name, create.key).await?;
            Ok(Answer::Token(token))
        }
        Made::Chat(token) => {
            let number = api.create_chat(token, create.key).await?;
            Ok(Answer::Numbers(number.get(), number.get()))
        }
        Made::Messages(chat) => {
            let message = |text: &String| NewMessage {
                body: text.clone(),
                sender: None,
                sent_at: None,
            };
            let messages = create.texts.iter().map(message).collect();
            let created = api.create_messages(chat, messages, create.key).await?;
            let range = created.range;
            Ok(Answer::Numbers(range.first.get(), range.last.get()))
        }
    }
}

/// Bodies of all hits, and whether the first page said that nothing is missing.
///
/// # Errors
/// Those of the rules.
pub async fn all_hits(api: &Backend, token: AppToken) -> Result<(Vec<String>, bool), Error> {
    let mut hits = Vec::new();
    let mut cursor = None;
    let mut complete = true;
    loop {
        let page = api
            .search(Request {
                token,
                chat: None,
                text: "needle".to_owned(),
                sort: Sort::Number,
                cursor: cursor.take(),
                limit: 50,
            })
            .await?;
        complete &= page.complete;
        hits.extend(page.hits.into_iter().map(|hit| hit.message.body));
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return Ok((hits, complete)),
        }
    }
}

/// Bodies of all messages, and up to where the chat is settled.
///
/// # Errors
/// Those of the rules.
pub async fn all_messages(api: &Backend, chat: ChatKey) -> Result<(Vec<String>, u32), Error> {
    let mut found = Vec::new();
    let mut after = 0;
    let mut first: Option<u32> = None;
    loop {
        let page = api.messages(chat, Cursor::After(after), 20).await?;
        // The first page says up to where all that follow are complete.
        let settled = *first.get_or_insert(page.settled_through);
        found.extend(page.messages.into_iter().map(|message| message.body));
        match page.next_after {
            Some(next) => after = next.get(),
            None => return Ok((found, settled)),
        }
    }
}
