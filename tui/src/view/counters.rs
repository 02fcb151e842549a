//! Counters beside counts, from applications down to messages.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Line, with_details};
use super::{panel, reader};
use crate::format::{self, known};
use crate::state::counters::{Wanted, short_token};
use crate::state::dashboard::State;
use crate::state::signs;
use crate::theme::Tone;
use chat_wire::admin::drift::Drift;

pub(super) fn draw(canvas: &mut Canvas<'_>, body: Rect, state: &State) {
    if let Some(open) = &state.counters.reader {
        return reader::draw(canvas, body, state, open);
    }
    let (table, details) = with_details(body, state.expanded, 8);
    let wanted = state.counters.wanted;
    let what = if state.counters.inside.is_some() {
        "Chats: counter and messages"
    } else {
        "Applications: counter and chats"
    };
    let title = match wanted {
        Wanted::All => what.to_owned(),
        _ => format!("{what}, only {}", wanted.name().replace('_', " ")),
    };
    let empty = match wanted {
        Wanted::All => "there is nothing to compare yet",
        _ => "✓ no row is like that; v shows others",
    };
    panel::table(canvas, table, state, &title, empty);
    if details.height > 0 {
        chosen(canvas, details, state);
    }
}

fn chosen(canvas: &mut Canvas<'_>, area: Rect, state: &State) {
    let summary = summary(state);
    let Some(row) = state.counters.chosen() else {
        canvas.boxed(area, "Row", &summary);
        return;
    };
    let name = match row.chat {
        Some(chat) => format!("chat {chat}"),
        None => format!("{} {}", format::visible(&row.name), short_token(row.token)),
    };
    let inside = canvas.boxed(area, &name, &summary);
    canvas.wrapped(inside, &lines(row), 0);
}

/// How many rows the server has compared, and how many of them have drifted.
fn summary(state: &State) -> (String, Tone) {
    let Some(page) = &state.counters.drift.data else {
        return (String::new(), Tone::Dim);
    };
    let compared = format::plural(page.summary.compared, "row");
    let drifted = format::count(page.summary.drifted());
    let at = format::clock(page.compared_at);
    let tone = if page.summary.drifted() > 0 {
        Tone::Warn
    } else {
        Tone::Dim
    };
    (
        format!("{compared} compared at {at}, {drifted} drifted"),
        tone,
    )
}

fn lines(row: &Drift) -> Vec<Line> {
    let (sign, tone) = signs::verdict(row.verdict);
    let counted = if row.chat.is_some() {
        "messages"
    } else {
        "chats"
    };
    let counter = match row.counter {
        Some(counter) => format::count(counter.into()),
        None => "missing".to_owned(),
    };
    let mut lines = vec![vec![
        (
            format!("{sign} {}", row.verdict.as_str().replace('_', " ")),
            tone,
        ),
        (
            format!(
                ": counter {counter}, highest number {}, {} rows of which {} live, count column {} {counted}, {} in the log, {} in the index",
                format::count(row.highest.into()),
                format::count(row.rows),
                format::count(row.live),
                format::count(row.count),
                known(row.in_log),
                known(row.documents),
            ),
            Tone::Plain,
        ),
    ]];
    for detail in &row.details {
        lines.push(vec![(
            format!("· {}", format::visible(detail)),
            Tone::Plain,
        )]);
    }
    if row.chats_drifted > 0 {
        let chats = format::plural(row.chats_drifted, "chat");
        lines.push(vec![(
            format!("· {chats} in it drifted: enter shows them"),
            Tone::Warn,
        )]);
    }
    if row.verdict.is_drift() {
        lines.push(vec![(
            "P plans the mending of this row".to_owned(),
            Tone::Accent,
        )]);
    }
    lines
}
