//! Requests as they are: nothing is encoded, retried or believed.

use std::net::SocketAddr;

use bytes::Bytes;
use chat_wire::problem::{Code, MEDIA_TYPE, Problem};
use http::HeaderMap;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::document;
use crate::harness::PATIENCE;

pub(crate) struct Request {
    address: SocketAddr,
    on_admin: bool,
    method: String,
    path: String,
    headers: Vec<(&'static str, Bytes)>,
    body: Bytes,
}

impl Request {
    pub(crate) fn new(address: SocketAddr, method: &str, path: String) -> Self {
        Self {
            address,
            on_admin: false,
            method: method.to_owned(),
            path,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// The address is that of the admin listener.
    pub(crate) fn on_admin(self) -> Self {
        Self {
            on_admin: true,
            ..self
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<Bytes>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn key(self, key: impl Into<Bytes>) -> Self {
        self.header("idempotency-key", key)
    }

    /// Waits for the row.
    pub(crate) fn wait(self) -> Self {
        self.header("prefer", "wait=30")
    }

    /// Any body, declared as JSON.
    pub(crate) fn json(self, body: impl Into<Bytes>) -> Self {
        self.header("content-type", "application/json").body(body)
    }

    /// Any body, declared as NDJSON.
    pub(crate) fn ndjson(self, body: impl Into<Bytes>) -> Self {
        self.header("content-type", "application/x-ndjson")
            .body(body)
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it over a connection of its own; the answer is one that the document knows.
    pub(crate) async fn send(self) -> Answer {
        let (method, path, on_admin) = (self.method.clone(), self.path.clone(), self.on_admin);
        let response = timeout(PATIENCE, self.open()).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let body = timeout(PATIENCE, body.collect()).await.expect("a body");
        let answer = Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.expect("a whole body").to_bytes(),
        };
        if let Some(operation) = document::operation(&method, &path, on_admin) {
            document::check(operation, &answer);
        }
        answer
    }

    /// Sends it and returns with the head of the answer.
    pub(crate) async fn open(self) -> http::Response<hyper::body::Incoming> {
        let stream = TcpStream::connect(self.address).await.expect("a listener");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = http::Request::builder()
            .method(self.method.as_str())
            .uri(&self.path)
            .header("host", "test");
        for (name, value) in &self.headers {
            request = request.header(*name, value.as_ref());
        }
        let request = request.body(Full::new(self.body)).unwrap();
        sender.send_request(request).await.expect("an answer")
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The text of a header that must be there.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        let value = value.unwrap_or_else(|| panic!("no {name} in {self:?}"));
        value.to_str().expect("plain text")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    /// The JSON of an answer with this status.
    #[track_caller]
    pub(crate) fn is<T: DeserializeOwned>(&self, status: u16) -> T {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_slice(&self.body).expect("JSON of the right shape")
    }

    /// One member of the JSON of an answer with this status.
    #[track_caller]
    pub(crate) fn member(&self, status: u16, name: &str) -> Value {
        self.is::<Value>(status)[name].take()
    }

    /// The number that a create with this status gave.
    #[track_caller]
    pub(crate) fn number(&self, status: u16) -> u64 {
        let number = self.member(status, "message_number");
        number.as_u64().expect("a number")
    }

    /// A problem of this code that names this field and line.
    #[track_caller]
    pub(crate) fn refused(&self, code: Code, field: Option<&str>, line: Option<u32>) {
        let problem = self.problem();
        let named = (problem.code, problem.field.as_deref(), problem.line);
        assert_eq!(named, (code, field, line), "{}", problem.detail);
    }

    /// The problem document, which agrees with the head of the answer.
    #[track_caller]
    pub(crate) fn problem(&self) -> Problem {
        assert_eq!(self.header("content-type"), MEDIA_TYPE, "{}", self.text());
        let problem: Problem = serde_json::from_slice(&self.body).expect("a problem document");
        let code = problem.code;
        assert_eq!(self.status, code.status());
        assert_eq!(problem.status, code.status());
        assert_eq!(problem.title, code.title());
        assert_eq!(problem.kind, format!("urn:chat:problem:{}", code.as_str()));
        assert!(!problem.detail.is_empty());
        let later = matches!(self.status, 409 | 429 | 503);
        assert_eq!(self.headers.contains_key("retry-after"), later);
        problem
    }
}
