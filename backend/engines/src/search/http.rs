//! Requests to Elasticsearch and OpenSearch, each with a timeout, and what their errors mean.

use std::time::Duration;

use chat_core::port::search::Error;
use elasticsearch::auth::Credentials;
use elasticsearch::cert::{Certificate, CertificateValidation};
use elasticsearch::http::headers::{CONTENT_TYPE, HeaderMap, HeaderValue};
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use elasticsearch::http::{Method, Url};
use serde_json::Value;

use crate::config::Config;

const SETTING: &str = "ELASTICSEARCH_URL";
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a question may take whose answer somebody waits for.
pub(super) const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends requests.
pub(super) struct Http {
    transport: Transport,
}

/// A status and the answer's JSON, `Null` where there was none.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Http {
    pub(super) fn new(config: &Config) -> Result<Self, crate::error::Error> {
        let wrong = |problem: &str| {
            crate::error::Error::wrong(
                SETTING,
                problem,
                "write http://HOST:PORT or https://USER:PASSWORD@HOST:PORT",
            )
        };
        let mut url = Url::parse(&config.elasticsearch_url).map_err(|_| wrong("it is no URL"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong("it is no URL of an HTTP server"));
        }
        let login = (!url.username().is_empty()).then(|| {
            let decode = |text: &str| percent_decoded(text);
            Credentials::Basic(
                decode(url.username()),
                decode(url.password().unwrap_or_default()),
            )
        });
        // Whoever prints the URL prints no password.
        let cleared = url.set_username("").and_then(|()| url.set_password(None));
        cleared.map_err(|()| wrong("it is no URL of an HTTP server"))?;
        let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(url))
            .timeout(REQUEST_TIMEOUT)
            .disable_proxy();
        if let Some(login) = login {
            builder = builder.auth(login);
        }
        if let Some(file) = &config.elasticsearch_ca {
            let unreadable = |problem: String| {
                crate::error::Error::wrong(
                    "ELASTICSEARCH_CA",
                    format!("{} cannot be used: {problem}", file.display()),
                    "name a PEM file with the certificate of the authority",
                )
            };
            let pem = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
            let certificate =
                Certificate::from_pem(&pem).map_err(|error| unreadable(error.to_string()))?;
            builder = builder.cert_validation(CertificateValidation::Full(certificate));
        }
        let transport = builder.build().map_err(|error| wrong(&error.to_string()))?;
        Ok(Self { transport })
    }

    /// Sends a JSON document or none.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Error> {
        let body = body.map(Value::to_string);
        self.raw(method, path, "application/json", body, REQUEST_TIMEOUT)
            .await
    }

    /// Asks a question.
    pub(super) async fn ask(&self, path: &str, question: &Value) -> Result<Answer, Error> {
        let body = Some(question.to_string());
        self.raw(
            Method::Post,
            path,
            "application/json",
            body,
            QUESTION_TIMEOUT,
        )
        .await
    }

    /// Sends lines of JSON.
    pub(super) async fn lines(&self, path: &str, lines: Vec<u8>) -> Result<Answer, Error> {
        let kind = "application/x-ndjson";
        self.raw(Method::Post, path, kind, Some(lines), REQUEST_TIMEOUT)
            .await
    }

    async fn raw(
        &self,
        method: Method,
        path: &str,
        kind: &'static str,
        body: Option<impl Into<bytes::Bytes>>,
        within: Duration,
    ) -> Result<Answer, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let body = body.map(Into::into);
        let sent = self
            .transport
            .send(method, path, headers, None::<&()>, body, Some(within))
            .await;
        let response = sent.map_err(|error| Error::Unavailable(told(&error)))?;
        let status = response.status_code().as_u16();
        let text = response
            .text()
            .await
            .map_err(|error| Error::Unavailable(told(&error)))?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, body })
    }
}

impl Answer {
    /// The answer of a request that went well.
    pub(super) fn well(self) -> Result<Value, Error> {
        match self.status {
            200..=299 => Ok(self.body),
            _ => Err(self.error()),
        }
    }

    /// What a status outside of 2xx means. Only the kind of the error is repeated: its text may hold
    /// what somebody wrote.
    pub(super) fn error(&self) -> Error {
        let kind = self.kind();
        match (self.status, kind) {
            (404, "index_not_found_exception") | (404, "") => {
                Error::Unusable("the index is missing: run `chatd migrate`".into())
            }
            (401 | 403, _) => Error::Unavailable(format!(
                "user or password are refused, or may not use the index (status {}): correct {SETTING}",
                self.status
            )),
            (400..=499, kind) if !matches!(self.status, 408 | 429) => Error::Unusable(format!(
                "the request was refused with status {}: {kind}",
                self.status
            )),
            (status, kind) => Error::Unavailable(format!("status {status} {kind}")),
        }
    }

    pub(super) fn kind(&self) -> &str {
        self.body["error"]["type"].as_str().unwrap_or_default()
    }
}

/// An error of the transport with its causes, which alone say what happened.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        let code = (first == b'%')
            .then(|| others.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &others[2..];
            }
            None => {
                bytes.push(first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_may_hold_any_character() {
        assert_eq!(percent_decoded("a%40b%2Fc"), "a@b/c");
        assert_eq!(percent_decoded("100%"), "100%");
        assert_eq!(percent_decoded("%zz"), "%zz");
    }

    #[tokio::test]
    async fn a_question_is_not_waited_for_as_long_as_a_batch() {
        // Connections are accepted by the system, and nobody reads them.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let http = Http::new(&Config::new("", "", "", url)).unwrap();
        let began = std::time::Instant::now();
        let answer = http.ask("/", &Value::Null).await;
        assert!(matches!(answer, Err(Error::Unavailable(_))));
        assert!(began.elapsed() < REQUEST_TIMEOUT / 2);
    }
}
