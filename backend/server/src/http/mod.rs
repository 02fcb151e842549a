//! The HTTP API: extraction and mapping, no rules.

pub mod admin;
mod applications;
mod chats;
mod docs;
pub(crate) mod door;
pub mod extract;
pub mod front;
mod gate;
pub mod guard;
mod measure;
mod messages;
pub mod openapi;
pub mod problem;
pub(crate) mod route;
mod search;
pub mod serve;
mod stream;

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, get, post};
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

/// Every path of the API and what it does; a test holds it against the OpenAPI document.
#[must_use]
pub fn routes() -> Vec<(String, MethodRouter<Api>)> {
    let chat = |below: &str| format!("/applications/{{token}}/chats/{{chat}}{below}");
    let one_message = get(messages::get)
        .put(messages::edit)
        .delete(messages::delete);
    vec![
        ("/applications".into(), post(applications::create)),
        (
            "/applications/{token}".into(),
            get(applications::get).put(applications::rename),
        ),
        (
            "/applications/{token}/chats".into(),
            post(chats::create).get(chats::list),
        ),
        (chat(""), get(chats::get)),
        (
            chat("/messages"),
            post(messages::create).get(messages::list),
        ),
        (chat("/messages/batch"), post(messages::create_batch)),
        (chat("/messages/stream"), get(stream::open)),
        (chat("/messages/search"), get(search::in_chat)),
        (chat("/messages/{message}"), one_message),
        ("/search".into(), get(search::anywhere)),
        ("/openapi.json".into(), get(docs::openapi)),
        ("/docs".into(), get(docs::page)),
    ]
}

/// The routes of the public API, behind [`front::Front`].
fn router(api: Api) -> Router {
    routes()
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| {
            router.route(&path, methods)
        })
        .fallback(no_such_path)
        .method_not_allowed_fallback(method_not_allowed)
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
