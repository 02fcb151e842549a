//! `/metrics`: the page that Prometheus scrapes.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;

use crate::http::admin::Admin;
use crate::telemetry::asked::Asked;

pub(super) async fn page(State(admin): State<Admin>) -> Response {
    let (lag, dead_letters) = tokio::join!(admin.sampler.now(), admin.snapshots.dead_letters());
    let asked = Asked {
        lag: &lag,
        dead_letters,
        pressure: &admin.pressure,
        recoveries: admin.backend.recoveries(),
        breaker: admin.backend.breaker(),
    };
    let mut response = admin.metrics.text(&asked).into_response();
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response
        .headers_mut()
        .insert(CONTENT_TYPE, http::HeaderValue::from_static(media_type));
    response
}
