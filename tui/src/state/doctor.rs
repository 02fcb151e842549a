//! The doctor's checks, in the order in which they should be mended.

use chat_wire::admin::doctor::{Diagnosis, Examined};

use super::grid::{Cell, Column, Grid, List, Row};
use super::poll::Source;
use super::signs;
use crate::format;
use crate::theme::Tone;

/// The page.
#[derive(Debug, Clone, Default)]
pub struct Doctor {
    /// `/admin/doctor`.
    pub diagnosis: Source<Diagnosis>,
    /// The checks.
    pub list: List,
}

/// Headings.
pub const COLUMNS: &[Column] = &[
    Column::left("FINDING", "finding"),
    Column::left("CHECK", "check"),
    Column::right("TIME", "ms").rank(2),
    Column::left("DETAIL", "detail").rank(1).grows(),
];

impl Doctor {
    /// The table.
    #[must_use]
    pub fn grid(&self) -> Grid {
        let checks = self
            .diagnosis
            .data
            .as_ref()
            .map_or(&[][..], |found| &found.checks);
        Grid::new(COLUMNS, checks.iter().map(row).collect(), &self.list)
    }

    /// The check that is chosen.
    #[must_use]
    pub fn chosen(&self) -> Option<&Examined> {
        let grid = self.grid();
        let id = &grid.rows.get(grid.selected(&self.list)?)?.id;
        let checks = &self.diagnosis.data.as_ref()?.checks;
        checks.iter().find(|check| check.id == *id)
    }
}

fn row(check: &Examined) -> Row {
    let (sign, tone) = signs::finding(check.finding);
    let finding = format!("{sign} {}", check.finding.as_str());
    Row {
        id: check.id.clone(),
        cells: vec![
            Cell::sorted(finding, check.finding as u64).tone(tone),
            Cell::text(format::visible(&check.id)),
            Cell::sorted(format!("{} ms", check.elapsed_ms), check.elapsed_ms).tone(Tone::Dim),
            Cell::text(format::visible(&check.detail)),
        ],
    }
}
