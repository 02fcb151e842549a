//! Moving: between pages, rows, levels and pages of the server's lists.

use crate::event::Effect;
use crate::failure::Kind;
use crate::state::counters::{Inside, Wanted};
use crate::state::dashboard::{Overlay, State};
use crate::state::letters::Opened;
use crate::state::overview;
use crate::state::page::Page;
use crate::state::picker;
use crate::state::poll::Source;
use crate::state::reader::Reader;
use crate::theme::Tone;

/// Shows another page.
pub(super) fn go_to(state: &mut State, page: Page) {
    state.page = page;
    state.expanded = false;
    state.prompt = None;
    state.overlay = None;
    if page == Page::Search && state.search.reader.is_none() && state.search.hits.data.is_none() {
        state.search.typing = true;
    }
}

/// Moves the choice by so many rows, or scrolls what is open.
pub(super) fn step(state: &mut State, by: isize) {
    match &mut state.overlay {
        Some(Overlay::Help(scroll)) => {
            *scroll = scroll.saturating_add_signed(by).min(100);
            return;
        }
        Some(Overlay::Picker(picker)) => {
            let grid = picker.grid();
            picker.list_mut().step(&grid, by);
            return;
        }
        Some(Overlay::Dialog(_)) => return,
        None => {}
    }
    if state.page == Page::Letters
        && let Some(open) = &mut state.letters.open
    {
        open.scroll = open.scroll.saturating_add_signed(by);
        clamp_scroll(open);
        return;
    }
    let grid = state.grid();
    if let Some(list) = state.list_mut() {
        list.step(&grid, by);
    }
}

/// No further than the last line of the bytes.
fn clamp_scroll(open: &mut Opened) {
    let bytes = open
        .letter
        .data
        .as_ref()
        .map_or(0, |letter| letter.text.len().max(letter.base64.len()));
    // Every line shows at least one byte, and the view stops at the last line by itself.
    open.scroll = open.scroll.min(bytes);
}

/// Half of what the screen shows.
pub(super) fn half(state: &State) -> isize {
    isize::try_from(state.size.1 / 2).unwrap_or(1).max(1)
}

/// Opens what is chosen.
pub(super) fn open(state: &mut State) {
    let grid = state.grid();
    let chosen = grid
        .selected(state.list())
        .and_then(|at| grid.rows.get(at))
        .map(|row| row.id.clone());
    let now_ms = state.now.ms;
    match state.page {
        Page::Overview => {
            let at = grid.selected(state.list());
            let problems = overview::problems(state);
            // The table may be filtered, so the problem is found by its text.
            let problem = at.and(chosen).and_then(|id| {
                problems
                    .into_iter()
                    .find(|one| format!("{} {}", one.page.name(), one.text) == id)
            });
            if let Some(problem) = problem {
                go_to(state, problem.page);
                if problem.page == Page::Counters && state.counters.inside.is_none() {
                    state.counters.wanted = Wanted::Drifted;
                    state.counters.drift.forget(now_ms);
                }
            }
        }
        Page::Topics if state.topics.group.is_none() => {
            if let Some(group) = chosen {
                state.topics.group = Some(group);
                state.topics.partitions.rewind();
                state.topics.lag.forget(now_ms);
            }
        }
        Page::Counters if state.counters.reader.is_none() => open_counter(state),
        Page::Letters => {
            if let (None, Some(id)) = (&state.letters.open, chosen) {
                state.letters.open = Some(Opened {
                    id,
                    letter: Source::default(),
                    hex: false,
                    scroll: 0,
                });
            }
        }
        Page::Search if state.search.reader.is_none() => {
            let Some(hit) = state.search.chosen() else {
                return;
            };
            let message = &hit.message;
            let Some((token, name)) = &state.search.application else {
                return;
            };
            let (chat, number) = (message.chat_number, message.message_number);
            state.search.reader = Some(Reader::around(*token, name.clone(), chat, number));
        }
        Page::Topics | Page::Counters | Page::Search | Page::Reconcile | Page::Doctor => {
            state.expanded = !state.expanded;
        }
    }
}

fn open_counter(state: &mut State) {
    let now_ms = state.now.ms;
    let Some(row) = state.counters.chosen() else {
        return;
    };
    let (token, name, chat) = (row.token, row.name.clone(), row.chat);
    match chat {
        Some(chat) => state.counters.reader = Some(Reader::latest(token, name, chat)),
        None => {
            state.counters.inside = Some(Inside::new(token, name));
            state.counters.drift.forget(now_ms);
        }
    }
    state.expanded = false;
}

/// Goes one level up, or drops the filter.
pub(super) fn back(state: &mut State) {
    let now_ms = state.now.ms;
    if state.expanded {
        state.expanded = false;
        return;
    }
    if let Some(list) = state.list_mut()
        && !list.filter.is_empty()
    {
        list.filter.clear();
        return;
    }
    match state.page {
        Page::Topics => state.topics.group = None,
        Page::Counters => {
            if state.counters.reader.take().is_none() && state.counters.inside.take().is_some() {
                state.counters.drift.forget(now_ms);
            }
        }
        Page::Letters => state.letters.open = None,
        Page::Search => {
            state.search.reader = None;
        }
        Page::Overview | Page::Reconcile | Page::Doctor => {}
    }
}

/// Goes to the next page of the server's list, or back.
pub(super) fn turn(state: &mut State, forth: bool) {
    let now_ms = state.now.ms;
    let turned = if let Some(reader) = state.reader_mut() {
        reader.turn(forth, now_ms)
    } else {
        match state.page {
            Page::Counters => {
                let page = state.counters.drift.data.as_ref();
                let next = page.and_then(|page| page.next_after.clone());
                picker::turn(state.counters.pager_mut(), forth, next)
            }
            Page::Letters => {
                let page = state.letters.page.data.as_ref();
                let next = page.and_then(|page| page.next_after.clone());
                picker::turn(&mut state.letters.pager, forth, next)
            }
            Page::Search => {
                let page = state.search.hits.data.as_ref();
                let next = page.and_then(|page| page.next_cursor.clone());
                picker::turn(&mut state.search.pager, forth, next)
            }
            _ => false,
        }
    };
    if !turned {
        let text = if forth {
            "this is the last page"
        } else {
            "this is the first page"
        };
        super::say(state, Tone::Dim, text);
        return;
    }
    if state.reader().is_none() {
        let slot = state.main_slot();
        if let Some(list) = state.list_mut() {
            list.rewind();
        }
        if let Some(poll) = state.poll_mut(slot) {
            poll.restart(now_ms);
        }
    }
}

/// Asks every source on the screen at once.
pub(super) fn refresh(state: &mut State) {
    let now_ms = state.now.ms;
    for (slot, _) in state.wanted() {
        if let Some(poll) = state.poll_mut(slot) {
            poll.restart(now_ms);
        }
    }
}

/// Stops showing anything new, or goes on.
pub(super) fn freeze(state: &mut State) {
    if state.frozen_ms.take().is_some() {
        refresh(state);
        return;
    }
    state.frozen_ms = Some(state.now.ms);
    let now_ms = state.now.ms;
    for (slot, _) in state.wanted() {
        if let Some(poll) = state.poll_mut(slot)
            && poll.fetched_ms.is_some()
        {
            // What is under way would change the picture.
            poll.restart(now_ms);
        }
    }
}

/// Copies what somebody would want of the chosen row.
pub(super) fn copy(state: &mut State, effects: &mut Vec<Effect>) {
    let text = match state.page {
        Page::Counters if state.counters.reader.is_none() => {
            state.counters.chosen().map(|row| match row.chat {
                Some(chat) => format!("--app {} --chat {chat}", row.token.reveal()),
                None => row.token.reveal(),
            })
        }
        Page::Letters => state
            .letters
            .chosen(state.now)
            .map(|letter| letter.id.clone()),
        Page::Search if state.search.reader.is_none() => {
            state.search.chosen().map(|hit| hit.message.body.clone())
        }
        Page::Doctor => state
            .doctor
            .chosen()
            .map(|check| check.hint.clone().unwrap_or_else(|| check.detail.clone())),
        Page::Reconcile => state.reconcile.chosen().map(|step| step.token.reveal()),
        Page::Counters | Page::Search => state
            .reader()
            .and_then(Reader::chosen)
            .map(|message| message.body.clone()),
        Page::Overview | Page::Topics => {
            let grid = state.grid();
            let row = grid.selected(state.list()).and_then(|at| grid.rows.get(at));
            row.map(|row| {
                let cells: Vec<&str> = row.cells.iter().map(|cell| cell.text.as_str()).collect();
                cells.join(" ")
            })
        }
    };
    let Some(text) = text else {
        super::say(state, Tone::Dim, "nothing is chosen");
        return;
    };
    let characters = text.chars().count() as u64;
    effects.push(Effect::Copy(text));
    let copied = crate::format::plural(characters, "character");
    super::say(state, Tone::Good, format!("{copied} copied"));
}

/// Whether the server has no such source; then asking again at once helps nobody.
pub(super) fn is_missing(state: &State) -> bool {
    let poll = state.poll(state.main_slot());
    let failure = poll.and_then(|poll| poll.failure.as_ref());
    failure.is_some_and(|failure| failure.kind == Kind::NotOffered)
}
