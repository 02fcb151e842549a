//! Whether all is well, and the list of what is not.

use std::collections::VecDeque;

use chat_wire::admin::Check;
use chat_wire::admin::doctor::Finding;
use chat_wire::admin::lag::Status;
use chat_wire::admin::stats::{Stats, Traffic};

use super::grid::{Cell, Column, Grid, List, Row};
use super::page::Page;
use super::poll::Source;
use super::signs;
use crate::failure::Kind;
use crate::format;
use crate::state::dashboard::State;
use crate::theme::Tone;

/// Samples of the rates that are kept for the sparklines.
pub const RATES_MAX: usize = 120;

/// The snapshot of the server, which the head of every page shows too.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    /// `/admin/stats`.
    pub stats: Source<Stats>,
    /// Rates of the snapshots so far, oldest first.
    pub rates: VecDeque<Traffic>,
    /// The list of problems.
    pub list: List,
}

impl Overview {
    /// Takes a snapshot.
    pub fn take(&mut self, stats: Stats) {
        if self.rates.len() == RATES_MAX {
            self.rates.pop_front();
        }
        self.rates.push_back(stats.traffic);
        self.stats.data = Some(stats);
    }
}

/// One thing that is not well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad.
    pub tone: Tone,
    /// The same as a sign.
    pub sign: &'static str,
    /// What.
    pub text: String,
    /// Where to see more.
    pub page: Page,
}

/// Headings of the list of problems.
pub const COLUMNS: &[Column] = &[
    Column::left("", "sign"),
    Column::left("WHAT", "what").grows(),
    Column::left("SEE", "page").rank(1),
];

/// The problems as a table.
#[must_use]
pub fn grid(state: &State) -> Grid {
    let rows = problems(state).into_iter().map(|problem| Row {
        id: format!("{} {}", problem.page.name(), problem.text),
        cells: vec![
            Cell::text(problem.sign).tone(problem.tone),
            Cell::text(problem.text),
            Cell::text(problem.page.title()).tone(Tone::Dim),
        ],
    });
    Grid::new(COLUMNS, rows.collect(), &state.overview.list)
}

/// Everything that is not well, worst first.
#[must_use]
pub fn problems(state: &State) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut add = |tone, sign, text, page| {
        found.push(Problem {
            tone,
            sign,
            text,
            page,
        });
    };
    let source = &state.overview.stats;
    if let Some(failure) = &source.poll.failure {
        let (sign, tone) = match failure.kind {
            Kind::NotOffered => ("?", Tone::Unknown),
            _ => ("✗", Tone::Bad),
        };
        add(tone, sign, failure.text.clone(), Page::Doctor);
    }
    if let Some(stats) = &source.data {
        for shedding in &stats.shedding {
            add(
                Tone::Bad,
                "✗",
                format::visible(&shedding.text()),
                Page::Topics,
            );
        }
        // What is shed for is told above, with where to see more.
        let told = |check: &&Check| !check.ok && (check.name != "lag" || stats.shedding.is_empty());
        for check in stats.checks.iter().filter(told) {
            let detail = check.detail.as_deref().unwrap_or("it does not answer");
            let text = format!("{}: {detail}", check.name);
            add(Tone::Bad, "✗", format::visible(&text), Page::Doctor);
        }
        lag_problems(stats, &mut add);
        drift_problems(stats, &mut add);
        letter_problems(stats, &mut add);
    }
    if let Some(diagnosis) = &state.doctor.diagnosis.data {
        for check in &diagnosis.checks {
            if check.finding >= Finding::Warning {
                let (sign, tone) = signs::finding(check.finding);
                let text = format!("{}: {}", check.id, check.detail);
                add(tone, sign, format::visible(&text), Page::Doctor);
            }
        }
    }
    found.sort_by_key(|problem| match problem.tone {
        Tone::Bad => 0,
        Tone::Warn => 1,
        _ => 2,
    });
    found
}

type Add<'a> = dyn FnMut(Tone, &'static str, String, Page) + 'a;

fn lag_problems(stats: &Stats, add: &mut Add<'_>) {
    let Some(lag) = &stats.lag else {
        let text = "lag is unknown: the log could not be asked".to_owned();
        add(Tone::Unknown, "?", text, Page::Topics);
        return;
    };
    let mut groups: Vec<_> = lag.groups.iter().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.status));
    for group in groups {
        if group.status == Status::Ok {
            continue;
        }
        let (sign, tone) = signs::status(group.status);
        let waiting = match group.figures.lag_records {
            Some(records) => format!("{} waiting", format::plural(records, "record")),
            None => "an unknown number of records waiting".to_owned(),
        };
        let text = format!("{} is {}: {waiting}", group.group, group.status.as_str());
        add(tone, sign, text, Page::Topics);
    }
}

fn drift_problems(stats: &Stats, add: &mut Add<'_>) {
    let Some(seen) = &stats.drift else {
        let text = "drift is unknown: nothing has been compared yet".to_owned();
        add(Tone::Unknown, "?", text, Page::Reconcile);
        return;
    };
    let summary = &seen.summary;
    if summary.counter_behind > 0 {
        let text = format!(
            "{} behind",
            format::plural(summary.counter_behind, "counter")
        );
        add(Tone::Bad, "✗", text, Page::Counters);
    }
    let rest = [
        (summary.holes, "holes in the numbers of"),
        (summary.unindexed, "the index differs for"),
        (summary.count_stale, "the count is stale for"),
    ];
    for (number, what) in rest {
        if number > 0 {
            let text = format!("{what} {}", format::plural(number, "row"));
            add(Tone::Warn, "!", text, Page::Counters);
        }
    }
    if summary.unknown > 0 {
        let text = format!(
            "{} could not be compared",
            format::plural(summary.unknown, "row")
        );
        add(Tone::Unknown, "?", text, Page::Counters);
    }
}

fn letter_problems(stats: &Stats, add: &mut Add<'_>) {
    match stats.dead_letters {
        Some(0) => {}
        Some(waiting) => {
            let text = format!(
                "{} waiting for a decision",
                format::plural(waiting, "dead letter")
            );
            add(Tone::Warn, "!", text, Page::Letters);
        }
        None => {
            let text = "it is unknown whether dead letters wait".to_owned();
            add(Tone::Unknown, "?", text, Page::Letters);
        }
    }
}
