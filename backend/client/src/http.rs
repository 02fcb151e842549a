//! One call: its attempts, its deadline, and what its answer means.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat_wire::ids::AppToken;
use chat_wire::problem::{Code, Problem};
use chat_wire::time::Timestamp;
use reqwest::header::{self, HeaderMap};
use reqwest::{Method, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::client::{Config, Create, Created, Read};
use crate::error::Error;
use crate::key::IdempotencyKey;
use crate::observer::{Event, Observer};
use crate::retries::Retries;

pub(crate) const JSON: &str = "application/json";
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// Longest part of a foreign error page that is worth showing, in bytes.
const DETAIL_BYTES: usize = 200;
/// First pause between two looks at something that is not stored yet; it doubles up to [`POLL_MAX`].
const POLL_MIN: Duration = Duration::from_millis(10);
/// Rows are stored within milliseconds, so the server's whole seconds are only the ceiling.
const POLL_MAX: Duration = Duration::from_secs(1);

/// Connections to one server.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    base: Arc<Url>,
    bearer: Option<Arc<str>>,
    pub(crate) timeout: Duration,
    pub(crate) retries: Retries,
    pub(crate) observer: Observer,
}

/// One request, before it is sent.
#[derive(Debug)]
pub(crate) struct Call {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<(&'static str, Bytes)>,
    key: Option<IdempotencyKey>,
    wait: Option<Duration>,
}

/// A 2xx.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    /// The server's clock, in whole seconds.
    pub(crate) date: Option<Timestamp>,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn new(method: Method, path: String) -> Self {
        Self {
            method,
            path,
            query: Vec::new(),
            body: None,
            key: None,
            wait: None,
        }
    }

    pub(crate) fn get(path: String) -> Self {
        Self::new(Method::GET, path)
    }

    /// A create: it always has a key, because only then may it be repeated.
    pub(crate) fn create(path: String, create: &Create) -> Self {
        Self {
            key: Some(create.key.clone().unwrap_or_else(IdempotencyKey::random)),
            wait: create.wait,
            ..Self::new(Method::POST, path)
        }
    }

    pub(crate) fn query(mut self, name: &'static str, value: Option<String>) -> Self {
        self.query.extend(value.map(|value| (name, value)));
        self
    }

    pub(crate) fn json(self, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("wire types always become JSON");
        self.body(JSON, body.into())
    }

    pub(crate) fn body(mut self, media_type: &'static str, body: Bytes) -> Self {
        self.body = Some((media_type, body));
        self
    }

    fn repeatable(&self) -> bool {
        self.method != Method::POST || self.key.is_some()
    }
}

impl Http {
    pub(crate) fn new(config: Config) -> Result<Self, Error> {
        let base = parse_base(&config.server)?;
        let address = |error: reqwest::Error| Error::Address {
            url: config.server.clone(),
            reason: cause_of(error),
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("chat-client/", env!("CARGO_PKG_VERSION")))
            // A redirected create would lose its body; no server of ours redirects.
            .redirect(reqwest::redirect::Policy::none())
            // Root certificates cost start-up time and plain HTTP has no use for them.
            .tls_built_in_root_certs(base.scheme() == "https");
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        Ok(Self {
            client: builder.build().map_err(address)?,
            base: Arc::new(base),
            bearer: config.bearer.map(Arc::from),
            timeout: config.timeout,
            retries: config.retries,
            observer: config.observer,
        })
    }

    /// The server's address, without path or credentials.
    pub(crate) fn address(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    /// Sends until it is answered, refused for good, out of retries, or past the deadline.
    pub(crate) async fn send(&self, call: &Call) -> Result<Answer, Error> {
        let patience = self.timeout + call.wait.unwrap_or_default();
        let began = Instant::now();
        let mut deadline = began + patience;
        let mut attempt = 0;
        let mut cause = None;
        loop {
            let error = match tokio::time::timeout_at(deadline, self.attempt(call)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => return Err(self.timed_out(patience)),
            };
            let pause = self.retries.pause(attempt, error.retry_after());
            if error.shed() && call.repeatable() && began.elapsed() < self.retries.shed_for {
                self.observer.tell(&Event::Retrying {
                    cause: &error,
                    after: pause,
                });
                tokio::time::sleep(pause).await;
                deadline = Instant::now() + patience;
                continue;
            }
            let in_time = Instant::now() + pause < deadline;
            if attempt >= self.retries.most || !call.repeatable() || !error.retryable() || !in_time
            {
                // That the first try is still under way says nothing about why there was a second.
                let in_flight = error.code() == Some(Code::KeyInFlight);
                return Err(cause.filter(|_| in_flight).unwrap_or(error));
            }
            self.observer.tell(&Event::Retrying {
                cause: &error,
                after: pause,
            });
            tokio::time::sleep(pause).await;
            attempt += 1;
            if error.code() != Some(Code::KeyInFlight) {
                cause = Some(error);
            }
        }
    }

    /// A create, whose answer is JSON.
    pub(crate) async fn create<T: DeserializeOwned>(
        &self,
        call: &Call,
    ) -> Result<Created<T>, Error> {
        let answer = self.send(call).await?;
        Ok(Created {
            value: self.parse(&answer.body)?,
            stored: answer.status == StatusCode::CREATED,
        })
    }

    /// An order: sent once, and its answer is what there is to know, whatever the status of success.
    pub(crate) async fn order<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        self.parse(&self.send(call).await?.body)
    }

    /// One look.
    pub(crate) async fn peek<T: DeserializeOwned>(&self, call: &Call) -> Result<Read<T>, Error> {
        let answer = self.send(call).await?;
        if answer.status == StatusCode::ACCEPTED {
            return Ok(Read::Pending(answer.retry_after));
        }
        self.parse(&answer.body).map(Read::Ready)
    }

    /// Looks until it is stored, at most as long as a call may take.
    pub(crate) async fn read<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        let deadline = Instant::now() + self.timeout;
        let mut pause = POLL_MIN;
        loop {
            if let Read::Ready(value) = self.peek(call).await? {
                return Ok(value);
            }
            if Instant::now() + pause >= deadline {
                return Err(Error::Pending {
                    after: self.timeout,
                });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL_MAX);
        }
    }

    /// Opens an answer without an end; only its head has a deadline.
    pub(crate) async fn open(
        &self,
        path: &str,
        last_event_id: &str,
    ) -> Result<reqwest::Response, Error> {
        let request = self
            .request(&Call::get(path.to_owned()))
            .header(header::ACCEPT, "text/event-stream")
            .header("Last-Event-ID", last_event_id);
        let response = tokio::time::timeout(self.timeout, request.send())
            .await
            .map_err(|_| self.timed_out(self.timeout))?
            .map_err(|error| self.unreachable(error))?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let body = tokio::time::timeout(self.timeout, response.bytes())
            .await
            .map_err(|_| self.timed_out(self.timeout))?
            .map_err(|error| self.unreachable(error))?;
        if status == StatusCode::ACCEPTED {
            return Err(Error::Pending {
                after: Duration::ZERO,
            });
        }
        Err(self.refusal(status, &headers, &body))
    }

    pub(crate) fn unreachable(&self, error: reqwest::Error) -> Error {
        Error::Unreachable {
            url: self.address(),
            cause: cause_of(error),
        }
    }

    pub(crate) fn timed_out(&self, after: Duration) -> Error {
        Error::Timeout {
            url: self.address(),
            after,
        }
    }

    pub(crate) fn protocol(&self, reason: impl Into<String>) -> Error {
        Error::Protocol {
            url: self.address(),
            reason: reason.into(),
        }
    }

    async fn attempt(&self, call: &Call) -> Result<Answer, Error> {
        let started = Instant::now();
        let response = self
            .request(call)
            .send()
            .await
            .map_err(|error| self.unreachable(error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(error))?;
        self.observer.tell(&Event::Answered {
            method: call.method.as_str(),
            path: &blot_token(&call.path),
            status: status.as_u16(),
            elapsed: started.elapsed(),
        });
        if !status.is_success() {
            return Err(self.refusal(status, &headers, &body));
        }
        Ok(Answer {
            status,
            retry_after: retry_after(&headers),
            date: date(&headers),
            body,
        })
    }

    fn request(&self, call: &Call) -> reqwest::RequestBuilder {
        let mut url = (*self.base).clone();
        let prefix = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{prefix}{}", call.path));
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let mut request = self.client.request(call.method.clone(), url);
        if let Some((media_type, body)) = &call.body {
            // Cloning `Bytes` shares them, so a retry copies nothing.
            request = request
                .header(header::CONTENT_TYPE, *media_type)
                .body(body.clone());
        }
        if let Some(key) = &call.key {
            request = request.header("Idempotency-Key", key.as_str());
        }
        if let Some(wait) = call.wait {
            request = request.header("Prefer", format!("wait={}", wait.as_secs()));
        }
        if let Some(bearer) = &self.bearer {
            request = request.bearer_auth(bearer);
        }
        request
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(body).map_err(|error| self.protocol(error.to_string()))
    }

    fn refusal(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        let retry_after = retry_after(headers);
        if let Ok(problem) = serde_json::from_slice::<Problem>(body) {
            return Error::Problem {
                problem: Box::new(problem),
                status: status.as_u16(),
                retry_after,
            };
        }
        let start = &body[..body.len().min(DETAIL_BYTES)];
        let detail = String::from_utf8_lossy(start).trim().replace('\n', " ");
        let reason = status.canonical_reason().unwrap_or("an unknown status");
        Error::Status {
            url: self.address(),
            status: status.as_u16(),
            detail: if detail.is_empty() {
                reason.to_owned()
            } else {
                detail
            },
            retry_after,
        }
    }
}

/// The path of an application and what is below it.
pub(crate) fn application_path(token: AppToken, below: &str) -> String {
    format!("/applications/{}{below}", token.reveal())
}

fn parse_base(server: &str) -> Result<Url, Error> {
    let refuse = |reason: &str| Error::Address {
        url: server.to_owned(),
        reason: reason.to_owned(),
    };
    // "localhost:7700" parses as a URL whose scheme is "localhost".
    if !server.starts_with("http://") && !server.starts_with("https://") {
        return Err(refuse("it must begin with http:// or https://"));
    }
    Url::parse(server).map_err(|error| refuse(&error.to_string()))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The innermost cause: the outer ones repeat the URL, and with it the token.
fn cause_of(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(header::DATE)?.to_str().ok()?;
    Timestamp::from_http_date(text).ok()
}

fn blot_token(path: &str) -> String {
    match path.strip_prefix("/applications/") {
        Some(rest) => {
            let below = rest.find('/').map_or("", |slash| &rest[slash..]);
            format!("/applications/…{below}")
        }
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_http_cannot_use_are_refused() {
        for text in ["", "localhost:7700", "ftp://host", "http://", "http://a b"] {
            assert!(
                matches!(parse_base(text), Err(Error::Address { .. })),
                "{text}"
            );
        }
        assert!(parse_base("http://127.0.0.1:7700/").is_ok());
    }

    #[test]
    fn loopback_is_known_by_name_and_number() {
        for text in [
            "http://localhost:1",
            "http://127.0.0.2:1",
            "http://[::1]:7700",
        ] {
            assert!(is_loopback(&parse_base(text).unwrap()), "{text}");
        }
        assert!(!is_loopback(&parse_base("http://example.org").unwrap()));
    }

    #[test]
    fn no_token_in_what_an_observer_sees() {
        assert_eq!(
            blot_token("/applications/0123/chats/1"),
            "/applications/…/chats/1"
        );
        assert_eq!(blot_token("/applications/0123"), "/applications/…");
        assert_eq!(blot_token("/admin/lag"), "/admin/lag");
    }

    #[test]
    fn only_creates_without_a_key_are_not_repeated() {
        let create = Call::create("/applications".to_owned(), &Create::default());
        assert!(create.repeatable());
        assert!(Call::new(Method::PUT, String::new()).repeatable());
        assert!(!Call::new(Method::POST, String::new()).repeatable());
    }
}
