//! Tables: aligned by what a terminal shows, cut to its width, with hits in colour.

use unicode_width::UnicodeWidthStr;

use crate::output::text::push_visible;

/// Between two columns.
const GAP: usize = 2;
/// No last column is cut below this, however narrow the terminal is.
const LAST_MIN: usize = 20;
/// Shown before the first occurrence where the start of a long body is cut off.
const LEAD: usize = 12;

const BOLD: &str = "\x1b[1m";
const MATCH: &str = "\x1b[1;31m";
const PLAIN: &str = "\x1b[0m";

/// A heading, and to which side its cells lean.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    /// In capitals.
    pub(crate) title: &'static str,
    /// Numbers lean to the right.
    pub(crate) right: bool,
}

/// Shorthand for a column of text.
pub(crate) const fn left(title: &'static str) -> Column {
    Column {
        title,
        right: false,
    }
}

/// Shorthand for a column of numbers.
pub(crate) const fn right(title: &'static str) -> Column {
    Column { title, right: true }
}

/// What stands in one column of one row: visible characters, each marked or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    runs: Vec<(bool, String)>,
}

impl Cell {
    /// A text from anywhere.
    pub(crate) fn text(text: &str) -> Self {
        Self::marked(text, &[])
    }

    /// Anything that is safe by nature.
    pub(crate) fn show(value: impl ToString) -> Self {
        Self {
            runs: vec![(false, value.to_string())],
        }
    }

    /// A text whose characters in these ranges are to be seen at once.
    pub(crate) fn marked(text: &str, ranges: &[(u32, u32)]) -> Self {
        let mut runs: Vec<(bool, String)> = Vec::new();
        let mut ranges = ranges.iter().peekable();
        for (at, c) in (0_u32..).zip(text.chars()) {
            while ranges.peek().is_some_and(|range| range.1 <= at) {
                ranges.next();
            }
            let mark = ranges.peek().is_some_and(|range| range.0 <= at);
            match runs.last_mut() {
                Some((last, run)) if *last == mark => push_visible(run, c),
                _ => {
                    let mut run = String::new();
                    push_visible(&mut run, c);
                    runs.push((mark, run));
                }
            }
        }
        Self { runs }
    }

    fn width(&self) -> usize {
        self.runs.iter().map(|(_, run)| run.width()).sum()
    }

    /// At most `width` columns of it, the first mark included where there is one.
    fn cut(&self, width: usize) -> Self {
        if self.width() <= width {
            return self.clone();
        }
        let chars: Vec<(bool, char)> = self
            .runs
            .iter()
            .flat_map(|(mark, run)| run.chars().map(move |c| (*mark, c)))
            .collect();
        let first_mark = chars.iter().position(|(mark, _)| *mark).unwrap_or(0);
        let skip = if first_mark + LEAD > width {
            first_mark.saturating_sub(LEAD)
        } else {
            0
        };
        let mut cut = Self::default();
        if skip > 0 {
            cut.push(false, '…');
        }
        for (mark, c) in &chars[skip..] {
            cut.push(*mark, *c);
            if cut.width() + 1 > width {
                cut.pop();
                cut.push(false, '…');
                break;
            }
        }
        cut
    }

    fn push(&mut self, mark: bool, c: char) {
        match self.runs.last_mut() {
            Some((last, run)) if *last == mark => run.push(c),
            _ => self.runs.push((mark, c.to_string())),
        }
    }

    fn pop(&mut self) {
        if let Some((_, run)) = self.runs.last_mut() {
            run.pop();
        }
    }

    fn paint(&self, color: bool) -> String {
        let mut text = String::new();
        for (mark, run) in &self.runs {
            if *mark && color {
                text.push_str(&format!("{MATCH}{run}{PLAIN}"));
            } else {
                text.push_str(run);
            }
        }
        text
    }
}

/// How to draw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Whether escape codes may be used.
    pub(crate) color: bool,
    /// Columns of the terminal; `None` cuts nothing.
    pub(crate) width: Option<usize>,
}

/// Column widths, taken from the rows that are known when drawing begins.
#[derive(Debug)]
pub(crate) struct Layout {
    widths: Vec<usize>,
    style: Style,
}

impl Layout {
    /// Wide enough for the headings and all of these rows.
    pub(crate) fn of(columns: &[Column], rows: &[Vec<Cell>], style: Style) -> Self {
        let mut widths: Vec<usize> = columns.iter().map(|column| column.title.width()).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        if let (Some(total), Some((last, others))) = (style.width, widths.split_last_mut()) {
            let used: usize = others.iter().map(|width| width + GAP).sum();
            *last = (*last).min(total.saturating_sub(used).max(LAST_MIN));
        }
        Self { widths, style }
    }

    /// The line of headings.
    pub(crate) fn head(&self, columns: &[Column]) -> String {
        let titles = columns
            .iter()
            .map(|column| Cell::show(column.title))
            .collect::<Vec<_>>();
        let line = self.line(columns, &titles);
        if self.style.color {
            format!("{BOLD}{line}{PLAIN}")
        } else {
            line
        }
    }

    /// One row, without its line end.
    pub(crate) fn line(&self, columns: &[Column], row: &[Cell]) -> String {
        let mut line = String::new();
        let last = row.len().saturating_sub(1);
        for (at, (cell, column)) in row.iter().zip(columns).enumerate() {
            let width = self.widths[at];
            let cut = if at == last && self.style.width.is_some() {
                cell.cut(width)
            } else {
                cell.clone()
            };
            let pad = " ".repeat(width.saturating_sub(cut.width()));
            let shown = cut.paint(self.style.color);
            if column.right {
                line.push_str(&pad);
            }
            line.push_str(&shown);
            if at != last {
                if !column.right {
                    line.push_str(&pad);
                }
                line.push_str(&" ".repeat(GAP));
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[right("NUMBER"), left("SENDER"), left("BODY")];

    fn draw(rows: &[Vec<Cell>], style: Style) -> String {
        let layout = Layout::of(COLUMNS, rows, style);
        let mut text = layout.head(COLUMNS);
        for row in rows {
            text.push('\n');
            text.push_str(&layout.line(COLUMNS, row));
        }
        text
    }

    fn row(number: u32, sender: &str, body: Cell) -> Vec<Cell> {
        vec![Cell::show(number), Cell::text(sender), body]
    }

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let rows = [
            row(1, "ann", Cell::text("hello")),
            row(1000, "日本語", Cell::text("a\u{1b}[2Jb")),
            row(7, "e\u{301}ve", Cell::text("")),
        ];
        let style = Style {
            color: false,
            width: None,
        };
        insta::assert_snapshot!(draw(&rows, style), @r"
        NUMBER  SENDER  BODY
             1  ann     hello
          1000  日本語  a\x1b[2Jb
             7  éve
        ");
    }

    #[test]
    fn a_hit_is_marked_and_kept_in_sight() {
        let body = format!("{}needle{}", "x".repeat(50), "y".repeat(50));
        let rows = [
            row(1, "ann", Cell::marked("no\tone", &[(1, 4)])),
            row(2, "bob", Cell::marked(&body, &[(50, 56)])),
        ];
        let style = Style {
            color: true,
            width: Some(50),
        };
        insta::assert_snapshot!(draw(&rows, style).replace('\u{1b}', "ESC"), @r"
        ESC[1mNUMBER  SENDER  BODYESC[0m
             1  ann     nESC[1;31mo\toESC[0mne
             2  bob     …xxxxxxxxxxxxESC[1;31mneedleESC[0myyyyyyyyyyyyyy…
        ");
    }

    #[test]
    fn no_width_is_too_small() {
        let rows = [row(1, "ann", Cell::text(&"日".repeat(100)))];
        for width in 0..60 {
            let style = Style {
                color: false,
                width: Some(width),
            };
            let text = draw(&rows, style);
            let widest = text.lines().map(UnicodeWidthStr::width).max();
            assert!(widest <= Some(width.max(16 + LAST_MIN)), "{width}: {text}");
        }
    }
}
