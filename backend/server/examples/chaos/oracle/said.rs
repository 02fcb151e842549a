//! What the system says of itself when something was lost.

use std::collections::HashSet;

use chat_wire::admin::doctor::Finding;
use chat_wire::admin::lag::Status;

use crate::Failure;
use crate::check::Verdict;
use crate::system::System;

/// What the system says of itself: lines of the error level, and what doctor and lag find.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) errors: Vec<String>,
    pub(crate) findings: Vec<String>,
}

/// What was said before anything happened.
#[derive(Debug)]
pub(crate) struct Before {
    /// Bytes of each log.
    behind: Vec<usize>,
    findings: HashSet<String>,
}

impl Before {
    /// The same findings, and the logs as they are now.
    pub(crate) fn behind_now(self, system: &System) -> Result<Self, Failure> {
        Ok(Self {
            behind: sizes(system)?,
            ..self
        })
    }

    /// Bytes of the log of one process.
    pub(crate) fn behind(&self, process: usize) -> usize {
        self.behind.get(process).copied().unwrap_or(0)
    }
}

/// Bytes of every log.
fn sizes(system: &System) -> Result<Vec<usize>, Failure> {
    let processes = system.processes.iter();
    processes.map(|process| Ok(process.log()?.len())).collect()
}

impl Said {
    /// What is already said: of a machine, or of settings that a test has.
    pub(crate) async fn before(system: &System) -> Result<Before, Failure> {
        let findings = findings(system).await?;
        Ok(Before {
            behind: sizes(system)?,
            findings: findings.into_iter().map(|(id, _)| id).collect(),
        })
    }

    /// What is said since then.
    pub(crate) async fn since(system: &System, before: &Before) -> Result<Self, Failure> {
        let mut said = Self::default();
        for (process, behind) in system.processes.iter().zip(&before.behind) {
            said.errors.extend(errors(&process.log()?, *behind));
        }
        for (id, text) in findings(system).await? {
            if !before.findings.contains(&id) {
                said.findings.push(format!("{id}: {text}"));
            }
        }
        Ok(said)
    }

    /// Something was lost, so both must say so.
    pub(crate) fn must_report(&self, name: &str, lost: usize, verdict: &mut Verdict) {
        verdict.must(
            "no loss without an error in the log",
            !self.errors.is_empty(),
            || {
                format!(
                    "{name}: {lost} acknowledged messages are gone, and no process logs an error"
                )
            },
        );
        verdict.must(
            "no loss that doctor and lag deny",
            !self.findings.is_empty(),
            || {
                format!(
                    "{name}: {lost} acknowledged messages are gone, and doctor and lag find nothing"
                )
            },
        );
    }
}

/// What doctor and lag find, each with its name.
async fn findings(system: &System) -> Result<Vec<(String, String)>, Failure> {
    let admin = system.admin()?;
    let checks = admin.doctor().await?.checks;
    // The room on the disk is the machine's own.
    let bad = checks
        .into_iter()
        .filter(|one| one.finding >= Finding::Warning && !one.id.starts_with("disk"));
    let mut found: Vec<_> = bad.map(|one| (one.id, one.detail)).collect();
    let groups = admin.lag().await?.groups.into_iter();
    let groups = groups.filter(|group| group.status >= Status::Growing);
    found.extend(groups.map(|group| (group.group, group.reason)));
    Ok(found)
}

/// Lines of the error level behind so many bytes of a log.
pub(crate) fn errors(log: &str, behind: usize) -> impl Iterator<Item = String> {
    let lines = log.get(behind..).unwrap_or_default().lines();
    lines
        .filter(|line| line.contains("ERROR"))
        .map(str::to_owned)
}
