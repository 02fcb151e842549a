//! `/openapi.json`, and `/docs` for people.

use axum::response::{IntoResponse as _, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use crate::http::openapi;

pub(super) async fn openapi() -> Response {
    typed("application/json", openapi::text())
}

pub(super) async fn page() -> Response {
    typed("text/html; charset=utf-8", openapi::page())
}

fn typed(media_type: &'static str, text: String) -> Response {
    let mut response = text.into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
