//! Tables: as many columns as fit, the chosen row in sight, the sorted column marked.

use ratatui::layout::Rect;

use super::canvas::{Canvas, columns};
use crate::event::Target;
use crate::state::grid::{Column, Grid, List};
use crate::theme::Tone;

/// Between two columns.
const GAP: u16 = 2;
/// A column that takes what is left gets at least this, or goes.
const GROWS_MIN: u16 = 12;

/// Draws the heading and as many rows as fit, of which one is chosen.
pub(super) fn draw(canvas: &mut Canvas<'_>, area: Rect, grid: &Grid, list: &List) {
    drawn(canvas, area, grid, list, true);
}

/// The same without a choice, for a table beside the one of the page.
pub(super) fn rows(canvas: &mut Canvas<'_>, area: Rect, grid: &Grid) {
    drawn(canvas, area, grid, &List::default(), false);
}

fn drawn(canvas: &mut Canvas<'_>, area: Rect, grid: &Grid, list: &List, choice: bool) {
    if area.height == 0 || area.width == 0 {
        return;
    }
    let rows = usize::from(area.height.saturating_sub(1));
    let selected = grid.selected(list).unwrap_or_default();
    let first = first_row(selected, grid.rows.len(), rows);
    let shown = first..(first + rows).min(grid.rows.len());
    let widths = widths(grid, list, shown.clone(), area.width);

    let mut x = area.x;
    for (at, column) in grid.columns.iter().enumerate() {
        let Some(width) = widths[at] else { continue };
        let title = heading(column, at, list);
        if column.right {
            canvas.right(x, area.y, width, &title, Tone::Dim);
        } else {
            canvas.cut(x, area.y, width, &title, Tone::Dim);
        }
        x += width + GAP;
    }
    for (index, y) in shown.zip(area.y + 1..) {
        row(
            canvas,
            Rect::new(area.x, y, area.width, 1),
            grid,
            index,
            &widths,
        );
        let line = Rect::new(area.x, y, area.width, 1);
        if choice {
            canvas.clickable(line, Target::Row(index));
        }
        if choice && index == selected {
            canvas.select(line);
        }
    }
}

fn row(canvas: &mut Canvas<'_>, area: Rect, grid: &Grid, index: usize, widths: &[Option<u16>]) {
    let mut x = area.x;
    let cells = grid.columns.iter().zip(&grid.rows[index].cells);
    for ((column, cell), width) in cells.zip(widths) {
        let Some(width) = *width else { continue };
        if column.right {
            canvas.right(x, area.y, width, &cell.text, cell.tone);
        } else if cell.keeps_end {
            let skip = cell.text.chars().count().saturating_sub(usize::from(width));
            let end: String = cell.text.chars().skip(skip).collect();
            canvas.put(x, area.y, width, &end, cell.tone);
        } else if cell.marks.is_empty() {
            canvas.cut(x, area.y, width, &cell.text, cell.tone);
        } else {
            canvas.marked((x, area.y, width), &cell.text, cell.tone, &cell.marks);
        }
        x += width + GAP;
    }
}

fn heading(column: &Column, at: usize, list: &List) -> String {
    match list.sort {
        Some((sorted, descending)) if sorted == at => {
            format!("{}{}", column.title, if descending { "▼" } else { "▲" })
        }
        _ => column.title.to_owned(),
    }
}

/// The first row to show: the chosen one is in the middle where it can be.
fn first_row(selected: usize, total: usize, rows: usize) -> usize {
    let most = total.saturating_sub(rows);
    selected.saturating_sub(rows / 2).min(most)
}

/// The width of each column; `None` for those that have no room.
fn widths(grid: &Grid, list: &List, shown: std::ops::Range<usize>, room: u16) -> Vec<Option<u16>> {
    let natural: Vec<u16> = grid
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let cells = grid.rows[shown.clone()].iter();
            let widest = cells
                .filter_map(|row| row.cells.get(at))
                .map(|cell| columns(&cell.text))
                .max();
            let title = columns(&heading(column, at, list));
            widest.unwrap_or_default().max(title)
        })
        .collect();
    let mut kept = vec![true; natural.len()];
    loop {
        let need = need(grid, &natural, &kept);
        if need <= u32::from(room) {
            break;
        }
        let worst = (0..kept.len())
            .filter(|at| kept[*at] && grid.columns[*at].rank > 0)
            .max_by_key(|at| grid.columns[*at].rank);
        let Some(worst) = worst else { break };
        kept[worst] = false;
    }
    // The last of the columns that stay may still have to be cut.
    let mut left = room;
    let grows = (0..kept.len()).find(|at| kept[*at] && grid.columns[*at].grows);
    let fixed: u32 = (0..kept.len())
        .filter(|at| kept[*at] && Some(*at) != grows)
        .map(|at| u32::from(natural[at]) + u32::from(GAP))
        .sum();
    (0..kept.len())
        .map(|at| {
            if !kept[at] {
                return None;
            }
            let width = if Some(at) == grows {
                let rest = u32::from(room).saturating_sub(fixed);
                u16::try_from(rest).unwrap_or(room).max(1)
            } else {
                natural[at]
            };
            let width = width.min(left);
            left = left.saturating_sub(width + GAP);
            (width > 0).then_some(width)
        })
        .collect()
}

fn need(grid: &Grid, natural: &[u16], kept: &[bool]) -> u32 {
    let widths = (0..kept.len()).filter(|at| kept[*at]).map(|at| {
        let width = if grid.columns[at].grows {
            natural[at].min(GROWS_MIN)
        } else {
            natural[at]
        };
        u32::from(width) + u32::from(GAP)
    });
    widths.sum::<u32>().saturating_sub(u32::from(GAP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_row_is_always_in_sight() {
        for total in 0..40 {
            for rows in 1..12 {
                for selected in 0..total {
                    let first = first_row(selected, total, rows);
                    assert!(first <= selected && selected < first + rows);
                    assert!(first + rows <= total.max(rows));
                }
            }
        }
    }
}
