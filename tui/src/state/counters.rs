//! Counters beside counts: applications, then the chats of one, then the messages of one.

use chat_client::admin::DriftQuery;
use chat_wire::admin::drift::{Drift, DriftPage, Verdict};
use chat_wire::ids::AppToken;

use super::grid::{Cell, Column, Grid, List, Row};
use super::pager::Pager;
use super::poll::Source;
use super::reader::Reader;
use super::signs;
use crate::format;
use crate::theme::Tone;

/// Rows on one page of the server.
pub const PAGE_ROWS: u32 = 100;

/// The page.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// `/admin/drift`.
    pub drift: Source<DriftPage>,
    /// The application whose chats are shown; without one, applications.
    pub inside: Option<Inside>,
    /// Which rows are wanted.
    pub wanted: Wanted,
    /// Pages of applications.
    pub pager: Pager<String>,
    /// The applications.
    pub list: List,
    /// The messages that are being read.
    pub reader: Option<Reader>,
}

/// An application that was opened.
#[derive(Debug, Clone)]
pub struct Inside {
    /// Its token.
    pub token: AppToken,
    /// Its name, as far as it is known.
    pub name: String,
    /// Pages of its chats.
    pub pager: Pager<String>,
    /// Its chats.
    pub list: List,
}

impl Inside {
    /// Nothing of it has been looked at yet.
    #[must_use]
    pub fn new(token: AppToken, name: impl Into<String>) -> Self {
        Self {
            token,
            name: name.into(),
            pager: Pager::default(),
            list: List::default(),
        }
    }
}

/// Which rows the server is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wanted {
    /// All, worst first.
    #[default]
    All,
    /// Those for which reconciliation has something to do.
    Drifted,
    /// Those with this verdict.
    Only(Verdict),
}

impl Wanted {
    /// As it is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Drifted => "drifted",
            Self::Only(verdict) => verdict.as_str(),
        }
    }

    /// The next one, from worst to well.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Self::All => Self::Drifted,
            Self::Drifted => Self::Only(Verdict::CounterBehind),
            Self::Only(verdict) => Verdict::ALL
                .into_iter()
                .rev()
                .find(|next| *next < verdict)
                .map_or(Self::All, Self::Only),
        }
    }
}

/// Headings of applications.
pub const APPLICATION_COLUMNS: &[Column] = &[
    Column::left("VERDICT", "verdict"),
    Column::left("APPLICATION", "application").grows(),
    Column::left("TOKEN", "token").rank(5),
    Column::right("COUNTER", "counter"),
    Column::right("HIGHEST", "highest"),
    Column::right("LIVE ROWS", "live").rank(1),
    Column::right("COUNT", "count").rank(1),
    Column::right("INDEX DOCS", "index").rank(2),
    Column::right("IN LOG", "log").rank(3),
    Column::right("CHATS OFF", "chats").rank(4),
];

/// Headings of chats.
pub const CHAT_COLUMNS: &[Column] = &[
    Column::left("VERDICT", "verdict"),
    Column::right("CHAT", "chat"),
    Column::right("COUNTER", "counter"),
    Column::right("HIGHEST", "highest"),
    Column::right("LIVE ROWS", "live").rank(1),
    Column::right("COUNT", "count").rank(1),
    Column::right("INDEX DOCS", "index").rank(2),
    Column::right("IN LOG", "log").rank(3),
    Column::left("", "details").rank(4).grows(),
];

impl Counters {
    /// What the server is asked for.
    #[must_use]
    pub fn query(&self) -> DriftQuery {
        let pager = self
            .inside
            .as_ref()
            .map_or(&self.pager, |inside| &inside.pager);
        DriftQuery {
            token: self.inside.as_ref().map(|inside| inside.token),
            chat: None,
            verdict: match self.wanted {
                Wanted::Only(verdict) => Some(verdict),
                Wanted::All | Wanted::Drifted => None,
            },
            drifted: self.wanted == Wanted::Drifted,
            after: pager.after.clone(),
            limit: PAGE_ROWS,
        }
    }

    /// The cursors of the page that is shown.
    pub fn pager_mut(&mut self) -> &mut Pager<String> {
        match &mut self.inside {
            Some(inside) => &mut inside.pager,
            None => &mut self.pager,
        }
    }

    /// The table that is shown, without the messages.
    #[must_use]
    pub fn list(&self) -> &List {
        self.inside
            .as_ref()
            .map_or(&self.list, |inside| &inside.list)
    }

    /// The same, to change it.
    pub fn list_mut(&mut self) -> &mut List {
        match &mut self.inside {
            Some(inside) => &mut inside.list,
            None => &mut self.list,
        }
    }

    /// The table of applications or chats.
    #[must_use]
    pub fn grid(&self) -> Grid {
        let page = self.drift.data.as_ref();
        let rows = page.map_or(&[][..], |page| &page.rows);
        if self.inside.is_some() {
            // The application's own row may come with its chats; it is shown one level up.
            let rows = rows.iter().filter(|row| row.chat.is_some());
            Grid::new(CHAT_COLUMNS, rows.map(chat_row).collect(), self.list())
        } else {
            let rows = rows.iter().filter(|row| row.chat.is_none());
            Grid::new(
                APPLICATION_COLUMNS,
                rows.map(application_row).collect(),
                self.list(),
            )
        }
    }

    /// The comparison that is chosen.
    #[must_use]
    pub fn chosen(&self) -> Option<&Drift> {
        let grid = self.grid();
        let id = &grid.rows.get(grid.selected(self.list())?)?.id;
        let rows = &self.drift.data.as_ref()?.rows;
        rows.iter().find(|row| row_id(row) == *id)
    }

    /// Name of the application that is open, from wherever it is known.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let inside = self.inside.as_ref()?;
        if !inside.name.is_empty() {
            return Some(&inside.name);
        }
        let rows = &self.drift.data.as_ref()?.rows;
        rows.first().map(|row| row.name.as_str())
    }
}

fn row_id(row: &Drift) -> String {
    match row.chat {
        Some(chat) => chat.to_string(),
        None => row.token.reveal(),
    }
}

/// The first digits of a token: enough to tell two apart, too few to use one.
#[must_use]
pub fn short_token(token: AppToken) -> String {
    format!("{}…", &token.reveal()[..8])
}

fn application_row(row: &Drift) -> Row {
    let name = match row.name.as_str() {
        "" => Cell::text("(not stored yet)").tone(Tone::Dim),
        name => Cell::text(format::visible(name)),
    };
    let [counter, highest, live, count, documents, in_log] = figures(row);
    let chats = match row.chats_drifted {
        0 => Cell::count(0),
        drifted => Cell::count(drifted).tone(Tone::Warn),
    };
    Row {
        id: row_id(row),
        cells: vec![
            verdict_cell(row.verdict),
            name,
            Cell::text(short_token(row.token)).tone(Tone::Dim),
            counter,
            highest,
            live,
            count,
            documents,
            in_log,
            chats,
        ],
    }
}

fn chat_row(row: &Drift) -> Row {
    let number = row.chat.map_or(0, |chat| u64::from(chat.get()));
    let [counter, highest, live, count, documents, in_log] = figures(row);
    Row {
        id: row_id(row),
        cells: vec![
            verdict_cell(row.verdict),
            Cell::count(number),
            counter,
            highest,
            live,
            count,
            documents,
            in_log,
            Cell::text(format::visible(&row.details.join("; "))).tone(Tone::Dim),
        ],
    }
}

fn verdict_cell(verdict: Verdict) -> Cell {
    let (sign, tone) = signs::verdict(verdict);
    Cell {
        tone,
        ..Cell::sorted(
            format!("{sign} {}", verdict.as_str().replace('_', " ")),
            verdict as u64,
        )
    }
}

/// Counter, highest number, live rows, count column, documents and records in the log.
fn figures(row: &Drift) -> [Cell; 6] {
    let suspect = |cell: Cell, wrong: bool, tone| if wrong { cell.tone(tone) } else { cell };
    let drift = row.verdict.is_drift();
    let counter = match row.counter {
        Some(counter) => suspect(
            Cell::count(counter.into()),
            counter < row.highest,
            Tone::Bad,
        ),
        // Missing is none, and it is unknown only where it could not be asked.
        None if row.verdict == Verdict::Unknown => Cell::unknown(),
        None => Cell::none().tone(Tone::Bad),
    };
    let holes = drift && row.rows < u64::from(row.highest);
    let stale = drift && row.count != row.live;
    let unindexed = row.verdict == Verdict::Unindexed;
    [
        counter,
        suspect(Cell::count(row.highest.into()), holes, Tone::Warn),
        Cell::count(row.live),
        suspect(Cell::count(row.count), stale, Tone::Warn),
        match row.documents {
            Some(_) => suspect(Cell::known(row.documents), unindexed, Tone::Warn),
            None => Cell::unknown(),
        },
        Cell::known(row.in_log),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_goes_round_through_every_verdict() {
        let mut wanted = Wanted::All;
        let mut names = Vec::new();
        loop {
            names.push(wanted.name());
            wanted = wanted.next();
            if wanted == Wanted::All {
                break;
            }
        }
        assert_eq!(names.len(), 2 + Verdict::ALL.len());
        assert_eq!(names[..3], ["all", "drifted", "counter_behind"]);
    }

    #[test]
    fn a_missing_counter_is_none_and_not_zero() {
        let row = |counter, verdict| Drift {
            token: AppToken::from_bytes([7; 16]),
            name: "shop".into(),
            chat: None,
            counter,
            highest: 3,
            rows: 3,
            live: 3,
            count: 3,
            in_log: None,
            documents: Some(0),
            verdict,
            details: vec![],
            chats_drifted: 0,
        };
        let text = |counter, verdict| figures(&row(counter, verdict))[0].text.clone();
        assert_eq!(text(Some(0), Verdict::CounterBehind), "0");
        assert_eq!(text(None, Verdict::CounterBehind), format::NONE);
        assert_eq!(text(None, Verdict::Unknown), format::UNKNOWN);
    }
}
