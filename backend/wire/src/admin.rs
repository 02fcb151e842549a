//! The admin listener: what operators see, and API clients never do.

pub mod dlq;
pub mod doctor;
pub mod drift;
pub mod lag;
pub mod limit;
pub mod reconcile;
pub mod stats;

use serde::{Deserialize, Serialize};

use crate::applications::Application;
use crate::ids::AppToken;

/// Answer of `GET /admin/applications`, in order of token: the only list of applications there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationPage {
    /// At most `limit`.
    pub applications: Vec<Application>,
    /// What to give as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after: Option<AppToken>,
}

/// Answer of `GET /readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether requests can be served.
    pub ready: bool,
    /// Each dependency by name.
    pub checks: Vec<Check>,
}

/// One dependency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// `store`, `log`, `counters`, `search`; also `creates` while the log takes no records, and `lag`
    /// while creates are shed for it.
    pub name: String,
    /// Whether it answered in time.
    pub ok: bool,
    /// How long the answer took, in milliseconds.
    pub elapsed_ms: u64,
    /// What it said when it is not well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
