//! `…/messages/search` and `/search`.

use axum::extract::State;
use chat_core::error::Error;
use chat_core::limits::Broken;
use chat_core::search::Request;
use chat_wire::search::{SearchPage, Sort};
use serde::Deserialize;

use crate::http::Api;
use crate::http::extract::{InChat, Params};
use crate::http::problem::Refusal;
use crate::http::serve::{Answer, page_limit};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InChatParams {
    q: String,
    limit: Option<u32>,
    cursor: Option<String>,
    #[serde(default)]
    sort: Sort,
}

pub(super) async fn in_chat(
    State(api): State<Api>,
    InChat(chat): InChat,
    Params(params): Params<InChatParams>,
) -> Result<Answer<SearchPage>, Refusal> {
    let request = Request {
        token: chat.token,
        chat: Some(chat.chat),
        text: params.q,
        sort: params.sort,
        cursor: params.cursor,
        limit: page_limit(params.limit)?,
    };
    Ok(Answer(api.backend.search(request).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnywhereParams {
    application_token: String,
    chat_number: Option<String>,
    body: String,
    limit: Option<u32>,
    cursor: Option<String>,
    #[serde(default)]
    sort: Sort,
}

pub(super) async fn anywhere(
    State(api): State<Api>,
    Params(params): Params<AnywhereParams>,
) -> Result<Answer<SearchPage>, Refusal> {
    let token = params
        .application_token
        .parse()
        .map_err(|_| Error::UnknownApplication)?;
    let chat = match params.chat_number {
        Some(text) => Some(text.parse().map_err(|_| Error::UnknownChat)?),
        None => None,
    };
    let request = Request {
        token,
        chat,
        text: params.body,
        sort: params.sort,
        cursor: params.cursor,
        limit: page_limit(params.limit)?,
    };
    let page = api.backend.search(request).await;
    Ok(Answer(page.map_err(|error| match error {
        // What is `q` elsewhere has another name here.
        Error::Invalid(broken) if broken.field == "q" => Error::Invalid(Broken {
            field: "body",
            ..broken
        }),
        other => other,
    })?))
}
