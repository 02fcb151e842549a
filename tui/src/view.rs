//! Drawing: `draw(&state)` reads and never changes, and a page is a file.

mod canvas;
mod counters;
mod dialog;
mod doctor;
mod frame;
mod help;
mod letters;
pub(crate) mod load;
mod overview;
mod panel;
mod picker;
mod reader;
mod reconcile;
mod search;
mod table;
mod topics;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use self::canvas::Canvas;
use crate::event::Target;
use crate::state::dashboard::{Overlay, State};
use crate::state::page::Page;
use crate::theme::Tone;

/// Narrower than this nothing useful can be shown.
pub const WIDTH_MIN: u16 = 40;
/// Lower than this nothing useful can be shown.
pub const HEIGHT_MIN: u16 = 10;

/// Draws the whole screen.
pub fn draw(state: &State, buffer: &mut Buffer) {
    let area = buffer.area;
    let mut canvas = Canvas::new(buffer, state);
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        let text = format!(
            "too small: {}×{} is here, {WIDTH_MIN}×{HEIGHT_MIN} is needed",
            area.width, area.height
        );
        canvas.wrapped(area, &[vec![(text, Tone::Plain)]], 0);
        return;
    }
    let body = frame::draw(&mut canvas, area, state);
    page(&mut canvas, body, state);
    match &state.overlay {
        Some(Overlay::Help(scroll)) => help::draw(&mut canvas, area, state, *scroll),
        Some(Overlay::Dialog(dialog)) => dialog::draw(&mut canvas, area, dialog),
        Some(Overlay::Picker(picker)) => picker::draw(&mut canvas, area, state, picker),
        None => {}
    }
}

fn page(canvas: &mut Canvas<'_>, body: Rect, state: &State) {
    match state.page {
        Page::Overview => overview::draw(canvas, body, state),
        Page::Topics => topics::draw(canvas, body, state),
        Page::Counters => counters::draw(canvas, body, state),
        Page::Reconcile => reconcile::draw(canvas, body, state),
        Page::Letters => letters::draw(canvas, body, state),
        Page::Search => search::draw(canvas, body, state),
        Page::Doctor => doctor::draw(canvas, body, state),
    }
}

/// What is at this place of the screen. It is drawn once more aside to find out, because a click
/// is rare and a second account of the layout would be wrong some day.
#[must_use]
pub fn hit(state: &State, column: u16, row: u16) -> Option<Target> {
    let area = Rect::new(0, 0, state.size.0, state.size.1);
    if state.overlay.is_some() || area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        return None;
    }
    let mut aside = Buffer::empty(area);
    let mut canvas = Canvas::new(&mut aside, state);
    let body = frame::draw(&mut canvas, area, state);
    page(&mut canvas, body, state);
    canvas.target(column, row)
}
