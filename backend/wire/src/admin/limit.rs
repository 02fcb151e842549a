//! The limit of one application: how fast it may create.

use serde::{Deserialize, Serialize};

/// Body of `PUT /admin/applications/{token}/limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRateLimit {
    /// Messages a second, in each API process; 0 for no limit.
    pub rate_limit: u32,
}

/// Answer of every call to `/admin/applications/{token}/limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Messages a second, in each API process; 0 for no limit.
    pub rate_limit: u32,
    /// Who says so.
    pub source: Source,
}

/// Where a limit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// `CHATD_RATE_LIMIT` of the process that answers.
    Default,
    /// It was set for this application.
    Application,
}
