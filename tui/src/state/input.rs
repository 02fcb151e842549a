//! A line that is being typed.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Longest text; the API refuses longer queries anyway.
const CHARS_MAX: usize = 1_000;

/// The text and the place of the cursor in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Input {
    text: String,
    /// In characters.
    cursor: usize,
}

impl Input {
    /// This text, with the cursor behind it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let cursor = text.chars().count();
        Self { text, cursor }
    }

    /// What was typed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where the cursor is, in characters.
    #[must_use]
    pub const fn cursor(&self) -> usize {
        self.cursor
    }

    /// Takes a key; `true` where the text has changed.
    pub fn key(&mut self, key: KeyEvent) -> bool {
        let before = self.text.len();
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('u') if ctrl => self.cut(0),
            KeyCode::Char('w') if ctrl => self.cut(self.word_before()),
            KeyCode::Char('a') if ctrl => self.cursor = 0,
            KeyCode::Char('e') if ctrl => self.cursor = self.text.chars().count(),
            KeyCode::Char(c) if !ctrl => self.insert(c),
            KeyCode::Backspace => self.cut(self.cursor.saturating_sub(1)),
            KeyCode::Delete if self.cursor < self.text.chars().count() => {
                self.cursor += 1;
                self.cut(self.cursor - 1);
            }
            KeyCode::Left => self.cursor = self.cursor.saturating_sub(1),
            KeyCode::Right => self.cursor = (self.cursor + 1).min(self.text.chars().count()),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = self.text.chars().count(),
            _ => {}
        }
        self.text.len() != before
    }

    /// Puts pasted text in, in one line.
    pub fn paste(&mut self, text: &str) {
        for c in text.chars().filter(|c| !c.is_control()) {
            self.insert(c);
        }
    }

    fn insert(&mut self, c: char) {
        if self.text.chars().count() < CHARS_MAX {
            self.text.insert(self.byte(self.cursor), c);
            self.cursor += 1;
        }
    }

    /// Removes what is between `from` and the cursor.
    fn cut(&mut self, from: usize) {
        self.text
            .replace_range(self.byte(from)..self.byte(self.cursor), "");
        self.cursor = from;
    }

    fn word_before(&self) -> usize {
        let before: Vec<char> = self.text.chars().take(self.cursor).collect();
        let end = before.iter().rposition(|c| !c.is_whitespace());
        let Some(end) = end else { return 0 };
        before[..end]
            .iter()
            .rposition(|c| c.is_whitespace())
            .map_or(0, |at| at + 1)
    }

    fn byte(&self, at: usize) -> usize {
        self.text
            .char_indices()
            .nth(at)
            .map_or(self.text.len(), |(byte, _)| byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(input: &mut Input, code: KeyCode) -> bool {
        input.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn ctrl(input: &mut Input, c: char) -> bool {
        input.key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL))
    }

    #[test]
    fn text_is_edited_by_characters_and_not_by_bytes() {
        let mut input = Input::new("grüße");
        press(&mut input, KeyCode::Left);
        press(&mut input, KeyCode::Left);
        assert!(press(&mut input, KeyCode::Backspace));
        assert_eq!(input.text(), "grße");
        assert!(press(&mut input, KeyCode::Char('ü')));
        assert!(press(&mut input, KeyCode::Delete));
        assert_eq!((input.text(), input.cursor()), ("grüe", 3));
    }

    #[test]
    fn whole_words_and_lines_go() {
        let mut input = Input::new("one two  ");
        assert!(ctrl(&mut input, 'w'));
        assert_eq!(input.text(), "one ");
        assert!(ctrl(&mut input, 'u'));
        assert_eq!(input.text(), "");
        assert!(!ctrl(&mut input, 'u'));
        assert!(!press(&mut input, KeyCode::Backspace));
        assert!(!press(&mut input, KeyCode::Delete));
    }

    #[test]
    fn a_paste_stays_one_line_and_has_an_end() {
        let mut input = Input::default();
        input.paste("a\nb\u{1b}[0m");
        assert_eq!(input.text(), "ab[0m");
        input.paste(&"x".repeat(5_000));
        assert_eq!(input.text().chars().count(), CHARS_MAX);
    }
}
