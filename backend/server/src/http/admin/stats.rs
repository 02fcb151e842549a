//! `/admin/stats`: one snapshot of everything that a dashboard shows, and the same every second.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use tokio::time::{Interval, interval};

use crate::http::admin::Admin;
use crate::http::serve::json;

/// Between two events.
const EVERY: Duration = Duration::from_secs(1);

pub(super) async fn show(State(admin): State<Admin>) -> Response {
    json(StatusCode::OK, &*admin.snapshots.now().await)
}

pub(super) async fn open(State(admin): State<Admin>) -> Response {
    let tick = interval(EVERY);
    let mut response = Response::new(Body::from_stream(stream::unfold((admin, tick), next)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn next(
    (admin, mut tick): (Admin, Interval),
) -> Option<(Result<Bytes, Infallible>, (Admin, Interval))> {
    let stats = tokio::select! {
        () = admin.stop.cancelled() => return None,
        stats = async {
            tick.tick().await;
            admin.snapshots.now().await
        } => stats,
    };
    // From now on: a snapshot that took longer than the pause is not told twice, and whoever reads
    // slowly misses events and gets no flood of them afterwards.
    tick.reset();
    // JSON has no raw line breaks, so one data line holds it.
    let data = serde_json::to_string(&*stats).expect("a snapshot is plain data");
    let event = format!("event: stats\ndata: {data}\n\n");
    Some((Ok(event.into()), (admin, tick)))
}
