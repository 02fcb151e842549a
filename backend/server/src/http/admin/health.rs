//! Whether the process lives, and whether it can do its work.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use chat_core::backend::Backend;
use chat_wire::admin::stats::Shedding;
use chat_wire::admin::{Check, Readiness};
use http::StatusCode;
use tokio::time::{Instant, timeout};

use crate::http::admin::Admin;
use crate::http::serve::json;
use crate::pressure::Pressure;

/// How long a dependency may take to answer a check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) async fn alive() -> &'static str {
    "alive\n"
}

pub(super) async fn ready(State(admin): State<Admin>) -> Response {
    let readiness = readiness(&admin.backend, &admin.pressure).await;
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json(status, &readiness)
}

/// Asks every dependency, all at once.
pub(crate) async fn readiness(backend: &Backend, pressure: &Pressure) -> Readiness {
    let ports = backend.ports();
    let (store, log, counters, search) = tokio::join!(
        check("store", ports.store.check()),
        check("log", ports.log.check()),
        check("counters", ports.counters.check()),
        check("search", ports.search.check()),
    );
    let mut checks = vec![store, log, counters, search];
    checks.extend(creates(backend));
    // Without the index everything but search is served.
    let ready = checks
        .iter()
        .all(|check| check.ok || check.name == "search");
    // Reads and changes are served, and whoever creates is told when to come back: a process that
    // sheds is as ready as any other one.
    checks.extend(backlog(pressure));
    Readiness { ready, checks }
}

/// Only there while appends fail: a log that answers its check may take no records all the same, and
/// whoever sends requests here should send them elsewhere.
pub(super) fn creates(backend: &Backend) -> Option<Check> {
    let open = backend.open_circuits();
    let first = open.first()?;
    let partitions: Vec<String> = open
        .iter()
        .map(|circuit| {
            format!(
                "{} {}",
                circuit.partition.topic.name(),
                circuit.partition.index
            )
        })
        .collect();
    Some(Check {
        name: "creates".to_owned(),
        ok: false,
        elapsed_ms: 0,
        detail: Some(format!(
            "the log cannot take records since {} (partitions: {}): {}",
            first.since,
            partitions.join(", "),
            first.reason
        )),
    })
}

/// Only there while creates are shed: nobody is asked for it.
fn backlog(pressure: &Pressure) -> Option<Check> {
    let shedding = pressure.shedding();
    let told: Vec<String> = shedding.iter().map(Shedding::text).collect();
    (!told.is_empty()).then(|| Check {
        name: "lag".to_owned(),
        ok: false,
        elapsed_ms: 0,
        detail: Some(told.join("; ")),
    })
}

async fn check<E: std::fmt::Display>(
    name: &str,
    answer: impl Future<Output = Result<(), E>>,
) -> Check {
    let started = Instant::now();
    let detail = match timeout(CHECK_TIMEOUT, answer).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} s", CHECK_TIMEOUT.as_secs())),
    };
    Check {
        name: name.to_owned(),
        ok: detail.is_none(),
        elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        detail,
    }
}
