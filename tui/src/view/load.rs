//! The live view of a load test.

mod chart;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use self::chart::{cells, rate_chart, time_charts};
use super::canvas::{Canvas, Line, columns, left, top};
use super::table;
use crate::format::{self, count, millis, plural, rate};
use crate::load::{Lag, Live, Operation, Phase};
use crate::state::grid::{Cell, Column, Grid, List, Row};
use crate::state::signs;
use crate::theme::{Theme, Tone};
use chat_wire::admin::lag::Status;

/// Below this size there are no boxes, only lines.
const BOXES: (u16, u16) = (64, 16);
/// Rows of the boxes of figures, with their frames.
const FIGURES: u16 = 9;
/// Fewest rows in which a chart says anything.
const CHART_MIN: u16 = 5;
/// Most errors and operations that get a line of their own.
const LINES_MAX: u16 = 10;
/// Later than this, requests are sent so late that the generator is worth a look, in milliseconds.
const LATE: f64 = 10.0;

/// Draws it into an area, of whatever size. `stopping` says that somebody has asked for the end.
pub fn draw(live: &Live, stopping: bool, area: Rect, buffer: &mut Buffer, theme: Theme) {
    let area = area.intersection(buffer.area);
    let mut canvas = Canvas::plain(buffer, theme);
    if area.width == 0 || area.height == 0 {
        return;
    }
    let (head, rest) = top(area, 2);
    let (body, foot) = top(rest, rest.height.saturating_sub(1));
    heading(&mut canvas, head, live, stopping);
    keys(&mut canvas, foot, live, stopping);
    if body.width < BOXES.0 || body.height < BOXES.1 {
        return compact(&mut canvas, body, live);
    }
    let (figures, rest) = top(body, FIGURES);
    let (requests, workers) = left(figures, figures.width / 2);
    requests_box(&mut canvas, requests, live);
    lag_box(&mut canvas, workers, live);
    let wanted = u16::try_from(live.operations.len().max(live.errors.len())).unwrap_or(LINES_MAX);
    let table_high = wanted.clamp(1, LINES_MAX) + 3;
    let charts_high = rest.height.saturating_sub(table_high);
    let (charts, tables) = if charts_high >= CHART_MIN {
        top(rest, charts_high)
    } else {
        top(rest, 0)
    };
    if charts.height > 0 {
        let (rates, times) = left(charts, charts.width / 2);
        rate_chart(&mut canvas, rates, live);
        time_charts(&mut canvas, times, live);
    }
    let errors_wide = (tables.width / 4).max(24);
    let (operations, errors) = left(tables, tables.width - errors_wide);
    operations_box(&mut canvas, operations, live);
    errors_box(&mut canvas, errors, live);
}

fn heading(canvas: &mut Canvas<'_>, area: Rect, live: &Live, stopping: bool) {
    let (name, target) = (format::visible(&live.name), format::visible(&live.target));
    let mut title = vec![(format!(" load test {name} "), Tone::Title)];
    if !live.model.is_empty() {
        title.push((format!("{} model, {target}", live.model), Tone::Dim));
    }
    let badge = if stopping { " ENDING " } else { "" };
    let wide = columns(badge).min(area.width);
    canvas.line(area.x, area.y, area.width - wide, &title);
    canvas.put(area.right() - wide, area.y, wide, badge, Tone::Warn);
    if area.height > 1 {
        progress(canvas, Rect::new(area.x, area.y + 1, area.width, 1), live);
    }
}

/// The phase, and how far it is where that is known.
fn progress(canvas: &mut Canvas<'_>, area: Rect, live: &Live) {
    let elapsed = seconds(live.elapsed);
    let name = format!(" {:<9} ", live.phase.name());
    let mut x = area.x + canvas.put(area.x, area.y, area.width, &name, Tone::Accent);
    let planned = live.planned.filter(|planned| *planned > 0.0);
    let Some(planned) = planned else {
        let room = area.right().saturating_sub(x);
        canvas.put(x, area.y, room, &format!("for {elapsed}"), Tone::Plain);
        return;
    };
    let text = format!(" {elapsed} of {} ", seconds(planned));
    let room = area
        .right()
        .saturating_sub(x)
        .saturating_sub(columns(&text));
    if room >= 10 {
        x += gauge(canvas, (x, area.y, room.min(60)), live.elapsed / planned);
    }
    canvas.put(
        x,
        area.y,
        area.right().saturating_sub(x),
        &text,
        Tone::Plain,
    );
}

/// A bar that is partly full; says how wide it is.
fn gauge(canvas: &mut Canvas<'_>, (x, y, width): (u16, u16, u16), part: f64) -> u16 {
    let full = cells(part, width);
    let text = "█".repeat(full.into());
    canvas.put(x, y, full, &text, Tone::Accent);
    let text = "░".repeat((width - full).into());
    canvas.put(x + full, y, width - full, &text, Tone::Dim);
    width
}

fn keys(canvas: &mut Canvas<'_>, area: Rect, live: &Live, stopping: bool) {
    if area.height == 0 {
        return;
    }
    let mut line: Line = Vec::new();
    if stopping {
        line.push((" ctrl-c ".to_owned(), Tone::Key));
        line.push(("end at once, without a report  ".to_owned(), Tone::Dim));
    } else {
        line.push((" q ".to_owned(), Tone::Key));
        line.push(("end the load, drain and report  ".to_owned(), Tone::Dim));
    }
    if let Some(note) = &live.note {
        line.push((format::visible(note), Tone::Plain));
    }
    canvas.line(area.x, area.y, area.width, &line);
}

/// The most important figures where there is no room for boxes.
fn compact(canvas: &mut Canvas<'_>, area: Rect, live: &Live) {
    let mut lines = requests(live, 0);
    for operation in &live.operations {
        lines.push(vec![
            (
                format!("{:<10}", format::visible(&operation.name)),
                Tone::Dim,
            ),
            (
                format!("p50 {}, p99 {}", time(operation.p50), time(operation.p99)),
                Tone::Plain,
            ),
        ]);
    }
    for group in &live.lag {
        lines.push(lag_line(group));
    }
    for (code, number) in &live.errors {
        let code = format::visible(code);
        lines.push(vec![(format!("✗ {code} {}", count(*number)), Tone::Bad)]);
    }
    for (line, y) in lines.iter().zip(area.y..area.bottom()) {
        canvas.line(area.x + 1, y, area.width.saturating_sub(1), line);
    }
}

fn requests_box(canvas: &mut Canvas<'_>, area: Rect, live: &Live) {
    let sent = format!("{} sent", count(live.sent));
    let inside = canvas.boxed(area, "Requests, a second", &(sent, Tone::Dim));
    let lines = requests(live, inside.width.saturating_sub(22));
    for (line, y) in lines.iter().zip(inside.y..inside.bottom()) {
        canvas.line(inside.x, y, inside.width, line);
    }
}

/// Rates, what is in flight, and how late the generator is; a bar of `room` columns where there is room.
fn requests(live: &Live, room: u16) -> Vec<Line> {
    let pair = |name: &str, value: String, tone| {
        vec![
            (format!("{name:<10}"), Tone::Dim),
            (format!("{value:>9}"), tone),
        ]
    };
    let alarm = |number: u64| if number > 0 { Tone::Bad } else { Tone::Plain };
    let mut flight = pair("in flight", count(live.in_flight), Tone::Plain);
    if live.in_flight_max > 0 {
        flight.push((format!(" of {}", count(live.in_flight_max)), Tone::Dim));
        let part = ratio(live.in_flight, live.in_flight_max);
        let full = cells(part, room.saturating_sub(14).min(20));
        if full > 0 {
            flight.push((format!("  {}", "█".repeat(full.into())), Tone::Accent));
        }
    }
    let late = match live.late_p99 {
        None => pair("late, p99", format::UNKNOWN.to_owned(), Tone::Unknown),
        Some(late) if late > LATE => {
            let mut line = pair("late, p99", millis(late), Tone::Warn);
            line.push((" ! sent late".to_owned(), Tone::Warn));
            line
        }
        Some(late) => pair("late, p99", millis(late), Tone::Plain),
    };
    let mut skipped = pair("skipped", count(live.skipped), alarm(live.skipped));
    if live.skipped > 0 {
        skipped.push((" ! too many in flight".to_owned(), Tone::Bad));
    }
    vec![
        pair("wanted", rate(live.wanted_per_second), Tone::Plain),
        pair("sent", rate(live.sent_per_second), Tone::Plain),
        pair("ok", rate(live.ok_per_second), Tone::Good),
        pair("failed", count(live.failed), alarm(live.failed)),
        skipped,
        flight,
        late,
    ]
}

#[expect(clippy::cast_precision_loss, reason = "only the length of a bar")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn lag_box(canvas: &mut Canvas<'_>, area: Rect, live: &Live) {
    let nothing = (String::new(), Tone::Dim);
    let inside = canvas.boxed(area, "Consumer lag, records", &nothing);
    if live.lag.is_empty() {
        let text = ("? nobody could be asked".to_owned(), Tone::Unknown);
        canvas.wrapped(inside, &[vec![text]], 0);
        return;
    }
    for (group, y) in live.lag.iter().zip(inside.y..inside.bottom()) {
        canvas.line(inside.x, y, inside.width, &lag_line(group));
    }
}

/// A group: its sign, its lag, and how long that takes.
fn lag_line(lag: &Lag) -> Line {
    let all = [
        Status::Ok,
        Status::Behind,
        Status::Growing,
        Status::Stalled,
        Status::Stopped,
    ];
    let status = all.into_iter().find(|one| one.as_str() == lag.status);
    let (sign, tone) = signs::status(status.unwrap_or(Status::Unknown));
    let drain = match (lag.records, lag.drain_seconds) {
        (Some(0) | None, _) => String::new(),
        (_, Some(left)) => format!(", {} left", seconds(left)),
        (_, None) if status == Some(Status::Growing) => ", never done".to_owned(),
        (_, None) => ", ? left".to_owned(),
    };
    vec![
        (format!("{sign} {:<19}", format::visible(&lag.group)), tone),
        (
            format!("{:>9} ", format::known(lag.records)),
            if lag.records.is_some() {
                Tone::Plain
            } else {
                Tone::Unknown
            },
        ),
        (
            format!("{}{drain}", format::visible(&lag.status)),
            Tone::Dim,
        ),
    ]
}

fn operations_box(canvas: &mut Canvas<'_>, area: Rect, live: &Live) {
    const COLUMNS: &[Column] = &[
        Column::left("OPERATION", "operation"),
        Column::right("A SECOND", "rate").rank(2),
        Column::right("OK", "ok").rank(5),
        Column::right("FAILED", "failed").rank(4),
        Column::right("P50", "p50"),
        Column::right("P99", "p99"),
        Column::right("MAX", "max").rank(3),
        Column::right("SERVICE P99", "service").rank(1),
    ];
    let nothing = (String::new(), Tone::Dim);
    let inside = canvas.boxed(area, "Response time since the beginning", &nothing);
    if live.operations.is_empty() {
        let text = match live.phase {
            Phase::Preparing => "nothing was sent yet",
            _ => "nothing was answered yet",
        };
        canvas.wrapped(inside, &[vec![(text.to_owned(), Tone::Dim)]], 0);
        return;
    }
    let rows = live.operations.iter().map(operation_row).collect();
    table::rows(canvas, inside, &Grid::new(COLUMNS, rows, &List::default()));
}

fn operation_row(operation: &Operation) -> Row {
    let time = |ms: Option<f64>| match ms {
        Some(ms) => Cell::text(millis(ms)),
        None => Cell::none(),
    };
    let failed = Cell::count(operation.failed);
    Row {
        id: operation.name.clone(),
        cells: vec![
            Cell::text(format::visible(&operation.name)),
            Cell::rate(Some(operation.per_second)),
            Cell::count(operation.ok),
            if operation.failed > 0 {
                failed.tone(Tone::Bad)
            } else {
                failed
            },
            time(operation.p50),
            time(operation.p99),
            time(operation.max),
            time(operation.service_p99),
        ],
    }
}

fn errors_box(canvas: &mut Canvas<'_>, area: Rect, live: &Live) {
    let all = live.errors.iter().map(|(_, number)| *number);
    let all = all.fold(0_u64, u64::saturating_add);
    let total = if all > 0 {
        (plural(all, "error"), Tone::Bad)
    } else {
        (String::new(), Tone::Dim)
    };
    let inside = canvas.boxed(area, "Errors", &total);
    if live.errors.is_empty() {
        canvas.put(inside.x, inside.y, inside.width, "✓ none", Tone::Good);
        return;
    }
    for ((code, number), y) in live.errors.iter().zip(inside.y..inside.bottom()) {
        let number = count(*number);
        let wide = columns(&number).min(inside.width);
        let room = (inside.width - wide).saturating_sub(1);
        let code = format::visible(code);
        canvas.cut(inside.x, y, room, &format!("✗ {code}"), Tone::Bad);
        canvas.right(inside.x, y, inside.width, &number, Tone::Plain);
    }
}

/// Milliseconds, or that there were none.
fn time(ms: Option<f64>) -> String {
    ms.map_or_else(|| format::NONE.to_owned(), millis)
}

/// A length of time, to the second.
fn seconds(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float ends at the limits of the integer"
    )]
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0 => "0 s".to_owned(),
        100..6_000 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format::age(whole.saturating_mul(1_000)),
    }
}
