//! What is measured of every request: answers by route, times, and what is at work.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{Method, StatusCode};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use crate::telemetry::{Metrics, Route};

/// Counts an answer of the admin listener under the pattern of its route.
pub(crate) async fn measure_admin(
    State(metrics): State<Arc<Metrics>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let route = path.map_or(Cow::Borrowed("(none)"), |path| {
        Cow::Owned(path.as_str().to_owned())
    });
    let method = request.method().clone();
    measure(
        &metrics,
        route,
        &method,
        next.run(request),
        Response::status,
    )
    .await
}

/// Waits for an answer, and counts it under the pattern of its route.
pub(crate) async fn measure<Answer>(
    metrics: &Metrics,
    route: Cow<'static, str>,
    method: &Method,
    answer: impl Future<Output = Answer>,
    status: impl Fn(&Answer) -> StatusCode,
) -> Answer {
    let started = Instant::now();
    let at_work = AtWork::begin(&metrics.in_flight);
    let answer = answer.await;
    drop(at_work);
    let route = Route {
        route,
        method: name_of(method),
        status: status(&answer).as_u16(),
    };
    metrics
        .latency
        .get_or_create(&route)
        .observe(started.elapsed().as_secs_f64());
    metrics.requests.get_or_create(&route).inc();
    answer
}

/// Counts a request as long as it is at work, also where its client goes away in the middle.
struct AtWork<'a>(&'a Gauge<i64, AtomicI64>);

impl<'a> AtWork<'a> {
    fn begin(gauge: &'a Gauge<i64, AtomicI64>) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The methods that routes take; anything else shares one label, or clients could make labels.
fn name_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}
