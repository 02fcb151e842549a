//! The admin listener before there is a backend behind it: alive, and not ready.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use chat_wire::admin::{Check, Readiness};
use chat_wire::problem::{Code, Problem};
use http::StatusCode;
use parking_lot::RwLock;
use tower::ServiceExt as _;

use crate::http::problem::Refusal;
use crate::http::serve::json;

/// What stands behind the listener: a reason to wait, and later the real routes.
#[derive(Default)]
pub(crate) struct Door {
    behind: RwLock<Behind>,
}

enum Behind {
    Waiting(String),
    Open(Router),
}

impl Default for Behind {
    fn default() -> Self {
        Self::Waiting("chatd is starting".to_owned())
    }
}

impl Door {
    /// Says what is being waited for.
    pub(crate) fn wait_for(&self, reason: &str) {
        *self.behind.write() = Behind::Waiting(reason.to_owned());
    }

    /// From now on these routes answer.
    pub(crate) fn open(&self, router: Router) {
        *self.behind.write() = Behind::Open(router);
    }

    /// To be served.
    pub(crate) fn router(self: &Arc<Self>) -> Router {
        let door = Arc::clone(self);
        Router::new().fallback(move |request: Request| {
            let door = Arc::clone(&door);
            async move { door.answer(request).await }
        })
    }

    async fn answer(&self, request: Request) -> Response {
        let router = match &*self.behind.read() {
            Behind::Waiting(reason) => return waiting(request.uri().path(), reason),
            Behind::Open(router) => router.clone(),
        };
        match router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

fn waiting(path: &str, reason: &str) -> Response {
    match path {
        "/livez" => "alive\n".into_response(),
        "/readyz" => {
            let start = Check {
                name: "start".to_owned(),
                ok: false,
                elapsed_ms: 0,
                detail: Some(reason.to_owned()),
            };
            let not_yet = Readiness {
                ready: false,
                checks: vec![start],
            };
            json(StatusCode::SERVICE_UNAVAILABLE, &not_yet)
        }
        _ => Refusal::from(Problem::new(
            Code::Unavailable,
            format!("chatd is starting and waits: {reason}"),
        ))
        .into_response(),
    }
}
