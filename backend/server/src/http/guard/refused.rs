//! Refusals by the head of a request: written down once, sent as often as it takes.
//!
//! Under overload most answers are refusals. What one costs is what creates do not get, so nothing of it
//! is put together for each request but its head.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use chat_wire::problem::{MEDIA_TYPE, Problem};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

use super::Reason;
use crate::http::problem::{RETRY_SECONDS, Refusal};

/// A problem, and its JSON.
#[derive(Debug)]
pub(crate) struct Written {
    problem: Problem,
    status: StatusCode,
    json: Bytes,
}

impl From<Problem> for Written {
    fn from(problem: Problem) -> Self {
        Self {
            status: StatusCode::from_u16(problem.status)
                .expect("every code has a status that exists"),
            json: serde_json::to_vec(&problem)
                .expect("a problem is plain data")
                .into(),
            problem,
        }
    }
}

/// A request that was shed, and why.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    written: Arc<Written>,
    retry_seconds: u64,
    reason: Reason,
}

impl Refused {
    /// To come again after a second.
    pub(crate) fn new(written: &Arc<Written>, reason: Reason) -> Self {
        Self {
            written: Arc::clone(written),
            retry_seconds: RETRY_SECONDS,
            reason,
        }
    }

    /// To come again after so many seconds.
    pub(crate) const fn after(mut self, seconds: u64) -> Self {
        self.retry_seconds = seconds;
        self
    }

    /// Of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        self.written.status
    }

    /// The answer's JSON.
    pub(crate) fn json(&self) -> &[u8] {
        &self.written.json
    }

    /// Seconds until another try is worth it.
    pub(crate) const fn retry_seconds(&self) -> u64 {
        self.retry_seconds
    }

    /// The limit that the request came beyond.
    pub(crate) const fn reason(&self) -> Reason {
        self.reason
    }

    /// The answer.
    pub(crate) fn response(&self) -> Response {
        let mut response = Response::new(Body::from(self.written.json.clone()));
        *response.status_mut() = self.written.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(RETRY_AFTER, HeaderValue::from(self.retry_seconds));
        response
    }
}

/// Where a handler refuses, what it answers is put together like any other problem.
impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self::from(refused.written.problem.clone())
            .after(refused.retry_seconds)
            .shed(refused.reason)
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;
    use chat_wire::problem::Code;
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn both_ways_to_answer_say_the_same() {
        let problem = Problem::new(Code::Overloaded, "too much").with_hint("come again");
        let refused = Refused::new(&Arc::new(problem.into()), Reason::Lag).after(7);
        let (short, long) = (refused.response(), Refusal::from(refused).into_response());
        assert_eq!(short.status(), 503);
        assert_eq!(short.status(), long.status());
        assert_eq!(short.headers(), long.headers());
        assert_eq!(short.headers()[RETRY_AFTER], "7");
        let [short, long] = [short, long].map(|answer| answer.into_body().collect());
        let (short, long) = (short.await.unwrap(), long.await.unwrap());
        assert_eq!(short.to_bytes(), long.to_bytes());
    }
}
