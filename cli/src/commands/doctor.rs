//! `chatctl doctor`: an ordered list of checks, each with what to do about it.

mod bundle;
mod here;
mod redact;
mod there;

use std::path::PathBuf;

use chat_wire::admin::doctor::{Examined, Finding};
use clap::Args;
use serde::Serialize;

use self::here::Reached;
use self::there::Answers;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::text::visible;
use crate::output::{Document, Format, Record};
use crate::session::Session;

/// Look for what is wrong, and say what to do about it
///
/// The checks are in the order in which they should be mended: first what this machine can tell
/// (settings, both addresses, key, versions, clocks), then what the server finds out about itself
/// and its engines, then lag, drift and dead letters. Each that is not ok has a hint, which is a
/// command where one helps.
///
/// The exit code is 10 where a check failed, and with --strict also where one warns.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Take warnings for failures
    #[arg(long)]
    strict: bool,
    /// Write what was found to a new file, as tar.gz, to be passed on: settings, checks, figures and
    /// metrics, without keys, tokens, names and texts
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

/// All checks, and the worst of them.
#[derive(Debug, Serialize)]
struct Report {
    finding: Finding,
    checks: Vec<Examined>,
}

impl Doctor {
    pub(crate) async fn run(self, session: &mut Session) -> Result<Exit, Error> {
        let mut checks = vec![here::settings(&session.settings)];
        let reached = Reached::look(session).await?;
        checks.extend(reached.checks());
        let answers = if reached.admin.is_ok() {
            Answers::ask(session).await?
        } else {
            Answers::none()
        };
        checks.extend(answers.key());
        checks.push(reached.versions(answers.version()));
        checks.push(reached.clocks());
        checks.extend(answers.checks());
        let worst = checks.iter().map(|check| check.finding).max();
        let report = Report {
            finding: worst.unwrap_or(Finding::Ok),
            checks,
        };
        if let Some(path) = &self.bundle {
            bundle::write(path, session, &report.checks, &reached, &answers).await?;
            session.remark(&format!("wrote {}", path.display()));
        }
        if session.out.format() == Format::Table && !session.out.quiet() {
            session.out.raw(report.text().as_bytes())?;
        } else {
            session.out.document(&report)?;
        }
        report.judge(self.strict)
    }
}

impl Report {
    /// A line for each check, and its hint below it: nothing is cut off.
    fn text(&self) -> String {
        let longest = self.checks.iter().map(|check| check.id.len()).max();
        let longest = longest.unwrap_or(0);
        let mut text = String::new();
        for check in &self.checks {
            let (finding, id) = (check.finding.as_str(), visible(&check.id));
            let detail = visible(&check.detail);
            text.push_str(&format!("{finding:<8} {id:<longest$}  {detail}\n"));
            if let Some(hint) = &check.hint {
                let indent = longest + 11;
                text.push_str(&format!("{:indent$}hint: {}\n", "", visible(hint)));
            }
        }
        text
    }

    fn judge(&self, strict: bool) -> Result<Exit, Error> {
        let least = if strict {
            Finding::Warning
        } else {
            Finding::Failed
        };
        let bad = |check: &&Examined| check.finding >= least;
        let bad: Vec<_> = self.checks.iter().filter(bad).collect();
        if bad.is_empty() {
            return Ok(Exit::Ok);
        }
        let names: Vec<_> = bad.iter().map(|check| check.id.as_str()).collect();
        Err(Error::unhealthy(format!("not well: {}", names.join(", "))))
    }
}

impl Document for Report {
    const FIELDS: &'static [&'static str] = &["finding", "checks"];
    type Row = Examined;

    fn head(&self) -> Vec<String> {
        Vec::new()
    }

    fn rows(&self) -> Vec<Examined> {
        self.checks.clone()
    }

    fn ids(&self) -> Vec<String> {
        let bad = |check: &&Examined| check.finding >= Finding::Warning;
        self.checks.iter().filter(bad).map(Record::id).collect()
    }
}

/// A check that took this long.
fn check(id: &str, finding: Finding, elapsed_ms: u64, detail: impl Into<String>) -> Examined {
    Examined {
        id: id.to_owned(),
        finding,
        elapsed_ms,
        detail: detail.into(),
        hint: None,
    }
}

/// The same with what to do about it.
fn with_hint(mut check: Examined, hint: impl Into<String>) -> Examined {
    check.hint = Some(hint.into());
    check
}

/// A call that failed, as a check.
fn failed(id: &str, error: &Error) -> Examined {
    Examined {
        hint: error.hint.clone(),
        ..check(id, Finding::Failed, 0, error.message.clone())
    }
}
