//! `/admin/doctor`: what the server finds out about what it stands on.

use axum::extract::State;
use chat_wire::admin::doctor::Diagnosis;

use crate::http::admin::Admin;
use crate::http::serve::Answer;

/// Lag, drift and dead letters have answers of their own.
pub(super) async fn show(State(admin): State<Admin>) -> Answer<Diagnosis> {
    let checks = admin.backend.ports().life.examine().await;
    Answer(Diagnosis { checks })
}
