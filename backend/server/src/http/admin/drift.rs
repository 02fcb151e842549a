//! `/admin/drift`: counters beside rows, counts, log and index.

use axum::extract::State;
use chat_core::error::Error;
use chat_core::limits::Broken;
use chat_core::reconcile::Wish;
use chat_wire::admin::drift::{DriftPage, Verdict};
use chat_wire::ids::ChatNumber;
use serde::Deserialize;

use crate::http::admin::Admin;
use crate::http::extract::Params;
use crate::http::problem::Refusal;
use crate::http::serve::{Answer, page_limit};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DriftParams {
    token: Option<String>,
    chat: Option<u32>,
    verdict: Option<Verdict>,
    drifted: Option<bool>,
    after: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn show(
    State(admin): State<Admin>,
    Params(params): Params<DriftParams>,
) -> Result<Answer<DriftPage>, Refusal> {
    // A text that is no token names no application.
    let token = match params.token {
        Some(text) => Some(text.parse().map_err(|_| Error::UnknownApplication)?),
        None => None,
    };
    let chat = match params.chat {
        Some(number) => {
            Some(ChatNumber::new(number).ok_or_else(|| Broken::new("chat", "must be 1 or more"))?)
        }
        None => None,
    };
    let wish = Wish {
        token,
        chat,
        verdict: params.verdict,
        drifted: params.drifted.unwrap_or(false),
        after: params.after,
        limit: page_limit(params.limit)?,
    };
    Ok(Answer(admin.backend.drift(&wish).await?))
}
