//! The help, made from the key map.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Line, columns, middle};
use crate::keys::{Binding, KEYS};
use crate::state::dashboard::State;
use crate::state::signs;
use crate::theme::Tone;
use chat_wire::admin::drift::Verdict;
use chat_wire::admin::lag::Status;

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
    lines.extend(signs());

    let wide = area.width.saturating_sub(4).min(90);
    let high = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX);
    let frame = middle(area, wide, high.min(area.height.saturating_sub(2)));
    canvas.clear(frame);
    let hint = ("esc closes".to_owned(), Tone::Dim);
    let inside = canvas.boxed(frame, "Keys", &hint);
    canvas.wrapped(inside, &lines, scroll);
}

/// What the signs mean, made from the signs themselves.
fn signs() -> Vec<Line> {
    let mut statuses = vec![(" lag     ".to_owned(), Tone::Dim)];
    for status in Status::ALL {
        let (sign, tone) = signs::status(status);
        statuses.push((format!(" {sign} {}", status.as_str()), tone));
    }
    let mut verdicts = vec![(" counters".to_owned(), Tone::Dim)];
    for verdict in Verdict::ALL {
        let (sign, tone) = signs::verdict(verdict);
        verdicts.push((format!(" {sign} {}", verdict.as_str()), tone));
    }
    let text = |text: &str| vec![(text.to_owned(), Tone::Plain)];
    vec![
        text(" 0 is zero, — is none, ? is unknown"),
        text(" ! before an age: the data is older than two intervals"),
        statuses,
        verdicts,
    ]
}
