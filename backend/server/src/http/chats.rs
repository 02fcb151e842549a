//! `/applications/{token}/chats`.

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use chat_core::applications::Read;
use chat_core::limits;
use chat_core::port::store::ChatKey;
use chat_wire::chats::{ChatCreated, ChatPage};
use http::StatusCode;
use serde::Deserialize;

use crate::http::Api;
use crate::http::extract::{App, InChat, Params, Wishes, collect};
use crate::http::guard::Place;
use crate::http::problem::Refusal;
use crate::http::serve::{Answer, accepted, page_limit, pending};

pub(super) async fn create(
    State(api): State<Api>,
    App(token): App,
    place: Place,
    wishes: Wishes,
    request: Request,
) -> Result<Response, Refusal> {
    // A chat has no properties: whatever body came is only bound to the key.
    let body = collect(request, limits::REQUEST_BYTES).await?;
    let key = wishes.stored_key(Some(token), "chats", &body);
    let backend = api.backend.holding(place.held());
    let chat_number = backend.create_chat(token, key).await?;
    let chat = ChatKey {
        token,
        chat: chat_number,
    };
    let status = match wishes.waiting(&place) {
        Some((limit, _waiting)) if api.backend.wait_chat(chat, limit).await? => StatusCode::CREATED,
        _ => StatusCode::ACCEPTED,
    };
    let location = format!("/applications/{}/chats/{chat_number}", token.reveal());
    Ok(accepted(status, &location, &ChatCreated { chat_number }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    after: Option<u32>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(api): State<Api>,
    App(token): App,
    Params(params): Params<ListParams>,
) -> Result<Answer<ChatPage>, Refusal> {
    let limit = page_limit(params.limit)?;
    let after = params.after.unwrap_or(0);
    Ok(Answer(api.backend.chats(token, after, limit).await?))
}

pub(super) async fn get(State(api): State<Api>, InChat(chat): InChat) -> Result<Response, Refusal> {
    Ok(match api.backend.chat(chat).await? {
        Read::Stored(chat) => Answer(chat).into_response(),
        Read::Pending => pending(),
    })
}
