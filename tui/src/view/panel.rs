//! The box of a source: its table, its age, and what is said where there is nothing to show.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Line};
use super::{frame, table};
use crate::api::Slot;
use crate::failure::Failure;
use crate::state::dashboard::State;
use crate::theme::Tone;

/// Draws the table of the page in its box. `empty` is said where the server answered with nothing.
pub(super) fn table(canvas: &mut Canvas<'_>, area: Rect, state: &State, title: &str, empty: &str) {
    if area.height == 0 {
        return;
    }
    let slot = state.main_slot();
    let Some((inside, old)) = open(canvas, area, state, title, slot) else {
        return;
    };
    let grid = state.grid();
    if grid.rows.is_empty() {
        let text = if grid.total > 0 {
            "nothing matches the filter; esc drops it"
        } else {
            empty
        };
        canvas.wrapped(inside, &[vec![(text.to_owned(), Tone::Dim)]], 0);
        return;
    }
    table::draw(canvas, inside, &grid, state.list());
    if old {
        canvas.dim(inside);
    }
}

/// Draws the box of a source, and what went wrong with it. `None` where it has no data to show;
/// otherwise what is left inside, and whether the data is old.
pub(super) fn open(
    canvas: &mut Canvas<'_>,
    area: Rect,
    state: &State,
    title: &str,
    slot: Slot,
) -> Option<(Rect, bool)> {
    let poll = state.poll(slot)?;
    let (age, old) = frame::age(state, poll, state.interval_ms(slot));
    let mut inside = canvas.boxed(area, title, &age);
    match (&poll.failure, poll.fetched_ms) {
        (None, Some(_)) => {}
        (None, None) => {
            let text = (format!("asking for {}…", slot.path()), Tone::Dim);
            canvas.wrapped(inside, &[vec![text]], 0);
            return None;
        }
        (Some(failure), None) => {
            canvas.wrapped(inside, &explained(failure), 0);
            return None;
        }
        // What came before stays in sight, with the failure below it.
        (Some(failure), Some(_)) if inside.height > 1 => {
            inside.height -= 1;
            let again = frame::next_try(poll, state.now.ms);
            let text = format!("✗ {}; {again}", failure.text);
            canvas.cut(inside.x, inside.bottom(), inside.width, &text, Tone::Bad);
        }
        (Some(_), Some(_)) => {}
    }
    Some((inside, old))
}

/// A failure with what to do about it.
pub(super) fn explained(failure: &Failure) -> Vec<Line> {
    let mut lines = vec![vec![
        ("✗ ".to_owned(), Tone::Bad),
        (failure.text.clone(), Tone::Plain),
    ]];
    if let Some(hint) = &failure.hint {
        lines.push(vec![(hint.clone(), Tone::Accent)]);
    }
    lines
}
