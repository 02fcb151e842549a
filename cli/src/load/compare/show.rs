//! How a comparison is printed.

use super::{Comparison, Row, Side, Verdict};
use crate::load::figures::{percent, three, whole};
use crate::output::table::{Cell, Column, left, right};
use crate::output::units::NONE;
use crate::output::{Document, Record};

impl Side {
    fn told(&self) -> String {
        let version = self
            .server_version
            .as_deref()
            .unwrap_or("of unknown version");
        let mode = self.server_mode.as_deref().unwrap_or("unknown mode");
        format!(
            "{} of {}, chatd {version}, {mode}",
            self.name, self.started_at
        )
    }
}

impl Verdict {
    /// With a sign before the word, so that a long table can be looked over.
    const fn told(self) -> &'static str {
        match self {
            Self::Better => "✓ better",
            Self::Worse => "✗ worse",
            Self::Same => "= same",
            Self::Differs => "≠ differs",
            Self::TooFew => "~ too few samples",
            Self::Unknown => "? unknown",
        }
    }
}

impl Document for Comparison {
    const FIELDS: &'static [&'static str] = &[
        "a",
        "b",
        "threshold_percent",
        "warnings",
        "better",
        "worse",
        "rows",
    ];
    type Row = Row;

    fn head(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.warnings.iter().map(|it| format!("! {it}")).collect();
        lines.push(format!("A  {}", self.a.told()));
        lines.push(format!("B  {}", self.b.told()));
        let same = percent(Some(self.threshold_percent));
        lines.push(format!(
            "{} better, {} worse; same is a change of at most {same}",
            self.better, self.worse
        ));
        lines
    }

    fn rows(&self) -> Vec<Row> {
        self.rows.clone()
    }

    fn ids(&self) -> Vec<String> {
        let worse = self.rows.iter().filter(|row| row.verdict == Verdict::Worse);
        worse.map(Record::id).collect()
    }
}

impl Record for Row {
    const FIELDS: &'static [&'static str] =
        &["metric", "unit", "a", "b", "change_percent", "verdict"];
    const COLUMNS: &'static [Column] = &[
        left("METRIC"),
        left("UNIT"),
        right("A"),
        right("B"),
        right("CHANGE"),
        left("VERDICT"),
    ];

    fn cells(&self) -> Vec<Cell> {
        let value = |value: Option<f64>| {
            let shown = |value| match self.unit {
                // Without a unit it is a count.
                "" => whole(value),
                _ => three(value),
            };
            Cell::show(value.map_or_else(|| NONE.to_owned(), shown))
        };
        let change = self.change_percent.map_or_else(
            || NONE.to_owned(),
            |change| match change {
                0.0 => "0 %".to_owned(),
                // Enough digits to tell it from none.
                _ if change.abs() < 0.05 => format!("{change:+.2} %"),
                _ if change >= 999.95 => format!("+{} %", whole(change)),
                _ => format!("{change:+.1} %"),
            },
        );
        let unit = if self.unit == "us" { "µs" } else { self.unit };
        vec![
            Cell::text(&self.metric),
            Cell::show(unit),
            value(self.a),
            value(self.b),
            Cell::show(change),
            Cell::show(self.verdict.told()),
        ]
    }

    fn id(&self) -> String {
        self.metric.clone()
    }
}
