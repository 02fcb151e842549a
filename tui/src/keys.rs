//! The key map: the one place that says which key does what. Help and footer are made from it.
//!
//! Small letters look, capitals act on the server (and are hidden by `--read-only`); of the
//! capitals only `G` and `S` change nothing there.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::state::page::Page;

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the key map below says what each of them does")]
pub enum Action {
    Quit,
    Help,
    GoTo(Page),
    NextPage,
    PreviousPage,
    Down,
    Up,
    Top,
    Bottom,
    HalfDown,
    HalfUp,
    Open,
    Back,
    More,
    Less,
    Filter,
    Jump,
    Sort,
    Invert,
    Refresh,
    Freeze,
    Expand,
    Copy,
    Snapshot,
    Theme,
    Mouse,
    Redraw,
    Wanted,
    Type,
    Application,
    Chat,
    Order,
    Hex,
    PlanRow,
    Plan,
    Full,
    Everything,
    Execute,
    Cancel,
    Replay,
    Discard,
}

/// A key with its modifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chord {
    /// Which key.
    pub code: KeyCode,
    /// Together with Ctrl.
    pub ctrl: bool,
}

/// One line of the key map.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    /// Any of these.
    pub chords: &'static [Chord],
    /// What they do.
    pub action: Action,
    /// The same in a word, for the footer; empty where it is not shown there.
    pub word: &'static str,
    /// The same in a sentence, for the help.
    pub help: &'static str,
    /// On these pages; empty for all.
    pub pages: &'static [Page],
    /// Whether it acts on the server.
    pub acts: bool,
}

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

impl Chord {
    /// Whether this key was pressed.
    fn is(self, key: KeyEvent) -> bool {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        self.code == key.code && self.ctrl == ctrl && !alt
    }

    /// As it is shown.
    #[must_use]
    pub fn label(self) -> String {
        let name = match self.code {
            KeyCode::Char(' ') => "space".to_owned(),
            KeyCode::Char(c) => c.to_string(),
            KeyCode::Enter => "enter".to_owned(),
            KeyCode::Esc => "esc".to_owned(),
            KeyCode::Left => "←".to_owned(),
            KeyCode::Right => "→".to_owned(),
            KeyCode::Up => "↑".to_owned(),
            KeyCode::Down => "↓".to_owned(),
            KeyCode::Tab => "tab".to_owned(),
            KeyCode::BackTab => "shift-tab".to_owned(),
            KeyCode::F(number) => format!("F{number}"),
            KeyCode::PageDown => "page-down".to_owned(),
            KeyCode::PageUp => "page-up".to_owned(),
            KeyCode::Home => "home".to_owned(),
            KeyCode::End => "end".to_owned(),
            KeyCode::Backspace => "backspace".to_owned(),
            code => format!("{code:?}"),
        };
        if self.ctrl {
            format!("ctrl-{name}")
        } else {
            name
        }
    }
}

impl Binding {
    /// Whether it holds here.
    #[must_use]
    pub fn holds(&self, page: Page, read_only: bool) -> bool {
        (self.pages.is_empty() || self.pages.contains(&page)) && !(self.acts && read_only)
    }

    /// Its keys as they are shown.
    #[must_use]
    pub fn label(&self) -> String {
        let labels: Vec<String> = self.chords.iter().map(|chord| chord.label()).collect();
        labels.join(" ")
    }
}

/// What the key does on this page.
#[must_use]
pub fn action(key: KeyEvent, page: Page, read_only: bool) -> Option<Action> {
    let binding = KEYS.iter().find(|binding| {
        binding.holds(page, read_only) && binding.chords.iter().any(|chord| chord.is(key))
    })?;
    Some(binding.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_on_a_page() {
        for page in Page::ALL {
            let mut seen: Vec<Chord> = Vec::new();
            for binding in KEYS.iter().filter(|binding| binding.holds(page, false)) {
                for chord in binding.chords {
                    assert!(!seen.contains(chord), "{} on {page:?}", chord.label());
                    seen.push(*chord);
                }
            }
        }
    }

    #[test]
    fn read_only_hides_every_act() {
        for binding in KEYS.iter().filter(|binding| binding.acts) {
            for chord in binding.chords {
                let modifiers = if chord.ctrl {
                    KeyModifiers::CONTROL
                } else {
                    KeyModifiers::NONE
                };
                let key = KeyEvent::new(chord.code, modifiers);
                for page in binding.pages {
                    assert_eq!(action(key, *page, false), Some(binding.action));
                    assert_ne!(action(key, *page, true), Some(binding.action));
                }
            }
        }
    }

    #[test]
    fn every_page_has_its_digit() {
        for (at, page) in Page::ALL.into_iter().enumerate() {
            let digit = char::from_digit(u32::try_from(at + 1).unwrap(), 10).unwrap();
            let key = KeyEvent::new(KeyCode::Char(digit), KeyModifiers::NONE);
            assert_eq!(action(key, Page::Overview, false), Some(Action::GoTo(page)));
        }
    }

    #[test]
    fn a_capital_is_no_small_letter_and_ctrl_is_told_apart() {
        let press = |c, modifiers| {
            action(
                KeyEvent::new(KeyCode::Char(c), modifiers),
                Page::Letters,
                false,
            )
        };
        assert_eq!(press('R', KeyModifiers::SHIFT), Some(Action::Replay));
        assert_eq!(press('r', KeyModifiers::NONE), Some(Action::Refresh));
        assert_eq!(press('c', KeyModifiers::CONTROL), Some(Action::Quit));
        assert_eq!(press('c', KeyModifiers::NONE), None);
        assert_eq!(press('d', KeyModifiers::CONTROL), Some(Action::HalfDown));
    }
}
