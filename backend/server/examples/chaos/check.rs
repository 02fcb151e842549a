//! The checker: what the API shows, against what was done.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use chat_client::client::Client;
use chat_client::messages::Span;
use chat_client::pages::walk;
use chat_client::search::Query;
use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::messages::Message;
use chat_wire::search::{Hit, Sort};

use crate::Failure;
use crate::ledger::Operation;
use crate::load::{COMMON, Load};
use crate::reconciled;
use crate::system::{SETTLING, System};

/// Items of one page.
const PAGE: u32 = 1_000;
/// Breaches that are shown of one kind.
const SHOWN: usize = 5;

/// Figures, and what was broken.
#[derive(Debug)]
pub(crate) struct Verdict {
    seed: u64,
    figures: Vec<(&'static str, String)>,
    breaches: BTreeMap<&'static str, Vec<String>>,
    complete: bool,
}

impl Verdict {
    /// Nothing is known yet.
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            seed,
            figures: Vec::new(),
            breaches: BTreeMap::new(),
            complete: false,
        }
    }

    /// The case was run to its end: from now on, that nothing was broken means that all was kept.
    pub(crate) fn close(&mut self) {
        self.complete = true;
    }

    /// Adds a figure.
    pub(crate) fn figure(&mut self, name: &'static str, value: impl fmt::Display) {
        self.figures.push((name, value.to_string()));
    }

    /// Notes a broken promise unless it holds.
    pub(crate) fn must(
        &mut self,
        promise: &'static str,
        holds: bool,
        detail: impl FnOnce() -> String,
    ) {
        if !holds {
            self.breaches.entry(promise).or_default().push(detail());
        }
    }

    /// Notes a broken promise where something failed that must succeed.
    pub(crate) fn succeeds<T>(
        &mut self,
        promise: &'static str,
        outcome: Result<T, impl fmt::Display>,
    ) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                self.must(promise, false, || error.to_string());
                None
            }
        }
    }

    /// Adds a figure that must not be 0: a case in which nothing happened has proved nothing.
    pub(crate) fn happened(&mut self, name: &'static str, count: usize) {
        self.figure(name, count);
        self.must("the case did what it is about", count > 0, || {
            format!("{name}: 0")
        });
    }

    /// Whether every promise was kept.
    pub(crate) fn kept(&self) -> bool {
        self.breaches.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<28} {}", "seed", self.seed)?;
        for (name, value) in &self.figures {
            writeln!(f, "{name:<28} {value}")?;
        }
        for (promise, details) in &self.breaches {
            writeln!(f, "BROKEN {promise}: {} times", details.len())?;
            for detail in details.iter().take(SHOWN) {
                writeln!(f, "  {detail}")?;
            }
        }
        write!(
            f,
            "{}",
            match (self.kept(), self.complete) {
                (true, true) => "every promise kept",
                (true, false) => "not run to its end: nothing was broken so far",
                (false, _) => "PROMISES BROKEN",
            }
        )
    }
}

/// Every live message of a chat, in the order of the pages.
pub(crate) async fn all_messages(
    client: &Client,
    token: AppToken,
    chat: ChatNumber,
) -> Result<(Vec<Message>, u32), Failure> {
    let mut messages = Vec::new();
    let mut settled = 0;
    walk(
        None,
        async |after| {
            let span = after.map_or(Span::Start, Span::After);
            client.messages(token, chat, span, PAGE).await
        },
        |page| {
            settled = page.settled_through;
            messages.extend(page.messages);
            Ok::<_, chat_client::error::Error>(true)
        },
    )
    .await?;
    Ok((messages, settled))
}

/// Every hit, in order.
pub(crate) async fn all_hits(
    client: &Client,
    token: AppToken,
    chat: Option<ChatNumber>,
    text: &str,
    sort: Sort,
) -> Result<Vec<Hit>, Failure> {
    Ok(found(client, token, chat, text, sort).await?.0)
}

/// Every hit, in order, and whether every page of them says that it is complete.
pub(crate) async fn found(
    client: &Client,
    token: AppToken,
    chat: Option<ChatNumber>,
    text: &str,
    sort: Sort,
) -> Result<(Vec<Hit>, bool), Failure> {
    let (mut hits, mut complete) = (Vec::new(), true);
    walk(
        None,
        async |cursor| {
            let query = Query {
                text: text.to_owned(),
                chat,
                sort,
                limit: PAGE,
                cursor,
            };
            client.search(token, &query).await
        },
        |page| {
            hits.extend(page.hits);
            complete &= page.complete;
            Ok::<_, chat_client::error::Error>(true)
        },
    )
    .await?;
    Ok((hits, complete))
}

/// Creates once more in each chat, waits until everything is settled, and compares it with what a load
/// did. Reconciliation runs only afterwards, and has nothing to do.
pub(crate) async fn load(
    system: &System,
    load: &Arc<Load>,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let probed = load.probe().await?;
    verdict.figure(
        "every chat takes creates",
        format!("within {} ms", probed.as_millis()),
    );
    let drained = system.drained(SETTLING).await?;
    verdict.figure("drained after", format!("{} ms", drained.as_millis()));
    compare(system, load, verdict).await?;
    reconciled::nothing_to_do(system, load.token, verdict).await
}

/// Compares what is there with what a load did.
pub(crate) async fn compare(
    system: &System,
    load: &Load,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let operations = load.ledger.operations();
    report(&operations, verdict);
    let mut by_chat: BTreeMap<ChatNumber, Vec<&Operation>> = BTreeMap::new();
    for operation in &operations {
        by_chat.entry(operation.chat).or_default().push(operation);
    }
    let client = system.client()?;
    let (mut rows, mut voids) = (0, 0);
    for number in &load.chats {
        let operations = by_chat.remove(number).unwrap_or_default();
        let highest = operations.iter().filter_map(|op| op.number).max();
        let highest = highest.map_or(0, chat_wire::ids::MessageNumber::get);
        system.settled(load.token, *number, highest).await?;
        let found = chat(&client, load.token, *number, &operations, COMMON, verdict).await?;
        rows += found.0;
        voids += found.1;
    }
    verdict.figure("rows", rows);
    let share = f64::from(voids) * 100.0 / f64::from((rows + voids).max(1));
    verdict.figure("void numbers", format!("{voids} ({share:.2} %)"));
    Ok(())
}

/// What the ledger says by itself.
fn report(operations: &[Operation], verdict: &mut Verdict) {
    let acknowledged = operations.iter().filter(|op| op.number.is_some()).count();
    let repeated = operations.iter().filter(|op| op.sends > 1).count();
    verdict.figure("creates begun", operations.len());
    verdict.happened("acknowledged", acknowledged);
    verdict.figure("never acknowledged", operations.len() - acknowledged);
    verdict.figure("sent more than once", repeated);
    for operation in operations {
        verdict.must(
            "equal answers to one key",
            operation.other.is_none(),
            || {
                format!(
                    "chat {}: {:?}, then {:?}",
                    operation.chat, operation.number, operation.other
                )
            },
        );
    }
    let mut numbers: Vec<_> = operations
        .iter()
        .filter_map(|op| op.number.map(|number| (op.chat, number)))
        .collect();
    numbers.sort_unstable();
    let twice = numbers.windows(2).filter(|pair| pair[0] == pair[1]).count();
    verdict.must("no number acknowledged twice", twice == 0, || {
        format!("{twice} numbers")
    });
}

/// Compares one chat with the ledger; returns its rows and its void numbers. `common` is a text that
/// every body contains.
pub(crate) async fn chat(
    client: &Client,
    token: AppToken,
    chat: ChatNumber,
    operations: &[&Operation],
    common: &str,
    verdict: &mut Verdict,
) -> Result<(u32, u32), Failure> {
    let (messages, settled) = all_messages(client, token, chat).await?;
    let mut by_body: HashMap<&str, Vec<&Message>> = HashMap::new();
    for message in &messages {
        by_body.entry(&message.body).or_default().push(message);
    }
    let numbers: Vec<u32> = messages.iter().map(|m| m.message_number.get()).collect();
    verdict.must(
        "numbers unique and in order",
        numbers.is_sorted_by(|a, b| a < b),
        || format!("chat {chat}: the pages are not strictly ascending"),
    );
    let highest_acknowledged = operations.iter().filter_map(|op| op.number).max();
    let highest = highest_acknowledged.map_or(0, chat_wire::ids::MessageNumber::get);
    verdict.must("dense after settling", settled >= highest, || {
        format!("chat {chat}: settled through {settled}, acknowledged up to {highest}")
    });
    for operation in operations {
        let stored = by_body.remove(operation.body.as_str()).unwrap_or_default();
        // Nobody was told of one without a number: it may be there or not.
        if let Some(number) = operation.number {
            verdict.must("nothing acknowledged lost", !stored.is_empty(), || {
                format!("chat {chat}: message {number} was acknowledged and is not there")
            });
            verdict.must(
                "stored where acknowledged",
                stored
                    .first()
                    .is_none_or(|message| message.message_number == number),
                || format!("chat {chat}: message {number} is stored under another number"),
            );
        }
        verdict.must("nothing stored twice", stored.len() <= 1, || {
            format!("chat {chat}: a body is stored {} times", stored.len())
        });
    }
    verdict.must("nothing that nobody sent", by_body.is_empty(), || {
        format!("chat {chat}: {} bodies are in no ledger", by_body.len())
    });
    let rows = u32::try_from(messages.len())?;
    searchable(client, token, chat, &messages, common, verdict).await?;
    Ok((rows, settled.saturating_sub(rows)))
}

/// The chat's count and the index, against its rows.
async fn searchable(
    client: &Client,
    token: AppToken,
    chat: ChatNumber,
    messages: &[Message],
    common: &str,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let counted = client.chat(token, chat).await?.messages_count;
    verdict.must(
        "counts equal rows",
        counted as usize == messages.len(),
        || {
            format!(
                "chat {chat}: counted {counted}, there are {}",
                messages.len()
            )
        },
    );
    let (hits, complete) = found(client, token, Some(chat), common, Sort::Number).await?;
    let hit: Vec<&Message> = hits.iter().map(|hit| &hit.message).collect();
    verdict.must("search is complete once drained", complete, || {
        format!("chat {chat}: it says that hits may be missing")
    });
    verdict.must("index equals store", hit.into_iter().eq(messages), || {
        format!(
            "chat {chat}: {} found, {} stored",
            hits.len(),
            messages.len()
        )
    });
    Ok(())
}
