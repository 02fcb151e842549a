//! The front of the API: every request comes through here, and one that is shed gets no further.
//!
//! A refusal is the most frequent answer under overload, and what it costs is taken from creates. So it
//! is decided by the head of a request, before the router has looked at it.

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
use tokio::time::timeout;
use tower::Service as _;

use super::guard::accounts::Account;
use super::guard::refused::Refused;
use super::measure::measure;
use super::route::{self, Asks};
use super::{Api, router};
use crate::traffic::{Answered, Shed};

/// What a limit allows (draft-ietf-httpapi-ratelimit-headers, section 3).
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of it (section 4 of the same).
const LEFT: HeaderName = HeaderName::from_static("ratelimit");
/// How long the body of a refused request may take. It is read and thrown away, so that the connection
/// can be used again: one that is closed on a client that still sends may lose it the answer.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// A larger body than any that is taken is not waited for.
const DISCARD_BYTES: usize = limits::BATCH_BYTES;

/// Answers the requests of one connection after the other.
#[derive(Clone)]
pub struct Front(Arc<Inner>);

struct Inner {
    api: Api,
    router: Router,
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
}

impl Service<http::Request<Incoming>> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        let asked = Asked::new(&request);
        // Before anything is waited for: a refusal knows now what it does with the body.
        let admitted = inner.admit(&asked, request);
        async move { Ok(inner.answer(asked, admitted).await) }.boxed()
    }
}

/// What the head of a request says.
struct Asked {
    asks: Asks,
    method: Method,
    pattern: Option<&'static str>,
}

impl Asked {
    fn new<B>(request: &http::Request<B>) -> Self {
        let pattern = route::pattern(request.uri().path());
        Self {
            asks: Asks::of(request.method(), pattern),
            method: request.method().clone(),
            pattern,
        }
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

impl Inner {
    /// Sheds a request that comes beyond a limit; gives the others the right to a place.
    fn admit(&self, asked: &Asked, request: http::Request<Incoming>) -> Admitted {
        let asks = asked.asks;
        if asks == Asks::Stream {
            return Admitted {
                account: None,
                decided: Decided::In(request.map(Body::new)),
            };
        }
        let guard = &self.api.guard;
        let account = guard.account(asks, request.uri().path());
        // Who reads a body takes the place when it is there.
        let with_body = matches!(asked.method, Method::POST | Method::PUT);
        let decided = match guard.admit(asks, account.as_ref(), with_body) {
            Ok(place) => {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(place);
                Decided::In(request)
            }
            Err(refused) => Decided::Shed(refused, unwanted(request)),
        };
        Admitted { account, decided }
    }

    /// Answers, and counts the answer under the pattern of its route and in the traffic.
    async fn answer(&self, asked: Asked, admitted: Admitted) -> Response {
        let metrics = &self.api.metrics;
        let _in_flight = metrics.traffic.enter();
        let route = Cow::Borrowed(asked.pattern.unwrap_or("(none)"));
        let done = self.decided(admitted.decided);
        let measured = measure(metrics, route, &asked.method, done, |done| {
            done.response.status()
        });
        let (done, took) = measured.await;
        let Done { mut response, shed } = done;
        if let (Asks::Create(_) | Asks::Change, Some(account)) = (asked.asks, admitted.account) {
            tell(&account, &mut response);
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

/// Says in the head of an answer what the limit is and what is left of it, where there is one.
fn tell(account: &Account, response: &mut Response) {
    let Some((rate, left)) = account.left() else {
        return;
    };
    let seconds = left.full_in.as_secs() + u64::from(left.full_in.subsec_nanos() > 0);
    let policy = format!("\"creates\";q={rate};w=1");
    let left = format!("\"creates\";r={};t={seconds}", left.count);
    let headers = response.headers_mut();
    for (name, value) in [(POLICY, policy), (LEFT, left)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}
