//! `/admin/lag`: how far each group is behind the end of its topic.

use axum::extract::State;
use chat_core::backend::Backend;
use chat_core::port::log::{Group, PartitionId};
use chat_wire::admin::lag::{Figures, GroupLag, Lag, PartitionLag, Status};
use chat_wire::time::Timestamp;

use crate::http::admin::Admin;
use crate::http::problem::Refusal;
use crate::http::serve::Answer;

pub(super) async fn show(State(admin): State<Admin>) -> Result<Answer<Lag>, Refusal> {
    Ok(Answer(groups(&admin.backend).await?))
}

pub(super) async fn groups(backend: &Backend) -> Result<Lag, chat_core::error::Error> {
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
