//! `/applications/{token}/chats/{chat}/messages`.

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use chat_core::applications::Read;
use chat_core::error::Error;
use chat_core::limits::{self, Broken};
use chat_core::messages::{BatchRange, Cursor};
use chat_core::port::store::{ChatKey, MessageKey};
use chat_wire::ids::MessageNumber;
use chat_wire::messages::{BatchCreated, EditMessage, MessageCreated, MessagePage, NewMessage};
use chat_wire::problem::{Code, Problem};
use http::header::{ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use crate::http::Api;
use crate::http::extract::{self, InChat, Json, OneMessage, Params, Wishes};
use crate::http::guard::Place;
use crate::http::problem::Refusal;
use crate::http::serve::{Answer, accepted, page_limit, pending};
use crate::traffic::Created;

pub(super) async fn create(
    State(api): State<Api>,
    InChat(chat): InChat,
    place: Place,
    wishes: Wishes,
    body: Json<NewMessage>,
) -> Result<Response, Refusal> {
    let scope = Scope {
        chat,
        path: "messages",
        bytes: body.bytes,
    };
    let (status, range) = create_all(&api, &place, &wishes, scope, vec![body.value]).await?;
    let location = format!("{}/{}", messages_of(chat), range.first);
    let created = MessageCreated {
        message_number: range.first,
    };
    Ok(counted(accepted(status, &location, &created), &wishes, 1))
}

/// Says in passing how many messages were created.
fn counted(mut response: Response, wishes: &Wishes, messages: u32) -> Response {
    response.extensions_mut().insert(Created {
        messages: messages.into(),
        waited: wishes.wait.is_some(),
    });
    response
}

pub(super) async fn create_batch(
    State(api): State<Api>,
    InChat(chat): InChat,
    place: Place,
    wishes: Wishes,
    request: Request,
) -> Result<Response, Refusal> {
    let bytes = extract::body(request, "application/x-ndjson", limits::BATCH_BYTES).await?;
    let messages = lines(&bytes)?;
    place.charge(messages.len().saturating_sub(1));
    let scope = Scope {
        chat,
        path: "batch",
        bytes,
    };
    let (status, range) = create_all(&api, &place, &wishes, scope, messages).await?;
    let location = format!(
        "{}?after={}&limit={}",
        messages_of(chat),
        range.first.get() - 1,
        range.last.get() - range.first.get() + 1
    );
    let messages = range.last.get() - range.first.get() + 1;
    let response = accepted(status, &location, &BatchCreated::from(range));
    Ok(counted(response, &wishes, messages))
}

/// Where messages are created, and what an idempotency key is bound to there.
struct Scope {
    chat: ChatKey,
    /// `messages` or `batch`.
    path: &'static str,
    /// The body as it came.
    bytes: Bytes,
}

async fn create_all(
    api: &Api,
    place: &Place,
    wishes: &Wishes,
    Scope { chat, path, bytes }: Scope,
    messages: Vec<NewMessage>,
) -> Result<(StatusCode, BatchRange), Refusal> {
    let scope = format!("{}/{path}", chat.chat);
    let key = wishes.stored_key(Some(chat.token), &scope, &bytes);
    drop(bytes);
    let single = messages.len() == 1;
    let backend = api.backend.holding(place.held());
    let created = backend.create_messages(chat, messages, key).await;
    let created = created.map_err(|error| match error {
        // The rules do not know a batch of one line from a single message.
        Error::Invalid(broken) if single && path == "batch" => {
            Error::InvalidLine { line: 1, broken }
        }
        other => other,
    })?;
    let Some((limit, _waiting)) = wishes.waiting(place) else {
        return Ok((StatusCode::ACCEPTED, created.range));
    };
    Ok(
        match api.backend.wait_messages(chat, created, limit).await? {
            Some(range) => (StatusCode::CREATED, range),
            None => (StatusCode::ACCEPTED, created.range),
        },
    )
}

fn lines(bytes: &[u8]) -> Result<Vec<NewMessage>, Refusal> {
    let mut messages = Vec::new();
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        if messages.len() == limits::BATCH_LINES {
            return Err(Broken {
                field: "batch",
                rule: "must have at most 1000 lines",
                too_large: true,
            }
            .into());
        }
        let message = extract::json(line).map_err(|problem| {
            let detail = format!("line {number}: {}", problem.detail);
            Problem { detail, ..*problem }.with_line(number)
        })?;
        messages.push(message);
    }
    Ok(messages)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    after: Option<u32>,
    before: Option<u32>,
    around: Option<u32>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(api): State<Api>,
    InChat(chat): InChat,
    Params(params): Params<ListParams>,
) -> Result<Answer<MessagePage>, Refusal> {
    let cursor = match (params.after, params.before, params.around) {
        (None, None, None) => Cursor::After(0),
        (Some(after), None, None) => Cursor::After(after),
        (None, Some(before), None) => Cursor::Before(before),
        (None, None, Some(around)) => Cursor::Around(around),
        _ => {
            return Err(Problem::new(
                Code::InvalidParameter,
                "at most one of after, before and around can be given",
            )
            .into());
        }
    };
    let limit = page_limit(params.limit)?;
    Ok(Answer(api.backend.messages(chat, cursor, limit).await?))
}

pub(super) async fn get(
    State(api): State<Api>,
    OneMessage(key): OneMessage,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let message = match api.backend.message(key).await? {
        Read::Stored(message) => message,
        Read::Pending => return Ok(pending()),
    };
    let etag = format!("\"{}\"", message.revision);
    let known = headers
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    let mut response = if known.is_some_and(|known| names(known, &etag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Answer(message).into_response()
    };
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(ETAG, etag);
    }
    Ok(response)
}

/// Whether `If-None-Match` names this tag, compared weakly (RFC 9110, section 13.1.2): proxies weaken
/// the tag of what they compress.
fn names(known: &str, etag: &str) -> bool {
    known
        .split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

pub(super) async fn edit(
    State(api): State<Api>,
    OneMessage(key): OneMessage,
    place: Place,
    body: Json<EditMessage>,
) -> Result<Response, Refusal> {
    let backend = api.backend.holding(place.held());
    backend.edit_message(key, body.value.body).await?;
    Ok(changed(key))
}

pub(super) async fn delete(
    State(api): State<Api>,
    OneMessage(key): OneMessage,
    place: Place,
) -> Result<Response, Refusal> {
    let backend = api.backend.holding(place.held());
    backend.delete_message(key).await?;
    Ok(changed(key))
}

fn changed(key: MessageKey) -> Response {
    let message_number: MessageNumber = key.number;
    let location = format!("{}/{message_number}", messages_of(key.chat));
    accepted(
        StatusCode::ACCEPTED,
        &location,
        &MessageCreated { message_number },
    )
}

fn messages_of(chat: ChatKey) -> String {
    format!(
        "/applications/{}/chats/{}/messages",
        chat.token.reveal(),
        chat.chat
    )
}
