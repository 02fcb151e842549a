//! A buffer with a theme: text in tones, boxes with the age of what is in them.

use std::rc::Rc;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::event::Target;
use crate::state::dashboard::State;
use crate::state::grid::Grid;
use crate::theme::{Theme, Tone};

/// A line of text in tones.
pub(super) type Line = Vec<(String, Tone)>;

/// Where everything is drawn.
pub(super) struct Canvas<'a> {
    buffer: &'a mut Buffer,
    theme: Theme,
    /// The table of the page, made once for the whole frame: it may have a thousand rows.
    grid: Rc<Grid>,
    /// What can be clicked, and where it is.
    targets: Vec<(Rect, Target)>,
}

impl<'a> Canvas<'a> {
    pub(super) fn new(buffer: &'a mut Buffer, state: &State) -> Self {
        Self {
            buffer,
            theme: state.theme,
            grid: Rc::new(state.grid()),
            targets: Vec::new(),
        }
    }

    /// For what is drawn without a page.
    pub(super) fn plain(buffer: &'a mut Buffer, theme: Theme) -> Self {
        Self {
            buffer,
            theme,
            grid: Rc::default(),
            targets: Vec::new(),
        }
    }

    /// The table of the page.
    pub(super) fn grid(&self) -> Rc<Grid> {
        Rc::clone(&self.grid)
    }

    /// Remembers that this can be clicked.
    pub(super) fn clickable(&mut self, area: Rect, target: Target) {
        self.targets.push((area, target));
    }

    /// What can be clicked there.
    pub(super) fn target(&self, column: u16, row: u16) -> Option<Target> {
        let found = self
            .targets
            .iter()
            .find(|(area, _)| area.contains((column, row).into()));
        found.map(|(_, target)| *target)
    }

    /// Puts text on one row, at most `width` columns; says how many it took.
    pub(super) fn put(&mut self, x: u16, y: u16, width: u16, text: &str, tone: Tone) -> u16 {
        self.put_styled(x, y, width, text, self.theme.style(tone))
    }

    fn put_styled(&mut self, x: u16, y: u16, width: u16, text: &str, style: Style) -> u16 {
        let area = self.buffer.area;
        if x < area.x || y < area.y || x >= area.right() || y >= area.bottom() || width == 0 {
            return 0;
        }
        let (end, _) = self
            .buffer
            .set_stringn(x, y, text, usize::from(width), style);
        end - x
    }

    /// Puts text, with a sign at its end where it does not fit.
    pub(super) fn cut(&mut self, x: u16, y: u16, width: u16, text: &str, tone: Tone) -> u16 {
        if text.width() <= usize::from(width) {
            return self.put(x, y, width, text, tone);
        }
        let used = self.put(x, y, width.saturating_sub(1), text, tone);
        used + self.put(x + used, y, width - used, "…", tone)
    }

    /// Puts text that ends at the right edge of `width`.
    pub(super) fn right(&mut self, x: u16, y: u16, width: u16, text: &str, tone: Tone) {
        let wide = columns(text).min(width);
        self.cut(x + (width - wide), y, wide, text, tone);
    }

    /// Puts a line of tones.
    pub(super) fn line(&mut self, x: u16, y: u16, width: u16, line: &[(String, Tone)]) -> u16 {
        let mut used = 0;
        for (text, tone) in line {
            used += self.cut(x + used, y, width.saturating_sub(used), text, *tone);
        }
        used
    }

    /// Puts text with some of its characters marked.
    pub(super) fn marked(
        &mut self,
        (x, y, width): (u16, u16, u16),
        text: &str,
        tone: Tone,
        marks: &[(usize, usize)],
    ) {
        self.cut(x, y, width, text, tone);
        let mark = self.theme.style(Tone::Mark);
        let (mut at, last) = (x, x + width);
        for (index, c) in text.chars().enumerate() {
            let wide = u16::try_from(c.width().unwrap_or_default()).unwrap_or_default();
            if at + wide > last {
                break;
            }
            let is_marked = marks
                .iter()
                .any(|(start, end)| (*start..*end).contains(&index));
            if is_marked && wide > 0 {
                self.style(Rect::new(at, y, wide, 1), mark);
            }
            at += wide;
        }
    }

    /// Puts lines into an area, broken where they are too long, from this line of the result on.
    /// Says how many lines there are in all.
    pub(super) fn wrapped(&mut self, area: Rect, lines: &[Line], skip: usize) -> usize {
        let mut all = Vec::new();
        for line in lines {
            wrap(line, usize::from(area.width), &mut all);
            // What is far below the last row is not worth breaking.
            if all.len() > skip + usize::from(area.height) {
                break;
            }
        }
        let skip = skip.min(all.len().saturating_sub(usize::from(area.height)));
        for (line, y) in all.iter().skip(skip).zip(area.y..area.bottom()) {
            self.line(area.x, y, area.width, line);
        }
        all.len()
    }

    /// Makes an area look like this on top of what it shows.
    fn style(&mut self, area: Rect, style: Style) {
        self.buffer
            .set_style(area.intersection(self.buffer.area), style);
    }

    /// Shows what is chosen.
    pub(super) fn select(&mut self, area: Rect) {
        self.style(area, self.theme.style(Tone::Selected));
    }

    /// Shows that what is there is old.
    pub(super) fn dim(&mut self, area: Rect) {
        self.style(area, Style::new().add_modifier(Modifier::DIM));
    }

    /// Removes what is there.
    pub(super) fn clear(&mut self, area: Rect) {
        let area = area.intersection(self.buffer.area);
        for y in area.y..area.bottom() {
            for x in area.x..area.right() {
                if let Some(cell) = self.buffer.cell_mut((x, y)) {
                    cell.reset();
                }
            }
        }
    }

    /// Draws a box with a title and something at its right end; says what is inside.
    pub(super) fn boxed(&mut self, area: Rect, title: &str, right: &(String, Tone)) -> Rect {
        if area.width < 4 || area.height < 3 {
            return area;
        }
        let (left, last) = (area.x, area.right() - 1);
        let across = "─".repeat(usize::from(area.width - 2));
        for (y, corners) in [(area.y, ["┌", "┐"]), (area.bottom() - 1, ["└", "┘"])] {
            self.put(left, y, 1, corners[0], Tone::Dim);
            self.put(left + 1, y, area.width - 2, &across, Tone::Dim);
            self.put(last, y, 1, corners[1], Tone::Dim);
        }
        for y in area.y + 1..area.bottom() - 1 {
            self.put(left, y, 1, "│", Tone::Dim);
            self.put(last, y, 1, "│", Tone::Dim);
        }
        let room = area.width - 4;
        let wide = columns(&right.0).min(room);
        if !title.is_empty() {
            let title_room = room.saturating_sub(wide + 2);
            self.cut(
                left + 2,
                area.y,
                title_room.min(room),
                &format!(" {title} "),
                Tone::Title,
            );
        }
        if wide > 0 {
            let text = format!(" {} ", right.0);
            self.put(
                last.saturating_sub(wide + 3),
                area.y,
                wide + 2,
                &text,
                right.1,
            );
        }
        // Where there is room, the text does not touch the line.
        let pad = u16::from(area.width >= 30);
        let inner = area.width - 2 - 2 * pad;
        Rect::new(left + 1 + pad, area.y + 1, inner, area.height - 2)
    }
}

/// How many columns a text takes.
pub(super) fn columns(text: &str) -> u16 {
    u16::try_from(text.width()).unwrap_or(u16::MAX)
}

/// The upper rows of an area, and what is left.
pub(super) fn top(area: Rect, height: u16) -> (Rect, Rect) {
    let height = height.min(area.height);
    let rest = Rect::new(area.x, area.y + height, area.width, area.height - height);
    (Rect { height, ..area }, rest)
}

/// The left columns of an area, and what is left.
pub(super) fn left(area: Rect, width: u16) -> (Rect, Rect) {
    let width = width.min(area.width);
    let rest = Rect::new(area.x + width, area.y, area.width - width, area.height);
    (Rect { width, ..area }, rest)
}

/// The table and its details: all the room where they are expanded, none where the room is short or
/// nothing is chosen.
pub(super) fn with_details(
    canvas: &Canvas<'_>,
    body: Rect,
    state: &State,
    height: u16,
) -> (Rect, Rect) {
    if canvas.grid.rows.is_empty() {
        return (body, Rect { height: 0, ..body });
    }
    if state.expanded {
        return (Rect { height: 0, ..body }, body);
    }
    if body.height < 14 {
        return (body, Rect { height: 0, ..body });
    }
    top(body, body.height - height.min(body.height / 2))
}

/// An area of this size in the middle of another one.
pub(super) fn middle(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect::new(
        area.x + (area.width - width) / 2,
        area.y + (area.height - height) / 2,
        width,
        height,
    )
}

/// Breaks a line: between words where that is near, anywhere else.
fn wrap(line: &Line, width: usize, into: &mut Vec<Line>) {
    if width == 0 {
        return;
    }
    let mut current: Line = Vec::new();
    let mut used = 0;
    for (text, tone) in line {
        for word in text.split_inclusive(' ') {
            let wide = word.trim_end().width();
            if used > 0 && used + wide > width && wide <= width {
                into.push(std::mem::take(&mut current));
                used = 0;
            }
            let mut piece = String::new();
            for c in word.chars() {
                let wide = c.width().unwrap_or_default();
                if used + wide > width {
                    if c == ' ' {
                        continue;
                    }
                    current.push((std::mem::take(&mut piece), *tone));
                    into.push(std::mem::take(&mut current));
                    used = 0;
                }
                piece.push(c);
                used += wide;
            }
            if !piece.is_empty() {
                current.push((piece, *tone));
            }
        }
    }
    into.push(current);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(text: &str, width: usize) -> Vec<String> {
        let mut lines = Vec::new();
        wrap(&vec![(text.to_owned(), Tone::Plain)], width, &mut lines);
        let join = |line: &Line| {
            line.iter()
                .map(|(text, _)| text.as_str())
                .collect::<String>()
        };
        lines
            .iter()
            .map(|line| join(line).trim_end().to_owned())
            .collect()
    }

    #[test]
    fn lines_break_between_words_and_long_words_anywhere() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrapped("", 4), [""]);
        assert_eq!(wrapped("日本語", 4), ["日本", "語"]);
        assert!(wrapped("日", 1).len() <= 2);
    }
}
