//! `/metrics`: the page that Prometheus scrapes.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chat_core::port::log::Group;
use http::header::CONTENT_TYPE;

use crate::http::admin::Admin;
use crate::http::admin::lag::groups;
use crate::http::problem::Refusal;
use crate::telemetry::GroupPartition;

pub(super) async fn page(State(admin): State<Admin>) -> Result<Response, Refusal> {
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
