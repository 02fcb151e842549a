//! `dlq replay` and `dlq discard`: a plan, leave to act, and what became of it.

use chat_client::admin::Admin;
use chat_wire::admin::dlq::{Decision, Failed, Order};
use clap::Args;
use serde::Serialize;

use crate::commands::confirm::Asks;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::table::{Cell, Column, left};
use crate::output::text::{counted, grouped};
use crate::output::{Document, Record};
use crate::session::Session;

/// Put dead letters back to where they came from, each at most once
///
/// Without --execute it is only shown how many that would be. Before it acts, a yes is asked for;
/// where nobody can be asked (no terminal, -o json or ndjson, --no-input), --yes has to be given.
/// The exit code is 8 where a letter could not be replayed.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    #[command(flatten)]
    which: Which,
}

/// Give dead letters up, with a reason that is kept
///
/// What was acknowledged is lost with them. Without --execute it is only shown how many that
/// would be. Before it acts, their number has to be typed; where nobody can be asked (no terminal,
/// -o json or ndjson, --no-input), --yes has to be given. The exit code is 8 where a letter could
/// not be discarded.
#[derive(Debug, Args)]
pub(crate) struct Discard {
    #[command(flatten)]
    which: Which,
    /// Why they are given up
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
}

/// Which letters, and whether to act.
#[derive(Debug, Args)]
struct Which {
    /// As `chatctl dlq ls` shows them
    #[arg(
        value_name = "ID",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    ids: Vec<String>,
    /// All that wait
    #[arg(long)]
    all: bool,
    /// Only those of this topic, for example messages.dlq
    #[arg(long, value_name = "TOPIC", requires = "all", conflicts_with = "ids")]
    topic: Option<String>,
    /// Act
    #[arg(long)]
    execute: bool,
    /// Act without asking
    #[arg(short, long, requires = "execute")]
    yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Act {
    Replay,
    Discard,
}

/// What was done, or would be.
#[derive(Debug, Serialize)]
struct Decided {
    act: Act,
    /// Whether it was done.
    executed: bool,
    #[serde(flatten)]
    decision: Decision,
}

impl Replay {
    pub(crate) async fn run(self, session: &mut Session) -> Result<Exit, Error> {
        self.which.run(session, Act::Replay, None).await
    }
}

impl Discard {
    pub(crate) async fn run(self, session: &mut Session) -> Result<Exit, Error> {
        let reason = Some(self.reason);
        self.which.run(session, Act::Discard, reason).await
    }
}

impl Which {
    async fn run(
        self,
        session: &mut Session,
        act: Act,
        reason: Option<String>,
    ) -> Result<Exit, Error> {
        let admin = session.admin()?;
        let mut order = Order {
            ids: self.ids,
            all: self.all,
            topic: self.topic,
            reason,
            execute: false,
        };
        if self.execute {
            session.leave_is_possible(self.yes)?;
        }
        if !self.yes {
            let planned = decide(&admin, act, &order).await?;
            session.out.document(&planned)?;
            refuse_failures(&planned)?;
            if !self.execute {
                if planned.decision.done > 0 {
                    session.remark("nothing was done: give --execute to do it");
                }
                return Ok(Exit::Ok);
            }
            let count = planned.decision.done;
            if count == 0 {
                return Ok(Exit::Ok);
            }
            let number = count.to_string();
            match act {
                Act::Replay => {
                    session.leave(&format!("Replay {}", counted(count, "letter")), &Asks::Yes)?;
                }
                Act::Discard => {
                    let what = format!("Discard {}", counted(count, "letter"));
                    session.leave(&what, &Asks::Text(&number))?;
                }
            }
        }
        order.execute = true;
        let decided = decide(&admin, act, &order).await?;
        session.out.document(&decided)?;
        refuse_failures(&decided)?;
        Ok(Exit::Ok)
    }
}

async fn decide(admin: &Admin, act: Act, order: &Order) -> Result<Decided, Error> {
    let decision = match act {
        Act::Replay => admin.replay(order).await?,
        Act::Discard => admin.discard(order).await?,
    };
    Ok(Decided {
        act,
        executed: order.execute,
        decision,
    })
}

fn refuse_failures(decided: &Decided) -> Result<(), Error> {
    let Decision { done, failed, .. } = &decided.decision;
    if failed.is_empty() {
        return Ok(());
    }
    let failures = grouped(failed.len() as u64);
    let message = format!("{failures} failed, {} did not", grouped(*done));
    Err(Error::new(Exit::Partial, message)
        .with_hint("run it again: what was done is not done twice"))
}

impl Document for Decided {
    const FIELDS: &'static [&'static str] = &["act", "executed", "done", "before", "failed"];
    type Row = FailedRow;

    fn head(&self) -> Vec<String> {
        let done = grouped(self.decision.done);
        let verb = match self.act {
            Act::Replay => "replayed",
            Act::Discard => "discarded",
        };
        let would = if self.executed { "" } else { "would be " };
        let mut line = format!("{done} {would}{verb}");
        if self.decision.before > 0 {
            let before = grouped(self.decision.before);
            line.push_str(&format!(", {before} had been decided about before"));
        }
        vec![line]
    }

    fn rows(&self) -> Vec<FailedRow> {
        self.decision
            .failed
            .iter()
            .cloned()
            .map(FailedRow)
            .collect()
    }

    fn ids(&self) -> Vec<String> {
        vec![self.decision.done.to_string()]
    }
}

/// A letter that failed.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct FailedRow(Failed);

impl Record for FailedRow {
    const FIELDS: &'static [&'static str] = &["id", "detail"];
    const COLUMNS: &'static [Column] = &[left("FAILED"), left("WHY")];

    fn cells(&self) -> Vec<Cell> {
        vec![Cell::text(&self.0.id), Cell::text(&self.0.detail)]
    }

    fn id(&self) -> String {
        self.0.id.clone()
    }
}
