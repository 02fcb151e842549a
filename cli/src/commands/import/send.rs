//! The sending half of an import: creates chats one after the other, and sends batches in
//! parallel, but never two of one chat at a time, so that every chat keeps its order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chat_client::client::{Client, Create, Created};
use chat_client::error::Error as ClientError;
use chat_client::key::IdempotencyKey;
use chat_wire::chats::ChatCreated;
use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::messages::BatchCreated;
use chat_wire::problem::{Code, Problem};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::commands::import::batch::{Batch, Piece};
use crate::commands::import::key::Keys;
use crate::commands::import::progress::Counts;
use crate::commands::import::read::{End, Event, Stop};
use crate::commands::import::rejects::{Refusal, Rejects};
use crate::error::Error;
use crate::exit::Exit;
use crate::signals::Asked;

/// Bytes of batches that wait for their turn; beyond it the reader has to wait.
const QUEUED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the sender needs.
pub(crate) struct Plan {
    pub(crate) client: Client,
    pub(crate) token: AppToken,
    pub(crate) keys: Keys,
    /// Most batches under way.
    pub(crate) concurrency: usize,
    pub(crate) rejects: Rejects,
    pub(crate) counts: Arc<Counts>,
    pub(crate) stop: Stop,
    pub(crate) notes: Box<Notes>,
    pub(crate) quiet: bool,
}

/// Writes a line without spoiling the display of progress.
pub(crate) type Notes = dyn Fn(&str) + Send + Sync;

/// How it ended.
pub(crate) struct Outcome {
    /// Chats that were created, now or by an earlier run.
    pub(crate) chats: u64,
    /// Messages that were acknowledged, now or by an earlier run.
    pub(crate) messages: u64,
    /// Lines that were refused.
    pub(crate) rejected: u64,
    /// Why it ended.
    pub(crate) end: Ended,
}

/// Why it ended.
pub(crate) enum Ended {
    /// The input did.
    Input(End),
    /// A signal asked for it.
    Asked(Exit),
    /// Something that no other batch can be spared.
    Failed(Error),
}

/// Sends everything that the reader gives.
pub(crate) async fn run(
    plan: Plan,
    mut events: mpsc::Receiver<Event>,
    mut asked: Asked,
) -> Outcome {
    let mut sender = Sender::new(plan);
    loop {
        sender.launch();
        if sender.is_done() {
            break;
        }
        let listening = sender.listens();
        let running = sender.ended.is_none() || sender.input_ended();
        tokio::select! {
            event = events.recv(), if listening => sender.take(event),
            Some(landed) = sender.flights.join_next() => match landed {
                Ok(landed) => sender.land(landed),
                Err(error) => sender.fail(Error::failure(format!("a task broke: {error}"))),
            },
            exit = asked.wait(), if running => sender.ask(exit),
        }
    }
    sender.outcome()
}

struct Sender {
    plan: Plan,
    chats: Vec<Chat>,
    /// Chats before this one have been asked for.
    next_chat: usize,
    creating: bool,
    /// Chats that have a number, a batch to send and none under way.
    ready: VecDeque<usize>,
    queued_bytes: usize,
    /// Batches under way.
    batches: usize,
    flights: JoinSet<Landed>,
    created: u64,
    ended: Option<Ended>,
}

struct Chat {
    /// As JSON.
    value: Arc<str>,
    number: Option<ChatNumber>,
    queue: VecDeque<Batch>,
    under_way: bool,
    /// Whether it is in `ready`.
    listed: bool,
}

/// An answer.
enum Landed {
    Chat(usize, Result<Created<ChatCreated>, ClientError>),
    Batch(Batch, Result<Created<BatchCreated>, ClientError>),
}

impl Sender {
    fn new(plan: Plan) -> Self {
        Self {
            plan,
            chats: Vec::new(),
            next_chat: 0,
            creating: false,
            ready: VecDeque::new(),
            queued_bytes: 0,
            batches: 0,
            flights: JoinSet::new(),
            created: 0,
            ended: None,
        }
    }

    fn input_ended(&self) -> bool {
        matches!(self.ended, Some(Ended::Input(_)))
    }

    fn listens(&self) -> bool {
        self.ended.is_none() && self.queued_bytes < QUEUED_BYTES_MAX
    }

    /// Whether nothing is under way and nothing more will be.
    fn is_done(&self) -> bool {
        self.flights.is_empty() && self.ended.is_some()
    }

    fn take(&mut self, event: Option<Event>) {
        match event {
            Some(Event::Piece(Piece::Chat(value))) => self.chats.push(Chat {
                value,
                number: None,
                queue: VecDeque::new(),
                under_way: false,
                listed: false,
            }),
            Some(Event::Piece(Piece::Batch(batch))) => {
                let at = batch.chat;
                self.queued_bytes += batch.payload.len();
                self.chats[at].queue.push_back(batch);
                self.make_ready(at);
            }
            Some(Event::Refused(refusal)) => self.refuse(&refusal),
            Some(Event::End(end)) => self.end(Ended::Input(end)),
            None => self.fail(Error::failure("the reader broke")),
        }
    }

    /// Starts whatever may be under way.
    fn launch(&mut self) {
        if !(self.ended.is_none() || self.input_ended()) {
            return;
        }
        if !self.creating && self.next_chat < self.chats.len() {
            self.create_chat(self.next_chat);
        }
        while self.batches < self.plan.concurrency {
            let Some(at) = self.ready.pop_front() else {
                return;
            };
            self.send_batch(at);
        }
    }

    /// One at a time: the numbers have to follow the order of first appearance.
    fn create_chat(&mut self, at: usize) {
        self.creating = true;
        self.next_chat += 1;
        let (client, token) = (self.plan.client.clone(), self.plan.token);
        let create = with_key(self.plan.keys.chat(&self.chats[at].value));
        self.flights
            .spawn(async move { Landed::Chat(at, client.create_chat(token, &create).await) });
    }

    fn send_batch(&mut self, at: usize) {
        let chat = &mut self.chats[at];
        chat.listed = false;
        let (Some(batch), Some(number)) = (chat.queue.pop_front(), chat.number) else {
            return;
        };
        chat.under_way = true;
        self.batches += 1;
        let (client, token) = (self.plan.client.clone(), self.plan.token);
        self.flights.spawn(async move {
            let create = with_key(batch.key.clone());
            let payload = batch.payload.clone();
            let answer = client.create_batch(token, number, payload, &create).await;
            Landed::Batch(batch, answer)
        });
    }

    fn land(&mut self, landed: Landed) {
        match landed {
            Landed::Chat(at, Ok(created)) => {
                self.creating = false;
                self.created += 1;
                self.chats[at].number = Some(created.value.chat_number);
                self.make_ready(at);
            }
            Landed::Chat(_, Err(error)) => self.fail(error.into()),
            Landed::Batch(batch, answer) => {
                let at = batch.chat;
                self.batches -= 1;
                self.queued_bytes -= batch.payload.len();
                self.chats[at].under_way = false;
                match answer {
                    Ok(_) => {
                        let messages = batch.lines.len() as u64;
                        self.plan
                            .counts
                            .messages
                            .fetch_add(messages, Ordering::Relaxed);
                    }
                    Err(error) => self.without_refused_line(batch, error),
                }
                self.make_ready(at);
            }
        }
    }

    /// Where the server names a line, the others are sent again without it.
    fn without_refused_line(&mut self, mut batch: Batch, error: ClientError) {
        let Some((line, reason)) = refused_line(&error, batch.lines.len()) else {
            return self.fail(error.into());
        };
        let chat = &mut self.chats[batch.chat];
        let Some((number, json)) = batch.remove(line, &chat.value, &self.plan.keys) else {
            return self.fail(error.into());
        };
        // The line as it was read is gone; this says the same.
        let content = format!(
            r#"{{"chat":{},{}"#,
            chat.value,
            String::from_utf8_lossy(&json[1..])
        );
        if !batch.lines.is_empty() {
            self.queued_bytes += batch.payload.len();
            chat.queue.push_front(batch);
        }
        self.refuse(&Refusal::new(number, reason, content.as_bytes()));
    }

    fn make_ready(&mut self, at: usize) {
        let chat = &mut self.chats[at];
        let waiting = chat.number.is_some() && !chat.under_way && !chat.queue.is_empty();
        if waiting && !std::mem::replace(&mut chat.listed, true) {
            self.ready.push_back(at);
        }
    }

    fn refuse(&mut self, refusal: &Refusal) {
        if let Err(error) = self.plan.rejects.push(refusal) {
            self.fail(Error::file("the file of refused lines", &error));
        }
        let count = self.plan.rejects.count();
        self.plan.counts.rejected.store(count, Ordering::Relaxed);
    }

    fn fail(&mut self, error: Error) {
        self.end(Ended::Failed(error));
    }

    fn ask(&mut self, exit: Exit) {
        if !self.plan.quiet {
            (self.plan.notes)(
                "stopping: what is under way may finish; a second signal ends it at once",
            );
        }
        self.end(Ended::Asked(exit));
    }

    /// The first reason counts, but the end of the input gives way to every other.
    fn end(&mut self, ended: Ended) {
        if !matches!(ended, Ended::Input(_)) {
            self.plan.stop.stop();
        }
        if self.ended.is_none() || self.input_ended() {
            self.ended = Some(ended);
        }
    }

    fn outcome(mut self) -> Outcome {
        let mut end = self.ended.unwrap_or(Ended::Input(End::Complete));
        if let Err(error) = self.plan.rejects.flush() {
            end = Ended::Failed(Error::file("the file of refused lines", &error));
        }
        Outcome {
            chats: self.created,
            messages: self.plan.counts.messages.load(Ordering::Relaxed),
            rejected: self.plan.rejects.count(),
            end,
        }
    }
}

fn with_key(key: IdempotencyKey) -> Create {
    Create {
        key: Some(key),
        wait: None,
    }
}

/// The line that a batch was refused for, counted from 0, and the reason.
fn refused_line(error: &ClientError, lines: usize) -> Option<(usize, String)> {
    let ClientError::Problem { problem, .. } = error else {
        return None;
    };
    let Problem { code, line, .. } = &**problem;
    if !matches!(
        code,
        Code::InvalidJson | Code::InvalidValue | Code::TooLarge
    ) {
        return None;
    }
    let line = match line {
        Some(line) => usize::try_from(*line).ok()?.checked_sub(1)?,
        // A batch of one line needs nobody to name it.
        None if lines == 1 => 0,
        None => return None,
    };
    Some((line, problem.detail.clone()))
}
