//! `/admin/dlq`: dead letters, listed, shown, replayed, given up.

use axum::extract::{RawPathParams, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chat_core::error::Error;
use chat_core::letters::{LetterId, Wish};
use chat_wire::admin::dlq::{self, Decision, LetterPage, LetterWithBytes, Order};
use serde::Deserialize;

use crate::http::admin::Admin;
use crate::http::extract::{Json, Params};
use crate::http::problem::Refusal;
use crate::http::serve::{Answer, page_limit};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LetterParams {
    topic: Option<String>,
    state: Option<dlq::State>,
    after: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(admin): State<Admin>,
    Params(params): Params<LetterParams>,
) -> Result<Answer<LetterPage>, Refusal> {
    let wish = Wish {
        topic: params.topic,
        state: params.state,
        after: params.after,
        limit: page_limit(params.limit)?,
    };
    Ok(Answer(admin.backend.letters(&wish).await?))
}

pub(super) async fn show(
    State(admin): State<Admin>,
    path: RawPathParams,
) -> Result<Answer<LetterWithBytes>, Refusal> {
    let id = path
        .iter()
        .find(|(name, _)| *name == "id")
        .and_then(|(_, text)| LetterId::parse(text))
        .ok_or(Error::UnknownLetter)?;
    let opened = admin.backend.letter(id).await?;
    Ok(Answer(LetterWithBytes {
        letter: opened.letter,
        key: String::from_utf8_lossy(&opened.key).into_owned(),
        text: String::from_utf8_lossy(&opened.value).into_owned(),
        base64: STANDARD.encode(&opened.value),
    }))
}

pub(super) async fn replay(
    State(admin): State<Admin>,
    order: Json<Order>,
) -> Result<Answer<Decision>, Refusal> {
    Ok(Answer(admin.backend.replay_letters(&order.value).await?))
}

pub(super) async fn discard(
    State(admin): State<Admin>,
    order: Json<Order>,
) -> Result<Answer<Decision>, Refusal> {
    Ok(Answer(admin.backend.discard_letters(&order.value).await?))
}
