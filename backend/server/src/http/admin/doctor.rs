//! `/admin/doctor`: what the server finds out about what it stands on.

use std::convert::Infallible;

use axum::extract::State;
use chat_core::{epochs, examine};
use chat_wire::admin::doctor::Diagnosis;
use chat_wire::time::Timestamp;

use crate::http::admin::{Admin, health};
use crate::http::serve::Answer;

/// What helps where the log takes no records.
const APPENDS_HINT: &str =
    "make room on the disk of the log, or start its brokers; creates go on by themselves";

/// Lag, drift and dead letters have answers of their own.
pub(super) async fn show(State(admin): State<Admin>) -> Answer<Diagnosis> {
    let ports = admin.backend.ports();
    let mut checks = ports.life.examine().await;
    let epochs =
        async { Ok::<_, Infallible>(vec![epochs::examine(ports, Timestamp::now()).await]) };
    checks.extend(examine::bounded("log", "see the checks of the store", epochs).await);
    checks.extend(health::creates(&admin.backend).map(|creates| {
        let detail = creates.detail.unwrap_or_default();
        examine::failed("log.appends", detail, APPENDS_HINT)
    }));
    Answer(Diagnosis { checks })
}
