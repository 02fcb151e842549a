//! How each object of the operators' API is shown.

use chat_wire::admin::dlq::{Letter, LetterWithBytes};
use chat_wire::admin::doctor::Examined;
use chat_wire::admin::drift::Drift;
use chat_wire::admin::lag::{Figures, GroupLag};
use chat_wire::admin::reconcile::{Outcome, Step};
use chat_wire::time::Timestamp;

use crate::output::Record;
use crate::output::table::{Cell, Column, left, right};
use crate::output::text::grouped;
use crate::output::units::{NONE, UNKNOWN, count, rate, span, span_of_seconds};

impl Record for GroupLag {
    const FIELDS: &'static [&'static str] = &[
        "group",
        "topic",
        "status",
        "members",
        "lag_records",
        "oldest_age_ms",
        "in_per_second",
        "out_per_second",
        "drain_seconds",
        "partitions_total",
        "reason",
    ];
    const COLUMNS: &'static [Column] = &[
        left("GROUP"),
        left("STATUS"),
        right("LAG"),
        right("AGE"),
        right("IN/S"),
        right("OUT/S"),
        right("DRAINS IN"),
        right("MEMBERS"),
        left("REASON"),
    ];

    fn cells(&self) -> Vec<Cell> {
        let mut cells = vec![Cell::text(&self.group), Cell::show(self.status.as_str())];
        cells.extend(figures(&self.figures));
        let members = self.members;
        cells.push(Cell::show(count(members.map(u64::from))));
        cells.push(Cell::text(&self.reason));
        cells
    }

    fn id(&self) -> String {
        self.group.clone()
    }
}

/// Lag, age, rates in and out, and the time to drain.
pub(crate) fn figures(figures: &Figures) -> [Cell; 5] {
    // Where nothing waits there is no oldest record, and nothing to drain.
    let absent = if figures.lag_records == Some(0) {
        NONE
    } else {
        UNKNOWN
    };
    let or_absent = |text: Option<String>| Cell::show(text.unwrap_or_else(|| absent.to_owned()));
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
    let drain = match (figures.in_per_second, figures.out_per_second) {
        (Some(into), Some(out)) if into >= out && figures.drain_seconds.is_none() => {
            let waits = figures.lag_records.is_some_and(|records| records > 0);
            waits.then(|| "never".to_owned())
        }
        _ => figures.drain_seconds.map(span_of_seconds),
    };
    [
        Cell::show(count(figures.lag_records)),
        or_absent(figures.oldest_age_ms.map(span)),
        Cell::show(or_unknown(figures.in_per_second.map(rate))),
        Cell::show(or_unknown(figures.out_per_second.map(rate))),
        or_absent(drain),
    ]
}

impl Record for Drift {
    const FIELDS: &'static [&'static str] = &[
        "token",
        "chat",
        "name",
        "counter",
        "highest",
        "rows",
        "live",
        "count",
        "documents",
        "in_log",
        "verdict",
        "details",
        "chats_drifted",
    ];
    const COLUMNS: &'static [Column] = &[
        left("APPLICATION"),
        right("CHAT"),
        right("COUNTER"),
        right("HIGHEST"),
        right("LIVE"),
        right("COUNT"),
        right("INDEX"),
        right("IN LOG"),
        left("VERDICT"),
        left("DETAILS"),
    ];

    fn cells(&self) -> Vec<Cell> {
        let dash = |figure: Option<String>| Cell::show(figure.unwrap_or_else(|| NONE.to_owned()));
        let details = if self.details.is_empty() {
            self.name.clone()
        } else {
            self.details.join("; ")
        };
        vec![
            Cell::show(self.token.reveal()),
            dash(self.chat.map(|chat| chat.to_string())),
            // A counter that is missing is a finding, and not an unknown.
            dash(self.counter.map(|counter| grouped(u64::from(counter)))),
            Cell::show(grouped(u64::from(self.highest))),
            Cell::show(grouped(self.live)),
            Cell::show(grouped(self.count)),
            Cell::show(count(self.documents)),
            Cell::show(count(self.in_log)),
            Cell::show(self.verdict.as_str()),
            Cell::text(&details),
        ]
    }

    fn id(&self) -> String {
        match self.chat {
            Some(chat) => format!("{}/{chat}", self.token.reveal()),
            None => self.token.reveal(),
        }
    }
}

impl Record for Step {
    const FIELDS: &'static [&'static str] = &["act", "token", "chat", "from", "to", "outcome"];
    const COLUMNS: &'static [Column] = &[
        left("ACT"),
        left("APPLICATION"),
        right("CHAT"),
        right("FROM"),
        right("TO"),
        left("OUTCOME"),
    ];

    fn cells(&self) -> Vec<Cell> {
        let outcome = match &self.outcome {
            None => "planned".to_owned(),
            Some(Outcome::Done) => "done".to_owned(),
            Some(Outcome::Unneeded) => "not needed any more".to_owned(),
            Some(Outcome::Waits(why)) => format!("waits: {why}"),
            Some(Outcome::Failed(why)) => format!("failed: {why}"),
        };
        let chat = self.chat.map(|chat| chat.to_string());
        vec![
            Cell::show(self.act.as_str()),
            Cell::show(self.token.reveal()),
            Cell::show(chat.unwrap_or_else(|| NONE.to_owned())),
            Cell::show(self.from.map_or_else(|| NONE.to_owned(), grouped)),
            Cell::show(grouped(self.to)),
            Cell::text(&outcome),
        ]
    }

    fn id(&self) -> String {
        match self.chat {
            Some(chat) => format!("{}/{chat}", self.token.reveal()),
            None => self.token.reveal(),
        }
    }
}

impl Record for Letter {
    const FIELDS: &'static [&'static str] = &[
        "id",
        "origin",
        "event",
        "reason",
        "buried_at",
        "bytes",
        "state",
        "decided_at",
        "discard_reason",
    ];
    const COLUMNS: &'static [Column] = &[
        left("ID"),
        left("EVENT"),
        right("BYTES"),
        right("AGE"),
        left("STATE"),
        left("REASON"),
    ];

    fn cells(&self) -> Vec<Cell> {
        let age = Timestamp::now().millis_since(self.buried_at);
        let reason = match &self.discard_reason {
            Some(why) => format!("{} (discarded: {why})", self.reason),
            None => self.reason.clone(),
        };
        vec![
            Cell::text(&self.id),
            Cell::text(self.event.as_deref().unwrap_or(UNKNOWN)),
            Cell::show(grouped(self.bytes)),
            Cell::show(span(age)),
            Cell::show(self.state.as_str()),
            Cell::text(&reason),
        ]
    }

    fn id(&self) -> String {
        self.id.clone()
    }
}

impl Record for LetterWithBytes {
    const FIELDS: &'static [&'static str] = &[
        "id",
        "origin",
        "event",
        "reason",
        "buried_at",
        "bytes",
        "state",
        "decided_at",
        "discard_reason",
        "key",
        "text",
        "base64",
    ];
    const COLUMNS: &'static [Column] = Letter::COLUMNS;

    fn cells(&self) -> Vec<Cell> {
        self.letter.cells()
    }

    fn id(&self) -> String {
        self.letter.id.clone()
    }
}

impl Record for Examined {
    const FIELDS: &'static [&'static str] = &["id", "finding", "elapsed_ms", "detail", "hint"];
    const COLUMNS: &'static [Column] =
        &[left("FINDING"), left("CHECK"), right("MS"), left("DETAIL")];

    fn cells(&self) -> Vec<Cell> {
        let detail = match &self.hint {
            Some(hint) => format!("{} — {hint}", self.detail),
            None => self.detail.clone(),
        };
        vec![
            Cell::show(self.finding.as_str()),
            Cell::text(&self.id),
            Cell::show(self.elapsed_ms),
            Cell::text(&detail),
        ]
    }

    fn id(&self) -> String {
        self.id.clone()
    }
}
