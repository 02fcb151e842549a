//! What the admin listener answers, as checks.

use std::time::Duration;

use chat_client::admin::{Admin, DriftQuery, LetterQuery};
use chat_client::client::Config;
use chat_client::error::Error as ClientError;
use chat_client::retries::Retries;
use chat_wire::admin::dlq::{LetterPage, State};
use chat_wire::admin::doctor::{Diagnosis, Examined, Finding};
use chat_wire::admin::drift::{DriftPage, Verdict};
use chat_wire::admin::lag::{GroupLag, Lag, Status};
use chat_wire::admin::reconcile::Runs;
use chat_wire::admin::stats::Stats;

use super::{check, failed, with_hint};
use crate::commands::drift::found;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::text::grouped;
use crate::output::units::{count, span};
use crate::session::Session;

/// Longest wait for one of the answers: the server gives its engines three seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Dead letters that are looked at.
const LETTERS: u32 = 100;

/// What was asked, and was answered or not; `None` where it was not asked.
pub(super) struct Answers {
    pub(super) diagnosis: Option<Result<Diagnosis, Error>>,
    pub(super) stats: Option<Result<Stats, Error>>,
    pub(super) lag: Option<Result<Lag, Error>>,
    pub(super) drift: Option<Result<DriftPage, Error>>,
    pub(super) letters: Option<Result<LetterPage, Error>>,
    pub(super) runs: Option<Result<Runs, Error>>,
    pub(super) metrics: Option<Result<String, Error>>,
}

impl Answers {
    /// Nothing, because nobody answers.
    pub(super) const fn none() -> Self {
        Self {
            diagnosis: None,
            stats: None,
            lag: None,
            drift: None,
            letters: None,
            runs: None,
            metrics: None,
        }
    }

    /// Asks everything at once.
    pub(super) async fn ask(session: &Session) -> Result<Self, Error> {
        let mut config = session.client_config(&session.settings.admin);
        config.bearer.clone_from(&session.settings.admin_key);
        let admin = Admin::new(Config {
            timeout: config.timeout.min(ANSWER_TIMEOUT),
            retries: Retries {
                most: 0,
                ..config.retries
            },
            ..config
        })?;
        let drift = DriftQuery {
            drifted: true,
            limit: 1,
            ..DriftQuery::default()
        };
        let letters = LetterQuery {
            state: Some(State::Waiting),
            limit: LETTERS,
            ..LetterQuery::default()
        };
        let (diagnosis, stats, lag, drift, letters, runs, metrics) = tokio::join!(
            admin.doctor(),
            admin.stats(),
            admin.lag(),
            admin.drift(&drift),
            admin.letters(&letters),
            admin.runs(),
            admin.metrics(),
        );
        Ok(Self {
            diagnosis: asked(diagnosis),
            stats: asked(stats),
            lag: asked(lag),
            drift: asked(drift),
            letters: asked(letters),
            runs: asked(runs),
            metrics: asked(metrics),
        })
    }

    /// What the admin listener says its version is.
    pub(super) fn version(&self) -> Option<&str> {
        let stats = self.stats.as_ref()?.as_ref().ok()?;
        Some(&stats.version)
    }

    /// Whether the key is the right one; nothing where nobody could be asked.
    pub(super) fn key(&self) -> Option<Examined> {
        let id = "admin.key";
        match self.stats.as_ref()? {
            Ok(_) => Some(check(id, Finding::Ok, 0, "the admin listener answers us")),
            Err(error) if error.exit == Exit::Auth => Some(failed(id, error)),
            // It says nothing about the key.
            Err(_) => None,
        }
    }

    /// Everything that the server knows, in the order in which it should be mended.
    pub(super) fn checks(&self) -> Vec<Examined> {
        let mut checks = Vec::new();
        match &self.diagnosis {
            Some(Ok(diagnosis)) => checks.extend(diagnosis.checks.iter().cloned()),
            other => checks.push(unanswered("server", other.as_ref())),
        }
        checks.push(judged("server.ready", self.stats.as_ref(), ready));
        match &self.lag {
            Some(Ok(lag)) => checks.extend(lag.groups.iter().map(behind)),
            other => checks.push(unanswered("lag", other.as_ref())),
        }
        checks.push(judged("drift", self.drift.as_ref(), drifted));
        checks.push(judged("dead_letters", self.letters.as_ref(), waiting));
        checks
    }
}

fn asked<T>(answer: Result<T, ClientError>) -> Option<Result<T, Error>> {
    Some(answer.map_err(Error::from))
}

fn judged<T>(
    id: &str,
    answer: Option<&Result<T, Error>>,
    judge: impl FnOnce(&T) -> Examined,
) -> Examined {
    match answer {
        Some(Ok(answer)) => judge(answer),
        other => unanswered(id, other),
    }
}

/// A question without an answer. One of the key is told once, by `admin.key`.
fn unanswered<T>(id: &str, answer: Option<&Result<T, Error>>) -> Examined {
    match answer {
        Some(Err(error)) if error.exit != Exit::Auth => failed(id, error),
        Some(Err(_)) => check(id, Finding::Skipped, 0, "the admin key is refused"),
        _ => check(
            id,
            Finding::Skipped,
            0,
            "the admin listener does not answer",
        ),
    }
}

fn ready(stats: &Stats) -> Examined {
    let id = "server.ready";
    let bad: Vec<_> = stats
        .checks
        .iter()
        .filter(|check| !check.ok)
        .map(|check| {
            format!(
                "{} ({})",
                check.name,
                check.detail.as_deref().unwrap_or("no answer")
            )
        })
        .collect();
    let bad = bad.join(", ");
    let hint = "see the checks above, and the log of chatd";
    match (stats.ready, bad.as_str()) {
        (true, "") => {
            let up = span(stats.uptime_seconds.saturating_mul(1_000));
            let detail = format!("{} {}, up {up}", stats.mode, stats.role);
            check(id, Finding::Ok, 0, detail)
        }
        (true, bad) => {
            let detail = format!("requests are served, but not all is well: {bad}");
            with_hint(check(id, Finding::Warning, 0, detail), hint)
        }
        (false, bad) => {
            let detail = format!("requests cannot be served: {bad}");
            with_hint(check(id, Finding::Failed, 0, detail), hint)
        }
    }
}

fn behind(group: &GroupLag) -> Examined {
    let id = format!("lag.{}", group.group);
    let records = count(group.figures.lag_records);
    let mut detail = format!("{}, {records} records behind", group.status.as_str());
    if !group.reason.is_empty() {
        detail.push_str(&format!(": {}", group.reason));
    }
    let (finding, hint) = match group.status {
        Status::Ok => (Finding::Ok, None),
        Status::Behind | Status::Unknown => (
            Finding::Warning,
            Some(format!("chatctl lag {} --watch", group.group)),
        ),
        Status::Growing => (
            Finding::Warning,
            Some(format!("start another worker: {}", start(&group.group))),
        ),
        Status::Stalled => (
            Finding::Failed,
            Some(format!(
                "see the log of the worker, and start it again: {}",
                start(&group.group)
            )),
        ),
        Status::Stopped => (Finding::Failed, Some(start(&group.group))),
    };
    Examined {
        hint,
        ..check(&id, finding, 0, detail)
    }
}

/// The command that starts the worker of a group.
fn start(group: &str) -> String {
    let worker = match group {
        "messages-index" => "search",
        other => other.strip_suffix("-store").unwrap_or(other),
    };
    format!("chatd worker {worker}")
}

fn drifted(page: &DriftPage) -> Examined {
    let id = "drift";
    let summary = &page.summary;
    let mut detail = found(summary);
    if page.next_after.is_some() {
        detail.push_str("; that is not all: `chatctl drift` compares everything");
    }
    if summary.drifted() > 0 {
        let finding = if summary.counter_behind > 0 {
            Finding::Failed
        } else {
            Finding::Warning
        };
        return with_hint(check(id, finding, 0, detail), "chatctl reconcile --execute");
    }
    if summary.unknown > 0 {
        let hint = format!("chatctl drift --verdict {}", Verdict::Unknown.as_str());
        return with_hint(check(id, Finding::Warning, 0, detail), hint);
    }
    check(id, Finding::Ok, 0, detail)
}

fn waiting(page: &LetterPage) -> Examined {
    let id = "dead_letters";
    if page.waiting == 0 {
        return check(id, Finding::Ok, 0, "none waits");
    }
    let detail = format!("{} wait for a decision", grouped(page.waiting));
    with_hint(check(id, Finding::Warning, 0, detail), "chatctl dlq ls")
}
