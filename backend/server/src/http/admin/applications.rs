//! `/admin/applications`: the only list of applications, as a token is a credential.

use axum::extract::State;
use chat_core::limits::Broken;
use chat_wire::admin::ApplicationPage;
use chat_wire::ids::AppToken;
use serde::Deserialize;

use crate::http::admin::Admin;
use crate::http::extract::Params;
use crate::http::problem::Refusal;
use crate::http::serve::{Answer, page_limit};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    after: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(admin): State<Admin>,
    Params(params): Params<ListParams>,
) -> Result<Answer<ApplicationPage>, Refusal> {
    let limit = page_limit(params.limit)?;
    let after: Option<AppToken> = match params.after {
        Some(text) => Some(
            text.parse()
                .map_err(|_| Broken::new("after", "must be a token of an earlier page"))?,
        ),
        None => None,
    };
    let mut applications = admin.backend.applications(after, limit + 1).await?;
    let more = applications.len() > limit as usize;
    applications.truncate(limit as usize);
    let next_after = applications.last().filter(|_| more).map(|last| last.token);
    Ok(Answer(ApplicationPage {
        applications,
        next_after,
    }))
}
