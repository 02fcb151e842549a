//! The front of the API: every request comes through here, and one that is shed gets no further.
//!
//! A refusal is the most frequent answer under overload, and what it costs is taken from creates. So it
//! is decided by the head of a request, before the router has looked at it.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use chat_core::limits;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::EXPECT;
use http::{HeaderName, HeaderValue, Method};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::time::{Instant, timeout};
use tower::Service as _;

use super::guard::accounts::Account;
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
    shed: bool,
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
        async move { Ok(inner.answer(request.map(Body::new)).await) }.boxed()
    }
}

impl Inner {
    /// Answers, and counts the answer under the pattern of its route and in the traffic.
    async fn answer(&self, request: Request) -> Response {
        let metrics = &self.api.metrics;
        let _in_flight = metrics.traffic.enter();
        let started = Instant::now();
        let pattern = route::pattern(request.uri().path());
        let name = Cow::Borrowed(pattern.unwrap_or("(none)"));
        let asks = Asks::of(request.method(), pattern);
        let method = request.method().clone();
        let done = measure(metrics, name, &method, self.admit(asks, request), |done| {
            done.response.status()
        });
        let Done { response, shed } = done.await;
        metrics.traffic.count(Answered {
            status: response.status().as_u16(),
            created: response.extensions().get().copied(),
            shed,
            took: started.elapsed(),
        });
        response
    }

    /// Sheds a request that comes beyond a limit; gives the others the right to a place.
    async fn admit(&self, asks: Asks, mut request: Request) -> Done {
        if asks == Asks::Stream {
            return self.route(request).await;
        }
        let guard = &self.api.guard;
        let account = guard.account(asks, request.uri().path());
        // Who reads a body takes the place when it is there.
        let with_body = matches!(*request.method(), Method::POST | Method::PUT);
        let mut done = match guard.admit(asks, account.as_ref(), with_body) {
            Ok(place) => {
                request.extensions_mut().insert(place);
                self.route(request).await
            }
            Err(refused) => {
                self.api.metrics.shed(refused.reason());
                discard(request).await;
                Done {
                    response: refused.response(),
                    shed: true,
                }
            }
        };
        if let (Asks::Create(_) | Asks::Change, Some(account)) = (asks, account) {
            tell(&account, &mut done.response);
        }
        done
    }

    async fn route(&self, request: Request) -> Done {
        // A clone of the router is one more reference to it, and it is always ready.
        let Ok(response) = self.router.clone().call(request).await;
        let shed = response.extensions().get::<Shed>().copied();
        if let Some(Shed(Some(reason))) = shed {
            self.api.metrics.shed(reason);
        }
        Done {
            response,
            shed: shed.is_some(),
        }
    }
}

/// Waits for a body that nobody wants.
async fn discard(request: Request) {
    // Who asks before sending is told not to.
    if request.headers().contains_key(EXPECT) {
        return;
    }
    let mut body = Limited::new(request.into_body(), DISCARD_BYTES);
    let all = async { while let Some(Ok::<http_body::Frame<Bytes>, _>(_)) = body.frame().await {} };
    // One that does not come costs the client its connection, which the server closes then.
    let _ = timeout(DISCARD_TIMEOUT, all).await;
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
