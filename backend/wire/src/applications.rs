//! Applications: the tenants, each known by its token.

use serde::{Deserialize, Serialize};

use crate::ids::AppToken;
use crate::time::Timestamp;

/// Body of `POST /applications` and `PUT /applications/{token}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewApplication {
    /// 1 to 255 code points, kept byte for byte.
    pub name: String,
}

/// Answer of `POST /applications`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationCreated {
    /// The credential of the new application; it is shown in no list but the operator's.
    pub token: AppToken,
}

/// Answer of `GET /applications/{token}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// The credential that was asked with.
    pub token: AppToken,
    /// As it was given.
    pub name: String,
    /// Chats whose rows are stored.
    pub chats_count: u32,
    /// When the create was accepted.
    pub created_at: Timestamp,
    /// When the last rename was accepted, or the create.
    pub updated_at: Timestamp,
}
