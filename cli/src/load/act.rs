//! One request: what is sent, and what its answer says.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use chat_client::client::{Client, Create};
use chat_client::error::Error;
use chat_client::messages::Span;
use chat_client::search::Query;
use chat_client::stream::StreamEvent;
use chat_wire::applications::NewApplication;
use chat_wire::ids::MessageNumber;
use chat_wire::messages::{EditMessage, NewMessage};
use chat_wire::problem::Code;
use chat_wire::search::Sort;

use crate::load::ledger::{State, fingerprint};
use crate::load::mix::Kind;
use crate::load::world::{Place, World};

/// Messages of a page, hits of a search, messages of a batch.
const PAGE: u32 = 50;
const HITS: u32 = 20;
const BATCH: u64 = 10;

/// What is to be done; every choice in it was made from the seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(crate) kind: Kind,
    /// Place of the chat.
    pub(crate) at: u32,
    /// Chooses a body, a message, a text to search for.
    pub(crate) choice: u32,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Done {
    /// Messages that were acknowledged; or why it was not answered as wanted.
    pub(crate) result: Result<u32, Cow<'static, str>>,
    /// The message that was created, for whoever wants to see when it appears.
    pub(crate) sample: Option<Sample>,
}

/// A message that was just acknowledged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) at: u32,
    pub(crate) number: MessageNumber,
    pub(crate) serial: u64,
}

/// The one name of an error in reports.
pub(crate) fn code_of(error: &Error) -> Cow<'static, str> {
    match error {
        Error::Problem { problem, .. } => Cow::Borrowed(problem.code.as_str()),
        Error::Status { status, .. } => Cow::Owned(format!("status_{status}")),
        Error::Timeout { .. } => Cow::Borrowed("timeout"),
        Error::Unreachable { .. } => Cow::Borrowed("unreachable"),
        Error::Pending { .. } => Cow::Borrowed("pending"),
        Error::Protocol { .. } => Cow::Borrowed("protocol"),
        Error::Address { .. } => Cow::Borrowed("address"),
    }
}

/// Whether nobody knows what became of the request: it may have been carried out.
pub(crate) fn is_uncertain(error: &Error) -> bool {
    match error {
        Error::Problem {
            problem, status, ..
        } => {
            let refused = matches!(
                problem.code,
                Code::Overloaded | Code::TooManyRequests | Code::Fenced | Code::Stopping
            );
            *status >= 500 && !refused
        }
        Error::Status { status, .. } => *status >= 500,
        Error::Address { .. } => false,
        _ => true,
    }
}

/// Sends one request and waits for its answer.
pub(crate) async fn act(
    client: &Client,
    world: &Arc<World>,
    order: Order,
    timeout: Duration,
) -> Done {
    let result = match order.kind {
        Kind::Send => return send(client, world, order).await,
        Kind::Batch => world
            .batch(client, order.at, BATCH)
            .await
            .map(|()| u32::try_from(BATCH).unwrap_or(0)),
        Kind::Edit => edit(client, world, order).await,
        Kind::Delete => delete(client, world, order).await,
        Kind::Read => read(client, world, order).await,
        Kind::Page => page(client, world, order).await,
        Kind::Search => search(client, world, order, true).await,
        Kind::SearchApp => search(client, world, order, false).await,
        Kind::Tail => return tail(client, world, order, timeout).await,
        Kind::CreateChat => {
            let token = world.places[order.at as usize].token;
            let created = client.create_chat(token, &Create::default()).await;
            created.map(|_| 0)
        }
        Kind::CreateApp => {
            let new = NewApplication {
                name: "load".to_owned(),
            };
            let created = client.create_application(&new, &Create::default()).await;
            created.map(|_| 0)
        }
    };
    done(result)
}

fn done(result: Result<u32, Error>) -> Done {
    Done {
        result: result.map_err(|error| code_of(&error)),
        sample: None,
    }
}

async fn send(client: &Client, world: &World, order: Order) -> Done {
    let Place { token, chat } = world.places[order.at as usize];
    let serial = world.serial();
    let new = NewMessage {
        body: world.bodies.body(order.choice, serial),
        sender: None,
        sent_at: None,
    };
    let print = fingerprint(&new.body);
    let create = Create::default();
    match client.create_message(token, chat, &new, &create).await {
        Ok(created) => {
            let number = created.value.message_number;
            world
                .ledger
                .chat(order.at)
                .acknowledged(number.get(), print);
            let at = order.at;
            Done {
                result: Ok(1),
                sample: Some(Sample { at, number, serial }),
            }
        }
        Err(error) => {
            if is_uncertain(&error) {
                world.ledger.chat(order.at).unanswered.push(print);
            }
            done(Err(error))
        }
    }
}

/// The end of a change: what is known of the message now.
fn settle(
    world: &World,
    order: Order,
    entry: usize,
    result: Result<(), &Error>,
    after: (State, Option<u64>),
) {
    let (state, body) = match result {
        Ok(()) => after,
        Err(error) if is_uncertain(error) => (State::Uncertain, None),
        Err(_) => (State::Live, None),
    };
    world.ledger.chat(order.at).put(entry, state, body);
}

async fn edit(client: &Client, world: &World, order: Order) -> Result<u32, Error> {
    let Place { token, chat } = world.places[order.at as usize];
    let taken = world.ledger.chat(order.at).take(order.choice);
    let Some((entry, number)) = taken else {
        return fallback(client, world, order).await;
    };
    let body = world.bodies.body(order.choice, world.serial());
    let print = fingerprint(&body);
    let sent = client
        .edit_message(token, chat, numbered(number), &EditMessage { body })
        .await;
    settle(
        world,
        order,
        entry,
        sent.as_ref().copied(),
        (State::Live, Some(print)),
    );
    sent.map(|()| 0)
}

async fn delete(client: &Client, world: &World, order: Order) -> Result<u32, Error> {
    let Place { token, chat } = world.places[order.at as usize];
    let taken = world.ledger.chat(order.at).take(order.choice);
    let Some((entry, number)) = taken else {
        return fallback(client, world, order).await;
    };
    let sent = client.delete_message(token, chat, numbered(number)).await;
    settle(
        world,
        order,
        entry,
        sent.as_ref().copied(),
        (State::Deleted, None),
    );
    sent.map(|()| 0)
}

async fn read(client: &Client, world: &World, order: Order) -> Result<u32, Error> {
    let Place { token, chat } = world.places[order.at as usize];
    let found = world.ledger.chat(order.at).some(order.choice);
    let Some((_, number)) = found else {
        return fallback(client, world, order).await;
    };
    let read = client.peek_message(token, chat, numbered(number)).await;
    match read {
        // Somebody may have deleted it since it was chosen.
        Err(Error::Problem { problem, .. }) if problem.code == Code::Gone => Ok(0),
        other => other.map(|_| 0),
    }
}

/// In a chat of which nothing is known to be there, the chat itself is read.
async fn fallback(client: &Client, world: &World, order: Order) -> Result<u32, Error> {
    let Place { token, chat } = world.places[order.at as usize];
    client.peek_chat(token, chat).await.map(|_| 0)
}

async fn page(client: &Client, world: &World, order: Order) -> Result<u32, Error> {
    let Place { token, chat } = world.places[order.at as usize];
    let found = world.ledger.chat(order.at).some(order.choice);
    let span = found.map_or(Span::Start, |(_, number)| Span::Around(numbered(number)));
    let page = client.messages(token, chat, span, PAGE).await;
    page.map(|_| 0)
}

async fn search(client: &Client, world: &World, order: Order, one: bool) -> Result<u32, Error> {
    let Place { token, chat } = world.places[order.at as usize];
    let query = Query {
        text: world.bodies.part(order.choice),
        chat: one.then_some(chat),
        sort: Sort::Newest,
        limit: HITS,
        cursor: None,
    };
    client.search(token, &query).await.map(|_| 0)
}

/// Follows a chat from just below its newest message until that one arrives.
async fn tail(client: &Client, world: &World, order: Order, timeout: Duration) -> Done {
    let Place { token, chat } = world.places[order.at as usize];
    let newest = {
        let known = world.ledger.chat(order.at);
        known
            .entries
            .iter()
            .rev()
            .find(|e| e.state == State::Live)
            .map(|e| e.number)
    };
    let Some(number) = newest else {
        return done(fallback(client, world, order).await);
    };
    let mut stream = client.stream(token, chat, number - 1);
    let first = tokio::time::timeout(timeout, async {
        loop {
            if let StreamEvent::Message(message) = stream.next().await? {
                return Ok(message);
            }
        }
    });
    match first.await {
        Ok(first) => done(first.map(|_| 0)),
        Err(_) => Done {
            result: Err(Cow::Borrowed("timeout")),
            sample: None,
        },
    }
}

fn numbered(number: u32) -> MessageNumber {
    MessageNumber::new(number).expect("it was given out by the server, and is at least 1")
}
