//! A question over the page.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Line, columns, middle};
use super::frame;
use crate::state::dialog::{Dialog, Focus};
use crate::theme::Tone;

pub(super) fn draw(canvas: &mut Canvas<'_>, area: Rect, dialog: &Dialog) {
    let mut lines: Vec<Line> = dialog
        .lines
        .iter()
        .map(|line| vec![(line.clone(), Tone::Plain)])
        .collect();
    if let Some(complaint) = dialog.complaint {
        lines.push(vec![(complaint.to_owned(), Tone::Bad)]);
    }
    let buttons: u16 = dialog
        .buttons
        .iter()
        .map(|button| columns(&button.label) + 6)
        .sum();
    let widest = dialog.lines.iter().map(|line| columns(line)).max();
    let wide = widest
        .unwrap_or_default()
        .max(buttons)
        .max(columns(&dialog.title))
        .saturating_add(6)
        .clamp(30, 76);
    let extra = u16::from(dialog.reason.is_some()) * 2;
    let high = u16::try_from(lines.len()).unwrap_or(10).min(10) + 4 + extra;
    let frame_area = middle(area, wide, high);
    canvas.clear(frame_area);
    let none = (String::new(), Tone::Plain);
    let inside = canvas.boxed(frame_area, &dialog.title, &none);
    let text_height = inside.height.saturating_sub(2 + extra);
    let text = Rect {
        height: text_height,
        ..inside
    };
    canvas.wrapped(text, &lines, 0);
    if let Some(reason) = &dialog.reason {
        let y = inside.y + text_height;
        let row = Rect::new(inside.x, y, inside.width, 1);
        if dialog.focus == Focus::Reason {
            frame::typed(canvas, row, "reason: ", reason);
        } else {
            let text = format!("reason: {}", reason.text());
            canvas.cut(row.x, row.y, row.width, &text, Tone::Dim);
        }
    }
    press_here(canvas, inside, dialog);
}

fn press_here(canvas: &mut Canvas<'_>, inside: Rect, dialog: &Dialog) {
    let y = inside.bottom().saturating_sub(1);
    let mut x = inside.x;
    for (at, button) in dialog.buttons.iter().enumerate() {
        let focused = dialog.focus == Focus::Button(at);
        let label = if focused {
            format!("[▸ {} ]", button.label)
        } else {
            format!("[  {} ]", button.label)
        };
        let room = inside.right().saturating_sub(x);
        let tone = if focused { Tone::Title } else { Tone::Plain };
        let used = canvas.cut(x, y, room, &label, tone);
        if focused {
            canvas.select(Rect::new(x, y, used, 1));
        }
        x += used + 1;
    }
}
