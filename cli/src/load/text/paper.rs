//! Lines of text, broken, aligned and painted.

use unicode_width::UnicodeWidthStr;

use crate::load::verdict::{Sign, Statement};
use crate::output::table::{Cell, Column, Layout, Style};
use crate::output::text::visible;

/// Prose is broken here where nothing is known of a terminal.
const WIDTH: usize = 100;
/// No narrower than this: words would stand one below the other.
const WIDTH_MIN: usize = 40;
/// Tables stand a little to the right of their headings.
const INDENT: &str = "  ";

/// What is being written on.
pub(super) struct Paper {
    text: String,
    width: usize,
    color: bool,
}

impl Paper {
    /// Blank; lines have so many columns where that is known.
    pub(super) fn new(width: Option<usize>, color: bool) -> Self {
        Self {
            text: String::new(),
            width: width.unwrap_or(WIDTH).max(WIDTH_MIN),
            color,
        }
    }

    /// Columns that a line may have.
    pub(super) const fn width(&self) -> usize {
        self.width
    }

    /// What was written.
    pub(super) fn finish(self) -> String {
        self.text
    }

    /// A title with an empty line above it.
    pub(super) fn heading(&mut self, title: &str) {
        let (bold, plain) = self.paint("\x1b[1m");
        self.text.push_str(&format!("\n{bold}{title}{plain}\n"));
    }

    /// A sign and a sentence, broken between words and aligned below its first one.
    pub(super) fn statement(&mut self, statement: &Statement) {
        let code = match statement.sign {
            Sign::Good => "\x1b[1;32m",
            Sign::Warn => "\x1b[1;33m",
            Sign::Bad => "\x1b[1;31m",
            Sign::Unknown => "\x1b[1m",
        };
        let (paint, plain) = self.paint(code);
        let lines = broken(&visible(&statement.text), self.width - 2);
        for (at, line) in lines.iter().enumerate() {
            let lead = if at == 0 {
                format!("{paint}{}{plain} ", statement.sign.symbol())
            } else {
                INDENT.to_owned()
            };
            self.text.push_str(&format!("{lead}{line}\n"));
        }
    }

    /// A sentence below a heading.
    pub(super) fn prose(&mut self, text: &str) {
        for line in broken(&visible(text), self.width - INDENT.len()) {
            self.text.push_str(&format!("{INDENT}{line}\n"));
        }
    }

    /// A name and what it is, aligned with others of up to 11 letters.
    pub(super) fn pair(&mut self, name: &str, value: &str) {
        const NAME: usize = 13;
        let lines = broken(&visible(value), self.width - INDENT.len() - NAME);
        for (at, line) in lines.iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            self.text
                .push_str(&format!("{INDENT}{name:<NAME$}{line}\n"));
        }
    }

    /// Aligned columns.
    pub(super) fn table(&mut self, columns: &[Column], rows: &[Vec<Cell>]) {
        let style = Style {
            color: self.color,
            width: None,
        };
        let layout = Layout::of(columns, rows, style);
        self.text
            .push_str(&format!("{INDENT}{}\n", layout.head(columns)));
        for row in rows {
            let line = layout.line(columns, row);
            self.text
                .push_str(&format!("{INDENT}{}\n", line.trim_end()));
        }
    }

    /// Names and figures, the figures below each other.
    pub(super) fn figures(&mut self, rows: &[(&str, String)]) {
        for (name, value) in rows {
            self.text
                .push_str(&format!("{INDENT}{name:<30}{value:>12}\n"));
        }
    }

    const fn paint(&self, code: &'static str) -> (&'static str, &'static str) {
        if self.color {
            (code, "\x1b[0m")
        } else {
            ("", "")
        }
    }
}

/// Breaks between words; a word that is too long gets a line of its own, and is not cut.
fn broken(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full = lines
            .last()
            .is_some_and(|line| !line.is_empty() && line.width() + 1 + word.width() > width);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
