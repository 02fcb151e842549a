//! The one place where errors of the rules become statuses and problem documents.

use std::time::{Duration, Instant};

use axum::response::{IntoResponse, Response};
use chat_core::error::Error;
use chat_core::limits::Broken;
use chat_core::port::store;
use chat_wire::problem::{Code, MEDIA_TYPE, Problem};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use parking_lot::Mutex;

use crate::http::guard::Reason;
use crate::traffic::Shed;

/// Seconds after which another try is worth it, where nothing better is known.
pub const RETRY_SECONDS: u64 = 1;

/// A problem on its way to the client.
#[derive(Debug)]
pub struct Refusal {
    problem: Box<Problem>,
    retry_after: Option<u64>,
    shed: Option<Reason>,
}

impl Refusal {
    /// With a `Retry-After` of so many seconds.
    #[must_use]
    pub const fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Because of this limit.
    #[must_use]
    pub const fn shed(mut self, reason: Reason) -> Self {
        self.shed = Some(reason);
        self
    }

    /// Seconds until another try is worth it, where one is.
    #[must_use]
    pub const fn retry_after(&self) -> Option<u64> {
        self.retry_after
    }

    /// The document.
    #[must_use]
    pub const fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Box::new(problem).into()
    }
}

impl From<Box<Problem>> for Refusal {
    fn from(problem: Box<Problem>) -> Self {
        let retry_after = transient(problem.code).then_some(RETRY_SECONDS);
        Self {
            problem,
            retry_after,
            shed: None,
        }
    }
}

/// Whether the same request may succeed later; such an answer says when.
pub(crate) const fn transient(code: Code) -> bool {
    matches!(
        code,
        Code::KeyInFlight
            | Code::Busy
            | Code::TooManyRequests
            | Code::Unavailable
            | Code::Overloaded
            | Code::Fenced
            | Code::NotAcknowledged
            | Code::Stopping
    )
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.problem.status).expect("every code has a status that exists");
        let body = serde_json::to_vec(&self.problem).expect("a problem is plain data");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        let limited = matches!(self.problem.code, Code::TooManyRequests | Code::Overloaded);
        if status == StatusCode::UNAUTHORIZED {
            // A 401 must name a scheme (RFC 9110, section 15.5.2).
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if limited {
            response.extensions_mut().insert(Shed(self.shed));
        }
        response
    }
}

impl From<Broken> for Refusal {
    fn from(broken: Broken) -> Self {
        let code = if broken.too_large {
            Code::TooLarge
        } else {
            Code::InvalidValue
        };
        Problem::new(code, broken.to_string())
            .with_field(broken.field)
            .into()
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let problem = match &error {
            Error::UnknownApplication => Problem::new(Code::UnknownApplication, error.to_string())
                .with_hint("create an application with POST /applications and use its token"),
            Error::UnknownChat => Problem::new(Code::UnknownChat, error.to_string()).with_hint(
                "create a chat with POST /applications/{token}/chats and use its number",
            ),
            Error::UnknownMessage => Problem::new(Code::UnknownMessage, error.to_string()),
            Error::Gone => Problem::new(
                Code::Gone,
                "the message was deleted, or its number was never used",
            ),
            Error::Invalid(broken) => return (*broken).into(),
            Error::InvalidLine { line, broken } => {
                let refusal = Self::from(*broken);
                return Problem {
                    detail: error.to_string(),
                    ..*refusal.problem
                }
                .with_line(*line)
                .into();
            }
            Error::KeyInFlight => Problem::new(Code::KeyInFlight, error.to_string())
                .with_hint("wait, then send the same request with the same key"),
            Error::KeyReused => Problem::new(Code::KeyReused, error.to_string())
                .with_field("Idempotency-Key")
                .with_hint("use a new key for a new request"),
            Error::Fenced => Problem::new(Code::Fenced, error.to_string()),
            Error::NotAcknowledged => Problem::new(Code::NotAcknowledged, error.to_string())
                .with_hint("send it again with the same Idempotency-Key to get the same number"),
            Error::NotAppended(reason) => Problem::new(
                Code::Unavailable,
                format!("the log cannot take records: {}", cause(reason)),
            )
            .with_hint("nothing was stored: send it again after Retry-After seconds"),
            Error::Busy { .. } => Problem::new(Code::Busy, error.to_string())
                .with_hint("wait for its end, or cancel it with DELETE /admin/reconcile"),
            Error::UnknownLetter => Problem::new(Code::UnknownLetter, error.to_string())
                .with_hint("list the letters with GET /admin/dlq and use one of their ids"),
            Error::Exhausted => Problem::new(Code::InvalidValue, error.to_string())
                .with_hint("create another chat or application"),
            Error::Store(_) | Error::Log(_) | Error::Counters(_) | Error::Search(_) => {
                return engine(&error);
            }
        };
        problem.into()
    }
}

/// Why the log takes no records, in words of ours: an engine's own may name hosts and files.
fn cause(reason: &str) -> &'static str {
    let full = ["disk is full", "No space left", "SQLITE_FULL"];
    let busy = ["too many appends wait"];
    let is_one_of = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if is_one_of(&full) {
        "database or disk is full"
    } else if is_one_of(&busy) {
        "too many of them wait already"
    } else {
        "it does not answer, or refuses them"
    }
}

/// An engine failed: its own words go to the log, not to the client.
fn engine(error: &Error) -> Refusal {
    let (name, retryable) = match error {
        Error::Store(cause) => ("store", cause.retryable()),
        Error::Log(cause) => ("log", cause.retryable()),
        Error::Counters(cause) => ("store of the counters", cause.retryable()),
        Error::Search(cause) => ("search index", cause.retryable()),
        _ => ("backend", false),
    };
    if let Error::Store(store::Error::Corrupt(_)) = error {
        static LAST: Mutex<Option<Instant>> = Mutex::new(None);
        let mut last = LAST.lock();
        // Damage stays, and may be asked for as often as anybody likes.
        if last.is_none_or(|last| last.elapsed() >= Duration::from_secs(1)) {
            *last = Some(Instant::now());
            tracing::error!(%error, "a request met damage");
        }
        let detail = "what is stored there is not what was written, so it is not shown";
        return Problem::new(Code::Damaged, detail)
            .with_hint("the operator finds the damage with `chatd check`")
            .into();
    }
    if retryable {
        tracing::warn!(%error, "a request failed");
        Problem::new(Code::Unavailable, format!("the {name} does not answer")).into()
    } else {
        tracing::error!(%error, "a request failed");
        Problem::new(Code::Internal, format!("the {name} refused the request")).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_has_a_code_of_its_own() {
        let damage = store::Error::Corrupt("the row of a message".into());
        let refusal = Refusal::from(Error::Store(damage));
        assert_eq!(refusal.problem.code, Code::Damaged);
        assert_eq!((refusal.problem.status, refusal.retry_after), (500, None));
    }

    #[test]
    fn an_engine_does_not_speak_to_clients() {
        let secret = store::Error::Unavailable("mysql://user:secret@host".into());
        let refusal = Refusal::from(Error::Store(secret));
        assert_eq!(refusal.problem.status, 503);
        assert_eq!(refusal.retry_after, Some(RETRY_SECONDS));
        assert!(!refusal.problem.detail.contains("secret"));
    }

    #[test]
    fn a_log_that_takes_nothing_is_named_and_says_why() {
        let words = "error returned from database: (code: 13) database or disk is full";
        let refusal = Refusal::from(Error::NotAppended(words.into()));
        assert_eq!(refusal.problem.status, 503);
        assert_eq!(refusal.problem.code, Code::Unavailable);
        assert_eq!(refusal.retry_after, Some(RETRY_SECONDS));
        let detail = "the log cannot take records: database or disk is full";
        assert_eq!(refusal.problem.detail, detail);
        let refusal = Refusal::from(Error::NotAppended("broker secret:9092".into()));
        assert!(!refusal.problem.detail.contains("secret"));
    }

    #[test]
    fn a_line_of_a_batch_keeps_its_code() {
        let broken = Broken {
            field: "body",
            rule: "is too long",
            too_large: true,
        };
        let refusal = Refusal::from(Error::InvalidLine { line: 3, broken });
        assert_eq!(refusal.problem.status, 413);
        assert_eq!(refusal.problem.line, Some(3));
        assert_eq!(refusal.problem.field.as_deref(), Some("body"));
    }
}
