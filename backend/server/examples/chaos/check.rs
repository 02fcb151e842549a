//! The checker: what the API shows, against what was done.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Instant;

use chat_client::client::Client;
use chat_client::messages::Span;
use chat_client::pages::walk;
use chat_client::search::Query;
use chat_wire::admin::reconcile::{Order, Phase};
use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::messages::Message;
use chat_wire::problem::Code;
use chat_wire::search::Sort;

use crate::Failure;
use crate::ledger::Operation;
use crate::load::{COMMON, Load};
use crate::system::{LOOK_AGAIN, SETTLING, System};

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
) -> Result<Vec<chat_wire::search::Hit>, Failure> {
    let mut hits = Vec::new();
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
            Ok::<_, chat_client::error::Error>(true)
        },
    )
    .await?;
    Ok(hits)
}

/// Waits until everything is settled, and compares it with what a load did.
pub(crate) async fn load(
    system: &System,
    load: &Load,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let drained = system.drained(SETTLING).await?;
    verdict.figure("drained after", format!("{} ms", drained.as_millis()));
    verdict.figure("reconciliation", reconcile(system, load).await?);
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

/// Has the system reconcile an application once, all of it; returns what that found and did.
async fn reconcile(system: &System, load: &Load) -> Result<String, Failure> {
    let admin = system.admin()?;
    let order = Order {
        token: Some(load.token),
        full: true,
        execute: true,
        ..Order::default()
    };
    let started = Instant::now();
    let run = loop {
        match admin.reconcile(&order).await {
            Ok(run) => break run,
            // The schedule has one under way.
            Err(error) if error.code() == Some(Code::Busy) && started.elapsed() < SETTLING => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    loop {
        let last = admin.runs().await?.last;
        if let Some(last) = last.filter(|last| last.id == run.id) {
            return match last.phase {
                Phase::Finished => Ok(format!(
                    "{} planned, {} done, {} wait, {} failed",
                    last.planned, last.done, last.waits, last.failed
                )),
                _ => Err(format!("reconciliation: {:?} {:?}", last.phase, last.detail).into()),
            };
        }
        if started.elapsed() > SETTLING {
            return Err("the reconciliation does not end".into());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// What the ledger says by itself.
fn report(operations: &[Operation], verdict: &mut Verdict) {
    let acknowledged = operations.iter().filter(|op| op.number.is_some()).count();
    let repeated = operations.iter().filter(|op| op.sends > 1).count();
    verdict.figure("creates begun", operations.len());
    verdict.figure("acknowledged", acknowledged);
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
    let hits = all_hits(client, token, Some(chat), common, Sort::Number).await?;
    let found: Vec<&Message> = hits.iter().map(|hit| &hit.message).collect();
    verdict.must("index equals store", found.into_iter().eq(messages), || {
        format!(
            "chat {chat}: {} found, {} stored",
            hits.len(),
            messages.len()
        )
    });
    Ok(())
}
