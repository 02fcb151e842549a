//! One look: the server, its traffic, what is stored, the groups, and what needs somebody.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Line, left, top};
use super::{frame, panel, table};
use crate::api::Slot;
use crate::format::{self, known, millis, rate};
use crate::state::dashboard::State;
use crate::state::grid::List;
use crate::state::{overview, signs, topics};
use crate::theme::Tone;
use chat_wire::admin::stats::{Stats, Traffic};

pub(super) fn draw(canvas: &mut Canvas<'_>, body: Rect, state: &State) {
    let groups = state
        .overview
        .stats
        .data
        .as_ref()
        .and_then(|stats| stats.lag.as_ref());
    let group_rows = groups.map_or(1, |lag| lag.groups.len().min(8));
    let groups_high = u16::try_from(group_rows).unwrap_or(8) + 3;
    if state.expanded || body.height < 12 || body.width < 60 {
        return problems(canvas, body, state);
    }
    let (figures, rest) = top(body, 8);
    let third = figures.width / 3;
    let (server_area, others) = left(figures, third);
    let (traffic_area, stored_area) = left(others, third);
    let stats = state.overview.stats.data.as_ref();
    let boxes: [(Rect, &str, Option<Vec<Line>>); 3] = [
        (server_area, "Server", stats.map(server)),
        (
            traffic_area,
            "This process, a second",
            stats.map(|stats| traffic(state, &stats.traffic, traffic_area.width)),
        ),
        (stored_area, "Stored", stats.map(stored)),
    ];
    for (area, title, lines) in boxes {
        few(canvas, area, state, title, lines);
    }
    if rest.height < groups_high + 5 {
        return problems(canvas, rest, state);
    }
    let (groups_area, rest) = top(rest, groups_high);
    lag(canvas, groups_area, state);
    problems(canvas, rest, state);
}

/// A box of a few lines. Where there is no data, the head of the page and the list below say why.
fn few(canvas: &mut Canvas<'_>, area: Rect, state: &State, title: &str, lines: Option<Vec<Line>>) {
    let (age, old) = frame::age(
        state,
        &state.overview.stats.poll,
        state.interval_ms(Slot::Stats),
    );
    // Three boxes of one source: the age itself is enough.
    let short = age.0.split(", every").next().unwrap_or_default().to_owned();
    let inside = canvas.boxed(area, title, &(short, age.1));
    let Some(lines) = lines else {
        canvas.put(inside.x, inside.y, inside.width, "?", Tone::Unknown);
        return;
    };
    for (line, y) in lines.iter().zip(inside.y..inside.bottom()) {
        canvas.line(inside.x, y, inside.width, line);
    }
    if old {
        canvas.dim(inside);
    }
}

fn pair(name: &str, value: impl Into<String>, tone: Tone) -> Line {
    vec![(format!("{name:<13}"), Tone::Dim), (value.into(), tone)]
}

fn server(stats: &Stats) -> Vec<Line> {
    let mut lines = vec![pair(
        "role",
        format!(
            "{}, up {}",
            format::visible(&stats.role),
            format::age(stats.uptime_seconds.saturating_mul(1_000))
        ),
        Tone::Plain,
    )];
    for check in &stats.checks {
        let (sign, tone) = signs::well(check.ok);
        lines.push(vec![
            (format!("{sign} {:<11}", format::visible(&check.name)), tone),
            (format!("{} ms ", check.elapsed_ms), Tone::Dim),
            (
                format::visible(check.detail.as_deref().unwrap_or_default()),
                Tone::Plain,
            ),
        ]);
    }
    lines
}

fn traffic(state: &State, now: &Traffic, width: u16) -> Vec<Line> {
    let alarm = |value: f64| if value > 0.0 { Tone::Bad } else { Tone::Plain };
    let room = usize::from(width.saturating_sub(24));
    let bars = |of: fn(&Traffic) -> f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "only the height of a bar"
        )]
        let samples: Vec<Option<u64>> = state
            .overview
            .rates
            .iter()
            .map(|traffic| Some((of(traffic) * 100.0) as u64))
            .collect();
        (
            format!(" {}", topics::sparkline(&samples, room)),
            Tone::Accent,
        )
    };
    let mut requests = pair(
        "requests",
        format!("{:>8}", rate(now.requests_per_second)),
        Tone::Plain,
    );
    requests.push(bars(|traffic| traffic.requests_per_second));
    let mut creates = pair(
        "creates",
        format!("{:>8}", rate(now.creates_per_second)),
        Tone::Plain,
    );
    creates.push(bars(|traffic| traffic.creates_per_second));
    let quantile = |ms: Option<f64>| ms.map_or_else(|| format::UNKNOWN.to_owned(), millis);
    vec![
        requests,
        creates,
        pair(
            "p50, p99",
            format!(
                "{}, {}",
                quantile(now.create_p50_ms),
                quantile(now.create_p99_ms)
            ),
            Tone::Plain,
        ),
        pair(
            "errors",
            format!("{:>8}", rate(now.errors_per_second)),
            alarm(now.errors_per_second),
        ),
        pair(
            "shed",
            format!("{:>8}", rate(now.shed_per_second)),
            alarm(now.shed_per_second),
        ),
        pair(
            "in flight",
            format!("{:>8}", format::count(now.in_flight)),
            Tone::Plain,
        ),
    ]
}

fn stored(stats: &Stats) -> Vec<Line> {
    let totals = &stats.totals;
    let tone = |known: Option<u64>| match known {
        Some(_) => Tone::Plain,
        None => Tone::Unknown,
    };
    let row = |name, value| pair(name, format!("{:>13}", known(value)), tone(value));
    let (drift, drift_tone) = match &stats.drift {
        Some(seen) => {
            let drifted = seen.summary.drifted();
            let tone = if drifted > 0 { Tone::Warn } else { Tone::Plain };
            (format::count(drifted), tone)
        }
        None => (format::UNKNOWN.to_owned(), Tone::Unknown),
    };
    let oldest = match (stats.oldest_dead_letter_ms, stats.dead_letters) {
        (Some(ms), _) => format::age(ms),
        (None, Some(0)) => format::NONE.to_owned(),
        (None, _) => format::UNKNOWN.to_owned(),
    };
    vec![
        row("applications", totals.applications),
        row("chats", totals.chats),
        row("messages", totals.messages),
        pair("drifted", format!("{drift:>13}"), drift_tone),
        row("dead letters", stats.dead_letters),
        pair("the oldest", format!("{oldest:>13}"), Tone::Plain),
    ]
}

/// The groups in short; the page of topics has more.
fn lag(canvas: &mut Canvas<'_>, area: Rect, state: &State) {
    let Some((inside, old)) = panel::open(canvas, area, state, "Lag", Slot::Stats) else {
        return;
    };
    let lag = state
        .overview
        .stats
        .data
        .as_ref()
        .and_then(|stats| stats.lag.as_ref());
    if lag.is_none() {
        let text = ("? the log could not be asked".to_owned(), Tone::Unknown);
        canvas.wrapped(inside, &[vec![text]], 0);
        return;
    }
    let grid = topics::group_grid(lag, &List::default());
    table::rows(canvas, inside, &grid);
    if old {
        canvas.dim(inside);
    }
}

/// What is not well. It is known even where nothing else is.
fn problems(canvas: &mut Canvas<'_>, area: Rect, state: &State) {
    let poll = &state.overview.stats.poll;
    let (age, _) = frame::age(state, poll, state.interval_ms(Slot::Stats));
    let grid = overview::grid(state);
    let title = match grid.total as u64 {
        0 => "What needs you".to_owned(),
        number => format!("What needs you: {}", format::plural(number, "thing")),
    };
    let inside = canvas.boxed(area, &title, &age);
    if !grid.rows.is_empty() {
        return table::draw(canvas, inside, &grid, &state.overview.list);
    }
    let (text, tone) = match (&state.overview.stats.data, grid.total) {
        (None, _) => ("? asking", Tone::Unknown),
        (Some(_), 0) => ("✓ nothing: all is well", Tone::Good),
        (Some(_), _) => ("nothing matches the filter; esc drops it", Tone::Dim),
    };
    canvas.wrapped(inside, &[vec![(text.to_owned(), tone)]], 0);
}
