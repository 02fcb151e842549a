//! `chatctl lag`: how far the workers are behind.

use std::time::Duration;

use chat_client::admin::Admin;
use chat_wire::admin::lag::{GroupLag, Lag, PartitionLag, Status};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Serialize;

use crate::commands::watch::{Next, WatchArgs, Watched};
use crate::error::Error;
use crate::exit::Exit;
use crate::output::operations::figures;
use crate::output::table::{Cell, Column, left, right};
use crate::output::text::grouped;
use crate::output::units::{NONE, count, span};
use crate::output::{Document, Record};
use crate::session::Session;
use crate::settings::duration;

/// Show how far the workers are behind, and whether they keep up
///
/// A group is a kind of worker: applications-store, chats-store and messages-store write rows,
/// messages-index makes messages searchable. STATUS is judged over the last minutes: ok, behind
/// (more than usual waits, and it gets less), unknown (it could not be found out, or not for long
/// enough), growing (more comes in than is read), stalled (a worker is there and reads nothing),
/// stopped (no worker is there). In tables 0 is a figure, - means that there is none, ? that it
/// is unknown.
///
/// The exit code is 10 where a group's status is unknown or worse, unless --fail-on says
/// otherwise, or where --max-lag or --max-age is exceeded or cannot be told.
#[derive(Debug, Args)]
pub(crate) struct LagArgs {
    /// Only this group, for example messages-store
    group: Option<String>,
    /// Show a row for each partition
    #[arg(long)]
    partitions: bool,
    #[command(flatten)]
    watch: WatchArgs,
    /// Wait, as long as --timeout says, until the worst status is this one, or until no more than N
    /// records wait with lag=N
    #[arg(long, value_name = "CONDITION", value_parser = Until::parse)]
    until: Option<Until>,
    /// End with exit code 10 where the worst status is this one or a worse one [default: unknown];
    /// given together with --watch it also ends the watching
    #[arg(long, value_name = "STATUS",
        value_parser = PossibleValuesParser::new(["behind", "unknown", "growing", "stalled", "stopped", "never"]))]
    fail_on: Option<String>,
    /// End with exit code 10 where more records than this wait in a group
    #[arg(long, value_name = "RECORDS")]
    max_lag: Option<u64>,
    /// End with exit code 10 where the oldest record that waits in a group is older
    #[arg(long, value_name = "TIME", value_parser = duration)]
    max_age: Option<Duration>,
}

/// What `--until` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Status(Status),
    Lag(u64),
}

impl Until {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(records) = text.strip_prefix("lag=") {
            let records = records.parse().map(Self::Lag);
            return records.map_err(|_| "after lag= comes a whole number".to_owned());
        }
        let status = status(text).map(Self::Status);
        status.ok_or_else(|| {
            let names = Status::ALL.map(Status::as_str).join(", ");
            format!("must be lag=N or one of {names}")
        })
    }

    fn holds(self, lag: &Lag) -> bool {
        match self {
            Self::Status(status) => lag.status == status,
            Self::Lag(most) => {
                let each = lag.groups.iter().map(|group| group.figures.lag_records);
                each.sum::<Option<u64>>().is_some_and(|sum| sum <= most)
            }
        }
    }

    fn name(self) -> String {
        match self {
            Self::Status(status) => status.as_str().to_owned(),
            Self::Lag(most) => format!("down to {} records", grouped(most)),
        }
    }
}

fn status(name: &str) -> Option<Status> {
    Status::ALL.into_iter().find(|one| one.as_str() == name)
}

/// Where well ends.
#[derive(Debug)]
pub(crate) struct Limits {
    /// `None` where no status is bad enough.
    fail_on: Option<Status>,
    max_lag: Option<u64>,
    max_age: Option<Duration>,
}

impl Default for Limits {
    /// What cannot be found out is not well.
    fn default() -> Self {
        Self {
            fail_on: Some(Status::Unknown),
            max_lag: None,
            max_age: None,
        }
    }
}

impl Limits {
    /// What is not well about a group, if anything.
    pub(crate) fn broken(&self, group: &GroupLag) -> Option<String> {
        let name = &group.group;
        let figures = &group.figures;
        if self.fail_on.is_some_and(|worst| group.status >= worst) {
            let reason = match group.reason.as_str() {
                "" => String::new(),
                reason => format!(" ({reason})"),
            };
            return Some(format!("{name} is {}{reason}", group.status.as_str()));
        }
        if let Some(most) = self.max_lag {
            match figures.lag_records {
                None => return Some(format!("nobody knows how far {name} is behind")),
                Some(records) if records > most => {
                    return Some(format!(
                        "{name} is {} records behind, more than {}",
                        grouped(records),
                        grouped(most)
                    ));
                }
                Some(_) => {}
            }
        }
        let most = self.max_age?;
        match figures.oldest_age_ms {
            // Where nothing waits, nothing is old.
            None if figures.lag_records == Some(0) => None,
            None => Some(format!("nobody knows how old is what {name} has not read")),
            Some(age) if u128::from(age) > most.as_millis() => Some(format!(
                "the oldest record that {name} has not read is {} old",
                span(age)
            )),
            Some(_) => None,
        }
    }

    fn judge(&self, lag: &Lag) -> Result<(), Error> {
        let broken: Vec<_> = lag
            .groups
            .iter()
            .filter_map(|one| self.broken(one))
            .collect();
        if broken.is_empty() {
            return Ok(());
        }
        Err(Error::unhealthy(broken.join("; ")).with_hint("`chatctl doctor` looks for the cause"))
    }
}

impl LagArgs {
    pub(crate) async fn run(self, session: &mut Session) -> Result<Exit, Error> {
        let admin = session.admin()?;
        let limits = self.limits();
        let look = async || look(&admin, self.group.as_deref()).await;
        if self.partitions {
            self.show(session, &limits, async || look().await.map(ByPartition))
                .await
        } else {
            self.show(session, &limits, async || look().await.map(ByGroup))
                .await
        }
    }

    async fn show<D: Watched + AsRef<Lag>>(
        &self,
        session: &mut Session,
        limits: &Limits,
        mut look: impl AsyncFnMut() -> Result<D, Error>,
    ) -> Result<Exit, Error> {
        let Some(until) = self.until else {
            if self.watch.watch.is_none() {
                let lag = look().await?;
                session.out.document(&lag)?;
                limits.judge(lag.as_ref())?;
                return Ok(Exit::Ok);
            }
            // Who watches sees what is bad; only who asked for it is stopped by it.
            let asked = self.fail_on.is_some() || self.max_lag.is_some() || self.max_age.is_some();
            let judge = |lag: &D| match asked {
                true => limits.judge(lag.as_ref()).map(|()| Next::Again),
                false => Ok(Next::Again),
            };
            return self.watch.run(session, None, look, judge).await;
        };
        let judge = |lag: &D| {
            Ok(if until.holds(lag.as_ref()) {
                Next::Done
            } else {
                Next::Again
            })
        };
        let name = until.name();
        self.watch.run(session, Some(&name), look, judge).await
    }

    fn limits(&self) -> Limits {
        Limits {
            fail_on: match self.fail_on.as_deref() {
                // The name that is no status is `never`.
                Some(name) => status(name),
                None => Limits::default().fail_on,
            },
            max_lag: self.max_lag,
            max_age: self.max_age,
        }
    }
}

async fn look(admin: &Admin, group: Option<&str>) -> Result<Lag, Error> {
    let mut lag = admin.lag().await?;
    let Some(name) = group else {
        return Ok(lag);
    };
    let names: Vec<_> = lag.groups.iter().map(|one| one.group.clone()).collect();
    lag.groups.retain(|one| one.group == name);
    let Some(found) = lag.groups.first() else {
        let message = format!("there is no group {name:?}");
        let error = Error::new(Exit::NotFound, message);
        return Err(error.with_hint(format!("the groups are {}", names.join(", "))));
    };
    lag.status = found.status;
    Ok(lag)
}

/// A row for each group.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct ByGroup(Lag);

/// A row for each partition.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct ByPartition(Lag);

impl AsRef<Lag> for ByGroup {
    fn as_ref(&self) -> &Lag {
        &self.0
    }
}

impl AsRef<Lag> for ByPartition {
    fn as_ref(&self) -> &Lag {
        &self.0
    }
}

const FIELDS: &[&str] = &["sampled_at", "interval_ms", "status", "groups"];

/// Status and lag of everything; times, ages and rates change by themselves.
fn face(lag: &Lag) -> String {
    let mut text = String::new();
    for group in &lag.groups {
        let (status, figures) = (group.status.as_str(), &group.figures);
        text.push_str(&format!("{} {status} {:?} ", group.group, group.members));
        text.push_str(&format!("{} {:?}\n", group.reason, figures.lag_records));
        for one in &group.partitions {
            let (status, lag) = (one.status.as_str(), one.figures.lag_records);
            text.push_str(&format!("{} {status} {lag:?}\n", one.partition));
        }
    }
    text
}

impl Document for ByGroup {
    const FIELDS: &'static [&'static str] = FIELDS;
    type Row = GroupLag;

    fn head(&self) -> Vec<String> {
        Vec::new()
    }

    fn rows(&self) -> Vec<GroupLag> {
        self.0.groups.clone()
    }

    fn ids(&self) -> Vec<String> {
        vec![self.0.status.as_str().to_owned()]
    }
}

impl Watched for ByGroup {
    fn face(&self) -> String {
        face(&self.0)
    }
}

/// One partition as a group sees it.
#[derive(Debug, Serialize)]
struct PartitionRow {
    group: String,
    topic: String,
    #[serde(flatten)]
    lag: PartitionLag,
}

impl Record for PartitionRow {
    const FIELDS: &'static [&'static str] = &[
        "group",
        "topic",
        "partition",
        "status",
        "start_offset",
        "end_offset",
        "committed_offset",
        "lag_records",
        "oldest_age_ms",
        "in_per_second",
        "out_per_second",
        "drain_seconds",
    ];
    const COLUMNS: &'static [Column] = &[
        left("GROUP"),
        right("PARTITION"),
        left("STATUS"),
        right("COMMITTED"),
        right("END"),
        right("LAG"),
        right("AGE"),
        right("IN/S"),
        right("OUT/S"),
        right("DRAINS IN"),
    ];

    fn cells(&self) -> Vec<Cell> {
        let lag = &self.lag;
        // Nothing is committed before the first record was read; that is no unknown.
        let committed = lag
            .committed_offset
            .map_or_else(|| NONE.to_owned(), grouped);
        let mut cells = vec![
            Cell::text(&self.group),
            Cell::show(lag.partition),
            Cell::show(lag.status.as_str()),
            Cell::show(committed),
            Cell::show(count(lag.end_offset)),
        ];
        cells.extend(figures(&lag.figures));
        cells
    }

    fn id(&self) -> String {
        format!("{}/{}", self.group, self.lag.partition)
    }
}

impl Document for ByPartition {
    const FIELDS: &'static [&'static str] = FIELDS;
    type Row = PartitionRow;

    fn head(&self) -> Vec<String> {
        Vec::new()
    }

    fn rows(&self) -> Vec<PartitionRow> {
        let mut rows = Vec::new();
        for group in &self.0.groups {
            rows.extend(group.partitions.iter().map(|lag| PartitionRow {
                group: group.group.clone(),
                topic: group.topic.clone(),
                lag: lag.clone(),
            }));
        }
        rows
    }

    fn ids(&self) -> Vec<String> {
        vec![self.0.status.as_str().to_owned()]
    }
}

impl Watched for ByPartition {
    fn face(&self) -> String {
        face(&self.0)
    }
}
