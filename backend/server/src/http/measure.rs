//! What is measured of every request: answers by route, times, and what is at work.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use crate::telemetry::{Metrics, Route};
use crate::traffic::{Answered, Shed};

/// Counts an answer of the API under the pattern of its route, and in the traffic.
pub(crate) async fn measure(
    State(metrics): State<Arc<Metrics>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let _in_flight = metrics.traffic.enter();
    let started = Instant::now();
    let response = count(&metrics, path, request, next).await;
    metrics.traffic.count(Answered {
        status: response.status().as_u16(),
        created: response.extensions().get().copied(),
        shed: response.extensions().get::<Shed>().is_some(),
        took: started.elapsed(),
    });
    response
}

/// Counts an answer of the admin listener under the pattern of its route.
pub(crate) async fn measure_admin(
    State(metrics): State<Arc<Metrics>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    count(&metrics, path, request, next).await
}

async fn count(
    metrics: &Metrics,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let method = name_of(request.method());
    let at_work = AtWork::begin(&metrics.in_flight);
    let response = next.run(request).await;
    drop(at_work);
    let route = Route {
        route: path.map_or_else(|| "(none)".to_owned(), |path| path.as_str().to_owned()),
        method,
        status: response.status().as_u16(),
    };
    metrics
        .latency
        .get_or_create(&route)
        .observe(started.elapsed().as_secs_f64());
    metrics.requests.get_or_create(&route).inc();
    response
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
fn name_of(method: &http::Method) -> &'static str {
    match *method {
        http::Method::GET => "GET",
        http::Method::HEAD => "HEAD",
        http::Method::POST => "POST",
        http::Method::PUT => "PUT",
        http::Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}
