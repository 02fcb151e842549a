//! Extractors: an argument of a handler is proof that the request was well formed.

use std::collections::HashMap;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use bytes::Bytes;
use chat_core::error::Error;
use chat_core::key::StoredKey;
use chat_core::limits;
use chat_core::port::store::{ChatKey, MessageKey};
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::problem::{Code, Problem};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http_body::Body as _;
use http_body_util::{BodyExt as _, Limited};
use serde::de::{DeserializeOwned, IgnoredAny};

use tokio::sync::OwnedSemaphorePermit;

use crate::http::Api;
use crate::http::guard::Place;
use crate::http::problem::Refusal;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The application of the path. A text that is no token names no application.
pub struct App(pub AppToken);

/// The chat of the path.
pub struct InChat(pub ChatKey);

/// The message of the path.
pub struct OneMessage(pub MessageKey);

async fn path(parts: &mut Parts) -> Result<HashMap<String, String>, Refusal> {
    let params = RawPathParams::from_request_parts(parts, &())
        .await
        .map_err(|_| Problem::new(Code::NoSuchPath, "the path is not valid UTF-8"))?;
    Ok(params
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

fn token(path: &HashMap<String, String>) -> Result<AppToken, Refusal> {
    path.get("token")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::UnknownApplication.into())
}

fn chat(path: &HashMap<String, String>) -> Result<ChatKey, Refusal> {
    let token = token(path)?;
    let number = path
        .get("chat")
        .and_then(|text| text.parse::<ChatNumber>().ok());
    match number {
        Some(chat) => Ok(ChatKey { token, chat }),
        None => Err(Error::UnknownChat.into()),
    }
}

impl FromRequestParts<Api> for App {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Refusal> {
        Ok(Self(token(&path(parts).await?)?))
    }
}

impl FromRequestParts<Api> for InChat {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Refusal> {
        Ok(Self(chat(&path(parts).await?)?))
    }
}

impl FromRequestParts<Api> for OneMessage {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Refusal> {
        let path = path(parts).await?;
        let chat = chat(&path)?;
        let number = path
            .get("message")
            .and_then(|text| text.parse::<MessageNumber>().ok())
            .ok_or(Error::UnknownMessage)?;
        Ok(Self(MessageKey { chat, number }))
    }
}

/// Query parameters as a struct; an unknown or unreadable one is refused.
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Query::<T>::try_from_uri(&parts.uri)
            .map(|Query(params)| Self(params))
            .map_err(|rejection| unreadable(&rejection.body_text()).into())
    }
}

/// Names the parameter: axum says which, in front of what is wrong with it.
fn unreadable(said: &str) -> Problem {
    let (_, detail) = said.split_once(": ").unwrap_or(("", said));
    let problem = Problem::new(Code::InvalidParameter, detail)
        .with_hint("see /docs for the parameters of this path");
    let before = detail.split_once(": ").map(|(field, _)| field);
    match field_in_quotes(detail).or(before) {
        Some(field) => problem.with_field(field),
        None => problem,
    }
}

/// A missing, unknown or repeated field is named in the message alone: it has no path of its own.
fn field_in_quotes(message: &str) -> Option<&str> {
    message
        .split('`')
        .nth(1)
        .filter(|_| message.contains(" field `"))
}

/// The headers `Idempotency-Key` and `Prefer`.
pub struct Wishes {
    /// As it was given, checked for length.
    pub key: Option<String>,
    /// How long the client wants to wait for the row (RFC 7240, section 4.3).
    pub wait: Option<Duration>,
}

impl<S: Send + Sync> FromRequestParts<S> for Wishes {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let key = match parts.headers.get("idempotency-key") {
            None => None,
            Some(value) => {
                let key = value.to_str().map_err(|_| {
                    Problem::new(Code::InvalidParameter, "Idempotency-Key is not plain text")
                        .with_field("Idempotency-Key")
                })?;
                limits::idempotency_key(key)?;
                Some(key.to_owned())
            }
        };
        let wait = parts
            .headers
            .get_all("prefer")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split([',', ';']))
            .find_map(wait)
            .map(|seconds| Duration::from_secs(seconds.min(limits::WAIT_SECONDS)));
        Ok(Self { key, wait })
    }
}

/// The seconds of a preference, where it is the one for waiting.
fn wait(preference: &str) -> Option<u64> {
    let (name, value) = preference.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("wait") {
        return None;
    }
    value.trim().trim_matches('"').parse().ok()
}

impl Wishes {
    /// How long to wait for the row, and the right to it; the place among those at work is left to
    /// others meanwhile. `None` also where too many wait: a preference may be passed over.
    pub(crate) fn waiting(&self, place: &Place) -> Option<(Duration, OwnedSemaphorePermit)> {
        let limit = self.wait?;
        Some((limit, place.wait()?))
    }

    /// The key as it is kept: bound to application, path and body.
    #[must_use]
    pub fn stored_key(
        &self,
        token: Option<AppToken>,
        path: &str,
        body: &[u8],
    ) -> Option<StoredKey> {
        let key = self.key.as_deref()?;
        Some(StoredKey::new(token, path, key, body))
    }
}

/// Reads a whole body.
///
/// # Errors
/// Those of [`collect`], and 415 when it is declared as another media type.
pub async fn body(request: Request, media_type: &str, limit: usize) -> Result<Bytes, Refusal> {
    let declared = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = declared.map(|value| value.split(';').next().unwrap_or_default().trim());
    if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case(media_type)) {
        return Err(Problem::new(
            Code::UnsupportedMediaType,
            format!("the body is declared as {}", declared.unwrap_or("nothing")),
        )
        .with_hint(format!("send Content-Type: {media_type}"))
        .into());
    }
    collect(request, limit).await
}

/// Reads a whole body, whatever it is declared as; then the request has its place among those at work.
///
/// # Errors
/// 413 beyond `limit` bytes, 408 when it does not arrive, 503 where there is no place for it.
pub async fn collect(request: Request, limit: usize) -> Result<Bytes, Refusal> {
    let place = request.extensions().get::<Place>().cloned();
    let body = request.into_body();
    let declared = body.size_hint().upper().map(usize::try_from);
    let most = match declared {
        Some(Ok(declared)) => declared.min(limit),
        _ => limit,
    };
    // Held until the body has its place among those at work.
    let _reading = match &place {
        Some(place) => Some(place.reading(most)?),
        None => None,
    };
    let body = arrived(Limited::new(body, limit), limit).await?;
    if let Some(place) = place {
        place.take_with(weight(&body)).await?;
    }
    Ok(body)
}

/// Bytes that a line of a batch becomes longer by on its way to the log: it is given a uid.
const LINE_BYTES: usize = 48;

/// Bytes that a body keeps in memory while it is at work.
fn weight(body: &[u8]) -> usize {
    let lines = body.iter().filter(|byte| **byte == b'\n').count();
    body.len() + lines * LINE_BYTES
}

async fn arrived(body: Limited<Body>, limit: usize) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(BODY_TIMEOUT, body.collect()).await {
        Err(_) => Err(Problem::new(
            Code::RequestTimeout,
            format!("the body took longer than {} s", BODY_TIMEOUT.as_secs()),
        )
        .into()),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Problem::new(
            Code::TooLarge,
            format!("the request is larger than {limit} bytes"),
        )
        .into()),
        Ok(Err(_)) => Err(Problem::new(Code::InvalidJson, "the body was cut off").into()),
    }
}

/// Reads JSON of a known shape; what is wrong with it is named.
///
/// # Errors
/// 400 when it is no JSON, 422 when the shape is wrong.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Box<Problem>> {
    // serde takes a list for a struct, its fields in the order in which they happen to be declared.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Box::new(no_object(bytes)));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        Box::new(match error.classify() {
            serde_json::error::Category::Data => wrong_shape::<T>(bytes),
            _ => Problem::new(Code::InvalidJson, error.to_string()),
        })
    })
}

fn no_object(bytes: &[u8]) -> Problem {
    match serde_json::from_slice::<IgnoredAny>(bytes) {
        Ok(_) => Problem::new(Code::InvalidValue, "the value must be a JSON object"),
        Err(error) => Problem::new(Code::InvalidJson, error.to_string()),
    }
}

/// Reads it once more, slowly, to name the field.
fn wrong_shape<T: DeserializeOwned>(bytes: &[u8]) -> Problem {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut reader) else {
        return Problem::new(Code::InvalidJson, "something follows the JSON value");
    };
    let path = error.path().to_string();
    let message = error.inner().to_string();
    let field = match path.as_str() {
        "." => field_in_quotes(&message),
        path => Some(path),
    };
    let problem = Problem::new(Code::InvalidValue, message.clone());
    match field {
        Some(field) => problem.with_field(field),
        None => problem,
    }
}

/// A JSON request body of a known shape, with the bytes that it was read from.
pub struct Json<T> {
    /// What it says.
    pub value: T,
    /// As it came: an idempotency key is bound to it.
    pub bytes: Bytes,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let bytes = body(request, "application/json", limits::REQUEST_BYTES).await?;
        Ok(Self {
            value: json(&bytes)?,
            bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_wire::messages::NewMessage;

    #[test]
    fn the_field_is_named() {
        let field = |text: &str| json::<NewMessage>(text.as_bytes()).unwrap_err();
        assert_eq!(field("{}").field.as_deref(), Some("body"));
        assert_eq!(field(r#"{"body":1}"#).field.as_deref(), Some("body"));
        assert_eq!(
            field(r#"{"body":"x","colour":1}"#).field.as_deref(),
            Some("colour")
        );
        assert_eq!(
            field(r#"{"body":"x","sent_at":"yesterday"}"#)
                .field
                .as_deref(),
            Some("sent_at")
        );
        assert_eq!(field("[]").status, 422);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_is_408() {
        let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let request = Request::new(axum::body::Body::from_stream(never));
        let refusal = collect(request, 1).await.unwrap_err();
        assert_eq!(refusal.problem().code, Code::RequestTimeout);
    }

    #[test]
    fn preferences_are_read_as_the_rfc_writes_them() {
        for (text, seconds) in [
            ("wait=10", Some(10)),
            (" Wait = \"10\" ", Some(10)),
            ("wait", None),
            ("wait=-1", None),
            ("waiting=10", None),
        ] {
            assert_eq!(wait(text), seconds, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_400() {
        for bytes in [
            &b"{"[..],
            b"",
            b"\xff",
            br#"{"body":"\ud800"}"#,
            b"{\"body\":\"\xff\"}",
        ] {
            assert_eq!(json::<NewMessage>(bytes).unwrap_err().status, 400);
        }
    }
}
