//! The help, made from the key map.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Line, columns, middle};
use crate::keys::{Binding, KEYS};
use crate::state::dashboard::State;
use crate::theme::Tone;

pub(super) fn draw(canvas: &mut Canvas<'_>, area: Rect, state: &State, scroll: usize) {
    let holds = |binding: &&Binding| binding.holds(state.page, state.setup.read_only);
    let own: Vec<&Binding> = KEYS
        .iter()
        .filter(holds)
        .filter(|binding| !binding.pages.is_empty())
        .collect();
    let all: Vec<&Binding> = KEYS
        .iter()
        .filter(holds)
        .filter(|binding| binding.pages.is_empty())
        .collect();
    let labels = own.iter().chain(&all).map(|one| columns(&one.label()));
    let label_width = usize::from(labels.max().unwrap_or_default());
    let line = |binding: &&Binding| -> Line {
        let label = binding.label();
        let pad = label_width - usize::from(columns(&label));
        vec![
            (format!(" {label}{} ", " ".repeat(pad)), Tone::Key),
            (format!(" {}", binding.help), Tone::Plain),
        ]
    };
    let mut lines: Vec<Line> = Vec::new();
    if !own.is_empty() {
        lines.push(vec![(format!("On {}", state.page.title()), Tone::Title)]);
        lines.extend(own.iter().map(line));
        lines.push(Vec::new());
    }
    lines.push(vec![("Everywhere".to_owned(), Tone::Title)]);
    lines.extend(all.iter().map(line));
    lines.push(Vec::new());
    lines.push(vec![("Signs".to_owned(), Tone::Title)]);
    lines.push(signs("0 is zero, — is none, ? is unknown"));
    lines.push(signs(
        "! before an age: the data is older than two intervals",
    ));

    let wide = area.width.saturating_sub(4).min(90);
    let high = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX);
    let frame = middle(area, wide, high.min(area.height.saturating_sub(2)));
    canvas.clear(frame);
    let hint = ("esc closes".to_owned(), Tone::Dim);
    let inside = canvas.boxed(frame, "Keys", &hint);
    canvas.wrapped(inside, &lines, scroll);
}

fn signs(text: &str) -> Line {
    vec![(format!(" {text}"), Tone::Plain)]
}
