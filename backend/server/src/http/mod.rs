//! The HTTP API: extraction and mapping, no rules.

pub mod admin;
mod applications;
mod chats;
mod docs;
pub mod extract;
pub mod guard;
mod messages;
pub mod openapi;
pub mod problem;
mod search;
pub mod serve;
mod stream;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};
use chat_core::backend::Backend;
use chat_wire::problem::{Code, Problem};
use tokio_util::sync::CancellationToken;

use crate::http::guard::Guard;
use crate::http::problem::Refusal;
use crate::telemetry::Metrics;

/// What every handler of the API may use.
#[derive(Clone)]
pub struct Api {
    /// The rules.
    pub backend: Backend,
    /// Limits on how much is let in.
    pub guard: Arc<Guard>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Cancelled when the server stops: streams end.
    pub stop: CancellationToken,
}

/// The public API.
pub fn router(api: Api) -> Router {
    let chat = "/applications/{token}/chats/{chat}";
    Router::new()
        .route("/applications", post(applications::create))
        .route(
            "/applications/{token}",
            get(applications::get).put(applications::rename),
        )
        .route(
            "/applications/{token}/chats",
            post(chats::create).get(chats::list),
        )
        .route(chat, get(chats::get))
        .route(
            &format!("{chat}/messages"),
            post(messages::create).get(messages::list),
        )
        .route(
            &format!("{chat}/messages/batch"),
            post(messages::create_batch),
        )
        .route(&format!("{chat}/messages/stream"), get(stream::open))
        .route(&format!("{chat}/messages/search"), get(search::in_chat))
        .route(
            &format!("{chat}/messages/{{message}}"),
            get(messages::get)
                .put(messages::edit)
                .delete(messages::delete),
        )
        .route("/search", get(search::anywhere))
        .route("/openapi.json", get(docs::openapi))
        .route("/docs", get(docs::page))
        .fallback(no_such_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(api.clone(), guard::admit))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&api.metrics),
            guard::measure,
        ))
        .with_state(api)
}

pub(crate) async fn no_such_path() -> Refusal {
    Problem::new(Code::NoSuchPath, "no resource has this path")
        .with_hint("see /docs for the paths that exist")
        .into()
}

pub(crate) async fn method_not_allowed(method: http::Method) -> Refusal {
    Problem::new(
        Code::MethodNotAllowed,
        format!("this path does not take {method}"),
    )
    .with_hint("see the Allow header, or /docs")
    .into()
}
