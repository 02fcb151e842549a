//! `chatctl drift`: counters beside highest numbers, rows, counts and documents.

use chat_client::admin::{Admin, DriftQuery};
use chat_wire::admin::drift::{Drift, DriftPage, Summary, Verdict};
use chat_wire::time::Timestamp;
use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::commands::limit::Limit;
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
/// The exit code is 10 where a verdict is unknown or worse, unless --fail-on says otherwise,
/// counted over everything that was compared and not only over the rows that are shown.
#[derive(Debug, Args)]
pub(crate) struct DriftArgs {
    /// Only rows with this verdict
    #[arg(long, value_name = "VERDICT",
        value_parser = PossibleValuesParser::new(Verdict::ALL.map(Verdict::as_str)))]
    verdict: Option<String>,
    /// Show also what is well
    #[arg(long, conflicts_with = "verdict")]
    all: bool,
    /// Most rows to show, or all
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
        let look = async || pages(&admin, query.clone(), limit).await;
        if self.until.is_some() {
            let judge = |page: &DriftPage| {
                let summary = &page.summary;
                let well = summary.drifted() == 0 && summary.unknown == 0;
                Ok(if well { Next::Done } else { Next::Again })
            };
            return self.watch.run(session, Some("ok"), look, judge).await;
        }
        if self.watch.watch.is_some() {
            let asked = self.fail_on.is_some();
            let judge = |page: &DriftPage| match asked {
                true => judge(&page.summary, fail_on).map(|()| Next::Again),
                false => Ok(Next::Again),
            };
            return self.watch.run(session, None, look, judge).await;
        }
        let page = look().await?;
        session.out.document(&page)?;
        if page.next_after.is_some() {
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
            limit: self.limit.page(),
        })
    }
}

/// So many rows, of as many pages as it takes; time and summary are those of the first.
async fn pages(admin: &Admin, query: DriftQuery, mut limit: Limit) -> Result<DriftPage, Error> {
    let mut whole: Option<DriftPage> = None;
    let mut query = query;
    loop {
        query.limit = limit.page();
        let mut page = admin.drift(&query).await?;
        page.rows.retain(|_| limit.take());
        let next = page.next_after.take();
        let whole = match &mut whole {
            None => whole.insert(page),
            Some(whole) => {
                whole.rows.append(&mut page.rows);
                whole
            }
        };
        if next.is_none() || limit.left() == 0 {
            whole.next_after = next;
            return Ok(whole.clone());
        }
        query.after = next;
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

impl Document for DriftPage {
    const FIELDS: &'static [&'static str] = &["compared_at", "summary", "rows", "next_after"];
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

impl Watched for DriftPage {
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
