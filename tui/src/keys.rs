//! The key map: the one place that says which key does what. Help and footer are made from it.
//!
//! Small letters look, capitals act on the server (and are hidden by `--read-only`); of the
//! capitals only `G` and `S` change nothing there.

mod map;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

pub use self::map::KEYS;
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
