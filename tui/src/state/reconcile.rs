//! Reconciliation: the plan, the run at work, and what became of the last one.

use std::collections::BTreeMap;

use chat_wire::admin::reconcile::{Act, Order, Outcome, Phase, Run, Runs, Step};
use chat_wire::ids::{AppToken, ChatNumber};

use super::counters::short_token;
use super::grid::{Cell, Column, Grid, List, Row};
use super::poll::Source;
use crate::format;
use crate::theme::Tone;

/// The page.
#[derive(Debug, Clone, Default)]
pub struct Reconcile {
    /// `/admin/reconcile`.
    pub runs: Source<Runs>,
    /// What the next plan is about.
    pub scope: Scope,
    /// Whether the next plan looks at everything, and not only at what changed.
    pub full: bool,
    /// The steps.
    pub list: List,
}

/// What is reconciled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only this application.
    pub token: Option<AppToken>,
    /// Its name, as far as it is known.
    pub name: String,
    /// Only this chat of it.
    pub chat: Option<ChatNumber>,
}

impl Scope {
    /// As it is shown.
    #[must_use]
    pub fn text(&self) -> String {
        scope_text(self.token, self.chat, &self.name)
    }
}

fn scope_text(token: Option<AppToken>, chat: Option<ChatNumber>, name: &str) -> String {
    let Some(token) = token else {
        return "everything".to_owned();
    };
    let name = match name {
        "" => short_token(token),
        name => format::visible(name),
    };
    match chat {
        Some(chat) => format!("chat {chat} of {name}"),
        None => name,
    }
}

/// Headings of the steps.
pub const COLUMNS: &[Column] = &[
    Column::left("OUTCOME", "outcome"),
    Column::left("STEP", "step"),
    Column::left("APPLICATION", "application").rank(1),
    Column::right("CHAT", "chat"),
    Column::right("FROM", "from"),
    Column::right("TO", "to"),
    Column::left("", "detail").rank(2).grows(),
];

impl Reconcile {
    /// The run at work, or else the last one.
    #[must_use]
    pub fn shown(&self) -> Option<&Run> {
        let runs = self.runs.data.as_ref()?;
        runs.current.as_ref().or(runs.last.as_ref())
    }

    /// The run at work.
    #[must_use]
    pub fn current(&self) -> Option<&Run> {
        self.runs.data.as_ref()?.current.as_ref()
    }

    /// The plan that may be carried out: the last run, if it was one for the scope of now.
    #[must_use]
    pub fn plan(&self) -> Option<&Run> {
        let runs = self.runs.data.as_ref()?;
        if runs.current.is_some() {
            return None;
        }
        let last = runs.last.as_ref()?;
        let fits = last.order == self.order(false) && last.phase == Phase::Finished;
        fits.then_some(last)
    }

    /// The order of the scope of now.
    #[must_use]
    pub const fn order(&self, execute: bool) -> Order {
        Order {
            token: self.scope.token,
            chat: self.scope.chat,
            full: self.full,
            execute,
        }
    }

    /// The steps of the run that is shown.
    #[must_use]
    pub fn grid(&self) -> Grid {
        let run = self.shown();
        let steps = run.map_or(&[][..], |run| &run.steps);
        let planned = run.is_some_and(|run| !run.order.execute);
        let rows = steps
            .iter()
            .enumerate()
            .map(|(at, step)| step_row(at, step, planned));
        Grid::new(COLUMNS, rows.collect(), &self.list)
    }

    /// The step that is chosen.
    #[must_use]
    pub fn chosen(&self) -> Option<&Step> {
        let grid = self.grid();
        let id = &grid.rows.get(grid.selected(&self.list)?)?.id;
        self.shown()?.steps.get(id.parse::<usize>().ok()?)
    }
}

/// What a plan would do, one line for each kind of act.
#[must_use]
pub fn acts(run: &Run) -> Vec<String> {
    let mut counts = BTreeMap::new();
    for step in &run.steps {
        let order = match step.act {
            Act::RaiseCounter => 0,
            Act::SetCount => 1,
            Act::VoidHoles => 2,
            Act::Reindex => 3,
        };
        counts.entry(order).or_insert((step.act, 0_u64)).1 += 1;
    }
    let mut lines: Vec<String> = counts
        .into_values()
        .map(|(act, number)| match act {
            Act::RaiseCounter => {
                format!("raise {}, never lower", format::plural(number, "counter"))
            }
            Act::SetCount => format!("set {} from the rows", format::plural(number, "count")),
            Act::VoidHoles => format!("void the holes of {}", format::plural(number, "row")),
            Act::Reindex => format!("index {} anew", format::plural(number, "chat")),
        })
        .collect();
    let listed = run.steps.len() as u64;
    if run.planned > listed {
        lines.push(format!(
            "and {} that the plan does not list",
            format::plural(run.planned - listed, "step")
        ));
    }
    lines
}

/// Where a run is, as a sign and in words.
#[must_use]
pub fn phase(run: &Run) -> (&'static str, &'static str, Tone) {
    match (run.phase, run.order.execute) {
        (Phase::Comparing, _) => ("»", "comparing", Tone::Accent),
        (Phase::Acting, _) => ("»", "acting", Tone::Accent),
        (Phase::Finished, false) => ("✓", "planned", Tone::Good),
        (Phase::Finished, true) if run.failed > 0 => ("!", "finished, with failures", Tone::Warn),
        (Phase::Finished, true) => ("✓", "finished", Tone::Good),
        (Phase::Cancelled, _) => ("–", "cancelled", Tone::Warn),
        (Phase::Failed, _) => ("✗", "failed", Tone::Bad),
    }
}

/// What a run was asked for.
#[must_use]
pub fn order_text(order: &Order) -> String {
    let what = if order.execute { "carry out" } else { "plan" };
    let how = if order.full {
        ", full sweep"
    } else {
        ", what changed"
    };
    format!("{what}: {}{how}", scope_text(order.token, order.chat, ""))
}

fn step_row(at: usize, step: &Step, planned: bool) -> Row {
    let (sign, tone, detail) = match &step.outcome {
        None if planned => ("·", Tone::Dim, "planned"),
        None => ("·", Tone::Dim, "to do"),
        Some(Outcome::Done) => ("✓", Tone::Good, "done"),
        Some(Outcome::Unneeded) => ("–", Tone::Dim, "unneeded"),
        Some(Outcome::Waits(_)) => ("»", Tone::Accent, "waits"),
        Some(Outcome::Failed(_)) => ("✗", Tone::Bad, "failed"),
    };
    let why = match &step.outcome {
        Some(Outcome::Waits(why) | Outcome::Failed(why)) => format::visible(why),
        _ => String::new(),
    };
    Row {
        id: at.to_string(),
        cells: vec![
            Cell::text(format!("{sign} {detail}")).tone(tone),
            Cell::text(step.act.as_str().replace('_', " ")),
            Cell::text(short_token(step.token)).tone(Tone::Dim),
            step.chat
                .map_or_else(Cell::none, |chat| Cell::count(chat.get().into())),
            // A counter that is missing, or a figure that could not be read.
            step.from.map_or_else(Cell::none, Cell::count),
            Cell::count(step.to),
            Cell::text(why).tone(Tone::Dim),
        ],
    }
}
