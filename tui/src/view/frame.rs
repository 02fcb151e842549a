//! What is around every page: the server, the tabs, where we are, and the keys.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Line, columns};
use crate::api::Slot;
use crate::event::Target;
use crate::failure::Kind;
use crate::format::{self, ago};
use crate::keys::KEYS;
use crate::state::counters::short_token;
use crate::state::dashboard::{Prompt, State};
use crate::state::input::Input;
use crate::state::page::Page;
use crate::state::poll::{Freshness, Poll};
use crate::state::signs;
use crate::theme::Tone;

/// Draws it; says what is left for the page.
pub(super) fn draw(canvas: &mut Canvas<'_>, area: Rect, state: &State) -> Rect {
    head(canvas, area, state);
    tabs(canvas, Rect::new(area.x, area.y + 1, area.width, 1), state);
    crumbs(canvas, Rect::new(area.x, area.y + 2, area.width, 1), state);
    foot(
        canvas,
        Rect::new(area.x, area.bottom() - 1, area.width, 1),
        state,
    );
    Rect::new(area.x, area.y + 3, area.width, area.height - 4)
}

fn head(canvas: &mut Canvas<'_>, area: Rect, state: &State) {
    let mut badges = Vec::new();
    if let Some(acting) = state.acting {
        badges.push((format!(" {acting}… "), Tone::Accent));
    }
    if let Some(since) = state.frozen_ms {
        let age = format::ago(state.now.ms.saturating_sub(since));
        badges.push((format!(" ‖ FROZEN {age} "), Tone::Warn));
    }
    if state.setup.read_only {
        badges.push((" READ ONLY ".to_owned(), Tone::Accent));
    }
    if state.mouse {
        badges.push((" MOUSE ".to_owned(), Tone::Accent));
    }
    let wide: u16 = badges.iter().map(|(text, _)| columns(text)).sum();
    let room = area.width.saturating_sub(wide);
    let mut x = area.x + canvas.line(area.x, area.y, room, &server(state));
    x = x.max(area.right() - wide.min(area.width));
    canvas.line(x, area.y, area.right() - x, &badges);
}

/// How the server is, in one line.
fn server(state: &State) -> Line {
    let source = &state.overview.stats;
    let now_ms = state.now.ms;
    let address = format!(" {} ", state.setup.admin);
    let mut line = match (&source.poll.failure, &source.data) {
        (Some(failure), _) if failure.kind == Kind::NotOffered => {
            vec![("? chatd without statistics".to_owned(), Tone::Unknown)]
        }
        (Some(failure), _) => {
            let word = match failure.kind {
                Kind::Unreachable => "unreachable",
                Kind::Timeout => "no answer",
                Kind::Unauthorized => "key refused",
                _ => "failing",
            };
            vec![(format!("✗ {word}"), Tone::Bad)]
        }
        // A server that hangs was ready when it said so; that is no news.
        (None, Some(_)) if state.frozen_ms.is_none() && is_late(state) => {
            let age_ms = source.poll.age_ms(now_ms).unwrap_or_default();
            vec![(format!("? no news for {}", format::age(age_ms)), Tone::Warn)]
        }
        (None, Some(stats)) => {
            let (sign, tone) = signs::well(stats.ready);
            let word = if stats.ready { "ready" } else { "not ready" };
            let version = format::visible(&stats.version);
            let mode = format::visible(&stats.mode);
            vec![
                (format!("{sign} {word}"), tone),
                (format!(" chatd {version}, {mode}"), Tone::Plain),
            ]
        }
        (None, None) => vec![("? connecting".to_owned(), Tone::Unknown)],
    };
    line.push((address, Tone::Dim));
    if source.poll.failure.is_some() {
        line.push((next_try(&source.poll, now_ms), Tone::Warn));
    } else {
        let every = format::age(state.setup.interval_ms);
        line.push((format!("every {every}"), Tone::Dim));
    }
    line
}

fn is_late(state: &State) -> bool {
    let poll = &state.overview.stats.poll;
    poll.freshness(state.now.ms, state.interval_ms(Slot::Stats)) != Freshness::Fresh
}

/// When a source that failed is asked again.
pub(super) fn next_try(poll: &Poll, now_ms: u64) -> String {
    match (poll.waiting_ms(now_ms), poll.next_ms()) {
        (Some(ms), _) => format!("trying for {}", format::age(ms / 1_000 * 1_000)),
        (None, Some(next)) => {
            let seconds = next.saturating_sub(now_ms).div_ceil(1_000);
            format!("next try in {seconds} s")
        }
        (None, None) => "press r to try again".to_owned(),
    }
}

fn tabs(canvas: &mut Canvas<'_>, area: Rect, state: &State) {
    let full: u16 = Page::ALL.iter().map(|page| columns(page.title()) + 5).sum();
    let mut x = area.x;
    for page in Page::ALL {
        let digit = page.index() + 1;
        let chosen = page == state.page;
        let title = if full <= area.width || chosen {
            format!(" {digit} {} ", page.title())
        } else {
            format!(" {digit} ")
        };
        let width = columns(&title).min(area.right().saturating_sub(x));
        let tone = if chosen { Tone::Title } else { Tone::Plain };
        canvas.put(x, area.y, width, &title, tone);
        let tab = Rect::new(x, area.y, width, 1);
        if chosen {
            canvas.select(tab);
        }
        canvas.clickable(tab, Target::Page(page));
        x += width;
        if let Some((sign, tone)) = badge(state, page) {
            x += canvas.put(x, area.y, area.right().saturating_sub(x), sign, tone);
        }
        x += 1;
    }
}

/// What a tab has to say while another one is shown.
fn badge(state: &State, page: Page) -> Option<(&'static str, Tone)> {
    let stats = state.overview.stats.data.as_ref()?;
    match page {
        Page::Topics => match &stats.lag {
            Some(lag) => Some(signs::status(lag.status)).filter(|(_, tone)| *tone != Tone::Good),
            None => Some(("?", Tone::Unknown)),
        },
        Page::Counters => {
            let summary = stats.drift.as_ref()?.summary;
            (summary.drifted() > 0).then_some(("!", Tone::Warn))
        }
        Page::Reconcile => {
            let running = stats.drift.as_ref()?.running;
            running.map(|_| ("»", Tone::Accent))
        }
        Page::Letters => match stats.dead_letters {
            Some(0) => None,
            Some(_) => Some(("!", Tone::Warn)),
            None => Some(("?", Tone::Unknown)),
        },
        Page::Overview => {
            let well = stats.checks.iter().all(|check| check.ok);
            (!well).then_some(("✗", Tone::Bad))
        }
        Page::Search | Page::Doctor => None,
    }
}

/// Where we are, what is filtered and sorted, and how many rows there are.
fn crumbs(canvas: &mut Canvas<'_>, area: Rect, state: &State) {
    let mut left: Line = vec![(format!(" {}", state.page.title()), Tone::Title)];
    for part in path(state) {
        left.push((format!(" › {part}"), Tone::Plain));
    }
    let list = state.list();
    let grid = state.grid();
    let mut right: Line = Vec::new();
    if !list.filter.is_empty() && !matches!(state.prompt, Some(Prompt::Filter(_))) {
        let filter = format::visible(&list.filter);
        right.push((format!("filter: {filter}  "), Tone::Warn));
    }
    if let Some((column, descending)) = list.sort
        && let Some(column) = grid.columns.get(column)
    {
        let arrow = if descending { "▼" } else { "▲" };
        right.push((format!("by {}{arrow}  ", column.name), Tone::Accent));
    }
    let (shown, total) = (grid.rows.len() as u64, grid.total as u64);
    let rows = if shown == total {
        format::plural(total, "row")
    } else {
        format!(
            "{} of {}",
            format::count(shown),
            format::plural(total, "row")
        )
    };
    let page = match state.page {
        _ if state.reader().is_some() => None,
        Page::Counters => {
            let inside = state.counters.inside.as_ref();
            let pager = inside.map_or(&state.counters.pager, |inside| &inside.pager);
            let next = state.counters.drift.data.as_ref();
            Some((
                pager.number(),
                next.is_some_and(|page| page.next_after.is_some()),
            ))
        }
        Page::Letters => {
            let next = state.letters.page.data.as_ref();
            let more = next.is_some_and(|page| page.next_after.is_some());
            Some((state.letters.pager.number(), more))
        }
        Page::Search => {
            let next = state.search.hits.data.as_ref();
            let more = next.is_some_and(|page| page.next_cursor.is_some());
            Some((state.search.pager.number(), more))
        }
        _ => None,
    };
    right.push(match page {
        // The server has more than what is counted here.
        Some((number, more)) if more || number > 1 => {
            let sign = if more { ", n for more" } else { ", the last" };
            (format!("page {number}: {rows}{sign} "), Tone::Dim)
        }
        _ => (format!("{rows} "), Tone::Dim),
    });
    let wide: u16 = right.iter().map(|(text, _)| columns(text)).sum();
    let wide = wide.min(area.width);
    let used = canvas.line(area.x, area.y, area.width - wide.min(area.width / 2), &left);
    let x = (area.right() - wide).max(area.x + used + 1);
    canvas.line(x, area.y, area.right().saturating_sub(x), &right);
}

/// The levels below the page.
fn path(state: &State) -> Vec<String> {
    let mut parts = Vec::new();
    match state.page {
        Page::Topics => parts.extend(state.topics.group.clone()),
        Page::Counters => {
            if let Some(inside) = &state.counters.inside {
                let name = state.counters.name().unwrap_or_default();
                parts.push(match name {
                    "" => short_token(inside.token),
                    name => format::visible(name),
                });
            }
            if let Some(reader) = &state.counters.reader {
                parts.push(format!("chat {}", reader.chat));
            }
        }
        Page::Letters => {
            let open = state.letters.open.as_ref();
            parts.extend(open.map(|open| format::visible(&open.id)));
        }
        Page::Search => {
            if let Some(reader) = &state.search.reader {
                parts.push(format!("chat {}", reader.chat));
                parts.extend(reader.focus.map(|number| format!("message {number}")));
            }
        }
        Page::Overview | Page::Reconcile | Page::Doctor => {}
    }
    parts
}

fn foot(canvas: &mut Canvas<'_>, area: Rect, state: &State) {
    match (&state.prompt, &state.flash) {
        (Some(Prompt::Filter(input)), _) => typed(canvas, area, "/", input),
        (Some(Prompt::Jump(input)), _) => typed(canvas, area, ":", input),
        (None, Some(flash)) => {
            let text = format::visible(&flash.text);
            canvas.cut(area.x + 1, area.y, area.width - 2, &text, flash.tone);
        }
        (None, None) => keys(canvas, area, state),
    }
}

/// A line that is being typed, with its cursor.
pub(super) fn typed(canvas: &mut Canvas<'_>, area: Rect, lead: &str, input: &Input) {
    let used = canvas.put(area.x, area.y, area.width, lead, Tone::Key);
    let room = area.width.saturating_sub(used + 1);
    let before: String = input.text().chars().take(input.cursor()).collect();
    let after: String = input.text().chars().skip(input.cursor()).collect();
    // The end of what is before the cursor stays in sight.
    let mut start = before.as_str();
    while columns(start) > room {
        let mut rest = start.chars();
        rest.next();
        start = rest.as_str();
    }
    let mut x = area.x + used;
    x += canvas.put(x, area.y, room, start, Tone::Plain);
    let after = if after.is_empty() { " " } else { &after };
    let room = area.right().saturating_sub(x);
    canvas.put(x, area.y, room, after, Tone::Plain);
    canvas.select(Rect::new(x, area.y, 1.min(room), 1));
}

fn keys(canvas: &mut Canvas<'_>, area: Rect, state: &State) {
    let mut x = area.x + 1;
    let help = "? help  q quit";
    for binding in KEYS {
        let wanted = !binding.word.is_empty() && binding.holds(state.page, state.setup.read_only);
        let Some(chord) = binding.chords.first().filter(|_| wanted) else {
            continue;
        };
        let label = chord.label();
        let is_last = matches!(binding.word, "help" | "quit");
        let wide = columns(&label) + columns(binding.word) + 3;
        let reserved = if is_last { 0 } else { columns(help) };
        if x + wide + reserved > area.right() {
            continue;
        }
        x += canvas.put(x, area.y, wide, &label, Tone::Key);
        x += 1 + canvas.put(x + 1, area.y, wide, binding.word, Tone::Dim) + 2;
    }
}

/// What a panel says at its right end: the age of its data, in the tone of that age.
pub(super) fn age(state: &State, poll: &Poll, interval_ms: Option<u64>) -> ((String, Tone), bool) {
    let now_ms = state.now.ms;
    let waiting = poll.waiting_ms(now_ms).filter(|ms| *ms >= 1_000);
    let Some(age_ms) = poll.age_ms(now_ms) else {
        let text = match (&poll.failure, waiting) {
            (_, Some(ms)) => format!("asking for {}", format::age(ms / 1_000 * 1_000)),
            (Some(_), None) => next_try(poll, now_ms),
            (None, None) => "asking".to_owned(),
        };
        return ((text, Tone::Unknown), false);
    };
    let text = match interval_ms {
        Some(interval) => format!("{}, every {}", ago(age_ms), format::age(interval)),
        None => ago(age_ms),
    };
    let (tone, old) = match poll.freshness(now_ms, interval_ms) {
        Freshness::Fresh => (Tone::Dim, false),
        Freshness::Late => (Tone::Warn, true),
        Freshness::Old => (Tone::Bad, true),
    };
    let sign = if old { "! " } else { "" };
    ((format!("{sign}{text}"), tone), old)
}
