//! A list to choose from, over the page.

use ratatui::layout::Rect;

use super::canvas::{Canvas, middle};
use super::{frame, table};
use crate::api::Slot;
use crate::state::dashboard::State;
use crate::state::picker::Picker;
use crate::theme::Tone;

pub(super) fn draw(canvas: &mut Canvas<'_>, area: Rect, state: &State, picker: &Picker) {
    let area = middle(
        area,
        area.width.saturating_sub(8).min(80),
        area.height.saturating_sub(4),
    );
    canvas.clear(area);
    let (title, slot) = match picker {
        Picker::Applications { .. } => (
            "Application: enter chooses, n and p turn",
            Slot::Applications,
        ),
        Picker::Chats { .. } => ("Chat: enter chooses, n and p turn", Slot::Chats),
    };
    let Some(poll) = state.poll(slot) else { return };
    let (age, _) = frame::age(state, poll, None);
    let inside = canvas.boxed(area, title, &age);
    let grid = picker.grid();
    if grid.rows.is_empty() {
        let text = match &poll.failure {
            Some(failure) => (format!("✗ {}", failure.text), Tone::Bad),
            None if poll.fetched_ms.is_some() => ("there is none".to_owned(), Tone::Dim),
            None => ("asking…".to_owned(), Tone::Dim),
        };
        canvas.wrapped(inside, &[vec![text]], 0);
        return;
    }
    table::draw(canvas, inside, &grid, picker.list());
}
