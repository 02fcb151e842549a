//! Bars over time.

use ratatui::layout::Rect;

use super::super::canvas::{Canvas, top};
use super::time;
use crate::format::{millis, rate};
use crate::load::{Live, Point};
use crate::theme::Tone;

/// Parts of a row that a bar can be high.
const BARS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/// What was answered in each second, as bars below what was wanted.
pub(super) fn rate_chart(canvas: &mut Canvas<'_>, area: Rect, live: &Live) {
    let now = format!("{} a second", rate(live.ok_per_second));
    let inside = canvas.boxed(area, "Answered, and ─ wanted", &(now, Tone::Dim));
    let samples = shown(&live.series, inside.width);
    let highest = samples
        .iter()
        .map(|point| point.ok.max(point.wanted))
        .fold(0.0, f64::max);
    let bars: Vec<(Option<f64>, Option<f64>)> = samples
        .iter()
        .map(|point| (Some(point.ok), Some(point.wanted)))
        .collect();
    chart(canvas, inside, &bars, highest, Tone::Good);
}

/// Two charts above each other, each to its own scale, or one where there is no room for two.
pub(super) fn time_charts(canvas: &mut Canvas<'_>, area: Rect, live: &Live) {
    let last = live.series.last();
    let now = time(last.and_then(|point| point.p99));
    let inside = canvas.boxed(area, "Response time", &(format!("p99 {now}"), Tone::Dim));
    let both = inside.height >= 6;
    let (upper, lower) = if both {
        top(inside, inside.height / 2)
    } else {
        top(inside, inside.height)
    };
    time_chart(canvas, upper, live, "p99", |point| point.p99);
    if both {
        time_chart(canvas, lower, live, "p50", |point| point.p50);
    }
}

fn time_chart(
    canvas: &mut Canvas<'_>,
    area: Rect,
    live: &Live,
    name: &str,
    of: impl Fn(&Point) -> Option<f64>,
) {
    const LABEL: u16 = 13;
    let room = area.width.saturating_sub(LABEL);
    let samples: Vec<_> = shown(&live.series, room)
        .iter()
        .map(|point| (of(point), None))
        .collect();
    let highest = samples.iter().filter_map(|(value, _)| *value);
    let highest = highest.fold(0.0, f64::max);
    let label = if highest > 0.0 {
        format!("{name} {}", millis(highest))
    } else {
        name.to_owned()
    };
    canvas.cut(area.x, area.y, LABEL.min(area.width), &label, Tone::Dim);
    let bars = Rect::new(area.x + LABEL.min(area.width), area.y, room, area.height);
    chart(canvas, bars, &samples, highest, Tone::Accent);
}

/// The last points that a line of this many columns has room for.
fn shown(series: &[Point], width: u16) -> &[Point] {
    &series[series.len().saturating_sub(width.into())..]
}

/// A bar for each sample, and a line where a second figure lies above it. Nothing known is a dot.
fn chart(
    canvas: &mut Canvas<'_>,
    area: Rect,
    samples: &[(Option<f64>, Option<f64>)],
    highest: f64,
    tone: Tone,
) {
    if area.height == 0 {
        return;
    }
    let steps = area.height.saturating_mul(8);
    let scaled = |value: f64| {
        if highest > 0.0 {
            cells(value / highest, steps)
        } else {
            0
        }
    };
    for ((value, mark), x) in samples.iter().zip(area.x..area.right()) {
        let Some(value) = *value else {
            canvas.put(x, area.bottom() - 1, 1, "·", Tone::Dim);
            continue;
        };
        let mut level = scaled(value);
        if value > 0.0 {
            // Little is not nothing.
            level = level.max(1);
        }
        let line = mark.map(|mark| scaled(mark).saturating_sub(1) / 8);
        for (row, y) in (area.y..area.bottom()).rev().enumerate() {
            let row = u16::try_from(row).unwrap_or(u16::MAX);
            let part = level.saturating_sub(row.saturating_mul(8)).min(8);
            if part > 0 {
                canvas.put(x, y, 1, BARS[usize::from(part)], tone);
            } else if line == Some(row) {
                canvas.put(x, y, 1, "─", Tone::Dim);
            }
        }
    }
}

/// How many of so many cells a part is.
pub(super) fn cells(part: f64, width: u16) -> u16 {
    let cells = (part.clamp(0.0, 1.0) * f64::from(width)).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the width, and what is no number becomes 0"
    )]
    let cells = cells as u16;
    cells.min(width)
}
