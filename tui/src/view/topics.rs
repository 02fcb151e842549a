//! Lag by group and by partition.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Line, top, with_details};
use super::panel;
use crate::format;
use crate::state::dashboard::State;
use crate::state::{signs, topics};
use crate::theme::Tone;
use chat_wire::admin::lag::GroupLag;

pub(super) fn draw(canvas: &mut Canvas<'_>, body: Rect, state: &State) {
    let (table, details) = with_details(body, state.expanded, 9);
    let title = match &state.topics.group {
        Some(group) => format!("Partitions of {group}"),
        None => "Lag by group".to_owned(),
    };
    let empty = match topics::source(state).0 {
        None if state.overview.stats.data.is_some() => "? the log could not be asked",
        _ => "no partitions came with the answer",
    };
    panel::table(canvas, table, state, &title, empty);
    if details.height > 0 {
        group(canvas, details, state);
    }
}

/// The group that is open or chosen: why it is judged so, and its lag as a chart.
fn group(canvas: &mut Canvas<'_>, area: Rect, state: &State) {
    let none = (String::new(), Tone::Dim);
    let Some(group) = chosen(state) else {
        canvas.boxed(area, "Group", &none);
        return;
    };
    let inside = canvas.boxed(
        area,
        &format!("{} reads {}", group.group, group.topic),
        &none,
    );
    let (sign, tone) = signs::status(group.status);
    let members = match group.members {
        Some(members) => format::plural(members.into(), "member"),
        None => "? members".to_owned(),
    };
    let line: Line = vec![
        (format!("{sign} {}", group.status.as_str()), tone),
        (
            format!(": {}  ", format::visible(&group.reason)),
            Tone::Plain,
        ),
        (members, Tone::Dim),
    ];
    let (text, chart_area) = top(inside, 2);
    canvas.wrapped(text, &[line], 0);
    chart(canvas, chart_area, &group.history);
}

fn chosen(state: &State) -> Option<&GroupLag> {
    let lag = topics::source(state).0?;
    let name = match &state.topics.group {
        Some(name) => name.clone(),
        None => {
            let grid = state.grid();
            let at = grid.selected(state.list())?;
            grid.rows.get(at)?.id.clone()
        }
    };
    lag.groups.iter().find(|group| group.group == name)
}

/// Bars over as many rows as there are, with the highest figure on the left.
pub(super) fn chart(canvas: &mut Canvas<'_>, area: Rect, samples: &[Option<u64>]) {
    if area.height == 0 || area.width < 16 || samples.is_empty() {
        return;
    }
    let highest = samples.iter().flatten().max().copied();
    let label = format::known(highest);
    canvas.right(area.x, area.y, 9, &label, Tone::Dim);
    if area.height > 1 {
        canvas.right(area.x, area.bottom() - 1, 9, "0", Tone::Dim);
    }
    let room = usize::from(area.width - 10);
    // Each sample gets as many columns as there is room for.
    let each = (room / samples.len()).clamp(1, 4);
    let shown = &samples[samples.len().saturating_sub(room / each)..];
    let eighths = u128::from(area.height) * 8;
    for (at, sample) in shown.iter().enumerate() {
        let offset = u16::try_from(at * each).unwrap_or_default();
        let x = area.x + 10 + offset;
        for column in 0..u16::try_from(each).unwrap_or(1) {
            bar(
                canvas,
                Rect {
                    x: x + column,
                    ..area
                },
                *sample,
                highest,
                eighths,
            );
        }
    }
}

fn bar(canvas: &mut Canvas<'_>, area: Rect, sample: Option<u64>, highest: Option<u64>, full: u128) {
    const PARTS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
    let Some(value) = sample else {
        canvas.put(area.x, area.bottom() - 1, 1, "?", Tone::Unknown);
        return;
    };
    let highest = u128::from(highest.unwrap_or_default().max(1));
    let mut left = (u128::from(value) * full / highest).max(u128::from(value > 0));
    for y in (area.y..area.bottom()).rev() {
        let part = usize::try_from(left.min(8)).unwrap_or(8);
        if part > 0 {
            canvas.put(area.x, y, 1, PARTS[part], Tone::Accent);
        }
        left = left.saturating_sub(8);
    }
}
