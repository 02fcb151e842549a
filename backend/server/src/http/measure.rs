//! What is measured of every request: answers by route, times, and what is at work.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

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
    let answer = next.run(request);
    measure(&metrics, route, &method, answer, Response::status)
        .await
        .0
}

/// Waits for an answer, and counts it under the pattern of its route; says how long it took.
pub(crate) async fn measure<Answer>(
    metrics: &Metrics,
    route: Cow<'static, str>,
    method: &Method,
    answer: impl Future<Output = Answer>,
    status: impl Fn(&Answer) -> StatusCode,
) -> (Answer, Duration) {
    let started = Instant::now();
    let at_work = AtWork::begin(&metrics.in_flight);
    let answer = answer.await;
    drop(at_work);
    let took = started.elapsed();
    count(metrics, route, method, status(&answer), took);
    (answer, took)
}

/// Counts an answer under the pattern of its route.
pub(crate) fn count(
    metrics: &Metrics,
    route: Cow<'static, str>,
    method: &Method,
    status: StatusCode,
    took: Duration,
) {
    let route = Route {
        route,
        method: name_of(method),
        status: status.as_u16(),
    };
    tracing::debug!(
        route = %route.route,
        method = route.method,
        status = route.status,
        duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "answered"
    );
    metrics
        .latency
        .get_or_create(&route)
        .observe(took.as_secs_f64());
    metrics.requests.get_or_create(&route).inc();
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
