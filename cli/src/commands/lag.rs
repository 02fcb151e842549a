//! `chatctl lag`: how far the workers are behind.

mod rows;

use std::time::Duration;

use chat_client::admin::{Admin, LagQuery, LagSort};
use chat_client::error::Error as ClientError;
use chat_wire::admin::lag::{GroupLag, Lag, Status};
use chat_wire::problem::Code;
use clap::Args;
use clap::builder::PossibleValuesParser;

use self::rows::{ByGroup, ByPartition};
use crate::commands::limit::Limit;
use crate::commands::watch::{Next, WatchArgs, Watched};
use crate::error::Error;
use crate::exit::Exit;
use crate::output::text::grouped;
use crate::output::units::span;
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
    /// Show a row for each partition; with a number only so many of each group, those first where
    /// most waits or nobody knows
    #[arg(long, value_name = "COUNT", num_args = 0..=1, require_equals = true,
        default_missing_value = "all")]
    partitions: Option<Limit>,
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
        let query = self.query();
        let look = async || look(&admin, &query).await;
        if self.partitions.is_some() {
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

    /// Partitions are asked for only where they are shown: there may be thousands.
    fn query(&self) -> LagQuery {
        let most = self.partitions.map_or(0, Limit::left);
        let all = most == u64::MAX;
        LagQuery {
            group: self.group.clone(),
            partitions: (!all).then(|| u32::try_from(most).unwrap_or(u32::MAX)),
            sort: match all || most == 0 {
                true => LagSort::Partition,
                false => LagSort::Lag,
            },
        }
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

async fn look(admin: &Admin, query: &LagQuery) -> Result<Lag, Error> {
    let lag = admin.lag_of(query).await;
    let Some(name) = &query.group else {
        return Ok(lag?);
    };
    match lag {
        Err(ClientError::Problem { problem, .. }) if problem.code == Code::InvalidValue => {
            let error = Error::new(Exit::NotFound, format!("there is no group {name:?}"));
            Err(error.with_hint(problem.detail))
        }
        lag => Ok(lag?),
    }
}
