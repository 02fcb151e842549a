//! All keys, in the order of the footer and the help.

use crossterm::event::KeyCode;

use super::{Action, Binding, Chord};
use crate::state::page::Page;

const fn c(c: char) -> Chord {
    Chord {
        code: KeyCode::Char(c),
        ctrl: false,
    }
}

const fn ctrl(c: char) -> Chord {
    Chord {
        code: KeyCode::Char(c),
        ctrl: true,
    }
}

const fn k(code: KeyCode) -> Chord {
    Chord { code, ctrl: false }
}

const fn on(
    pages: &'static [Page],
    chords: &'static [Chord],
    action: Action,
    word: &'static str,
    help: &'static str,
) -> Binding {
    Binding {
        chords,
        action,
        word,
        help,
        pages,
        acts: false,
    }
}

const fn any(
    chords: &'static [Chord],
    action: Action,
    word: &'static str,
    help: &'static str,
) -> Binding {
    on(&[], chords, action, word, help)
}

const fn act(
    pages: &'static [Page],
    chords: &'static [Chord],
    action: Action,
    word: &'static str,
    help: &'static str,
) -> Binding {
    Binding {
        acts: true,
        ..on(pages, chords, action, word, help)
    }
}

const COUNTERS: &[Page] = &[Page::Counters];
const RECONCILE: &[Page] = &[Page::Reconcile];
const LETTERS: &[Page] = &[Page::Letters];
const SEARCH: &[Page] = &[Page::Search];
const COUNTERS_LETTERS: &[Page] = &[Page::Counters, Page::Letters];

/// All keys. Those of single pages come first, and are told first in the footer.
pub const KEYS: &[Binding] = &[
    on(
        COUNTERS_LETTERS,
        &[c('v')],
        Action::Wanted,
        "verdicts",
        "Show only some rows: the next verdict or state",
    ),
    act(
        COUNTERS,
        &[c('P')],
        Action::PlanRow,
        "plan",
        "Plan the reconciliation of the chosen row",
    ),
    act(
        RECONCILE,
        &[c('P')],
        Action::Plan,
        "plan",
        "Plan: find out what would be done",
    ),
    act(
        RECONCILE,
        &[c('X')],
        Action::Execute,
        "carry out",
        "Carry out the plan, after a question",
    ),
    act(
        RECONCILE,
        &[c('C')],
        Action::Cancel,
        "cancel",
        "Cancel the run at work, after a question",
    ),
    act(
        RECONCILE,
        &[c('f')],
        Action::Full,
        "full",
        "Look at everything, or only at what changed",
    ),
    act(
        RECONCILE,
        &[c('a')],
        Action::Everything,
        "everything",
        "Plan for everything, and no single row",
    ),
    act(
        LETTERS,
        &[c('R')],
        Action::Replay,
        "replay",
        "Replay this letter or all, after a question",
    ),
    act(
        LETTERS,
        &[c('D')],
        Action::Discard,
        "discard",
        "Discard this letter or all, with a reason",
    ),
    on(
        LETTERS,
        &[c('b')],
        Action::Hex,
        "bytes",
        "Show the bytes as text, or in hexadecimal",
    ),
    on(
        SEARCH,
        &[c('i')],
        Action::Type,
        "type",
        "Type what to search for",
    ),
    on(
        SEARCH,
        &[c('a')],
        Action::Application,
        "application",
        "Choose the application",
    ),
    on(SEARCH, &[c('c')], Action::Chat, "chat", "Choose the chat"),
    on(
        SEARCH,
        &[c('o')],
        Action::Order,
        "order",
        "Latest first, or by number",
    ),
    any(
        &[k(KeyCode::Enter), c('l'), k(KeyCode::Right)],
        Action::Open,
        "open",
        "Open what is chosen",
    ),
    any(
        &[
            k(KeyCode::Esc),
            c('h'),
            k(KeyCode::Left),
            k(KeyCode::Backspace),
        ],
        Action::Back,
        "back",
        "Go back, or drop the filter",
    ),
    any(
        &[c('/')],
        Action::Filter,
        "filter",
        "Filter: words, !without, column>number",
    ),
    any(&[c('s')], Action::Sort, "sort", "Sort by the next column"),
    any(&[c('I')], Action::Invert, "", "Turn the order round"),
    any(
        &[c('n')],
        Action::More,
        "next",
        "Next page of the server's list",
    ),
    any(&[c('p')], Action::Less, "", "Page before"),
    any(
        &[c(' ')],
        Action::Freeze,
        "freeze",
        "Freeze the data, or go on",
    ),
    any(
        &[c('e')],
        Action::Expand,
        "expand",
        "Give the details all the room",
    ),
    any(
        &[c('?'), k(KeyCode::F(1))],
        Action::Help,
        "help",
        "This help",
    ),
    any(&[c('q'), ctrl('c')], Action::Quit, "quit", "Quit"),
    any(&[c('j'), k(KeyCode::Down)], Action::Down, "", "Down"),
    any(&[c('k'), k(KeyCode::Up)], Action::Up, "", "Up"),
    any(
        &[c('g'), k(KeyCode::Home)],
        Action::Top,
        "",
        "To the first row",
    ),
    any(
        &[c('G'), k(KeyCode::End)],
        Action::Bottom,
        "",
        "To the last row",
    ),
    any(
        &[ctrl('d'), k(KeyCode::PageDown)],
        Action::HalfDown,
        "",
        "Down by half a screen",
    ),
    any(
        &[ctrl('u'), k(KeyCode::PageUp)],
        Action::HalfUp,
        "",
        "Up by half a screen",
    ),
    any(&[k(KeyCode::Tab)], Action::NextPage, "", "Next tab"),
    any(
        &[k(KeyCode::BackTab)],
        Action::PreviousPage,
        "",
        "Tab before",
    ),
    any(&[c('1')], Action::GoTo(Page::Overview), "", "Overview"),
    any(&[c('2')], Action::GoTo(Page::Topics), "", "Topics"),
    any(&[c('3')], Action::GoTo(Page::Counters), "", "Counters"),
    any(&[c('4')], Action::GoTo(Page::Reconcile), "", "Reconcile"),
    any(&[c('5')], Action::GoTo(Page::Letters), "", "Dead letters"),
    any(&[c('6')], Action::GoTo(Page::Search), "", "Search"),
    any(&[c('7')], Action::GoTo(Page::Doctor), "", "Doctor"),
    any(
        &[c(':')],
        Action::Jump,
        "",
        "Jump to a page by name, or quit with :q",
    ),
    any(
        &[c('r'), k(KeyCode::F(5))],
        Action::Refresh,
        "",
        "Ask the server now",
    ),
    any(
        &[c('y')],
        Action::Copy,
        "",
        "Copy what is chosen, through the terminal (OSC 52)",
    ),
    any(
        &[c('S')],
        Action::Snapshot,
        "",
        "Write this page and its data to files",
    ),
    any(
        &[c('t')],
        Action::Theme,
        "",
        "Next theme: dark, light, mono, colour-blind",
    ),
    any(
        &[c('m')],
        Action::Mouse,
        "",
        "Take the mouse, or leave it to the terminal",
    ),
    any(&[ctrl('l')], Action::Redraw, "", "Draw everything anew"),
];
