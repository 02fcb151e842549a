//! `/admin/applications/{token}/limit`: how fast one application may create.

use axum::extract::{FromRequestParts, RawPathParams, State};
use chat_core::error::Error;
use chat_wire::admin::limit::{NewRateLimit, RateLimit, Source};
use chat_wire::ids::AppToken;
use http::request::Parts;

use crate::http::admin::Admin;
use crate::http::extract::Json;
use crate::http::problem::Refusal;
use crate::http::serve::Answer;

/// The application of the path.
pub(super) struct Of(AppToken);

impl FromRequestParts<Admin> for Of {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Refusal> {
        let params = RawPathParams::from_request_parts(parts, admin).await;
        let params = params.map_err(|_| Error::UnknownApplication)?;
        let token = params.iter().find(|(name, _)| *name == "token");
        let token = token.and_then(|(_, text)| text.parse().ok());
        Ok(Self(token.ok_or(Error::UnknownApplication)?))
    }
}

pub(super) async fn show(
    State(admin): State<Admin>,
    Of(token): Of,
) -> Result<Answer<RateLimit>, Refusal> {
    Ok(Answer(match admin.backend.rate(token).await? {
        Some(rate) => told(rate, Source::Application),
        None => told(admin.default_rate, Source::Default),
    }))
}

pub(super) async fn set(
    State(admin): State<Admin>,
    Of(token): Of,
    body: Json<NewRateLimit>,
) -> Result<Answer<RateLimit>, Refusal> {
    let rate = body.value.rate_limit;
    admin.backend.set_rate(token, Some(rate)).await?;
    Ok(Answer(told(rate, Source::Application)))
}

pub(super) async fn take_back(
    State(admin): State<Admin>,
    Of(token): Of,
) -> Result<Answer<RateLimit>, Refusal> {
    admin.backend.set_rate(token, None).await?;
    Ok(Answer(told(admin.default_rate, Source::Default)))
}

const fn told(rate_limit: u32, source: Source) -> RateLimit {
    RateLimit { rate_limit, source }
}
