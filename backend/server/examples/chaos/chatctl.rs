//! `chatctl`, as somebody at a terminal or a script runs it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;

use crate::Failure;
use crate::process::Process;

/// The program, and the process that it speaks to.
#[derive(Debug, Clone)]
pub(crate) struct Chatctl {
    program: PathBuf,
    server: String,
    admin: String,
}

/// What it said.
#[derive(Debug)]
pub(crate) struct Said {
    /// Its exit code; `None` where a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
    /// How long it took, its start included.
    pub(crate) took: Duration,
}

impl Said {
    /// The JSON on standard output.
    pub(crate) fn json(&self) -> Result<serde_json::Value, Failure> {
        serde_json::from_str(&self.out)
            .map_err(|error| format!("no JSON from chatctl ({error}): {}", self.err.trim()).into())
    }

    /// The same, where the exit code is 0.
    pub(crate) fn well(self) -> Result<Self, Failure> {
        match self.code {
            Some(0) => Ok(self),
            code => Err(format!("chatctl ended with {code:?}: {}", self.err.trim()).into()),
        }
    }
}

impl Chatctl {
    /// Speaks to this process.
    pub(crate) fn of(program: &Path, process: &Process) -> Self {
        Self {
            program: program.to_owned(),
            server: process.api(),
            admin: process.admin_url(),
        }
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, args: &[&str]) -> Result<Said, Failure> {
        let started = Instant::now();
        let output = Command::new(&self.program)
            .args(args)
            .args(["--server", &self.server, "--admin", &self.admin])
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|error| format!("{} cannot be started: {error}", self.program.display()))?;
        Ok(Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout)?,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: started.elapsed(),
        })
    }
}
