//! A server that does as it is told: enough of the API, and every way to fail.

pub(crate) mod admin;
mod api;

use std::convert::Infallible;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) use self::api::{Mischief, State};
use crate::run::{Ran, chatctl, run};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the server does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    /// Answers.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Does the work and breaks the connection instead of answering.
    Break,
    /// Never answers.
    Hang,
}

/// One request, as it was received.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) key: Option<String>,
    pub(crate) header: Vec<(String, String)>,
    pub(crate) body: String,
}

/// A running server; it stops with the test.
pub(crate) struct Fake {
    pub(crate) url: String,
    shared: Arc<Shared>,
    home: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    gate: tokio::sync::Notify,
}

impl Fake {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        runtime.spawn(serve(listener, Arc::clone(&shared)));
        Self {
            url,
            shared,
            home: tempfile::tempdir().unwrap(),
            _runtime: runtime,
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Waits until the server has come so far.
    #[track_caller]
    pub(crate) fn wait_until(&self, mut there: impl FnMut(&State) -> bool) {
        let waited = self
            .shared
            .changed
            .wait_timeout_while(self.state(), PATIENCE, |state| !there(state))
            .unwrap();
        assert!(!waited.1.timed_out(), "the server did not come so far");
    }

    /// Lets the batches go on that wait at the closed gate.
    pub(crate) fn open_gate(&self) {
        self.state().gate_is_closed = false;
        self.shared.gate.notify_waiters();
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The binary, aimed at this server.
    pub(crate) fn chatctl(&self, args: &[&str]) -> Command {
        let mut command = chatctl(&self.url, self.home());
        command.args(args);
        command
    }

    /// Runs the binary against this server.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        run(&mut self.chatctl(args))
    }

    /// An application with this many chats.
    pub(crate) fn app(&self, chats: usize) -> String {
        self.state().create_app("made by the test", chats)
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&shared), request));
            // A connection that breaks is the client's to notice.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Broken> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    let header = |name: &str| {
        let value = parts.headers.get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let seen = Seen {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        key: header("idempotency-key"),
        header: parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    pass_gate(&shared, &seen).await;
    let deed = shared.state.lock().unwrap().handle(&seen, &body);
    shared.changed.notify_all();
    match deed {
        Deed::Answer(status, headers, text) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response.body(Full::from(text)).unwrap())
        }
        Deed::Break => Err(Broken),
        Deed::Hang => {
            let never: Infallible = std::future::pending().await;
            match never {}
        }
    }
}

async fn pass_gate(shared: &Shared, seen: &Seen) {
    let notified = shared.gate.notified();
    let closed = {
        let mut state = shared.state.lock().unwrap();
        let closed = state.gate_is_closed && seen.path.ends_with("/batch");
        state.at_gate += usize::from(closed);
        closed
    };
    shared.changed.notify_all();
    if closed {
        notified.await;
    }
}

/// Makes hyper close the connection.
#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken on purpose")
    }
}

impl std::error::Error for Broken {}

/// A JSON answer.
pub(crate) fn json_answer(status: u16, body: &Value) -> Deed {
    let kind = if status < 400 {
        "application/json"
    } else {
        "application/problem+json"
    };
    Deed::Answer(
        status,
        vec![("content-type", kind.to_owned())],
        body.to_string(),
    )
}

/// A problem document.
pub(crate) fn problem(status: u16, code: &str, detail: &str) -> Value {
    json!({
        "type": format!("urn:chat:problem:{code}"), "title": "a title", "status": status,
        "detail": detail, "code": code,
    })
}
