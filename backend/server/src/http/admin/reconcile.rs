//! `/admin/reconcile`: begin a run, look at it, cancel it.

use axum::extract::State;
use axum::response::Response;
use chat_wire::admin::reconcile::{Order, Runs};
use http::StatusCode;

use crate::http::admin::Admin;
use crate::http::extract::Json;
use crate::http::problem::Refusal;
use crate::http::serve::{Answer, accepted};

/// Where a run can be looked at.
const PATH: &str = "/admin/reconcile";

pub(super) async fn begin(
    State(admin): State<Admin>,
    order: Json<Order>,
) -> Result<Response, Refusal> {
    let work = admin.backend.begin_run(order.value).await?;
    let response = accepted(StatusCode::ACCEPTED, PATH, work.run());
    // It goes on by itself; the end of the server ends it (`Reconciler::close`).
    tokio::spawn(async move { admin.backend.carry_out(work).await });
    Ok(response)
}

pub(super) async fn show(State(admin): State<Admin>) -> Result<Answer<Runs>, Refusal> {
    Ok(Answer(admin.backend.runs().await?))
}

pub(super) async fn cancel(State(admin): State<Admin>) -> Result<Answer<Runs>, Refusal> {
    Ok(Answer(admin.backend.cancel_run().await?))
}
