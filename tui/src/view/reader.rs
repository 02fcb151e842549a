//! The messages of a chat, and the chosen one in full.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Line, with_details};
use super::panel;
use crate::format;
use crate::state::dashboard::State;
use crate::state::reader::Reader;
use crate::theme::Tone;

pub(super) fn draw(canvas: &mut Canvas<'_>, body: Rect, state: &State, reader: &Reader) {
    let (table, details) = with_details(body, state.expanded, 9);
    let settled = reader.page.data.as_ref().map(|page| page.settled_through);
    let title = match settled {
        Some(settled) => format!("Chat {}, stored up to number {settled}", reader.chat),
        None => format!("Chat {}", reader.chat),
    };
    panel::table(canvas, table, state, &title, "there are no messages here");
    if details.height == 0 {
        return;
    }
    let none = (String::new(), Tone::Dim);
    let Some(message) = reader.chosen() else {
        canvas.boxed(details, "Message", &none);
        return;
    };
    let edited = message
        .updated_at
        .map_or_else(String::new, |at| format!(", edited {}", format::when(at)));
    let sent = message
        .sent_at
        .map_or_else(String::new, |at| format!(", sent {}", format::when(at)));
    let about: Line = vec![(
        format!(
            "{}, created {}{sent}{edited}",
            message.sender.as_deref().map_or_else(
                || "no sender".to_owned(),
                |sender| format!("from {}", format::visible(sender)),
            ),
            format::when(message.created_at),
        ),
        Tone::Dim,
    )];
    let title = format!("Message {}", message.message_number);
    let inside = canvas.boxed(details, &title, &none);
    let mut lines = vec![about];
    lines.extend(body_lines(&message.body));
    canvas.wrapped(inside, &lines, 0);
}

/// A body as it was written, line by line.
fn body_lines(body: &str) -> impl Iterator<Item = Line> {
    body.split('\n')
        .map(|line| vec![(format::visible(line), Tone::Plain)])
}
