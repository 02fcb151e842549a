//! The front of the API: every request comes through here, and one that is shed gets no further.
//!
//! A refusal is the most frequent answer under overload, and what it costs is taken from creates. So it
//! is decided by the head of a request, before the router has looked at it; where the gate of the connection
//! could read that head, the decision is made there, and here it is only heeded.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use chat_core::limits;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, poll_immediate};
use http::header::EXPECT;
use http::{HeaderName, HeaderValue, Method};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::service::Service;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::Service as _;

use super::gate::{Gate, Line};
use super::guard::Place;
use super::guard::accounts::Account;
use super::guard::refused::Refused;
use super::measure::{count, measure};
use super::route::{self, Asks};
use super::{Api, router};
use crate::traffic::{Answered, Shed};

/// What a limit allows (draft-ietf-httpapi-ratelimit-headers, section 3).
pub(super) const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of it (section 4 of the same).
pub(super) const LEFT: HeaderName = HeaderName::from_static("ratelimit");
/// How long the body of a refused request may take. It is read and thrown away, so that the connection
/// can be used again: one that is closed on a client that still sends may lose it the answer.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// A larger body than any that is taken is not waited for.
const DISCARD_BYTES: usize = limits::BATCH_BYTES;

/// In front of the routes of the API.
#[derive(Clone)]
pub struct Front(Arc<Inner>);

/// Answers the requests of one connection, one after the other.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
    line: Arc<Line>,
}

pub(super) struct Inner {
    api: Api,
    router: Router,
}

/// Whether a request gets on, by its head alone.
pub(super) struct Decision {
    /// Who pays for it.
    account: Option<Arc<Account>>,
    /// The right to a place; `None` for what needs none.
    pub(super) verdict: Result<Option<Place>, Refused>,
}

impl Decision {
    /// What the head of the answer says of the limit.
    pub(super) fn told(&self, asked: &Asked) -> Option<(String, String)> {
        told(asked, self.account.as_deref())
    }
}

/// An answer, and whether it is that of a request that was shed.
struct Done {
    response: Response,
    shed: Option<Shed>,
}

impl Front {
    /// In front of the routes of the API.
    #[must_use]
    pub fn new(api: Api) -> Self {
        let router = router(api.clone());
        Self(Arc::new(Inner { api, router }))
    }

    /// What serves a connection: the gate that its bytes go through, and what answers behind it.
    pub(crate) fn connection(&self, stream: TcpStream) -> (Gate, Connection) {
        let line = Arc::new(Line::default());
        let gate = Gate::new(stream, Arc::clone(&self.0), Arc::clone(&line));
        let inner = Arc::clone(&self.0);
        (gate, Connection { inner, line })
    }
}

impl Service<http::Request<Incoming>> for Connection {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let (inner, line) = (Arc::clone(&self.inner), Arc::clone(&self.line));
        let asked = Asked::new(request.method().clone(), request.uri().path());
        let decided = line.decided();
        let decision = decided.unwrap_or_else(|| inner.decide(&asked, request.uri().path()));
        // Before anything is waited for: a refusal knows now what it does with the body.
        let admitted = Admitted::new(decision, request);
        async move {
            let response = inner.answer(asked, admitted).await;
            line.answered(&response);
            Ok(response)
        }
        .boxed()
    }
}

/// What the head of a request says.
pub(super) struct Asked {
    pub(super) asks: Asks,
    method: Method,
    pattern: Option<&'static str>,
}

impl Asked {
    pub(super) fn new(method: Method, path: &str) -> Self {
        let pattern = route::pattern(path);
        Self {
            asks: Asks::of(&method, pattern),
            method,
            pattern,
        }
    }

    fn route(&self) -> Cow<'static, str> {
        Cow::Borrowed(self.pattern.unwrap_or("(none)"))
    }
}

/// A request that has been decided on.
struct Admitted {
    /// Who pays for it.
    account: Option<Arc<Account>>,
    decided: Decided,
}

enum Decided {
    /// It goes on to its handler.
    In(Request),
    /// It is refused; its body, if it has one that comes by itself.
    Shed(Refused, Option<Incoming>),
}

impl Admitted {
    fn new(Decision { account, verdict }: Decision, request: http::Request<Incoming>) -> Self {
        let decided = match verdict {
            Ok(place) => {
                let mut request = request.map(Body::new);
                if let Some(place) = place {
                    request.extensions_mut().insert(place);
                }
                Decided::In(request)
            }
            Err(refused) => Decided::Shed(refused, unwanted(request)),
        };
        Self { account, decided }
    }
}

impl Inner {
    /// Sheds a request that comes beyond a limit; gives the others the right to a place.
    pub(super) fn decide(&self, asked: &Asked, path: &str) -> Decision {
        let asks = asked.asks;
        if asks == Asks::Stream {
            return Decision {
                account: None,
                verdict: Ok(None),
            };
        }
        let guard = &self.api.guard;
        let account = guard.account(asks, path);
        // Who reads a body takes the place when it is there.
        let with_body = matches!(asked.method, Method::POST | Method::PUT);
        let verdict = guard.admit(asks, account.as_ref(), with_body).map(Some);
        Decision { account, verdict }
    }

    /// Counts a refusal that was answered at the gate.
    pub(super) fn refused(&self, asked: &Asked, refused: &Refused, took: Duration) {
        let metrics = &self.api.metrics;
        let status = refused.status();
        count(metrics, asked.route(), &asked.method, status, took);
        metrics.shed(refused.reason());
        metrics.traffic.count(Answered {
            status: status.as_u16(),
            created: None,
            shed: Some(Shed(Some(refused.reason()))),
            took,
        });
    }

    /// Answers, and counts the answer under the pattern of its route and in the traffic.
    async fn answer(&self, asked: Asked, admitted: Admitted) -> Response {
        let metrics = &self.api.metrics;
        let _in_flight = metrics.traffic.enter();
        let done = self.decided(admitted.decided);
        let measured = measure(metrics, asked.route(), &asked.method, done, |done| {
            done.response.status()
        });
        let (done, took) = measured.await;
        let Done { mut response, shed } = done;
        if let Some((policy, left)) = told(&asked, admitted.account.as_deref()) {
            let headers = response.headers_mut();
            for (name, value) in [(POLICY, policy), (LEFT, left)] {
                if let Ok(value) = HeaderValue::try_from(value) {
                    headers.insert(name, value);
                }
            }
        }
        metrics.traffic.count(Answered {
            status: response.status().as_u16(),
            created: response.extensions().get().copied(),
            shed,
            took,
        });
        response
    }

    async fn decided(&self, decided: Decided) -> Done {
        let (response, shed) = match decided {
            Decided::In(request) => {
                // A clone of the router is one more reference to it, and it is always ready.
                let Ok(response) = self.router.clone().call(request).await;
                let shed = response.extensions().get().copied();
                (response, shed)
            }
            Decided::Shed(refused, body) => {
                if let Some(body) = body {
                    discard(body).await;
                }
                let shed = Shed(Some(refused.reason()));
                (refused.response(), Some(shed))
            }
        };
        if let Some(Shed(Some(reason))) = shed {
            self.api.metrics.shed(reason);
        }
        Done { response, shed }
    }
}

/// The body of a refused request, unless it is on its way only once it is asked for.
fn unwanted(request: http::Request<Incoming>) -> Option<Incoming> {
    if request.body().is_end_stream() || request.headers().contains_key(EXPECT) {
        return None;
    }
    let mut body = request.into_body();
    // Asked for now, what came together with the head is there when the answer is put together. There is
    // nothing yet, and nobody to wake.
    let mut nobody = Context::from_waker(Waker::noop());
    let _ = Pin::new(&mut body).poll_frame(&mut nobody);
    Some(body)
}

/// Waits for a body that nobody wants.
async fn discard(body: Incoming) {
    let mut body = Limited::new(body, DISCARD_BYTES);
    let all = async {
        while !body.is_end_stream() {
            let Some(Ok(_)) = body.frame().await else {
                return;
            };
        }
    };
    let mut all = std::pin::pin!(all);
    // Nearly always it came together with the head, and needs no timer.
    if poll_immediate(&mut all).await.is_none() {
        // One that does not come costs the client its connection, which the server closes then.
        let _ = timeout(DISCARD_TIMEOUT, all).await;
    }
}

/// What the head of an answer says of the limit and of what is left of it, where there is one.
fn told(asked: &Asked, account: Option<&Account>) -> Option<(String, String)> {
    if !matches!(asked.asks, Asks::Create(_) | Asks::Change) {
        return None;
    }
    let (rate, left) = account?.left()?;
    let seconds = left.full_in.as_secs() + u64::from(left.full_in.subsec_nanos() > 0);
    let policy = format!("\"creates\";q={rate};w=1");
    let left = format!("\"creates\";r={};t={seconds}", left.count);
    Some((policy, left))
}
