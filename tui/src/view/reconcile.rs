//! Reconciliation: the run, its steps, and how far it is.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Line, top};
use super::panel;
use crate::api::Slot;
use crate::format::{self, plural};
use crate::state::dashboard::State;
use crate::state::reconcile::{order_text, phase};
use crate::theme::Tone;
use chat_wire::admin::reconcile::Run;

pub(super) fn draw(canvas: &mut Canvas<'_>, body: Rect, state: &State) {
    let (order, rest) = top(body, 1);
    scope(canvas, order, state);
    if state.expanded {
        return steps(canvas, rest, state);
    }
    let high = if rest.height >= 16 { 7 } else { 4 };
    let (about, table) = top(rest, high);
    let Some((inside, old)) = panel::open(canvas, about, state, "Run", Slot::Runs) else {
        return;
    };
    match state.reconcile.shown() {
        Some(run) => {
            progress(canvas, inside, state, run);
            if old {
                canvas.dim(inside);
            }
            steps(canvas, table, state);
        }
        None => {
            let text = "— no run yet: P plans one, and nothing is changed by a plan";
            canvas.wrapped(inside, &[vec![(text.to_owned(), Tone::Dim)]], 0);
        }
    }
}

/// What the next plan would be about, and whether one can be carried out.
fn scope(canvas: &mut Canvas<'_>, area: Rect, state: &State) {
    let reconcile = &state.reconcile;
    let how = if reconcile.full {
        "full sweep"
    } else {
        "what changed since the last run"
    };
    let mut line: Line = vec![
        (" for ".to_owned(), Tone::Dim),
        (reconcile.scope.text(), Tone::Accent),
        (format!(", {how}: "), Tone::Dim),
    ];
    line.push(match reconcile.plan() {
        _ if state.setup.read_only => ("read only".to_owned(), Tone::Dim),
        _ if reconcile.current().is_some() => ("a run is at work".to_owned(), Tone::Accent),
        Some(plan) if plan.planned == 0 => ("nothing is to be done".to_owned(), Tone::Good),
        Some(plan) => (
            format!(
                "{} planned, X carries them out",
                plural(plan.planned, "step")
            ),
            Tone::Warn,
        ),
        None => ("not planned, P plans".to_owned(), Tone::Dim),
    });
    canvas.line(area.x, area.y, area.width, &line);
}

fn progress(canvas: &mut Canvas<'_>, area: Rect, state: &State, run: &Run) {
    let (sign, word, tone) = phase(run);
    let ended = match run.ended_at {
        Some(at) => {
            let took = format::age(at.millis_since(run.started_at));
            let since = format::ago(state.now.wall.millis_since(at));
            format!("took {took}, ended {since}")
        }
        None => {
            let age = format::age(state.now.wall.millis_since(run.started_at));
            format!("for {age}")
        }
    };
    let mut lines: Vec<Line> = vec![vec![
        (format!("{sign} {word}"), tone),
        (format!("  {}  ", order_text(&run.order)), Tone::Plain),
        (ended, Tone::Dim),
    ]];
    if run.order.execute || run.planned > 0 {
        lines.push(gauge(run, area.width));
    }
    let summary = &run.summary;
    lines.push(vec![(
        format!(
            "{} compared: {} behind, {} holes, {} unindexed, {} stale, {} in flight, {} unknown",
            plural(summary.compared, "row"),
            format::count(summary.counter_behind),
            format::count(summary.holes),
            format::count(summary.unindexed),
            format::count(summary.count_stale),
            format::count(summary.in_flight),
            format::count(summary.unknown),
        ),
        Tone::Plain,
    )]);
    if let Some(detail) = &run.detail {
        lines.push(vec![(format::visible(detail), Tone::Warn)]);
    }
    lines.push(vec![(
        format!("run by {}", format::visible(&run.owner)),
        Tone::Dim,
    )]);
    // What does not fit is cut below, not broken.
    for (line, y) in lines.iter().zip(area.y..area.bottom()) {
        canvas.line(area.x, y, area.width, line);
    }
}

fn gauge(run: &Run, width: u16) -> Line {
    let text = format!(
        " {} of {}, {} wait, {} failed",
        format::count(run.done),
        plural(run.planned, "step"),
        format::count(run.waits),
        format::count(run.failed)
    );
    let room = usize::from(width)
        .saturating_sub(text.len() + 2)
        .clamp(4, 40);
    let share = u128::from(run.done.min(run.planned)) * room as u128;
    let full = usize::try_from(share / u128::from(run.planned.max(1))).unwrap_or(room);
    let tone = if run.failed > 0 {
        Tone::Bad
    } else {
        Tone::Good
    };
    vec![
        ("█".repeat(full), tone),
        ("░".repeat(room - full), Tone::Dim),
        (text, Tone::Plain),
    ]
}

fn steps(canvas: &mut Canvas<'_>, area: Rect, state: &State) {
    let listed = state
        .reconcile
        .shown()
        .map_or(0, |run| run.steps.len() as u64);
    let planned = state.reconcile.shown().map_or(0, |run| run.planned);
    let title = if planned > listed {
        format!(
            "The first {} of {}",
            format::count(listed),
            plural(planned, "step")
        )
    } else {
        "Steps".to_owned()
    };
    panel::table(canvas, area, state, &title, "✓ nothing is to be done");
}
