//! Tables as values: rows with typed cells, and what is chosen, sorted and filtered in them.

use std::cmp::Ordering;

use super::filter::Filter;
use crate::format;
use crate::theme::Tone;

/// A heading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// As it is shown.
    pub title: &'static str,
    /// As it is typed in a filter.
    pub name: &'static str,
    /// Numbers lean to the right.
    pub right: bool,
    /// Where room is short, the highest rank goes first; rank 0 always stays.
    pub rank: u8,
    /// Takes the room that is left over.
    pub grows: bool,
}

impl Column {
    /// A column of text.
    #[must_use]
    pub const fn left(title: &'static str, name: &'static str) -> Self {
        Self {
            title,
            name,
            right: false,
            rank: 0,
            grows: false,
        }
    }

    /// A column of figures.
    #[must_use]
    pub const fn right(title: &'static str, name: &'static str) -> Self {
        Self {
            right: true,
            ..Self::left(title, name)
        }
    }

    /// The same with a rank.
    #[must_use]
    pub const fn rank(mut self, rank: u8) -> Self {
        self.rank = rank;
        self
    }

    /// The same, taking what is left over.
    #[must_use]
    pub const fn grows(mut self) -> Self {
        self.grows = true;
        self
    }
}

/// What a cell is sorted and compared by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Key {
    /// Its text.
    Text,
    /// A figure.
    Number(f64),
    /// Nothing: it comes last, whichever way is sorted.
    Nothing,
}

/// One cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// As it is shown.
    pub text: String,
    /// What it is sorted by.
    pub key: Key,
    /// What it means.
    pub tone: Tone,
    /// Occurrences to be marked, as `[start, end)` in characters.
    pub marks: Vec<(usize, usize)>,
    /// Where it does not fit, its end is shown and not its beginning.
    pub keeps_end: bool,
}

impl Cell {
    /// Text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            key: Key::Text,
            tone: Tone::Plain,
            marks: Vec::new(),
            keeps_end: false,
        }
    }

    /// Text that is sorted by a figure.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "only the order matters")]
    pub fn sorted(text: impl Into<String>, key: u64) -> Self {
        Self {
            key: Key::Number(key as f64),
            ..Self::text(text)
        }
    }

    /// A whole number.
    #[must_use]
    pub fn count(number: u64) -> Self {
        Self::sorted(format::count(number), number)
    }

    /// A whole number, or the sign for unknown.
    #[must_use]
    pub fn known(number: Option<u64>) -> Self {
        number.map_or_else(Self::unknown, Self::count)
    }

    /// A rate, or the sign for unknown.
    #[must_use]
    pub fn rate(per_second: Option<f64>) -> Self {
        per_second.map_or_else(Self::unknown, |rate| Self {
            key: Key::Number(rate),
            ..Self::text(format::rate(rate))
        })
    }

    /// The sign for none.
    #[must_use]
    pub fn none() -> Self {
        Self {
            key: Key::Nothing,
            tone: Tone::Dim,
            ..Self::text(format::NONE)
        }
    }

    /// The sign for unknown.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            key: Key::Nothing,
            tone: Tone::Unknown,
            ..Self::text(format::UNKNOWN)
        }
    }

    /// The same with a tone.
    #[must_use]
    pub fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Names what it is about, so that it stays chosen when the rows change.
    pub id: String,
    /// One for each column.
    pub cells: Vec<Cell>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grid {
    /// Headings.
    pub columns: &'static [Column],
    /// What is shown of the rows.
    pub rows: Vec<Row>,
    /// How many there were before the filter.
    pub total: usize,
}

impl Grid {
    /// These rows in the order of the list, as far as its filter lets them through.
    #[must_use]
    pub fn new(columns: &'static [Column], mut rows: Vec<Row>, list: &List) -> Self {
        let total = rows.len();
        if !list.filter.is_empty() {
            let filter = Filter::parse(&list.filter, columns);
            rows.retain(|row| filter.matches(row));
        }
        if let Some((column, descending)) = list.sort {
            rows.sort_by(|one, other| {
                order(one.cells.get(column), other.cells.get(column), descending)
            });
        }
        Self {
            columns,
            rows,
            total,
        }
    }

    /// Where the chosen row is.
    #[must_use]
    pub fn selected(&self, list: &List) -> Option<usize> {
        let last = self.rows.len().checked_sub(1)?;
        let known = list
            .id
            .as_ref()
            .and_then(|id| self.rows.iter().position(|row| row.id == *id));
        Some(known.unwrap_or_else(|| list.index.min(last)))
    }
}

fn order(one: Option<&Cell>, other: Option<&Cell>, descending: bool) -> Ordering {
    let (Some(one), Some(other)) = (one, other) else {
        return Ordering::Equal;
    };
    let ordering = match (&one.key, &other.key) {
        (Key::Nothing, Key::Nothing) => return Ordering::Equal,
        (Key::Nothing, _) => return Ordering::Greater,
        (_, Key::Nothing) => return Ordering::Less,
        (Key::Number(one), Key::Number(other)) => one.total_cmp(other),
        _ => one.text.to_lowercase().cmp(&other.text.to_lowercase()),
    };
    if descending {
        ordering.reverse()
    } else {
        ordering
    }
}

/// What is chosen in a table, and how it is sorted and filtered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    id: Option<String>,
    index: usize,
    /// Which column, and whether the highest comes first; `None` is the order in which rows come.
    pub sort: Option<(usize, bool)>,
    /// As it was typed.
    pub filter: String,
}

impl List {
    /// Chooses a row.
    pub fn select(&mut self, grid: &Grid, to: usize) {
        let to = to.min(grid.rows.len().saturating_sub(1));
        self.index = to;
        self.id = grid.rows.get(to).map(|row| row.id.clone());
    }

    /// Chooses the row so many below the chosen one.
    pub fn step(&mut self, grid: &Grid, by: isize) {
        let at = grid.selected(self).unwrap_or_default();
        self.select(grid, at.saturating_add_signed(by));
    }

    /// Chooses the row with this id as soon as it is there.
    pub fn select_id(&mut self, id: impl Into<String>) {
        self.id = Some(id.into());
    }

    /// Back to the first row; sorting and filter stay.
    pub fn rewind(&mut self) {
        self.id = None;
        self.index = 0;
    }

    /// Sorts by the next column: none, then each from its highest.
    pub fn sort_next(&mut self, columns: &[Column]) {
        let next = self.sort.map_or(0, |(column, _)| column + 1);
        self.sort = columns.get(next).map(|column| (next, column.right));
    }

    /// Turns the order round.
    pub fn invert(&mut self) {
        if let Some((_, descending)) = &mut self.sort {
            *descending = !*descending;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[Column::left("NAME", "name"), Column::right("LAG", "lag")];

    fn rows(lags: &[(&str, Option<u64>)]) -> Vec<Row> {
        lags.iter()
            .map(|(name, lag)| Row {
                id: (*name).to_owned(),
                cells: vec![Cell::text(*name), Cell::known(*lag)],
            })
            .collect()
    }

    fn names(grid: &Grid) -> Vec<&str> {
        grid.rows.iter().map(|row| row.id.as_str()).collect()
    }

    #[test]
    fn unknown_comes_last_either_way() {
        let rows = rows(&[("a", Some(1)), ("b", None), ("c", Some(10)), ("d", Some(2))]);
        let mut list = List {
            sort: Some((1, true)),
            ..List::default()
        };
        assert_eq!(
            names(&Grid::new(COLUMNS, rows.clone(), &list)),
            ["c", "d", "a", "b"]
        );
        list.invert();
        assert_eq!(
            names(&Grid::new(COLUMNS, rows, &list)),
            ["a", "d", "c", "b"]
        );
    }

    #[test]
    fn the_chosen_row_stays_chosen_when_rows_move() {
        let mut list = List::default();
        let grid = Grid::new(
            COLUMNS,
            rows(&[("a", Some(1)), ("b", Some(2)), ("c", Some(3))]),
            &list,
        );
        list.step(&grid, 1);
        let moved = Grid::new(
            COLUMNS,
            rows(&[("x", Some(9)), ("c", Some(3)), ("b", Some(2))]),
            &list,
        );
        assert_eq!(moved.selected(&list), Some(2));
        let gone = Grid::new(COLUMNS, rows(&[("x", Some(9))]), &list);
        assert_eq!(gone.selected(&list), Some(0));
        assert_eq!(Grid::default().selected(&list), None);
    }

    #[test]
    fn sorting_goes_through_all_columns_and_back_to_none() {
        let mut list = List::default();
        let mut seen = Vec::new();
        for _ in 0..3 {
            list.sort_next(COLUMNS);
            seen.push(list.sort);
        }
        assert_eq!(seen, [Some((0, false)), Some((1, true)), None]);
    }

    #[test]
    fn steps_stop_at_both_ends() {
        let mut list = List::default();
        let grid = Grid::new(COLUMNS, rows(&[("a", None), ("b", None)]), &list);
        list.step(&grid, -5);
        assert_eq!(grid.selected(&list), Some(0));
        list.step(&grid, isize::MAX);
        assert_eq!(grid.selected(&list), Some(1));
    }
}
