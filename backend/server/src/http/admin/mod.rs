//! The admin listener: health, metrics, and what only operators see.

mod applications;
mod authorize;
mod dlq;
mod doctor;
mod drift;
mod health;
mod lag;
mod limit;
mod metrics;
mod reconcile;
mod stats;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{MethodRouter, get, post};
use chat_core::backend::Backend;
use tokio_util::sync::CancellationToken;

pub(crate) use self::health::readiness;
pub(crate) use self::lag::head;
use crate::http::{measure, method_not_allowed, no_such_path};
use crate::pressure::Pressure;
use crate::sampler::Sampler;
use crate::stats::Snapshots;
use crate::telemetry::Metrics;

/// What every handler of the admin listener may use.
#[derive(Clone)]
pub struct Admin {
    /// The rules.
    pub backend: Backend,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How far each group is behind.
    pub sampler: Arc<Sampler>,
    /// For which groups creates are shed.
    pub pressure: Arc<Pressure>,
    /// Messages a second of an application for which nothing else was set; 0 for no limit.
    pub default_rate: u32,
    /// Everything at a glance.
    pub snapshots: Arc<Snapshots>,
    /// Cancelled when the server stops: streams end.
    pub stop: CancellationToken,
    /// The bearer key, if one is asked for.
    pub key: Option<Arc<str>>,
}

/// The paths that anyone may ask who reaches the listener: orchestrators hold no key.
#[must_use]
pub fn open_routes() -> Vec<(&'static str, MethodRouter<Admin>)> {
    vec![
        ("/livez", get(health::alive)),
        ("/readyz", get(health::ready)),
    ]
}

/// The paths that want the key, where there is one.
#[must_use]
pub fn guarded_routes() -> Vec<(&'static str, MethodRouter<Admin>)> {
    vec![
        ("/metrics", get(metrics::page)),
        ("/admin/applications", get(applications::list)),
        (
            "/admin/applications/{token}/limit",
            get(limit::show).put(limit::set).delete(limit::take_back),
        ),
        ("/admin/lag", get(lag::show)),
        ("/admin/stats", get(stats::show)),
        ("/admin/stats/stream", get(stats::open)),
        ("/admin/drift", get(drift::show)),
        (
            "/admin/reconcile",
            get(reconcile::show)
                .post(reconcile::begin)
                .delete(reconcile::cancel),
        ),
        ("/admin/dlq", get(dlq::list)),
        ("/admin/dlq/{id}", get(dlq::show)),
        ("/admin/dlq/replay", post(dlq::replay)),
        ("/admin/dlq/discard", post(dlq::discard)),
        ("/admin/doctor", get(doctor::show)),
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
    let operators = all(guarded_routes()).route_layer(middleware::from_fn_with_state(
        admin.clone(),
        authorize::authorize,
    ));
    all(open_routes())
        .merge(operators)
        .fallback(no_such_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&admin.metrics),
            measure::measure_admin,
        ))
        .with_state(admin)
}
