//! Dead letters, and the bytes of one.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Line, with_details};
use super::panel;
use crate::api::Slot;
use crate::format;
use crate::state::dashboard::State;
use crate::state::letters::{Opened, hex_lines, place};
use crate::state::signs;
use crate::theme::Tone;

pub(super) fn draw(canvas: &mut Canvas<'_>, body: Rect, state: &State) {
    if let Some(open) = &state.letters.open {
        return bytes(canvas, body, state, open);
    }
    let (table, details) = with_details(body, state.expanded, 8);
    let wanted = state.letters.wanted.map_or("all", |wanted| wanted.as_str());
    let waiting = state.letters.page.data.as_ref().map(|page| page.waiting);
    let title = format!("Dead letters: {wanted}; {} waiting", format::known(waiting));
    let empty = match state.letters.wanted {
        Some(chat_wire::admin::dlq::State::Waiting) => "✓ no letter waits for a decision",
        _ => "there is none",
    };
    panel::table(canvas, table, state, &title, empty);
    if details.height > 0 {
        chosen(canvas, details, state);
    }
}

fn chosen(canvas: &mut Canvas<'_>, area: Rect, state: &State) {
    let none = (String::new(), Tone::Dim);
    let Some(letter) = state.letters.chosen(state.now) else {
        canvas.boxed(area, "Letter", &none);
        return;
    };
    let inside = canvas.boxed(area, &format::visible(&letter.id), &none);
    let (sign, tone) = signs::letter(letter.state);
    let origin = letter.origin.as_ref().map_or_else(|| "?".to_owned(), place);
    let mut lines: Vec<Line> = vec![
        vec![
            (format!("{sign} {}", letter.state.as_str()), tone),
            (
                format!(
                    ", from {origin}, buried {}, {}",
                    format::when(letter.buried_at),
                    format::bytes(letter.bytes)
                ),
                Tone::Plain,
            ),
        ],
        vec![(format::visible(&letter.reason), Tone::Plain)],
    ];
    if let Some(at) = letter.decided_at {
        let why = letter.discard_reason.as_deref().unwrap_or_default();
        let text = format!("decided {} {}", format::when(at), format::visible(why));
        lines.push(vec![(text, Tone::Dim)]);
    }
    lines.push(vec![("enter shows its bytes".to_owned(), Tone::Accent)]);
    canvas.wrapped(inside, &lines, 0);
}

fn bytes(canvas: &mut Canvas<'_>, body: Rect, state: &State, open: &Opened) {
    let title = format!("Bytes of {}", format::visible(&open.id));
    let Some((inside, _)) = panel::open(canvas, body, state, &title, Slot::Letter) else {
        return;
    };
    let Some(letter) = &open.letter.data else {
        return;
    };
    let mut lines: Vec<Line> = vec![
        vec![
            ("reason  ".to_owned(), Tone::Dim),
            (format::visible(&letter.letter.reason), Tone::Plain),
        ],
        vec![
            ("key     ".to_owned(), Tone::Dim),
            (format::visible(&blot(&letter.key)), Tone::Plain),
        ],
        Vec::new(),
    ];
    if open.hex {
        lines.extend(
            hex_lines(&letter.base64)
                .into_iter()
                .map(|line| vec![(line, Tone::Plain)]),
        );
    } else {
        let text = letter.text.split('\n');
        lines.extend(text.map(|line| vec![(format::visible(line), Tone::Plain)]));
    }
    canvas.wrapped(inside, &lines, open.scroll);
}

/// A key begins with the token of its application; eight digits of it tell enough.
fn blot(key: &str) -> String {
    let (token, rest) = key.split_at(key.find('|').unwrap_or(key.len()));
    if token.len() == 32 && token.is_ascii() {
        return format!("{}…{rest}", &token[..8]);
    }
    key.to_owned()
}
