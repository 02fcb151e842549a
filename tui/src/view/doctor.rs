//! The doctor's checks, and what to do about the chosen one.

use ratatui::layout::Rect;

use super::canvas::{Canvas, with_details};
use super::panel;
use crate::format;
use crate::state::dashboard::State;
use crate::state::signs;
use crate::theme::Tone;

pub(super) fn draw(canvas: &mut Canvas<'_>, body: Rect, state: &State) {
    let (table, details) = with_details(body, state.expanded, 7);
    panel::table(
        canvas,
        table,
        state,
        "Checks, in the order of mending",
        "no checks came with the answer",
    );
    if details.height == 0 {
        return;
    }
    let none = (String::new(), Tone::Dim);
    let Some(check) = state.doctor.chosen() else {
        canvas.boxed(details, "Check", &none);
        return;
    };
    let inside = canvas.boxed(details, &format::visible(&check.id), &none);
    let (sign, tone) = signs::finding(check.finding);
    let mut lines = vec![vec![
        (format!("{sign} {}", check.finding.as_str()), tone),
        (format!(": {}", format::visible(&check.detail)), Tone::Plain),
    ]];
    if let Some(hint) = &check.hint {
        lines.push(vec![
            ("$ ".to_owned(), Tone::Dim),
            (format::visible(hint), Tone::Accent),
            ("   y copies it".to_owned(), Tone::Dim),
        ]);
    }
    canvas.wrapped(inside, &lines, 0);
}
