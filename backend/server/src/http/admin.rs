//! The admin listener: health, metrics, and what only operators see.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get};
use chat_core::backend::Backend;
use chat_core::limits::Broken;
use chat_core::port::log::{Group, PartitionId};
use chat_wire::admin::lag::{Figures, GroupLag, Lag, PartitionLag, Status};
use chat_wire::admin::{ApplicationPage, Check, Readiness};
use chat_wire::ids::AppToken;
use chat_wire::problem::{Code, Problem};
use chat_wire::time::Timestamp;
use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use crate::http::extract::Params;
use crate::http::problem::Refusal;
use crate::http::serve::{Answer, json, page_limit};
use crate::http::{guard, method_not_allowed, no_such_path};
use crate::telemetry::{GroupPartition, Metrics};

/// How long a dependency may take to answer a check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// What every handler of the admin listener may use.
#[derive(Clone)]
pub struct Admin {
    /// The rules.
    pub backend: Backend,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The bearer key, if one is asked for.
    pub key: Option<Arc<str>>,
}

/// The paths that anyone may ask who reaches the listener: orchestrators hold no key.
#[must_use]
pub fn open_routes() -> Vec<(&'static str, MethodRouter<Admin>)> {
    vec![("/livez", get(alive)), ("/readyz", get(ready))]
}

/// The paths that want the key, where there is one.
#[must_use]
pub fn guarded_routes() -> Vec<(&'static str, MethodRouter<Admin>)> {
    vec![
        ("/metrics", get(metrics)),
        ("/admin/applications", get(applications)),
        ("/admin/lag", get(lag)),
    ]
}

/// The admin API.
pub fn router(admin: Admin) -> Router {
    let all = |routes: Vec<(&'static str, MethodRouter<Admin>)>| {
        routes
            .into_iter()
            .fold(Router::new(), |router, (path, methods)| {
                router.route(path, methods)
            })
    };
    let operators =
        all(guarded_routes()).route_layer(middleware::from_fn_with_state(admin.clone(), authorize));
    all(open_routes())
        .merge(operators)
        .fallback(no_such_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&admin.metrics),
            guard::measure,
        ))
        .with_state(admin)
}

async fn authorize(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let Some(key) = &admin.key else {
        return next.run(request).await;
    };
    let given = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        // The name of a scheme has no case (RFC 9110, section 11.1).
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"))
        .map(|(_, key)| key);
    if given.is_some_and(|given| same(given.as_bytes(), key.as_bytes())) {
        return next.run(request).await;
    }
    let problem = Problem::new(Code::Unauthorized, "the request carries no valid admin key")
        .with_hint("send Authorization: Bearer with the value of CHATD_ADMIN_KEY");
    Refusal::from(problem).into_response()
}

/// Compares in a time that does not tell how much of the key was right.
fn same(given: &[u8], key: &[u8]) -> bool {
    given.len() == key.len()
        && given
            .iter()
            .zip(key)
            .fold(0, |differing, (a, b)| differing | (a ^ b))
            == 0
}

async fn alive() -> &'static str {
    "alive\n"
}

async fn ready(State(admin): State<Admin>) -> Response {
    let ports = admin.backend.ports();
    let checks = vec![
        check("store", ports.store.check()).await,
        check("log", ports.log.check()).await,
        check("counters", ports.counters.check()).await,
        check("search", ports.search.check()).await,
    ];
    // Without the index everything but search is served.
    let ready = checks
        .iter()
        .all(|check| check.ok || check.name == "search");
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json(status, &Readiness { ready, checks })
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

async fn metrics(State(admin): State<Admin>) -> Result<Response, Refusal> {
    for lag in groups(&admin.backend).await?.groups {
        let Some(group) = Group::ALL
            .into_iter()
            .find(|group| group.name() == lag.group)
        else {
            continue;
        };
        for partition in lag.partitions {
            let label = GroupPartition {
                group: group.name(),
                topic: group.topic().name(),
                partition: partition.partition,
            };
            let records = partition.figures.lag_records.unwrap_or_default();
            let records = i64::try_from(records).unwrap_or(i64::MAX);
            admin.metrics.lag.get_or_create(&label).set(records);
        }
    }
    let mut response = admin.metrics.text().into_response();
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response
        .headers_mut()
        .insert(CONTENT_TYPE, http::HeaderValue::from_static(media_type));
    Ok(response)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    after: Option<String>,
    limit: Option<u32>,
}

async fn applications(
    State(admin): State<Admin>,
    Params(params): Params<ListParams>,
) -> Result<Answer<ApplicationPage>, Refusal> {
    let limit = page_limit(params.limit)?;
    let after: Option<AppToken> = match params.after {
        Some(text) => Some(
            text.parse()
                .map_err(|_| Broken::new("after", "must be a token of an earlier page"))?,
        ),
        None => None,
    };
    let mut applications = admin.backend.applications(after, limit + 1).await?;
    let more = applications.len() > limit as usize;
    applications.truncate(limit as usize);
    let next_after = applications.last().filter(|_| more).map(|last| last.token);
    Ok(Answer(ApplicationPage {
        applications,
        next_after,
    }))
}

async fn lag(State(admin): State<Admin>) -> Result<Answer<Lag>, Refusal> {
    Ok(Answer(groups(&admin.backend).await?))
}

async fn groups(backend: &Backend) -> Result<Lag, chat_core::error::Error> {
    let ports = backend.ports();
    let mut groups = Vec::new();
    for group in Group::ALL {
        let topic = group.topic();
        let mut partitions = Vec::new();
        for index in 0..ports.log.partitions(topic).await? {
            let partition = PartitionId { topic, index };
            let (start, end) = ports.log.range(partition).await?;
            let committed = ports.store.position(group, partition).await?.next;
            partitions.push(PartitionLag {
                partition: index,
                status: Status::Unknown,
                start_offset: Some(start),
                end_offset: Some(end),
                committed_offset: Some(committed),
                figures: Figures {
                    lag_records: Some(end.saturating_sub(committed)),
                    ..Figures::default()
                },
            });
        }
        groups.push(GroupLag {
            group: group.name().to_owned(),
            topic: topic.name().to_owned(),
            status: Status::Unknown,
            reason: "not judged yet".to_owned(),
            members: None,
            figures: Figures {
                lag_records: partitions.iter().map(|one| one.figures.lag_records).sum(),
                ..Figures::default()
            },
            history: Vec::new(),
            partitions_total: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
            partitions,
        });
    }
    Ok(Lag {
        sampled_at: Timestamp::now(),
        interval_ms: 0,
        status: Status::Unknown,
        groups,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_compared_whole() {
        assert!(same(b"key", b"key"));
        assert!(!same(b"ke", b"key"));
        assert!(!same(b"kex", b"key"));
        assert!(!same(b"", b"key"));
    }
}
