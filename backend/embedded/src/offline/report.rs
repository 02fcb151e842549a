//! What was found, for people and for programs.

use std::fmt;

use serde::Serialize;

/// Entries that are kept; the rest is counted.
const LISTED: usize = 10_000;

/// One thing that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Within the data directory.
    pub file: String,
    /// The table, or the topic of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The key of the row, or the offset in the topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Which numbers it holds or held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numbers: Option<String>,
    /// What is wrong.
    pub what: String,
}

impl Damage {
    pub(super) fn of(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            place: None,
            key: None,
            numbers: None,
            what: String::new(),
        }
    }

    pub(super) fn place(mut self, place: &str) -> Self {
        self.place = Some(place.to_owned());
        self
    }

    pub(super) fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    pub(super) fn numbers(mut self, numbers: Option<String>) -> Self {
        self.numbers = numbers;
        self
    }

    pub(super) fn what(mut self, what: impl Into<String>) -> Self {
        self.what = what.into();
        self
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        for part in [&self.place, &self.key].into_iter().flatten() {
            write!(f, " {part}")?;
        }
        if let Some(numbers) = &self.numbers {
            write!(f, " ({numbers})")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What a check read, and all damage that it found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Records of the log that were read.
    pub records: u64,
    /// Rows of the store that were read.
    pub rows: u64,
    /// Records and rows that carry no checksum, because they were written before there were any.
    pub unprotected: u64,
    /// Documents of the index that were compared with their rows.
    pub documents: u64,
    /// How much damage there is.
    pub damages: u64,
    /// The first ten thousand of it.
    pub damage: Vec<Damage>,
}

impl Report {
    /// Whether everything is what was written.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.damages == 0
    }

    pub(super) fn found(&mut self, damage: Damage) {
        self.damages += 1;
        if self.damage.len() < LISTED {
            self.damage.push(damage);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for damage in &self.damage {
            writeln!(f, "{damage}")?;
        }
        let unlisted = self.damages.saturating_sub(self.damage.len() as u64);
        if unlisted > 0 {
            writeln!(f, "and {unlisted} more")?;
        }
        writeln!(
            f,
            "read {} records, {} rows and {} documents; {} without a checksum; damage: {}",
            self.records, self.rows, self.documents, self.unprotected, self.damages
        )
    }
}
