//! `chatctl stats`: one snapshot of everything.

use chat_wire::admin::stats::Stats;
use clap::Args;
use serde::Serialize;

use crate::commands::drift::found;
use crate::commands::watch::{Next, WatchArgs, Watched};
use crate::error::Error;
use crate::exit::Exit;
use crate::output::table::{Cell, Column, left, right};
use crate::output::units::{NONE, UNKNOWN, count, rate, span};
use crate::output::{Document, Record};
use crate::session::Session;

/// Show one snapshot: traffic, totals, lag, drift and dead letters
///
/// In tables 0 is a figure, - means that there is none, ? that it is unknown. Rates are those of
/// the process that answers; every other figure is that of the whole.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    #[command(flatten)]
    watch: WatchArgs,
}

impl StatsArgs {
    pub(crate) async fn run(self, session: &mut Session) -> Result<Exit, Error> {
        let admin = session.admin()?;
        let look = async || Ok(admin.stats().await?);
        if self.watch.watch.is_none() {
            session.out.document(&look().await?)?;
            return Ok(Exit::Ok);
        }
        let judge = |_: &Stats| Ok(Next::Again);
        self.watch.run(session, None, look, judge).await
    }
}

/// One line of the snapshot.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    figure: String,
    value: String,
}

impl Record for Figure {
    const FIELDS: &'static [&'static str] = &["figure", "value"];
    const COLUMNS: &'static [Column] = &[left("FIGURE"), right("VALUE")];

    fn cells(&self) -> Vec<Cell> {
        vec![Cell::show(&self.figure), Cell::text(&self.value)]
    }

    fn id(&self) -> String {
        self.figure.clone()
    }
}

impl Document for Stats {
    const FIELDS: &'static [&'static str] = &[
        "at",
        "version",
        "mode",
        "role",
        "uptime_seconds",
        "ready",
        "checks",
        "traffic",
        "totals",
        "lag",
        "drift",
        "shedding",
        "dead_letters",
        "oldest_dead_letter_ms",
    ];
    type Row = Figure;

    fn head(&self) -> Vec<String> {
        let uptime = span(self.uptime_seconds.saturating_mul(1_000));
        let ready = if self.ready { "ready" } else { "not ready" };
        let mut lines = vec![format!(
            "chatd {} ({}, {}), up {uptime}, {ready}",
            self.version, self.mode, self.role
        )];
        lines.extend(self.checks.iter().filter(|check| !check.ok).map(|check| {
            let detail = check.detail.as_deref().unwrap_or("it does not answer");
            format!("{}: {detail}", check.name)
        }));
        lines
    }

    fn rows(&self) -> Vec<Figure> {
        let ms = |ms: Option<f64>| ms.map_or_else(|| NONE.to_owned(), |ms| format!("{ms:.1} ms"));
        let traffic = &self.traffic;
        let mut rows = vec![
            ("requests/s".to_owned(), rate(traffic.requests_per_second)),
            (
                "messages accepted/s".to_owned(),
                rate(traffic.creates_per_second),
            ),
            ("errors/s".to_owned(), rate(traffic.errors_per_second)),
            ("shed/s".to_owned(), rate(traffic.shed_per_second)),
            ("create p50".to_owned(), ms(traffic.create_p50_ms)),
            ("create p99".to_owned(), ms(traffic.create_p99_ms)),
            (
                "requests at work".to_owned(),
                count(Some(traffic.in_flight)),
            ),
            ("applications".to_owned(), count(self.totals.applications)),
            ("chats".to_owned(), count(self.totals.chats)),
            ("messages".to_owned(), count(self.totals.messages)),
        ];
        match &self.lag {
            None => rows.push(("lag".to_owned(), UNKNOWN.to_owned())),
            Some(lag) => rows.extend(lag.groups.iter().map(|group| {
                let records = count(group.figures.lag_records);
                let value = format!("{records} {}", group.status.as_str());
                (format!("lag {}", group.group), value)
            })),
        }
        let drift = self.drift.as_ref();
        let drift = drift.map_or_else(|| NONE.to_owned(), |seen| found(&seen.summary));
        rows.push(("drift".to_owned(), drift));
        rows.push(("dead letters".to_owned(), count(self.dead_letters)));
        let oldest = self.oldest_dead_letter_ms;
        let oldest = oldest.map_or_else(|| NONE.to_owned(), span);
        rows.push(("oldest dead letter".to_owned(), oldest));
        rows.into_iter()
            .map(|(figure, value)| Figure { figure, value })
            .collect()
    }

    fn ids(&self) -> Vec<String> {
        vec![if self.ready { "ready" } else { "not_ready" }.to_owned()]
    }
}

impl Watched for Stats {
    fn face(&self) -> String {
        let Self {
            ready,
            checks,
            traffic,
            totals,
            lag,
            drift,
            shedding,
            dead_letters,
            ..
        } = self;
        let lag = lag.as_ref().map(|lag| {
            let each = lag.groups.iter();
            let each = each.map(|one| (one.status, one.figures.lag_records));
            each.collect::<Vec<_>>()
        });
        let checks: Vec<_> = checks.iter().map(|check| check.ok).collect();
        let drift = drift.as_ref().map(|seen| seen.summary);
        let shedding: Vec<_> = shedding.iter().map(|one| (&one.group, one.lag)).collect();
        format!(
            "{ready}{checks:?}{shedding:?}{traffic:?}{totals:?}{lag:?}{drift:?}{dead_letters:?}"
        )
    }
}
