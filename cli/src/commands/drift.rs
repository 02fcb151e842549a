//! `chatctl drift`: counters beside highest numbers, rows, counts and documents.

use std::cmp::Reverse;

use chat_client::admin::{Admin, DriftQuery};
use chat_wire::admin::drift::{Drift, DriftPage, Summary, Verdict};
use chat_wire::time::Timestamp;
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Serialize;

use crate::commands::limit::{Limit, PAGE_ITEMS_MAX};
use crate::commands::watch::{Next, WatchArgs, Watched};
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Document;
use crate::output::text::grouped;
use crate::session::Session;

/// Compare counters with highest numbers, rows, counts and the index
///
/// Without --app the rows are applications, with it the chats of one, with --chat also one chat;
/// worst first. Only rows that `chatctl reconcile` has something to do for are shown, unless --all
/// or --verdict is given. VERDICT is ok, in_flight (what differs is still in the log, and no
/// drift), unknown (something could not be asked), count_stale, unindexed, holes (numbers without
/// a row), or counter_behind.
///
/// Everything is compared, whatever is shown, and that takes its time where there is much; what the
/// last scheduled comparison found costs nothing and is part of `chatctl stats`. The exit code is
/// 10 where a verdict is unknown or worse, unless --fail-on says otherwise, counted over everything
/// that was compared.
#[derive(Debug, Args)]
pub(crate) struct DriftArgs {
    /// Only rows with this verdict
    #[arg(long, value_name = "VERDICT",
        value_parser = PossibleValuesParser::new(Verdict::ALL.map(Verdict::as_str)))]
    verdict: Option<String>,
    /// Show also what is well
    #[arg(long, conflicts_with = "verdict")]
    all: bool,
    /// Most rows to show, the worst of them, or all; everything is compared in any case
    #[arg(long, value_name = "COUNT", default_value = "50")]
    limit: Limit,
    #[command(flatten)]
    watch: WatchArgs,
    /// Wait, as long as --timeout says, until nothing has drifted and nothing is unknown
    #[arg(long, value_name = "CONDITION", value_parser = PossibleValuesParser::new(["ok"]))]
    until: Option<String>,
    /// End with exit code 10 where a verdict is this one or a worse one; drift is count_stale
    /// [default: unknown]; given together with --watch it also ends the watching
    #[arg(long, value_name = "VERDICT", value_parser = PossibleValuesParser::new(
        ["in_flight", "unknown", "drift", "count_stale", "unindexed", "holes", "counter_behind", "never"]))]
    fail_on: Option<String>,
}

fn verdict(name: &str) -> Option<Verdict> {
    Verdict::ALL.into_iter().find(|one| one.as_str() == name)
}

impl DriftArgs {
    pub(crate) async fn run(self, session: &mut Session) -> Result<Exit, Error> {
        let admin = session.admin()?;
        let query = self.query(session)?;
        let fail_on = match self.fail_on.as_deref() {
            None => Some(Verdict::Unknown),
            Some("drift") => Some(Verdict::CountStale),
            // The name that is no verdict is `never`.
            Some(name) => verdict(name),
        };
        let limit = self.limit;
        let look = async || compare(&admin, query.clone(), limit).await;
        if self.until.is_some() {
            let judge = |page: &Compared| {
                let summary = &page.summary;
                let well = summary.drifted() == 0 && summary.unknown == 0;
                Ok(if well { Next::Done } else { Next::Again })
            };
            return self.watch.run(session, Some("ok"), look, judge).await;
        }
        if self.watch.watch.is_some() {
            let asked = self.fail_on.is_some();
            let judge = |page: &Compared| match asked {
                true => judge(&page.summary, fail_on).map(|()| Next::Again),
                false => Ok(Next::Again),
            };
            return self.watch.run(session, None, look, judge).await;
        }
        let page = look().await?;
        session.out.document(&page)?;
        if page.more {
            session.remark("there are more: give --limit all");
        }
        judge(&page.summary, fail_on)?;
        Ok(Exit::Ok)
    }

    fn query(&self, session: &Session) -> Result<DriftQuery, Error> {
        let scope = session.scope()?;
        let verdict = self.verdict.as_deref().and_then(verdict);
        Ok(DriftQuery {
            token: scope.token,
            chat: scope.chat,
            verdict,
            // One chat was asked for by name: it is shown however it is.
            drifted: !self.all && verdict.is_none() && scope.chat.is_none(),
            after: None,
            limit: PAGE_ITEMS_MAX,
        })
    }
}

/// Everything is compared, page by page, and the worst rows are kept.
async fn compare(admin: &Admin, mut query: DriftQuery, limit: Limit) -> Result<Compared, Error> {
    let most = usize::try_from(limit.left()).unwrap_or(usize::MAX);
    let DriftPage {
        compared_at,
        mut summary,
        mut rows,
        next_after: mut next,
    } = admin.drift(&query).await?;
    let mut more = cut(&mut rows, most);
    while let Some(after) = next {
        query.after = Some(after);
        let mut page = admin.drift(&query).await?;
        summary = sum(&summary, &page.summary);
        rows.append(&mut page.rows);
        more |= cut(&mut rows, most);
        next = page.next_after;
    }
    Ok(Compared {
        compared_at,
        summary,
        rows,
        more,
    })
}

/// Keeps the worst; whether any had to go.
fn cut(rows: &mut Vec<Drift>, most: usize) -> bool {
    rows.sort_by_key(|row| (Reverse(row.verdict), row.token, row.chat));
    let too_many = rows.len() > most;
    rows.truncate(most);
    too_many
}

fn sum(one: &Summary, other: &Summary) -> Summary {
    Summary {
        compared: one.compared + other.compared,
        in_flight: one.in_flight + other.in_flight,
        unknown: one.unknown + other.unknown,
        count_stale: one.count_stale + other.count_stale,
        unindexed: one.unindexed + other.unindexed,
        holes: one.holes + other.holes,
        counter_behind: one.counter_behind + other.counter_behind,
    }
}

fn judge(summary: &Summary, fail_on: Option<Verdict>) -> Result<(), Error> {
    let Some(worst) = fail_on else {
        return Ok(());
    };
    let bad: Vec<_> = counts(summary)
        .into_iter()
        .filter(|(verdict, count)| *verdict >= worst && *count > 0)
        .map(|(verdict, count)| format!("{} {}", grouped(count), verdict.as_str()))
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    let compared = grouped(summary.compared);
    let error = Error::unhealthy(format!("of {compared} compared: {}", bad.join(", ")));
    Err(error.with_hint(if summary.drifted() > 0 {
        "`chatctl reconcile` shows what it would do about it, with --execute it does it"
    } else {
        "`chatctl drift --all` shows all rows, `chatctl doctor` looks for the cause"
    }))
}

/// How many have which verdict, from better to worse.
fn counts(summary: &Summary) -> [(Verdict, u64); 6] {
    [
        (Verdict::InFlight, summary.in_flight),
        (Verdict::Unknown, summary.unknown),
        (Verdict::CountStale, summary.count_stale),
        (Verdict::Unindexed, summary.unindexed),
        (Verdict::Holes, summary.holes),
        (Verdict::CounterBehind, summary.counter_behind),
    ]
}

/// What a comparison found, in one line.
pub(crate) fn found(summary: &Summary) -> String {
    let mut text = format!("{} compared", grouped(summary.compared));
    let mut none = true;
    for (verdict, count) in counts(summary).into_iter().filter(|(_, count)| *count > 0) {
        none = false;
        text.push_str(&format!(", {} {}", grouped(count), verdict.as_str()));
    }
    if none {
        text.push_str(", all ok");
    }
    text
}

/// Everything, as it was compared.
#[derive(Debug, Serialize)]
struct Compared {
    compared_at: Timestamp,
    /// Of everything.
    summary: Summary,
    /// The worst, as many as were wanted.
    rows: Vec<Drift>,
    /// Whether there are more rows of the kind that was wanted.
    more: bool,
}

impl Document for Compared {
    const FIELDS: &'static [&'static str] = &["compared_at", "summary", "rows", "more"];
    type Row = Drift;

    fn head(&self) -> Vec<String> {
        let age = Timestamp::now().millis_since(self.compared_at);
        let age = crate::output::units::span(age);
        vec![format!("{} ({age} ago)", found(&self.summary))]
    }

    fn rows(&self) -> Vec<Drift> {
        self.rows.clone()
    }

    fn ids(&self) -> Vec<String> {
        self.rows.iter().map(crate::output::Record::id).collect()
    }
}

impl Watched for Compared {
    fn face(&self) -> String {
        format!("{:?}{:?}", self.summary, self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_what_is_there() {
        let mut summary = Summary::default();
        summary.add(Verdict::Ok);
        assert_eq!(found(&summary), "1 compared, all ok");
        summary.add(Verdict::InFlight);
        summary.add(Verdict::Holes);
        assert_eq!(found(&summary), "3 compared, 1 in_flight, 1 holes");
        assert!(judge(&summary, Some(Verdict::CounterBehind)).is_ok());
        assert!(judge(&summary, Some(Verdict::Holes)).is_err());
        assert!(judge(&summary, None).is_ok());
    }
}
