//! The doctor: an ordered list of checks, each with a hint that can be run.

use serde::{Deserialize, Serialize};

/// How a check came out. In order of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// Well.
    Ok,
    /// It does not apply here; the detail says why.
    Skipped,
    /// It works, and should be changed.
    Warning,
    /// It does not work, or promises rest on it.
    Failed,
}

impl Finding {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// Answer of `GET /admin/doctor`: what the server can find out about itself and its engines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// In the order in which they should be mended.
    pub checks: Vec<Examined>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examined {
    /// Names it for scripts, for example `redis.eviction`.
    pub id: String,
    /// How it came out.
    pub finding: Finding,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
    /// What was found, in words.
    pub detail: String,
    /// A command that mends it, or says more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
