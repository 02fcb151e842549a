//! What must be true when a part of the system went back in time: what is kept, what may be lost, and
//! what has to be said about it (invariant: no-record-skipped, invariant: restored-parts).

mod said;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use chat_client::client::Client;
use chat_client::messages::Span;
use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::messages::Message;
use chat_wire::search::Sort;

use crate::Failure;
use crate::check::{self, Verdict};
use crate::ledger::Operation;
use crate::load::{COMMON, Load};
use crate::system::LOOK_AGAIN;

pub(crate) use self::said::{Before, Said};

/// A message's number in its chat.
pub(crate) type Place = (ChatNumber, u32);

/// What the parts of the system know at the moment when one of them has gone back.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Bodies of the creates in the log.
    pub(crate) log: HashMap<Place, String>,
    /// Bodies of the rows.
    pub(crate) store: HashMap<Place, String>,
    /// Numbers of the documents.
    pub(crate) index: HashSet<Place>,
}

impl Known {
    /// Whether a create can still be stored: its event or its row is there.
    fn holds(&self, place: Place, body: &str) -> bool {
        let there = |part: &HashMap<Place, String>| part.get(&place).is_some_and(|one| one == body);
        there(&self.log) || there(&self.store)
    }

    /// Whether store or index still show messages that the log has lost.
    pub(crate) fn shows_a_loss(&self) -> bool {
        let mut shown = self.store.keys().chain(&self.index);
        shown.any(|place| !self.log.contains_key(place))
    }

    /// The highest number of each chat that any part knows.
    fn highest(&self) -> HashMap<ChatNumber, u32> {
        let mut highest = HashMap::new();
        let places = self.log.keys().chain(self.store.keys()).chain(&self.index);
        for (chat, number) in places {
            let known = highest.entry(*chat).or_insert(0);
            *known = (*number).max(*known);
        }
        highest
    }
}

/// One search, and when it was sent.
#[derive(Debug)]
pub(crate) struct Sample {
    at: Instant,
    complete: bool,
    hits: HashSet<Place>,
}

impl Sample {
    /// Whether it says that nothing is missing.
    pub(crate) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Hits.
    pub(crate) fn count(&self) -> usize {
        self.hits.len()
    }

    /// Whether it found just these.
    pub(crate) fn finds(&self, stored: &[Message]) -> bool {
        let stored: HashSet<Place> = stored.iter().map(place).collect();
        stored == self.hits
    }
}

/// Searches for everything that a load has created in an application.
pub(crate) async fn sample(client: &Client, token: AppToken) -> Result<Sample, Failure> {
    let at = Instant::now();
    let (hits, complete) = check::found(client, token, None, COMMON, Sort::Number).await?;
    let hits = hits.iter().map(|hit| place(&hit.message)).collect();
    Ok(Sample { at, complete, hits })
}

fn place(message: &Message) -> Place {
    (message.chat_number, message.message_number.get())
}

/// Everything that the pages of these chats show.
pub(crate) async fn pages(
    client: &Client,
    token: AppToken,
    chats: &[ChatNumber],
) -> Result<Vec<Message>, Failure> {
    let mut all = Vec::new();
    for chat in chats {
        let (messages, _) = check::all_messages(client, token, *chat).await?;
        all.extend(messages);
    }
    Ok(all)
}

/// What the pages of a chat showed, and when they were asked for.
#[derive(Debug)]
pub(crate) struct Walk {
    at: Instant,
    chat: ChatNumber,
    settled_through: u32,
    shown: HashSet<u32>,
}

/// Walks through a chat.
pub(crate) async fn walk(
    client: &Client,
    token: AppToken,
    chat: ChatNumber,
) -> Result<Walk, Failure> {
    let at = Instant::now();
    let (messages, settled_through) = check::all_messages(client, token, chat).await?;
    let shown = messages
        .iter()
        .map(|one| one.message_number.get())
        .collect();
    Ok(Walk {
        at,
        chat,
        settled_through,
        shown,
    })
}

/// Waits until every chat of a load is settled up to the highest number that any part knew, or that was
/// acknowledged since; names the chats that are not within the limit. Numbers that nothing that is left has ever
/// seen cannot be settled.
pub(crate) async fn unsettled(
    client: &Client,
    load: &Load,
    (known, restored_at): (&Known, Instant),
    limit: Duration,
) -> Result<Vec<String>, Failure> {
    let began = Instant::now();
    let mut highest: BTreeMap<ChatNumber, u32> = known.highest().into_iter().collect();
    for operation in load.ledger.operations() {
        if operation.acknowledged_at.is_none_or(|at| at < restored_at) {
            continue;
        }
        let number = operation.number.map_or(0, |number| number.get());
        let known = highest.entry(operation.chat).or_default();
        *known = number.max(*known);
    }
    let mut left = Vec::new();
    for (chat, number) in highest {
        loop {
            let page = client.messages(load.token, chat, Span::Start, 1).await?;
            if page.settled_through >= number {
                break;
            }
            if began.elapsed() > limit {
                let settled = page.settled_through;
                left.push(format!("chat {chat} through {settled}, not {number}"));
                break;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    Ok(left)
}

/// Waits until search finds just what the pages show; `false` where it does not within the limit.
pub(crate) async fn index_catches_up(
    client: &Client,
    token: AppToken,
    chats: &[ChatNumber],
    limit: Duration,
) -> Result<bool, Failure> {
    let began = Instant::now();
    loop {
        let found = sample(client, token).await?;
        if found.is_complete() && found.finds(&pages(client, token, chats).await?) {
            return Ok(true);
        }
        if began.elapsed() > limit {
            return Ok(false);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// One scene: when a part went back, and what is compared.
pub(crate) struct Scene<'a> {
    pub(crate) name: &'a str,
    /// What was acknowledged later was acknowledged by the system as it was put together.
    pub(crate) restored_at: Instant,
    pub(crate) operations: &'a [Operation],
    pub(crate) known: &'a Known,
}

/// What became of the acknowledged messages.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) kept: usize,
    /// Neither log nor store had them any more.
    pub(crate) lost: usize,
}

impl Scene<'_> {
    /// Compares what is stored with what was acknowledged.
    pub(crate) fn judge(&self, stored: &[Message], verdict: &mut Verdict) -> Outcome {
        let mut by_body: HashMap<(ChatNumber, &str), Vec<u32>> = HashMap::new();
        for message in stored {
            let key = (message.chat_number, message.body.as_str());
            let numbers = by_body.entry(key).or_default();
            numbers.push(message.message_number.get());
        }
        let mut outcome = Outcome::default();
        for operation in self.operations {
            let key = (operation.chat, operation.body.as_str());
            let numbers = by_body.remove(&key).unwrap_or_default();
            self.judge_one(operation, &numbers, &mut outcome, verdict);
        }
        verdict.must("nothing that nobody sent", by_body.is_empty(), || {
            format!("{}: {} bodies", self.name, by_body.len())
        });
        self.numbers(verdict);
        outcome
    }

    fn judge_one(
        &self,
        operation: &Operation,
        numbers: &[u32],
        outcome: &mut Outcome,
        verdict: &mut Verdict,
    ) {
        let chat = operation.chat;
        verdict.must("nothing stored twice", numbers.len() <= 1, || {
            format!(
                "{}: chat {chat}: a body has the numbers {numbers:?}",
                self.name
            )
        });
        verdict.must(
            "equal answers to one key",
            operation.other.is_none(),
            || {
                format!(
                    "{}: chat {chat}: {:?}, then {:?}",
                    self.name, operation.number, operation.other
                )
            },
        );
        let Some(number) = operation.number.map(|number| number.get()) else {
            return;
        };
        match numbers.first() {
            Some(at) => {
                outcome.kept += 1;
                verdict.must("stored where acknowledged", *at == number, || {
                    format!("{}: chat {chat}: {number} is stored as {at}", self.name)
                });
            }
            None => {
                outcome.lost += 1;
                let before = operation
                    .acknowledged_at
                    .is_some_and(|at| at < self.restored_at);
                let legitimate = before && !self.known.holds((chat, number), &operation.body);
                verdict.must("what log or store still has is stored", legitimate, || {
                    let when = if before { "before it" } else { "after it" };
                    format!(
                        "{}: chat {chat}: message {number}, acknowledged {when}, is gone",
                        self.name
                    )
                });
            }
        }
    }

    /// No number is given out again that any part still knows of.
    fn numbers(&self, verdict: &mut Verdict) {
        let highest = self.known.highest();
        let mut given: BTreeMap<Place, usize> = BTreeMap::new();
        let mut before: BTreeSet<Place> = BTreeSet::new();
        for operation in self.operations {
            let Some(number) = operation.number else {
                continue;
            };
            let place = (operation.chat, number.get());
            *given.entry(place).or_default() += 1;
            let acknowledged = operation.acknowledged_at;
            if acknowledged.is_some_and(|at| at < self.restored_at) {
                before.insert(place);
            }
        }
        for ((chat, number), times) in given {
            let known = number <= highest.get(&chat).copied().unwrap_or(0);
            let again = times > 1 && (known || !before.contains(&(chat, number)));
            verdict.must("no number issued twice", !again, || {
                format!("{}: chat {chat}: number {number}, {times} times", self.name)
            });
        }
    }

    /// No page that calls a number settled lacks its message, if that was acknowledged before and is
    /// stored in the end: in between it was taken for void.
    pub(crate) fn walks(&self, walks: &[Walk], stored: &[Message], verdict: &mut Verdict) {
        let stored: HashSet<Place> = stored.iter().map(place).collect();
        for walk in walks {
            let missing = self.operations.iter().filter(|operation| {
                let number = operation.number.map_or(u32::MAX, |number| number.get());
                operation.chat == walk.chat
                    && operation.acknowledged_at.is_some_and(|at| at < walk.at)
                    && number <= walk.settled_through
                    && stored.contains(&(walk.chat, number))
                    && !walk.shown.contains(&number)
            });
            let missing = missing.count();
            verdict.must("nothing is void meanwhile", missing == 0, || {
                format!(
                    "{}: chat {}: {missing} messages up to the settled {} are not on the pages",
                    self.name, walk.chat, walk.settled_through
                )
            });
        }
    }

    /// No search that says that it is complete lacks what was acknowledged before it and is stored.
    pub(crate) fn searches(&self, samples: &[Sample], stored: &[Message], verdict: &mut Verdict) {
        // A number that was lost with everything that knew of it may be another message's by now.
        let stored: HashMap<Place, &str> = stored
            .iter()
            .map(|message| (place(message), message.body.as_str()))
            .collect();
        for (nth, sample) in samples.iter().enumerate().filter(|(_, one)| one.complete) {
            let missing = self.operations.iter().filter(|operation| {
                let before = operation.acknowledged_at.is_some_and(|at| at < sample.at);
                let place = operation
                    .number
                    .map(|number| (operation.chat, number.get()));
                let is_stored = |at: &Place| stored.get(at) == Some(&operation.body.as_str());
                before && place.is_some_and(|at| is_stored(&at) && !sample.hits.contains(&at))
            });
            let missing = missing.count();
            verdict.must("complete searches are complete", missing == 0, || {
                format!("{}: search {nth}: {missing} hits are missing", self.name)
            });
        }
    }
}
