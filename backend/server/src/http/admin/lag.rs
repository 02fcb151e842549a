//! `/admin/lag`: how far each group is behind the end of its topic.

use std::cmp::Reverse;

use axum::extract::State;
use chat_core::limits::Broken;
use chat_wire::admin::lag::{GroupLag, Lag, PartitionLag};
use serde::Deserialize;

use crate::http::admin::Admin;
use crate::http::extract::Params;
use crate::http::problem::Refusal;
use crate::http::serve::Answer;
use crate::sampler::worst;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LagParams {
    /// Only this group.
    group: Option<String>,
    /// Most partitions of each group.
    partitions: Option<u32>,
    #[serde(default)]
    sort: Sort,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sort {
    /// By number.
    #[default]
    Partition,
    /// Unknown first, then where most waits.
    Lag,
}

pub(super) async fn show(
    State(admin): State<Admin>,
    Params(params): Params<LagParams>,
) -> Result<Answer<Lag>, Refusal> {
    let lag = admin.sampler.now().await;
    let wanted = |group: &&GroupLag| {
        params
            .group
            .as_ref()
            .is_none_or(|name| group.group == *name)
    };
    let groups: Vec<GroupLag> = lag
        .groups
        .iter()
        .filter(wanted)
        .map(|group| GroupLag {
            partitions: pick(&group.partitions, params.sort, params.partitions),
            ..head(group)
        })
        .collect();
    if groups.is_empty() {
        let rule = "must be applications-store, chats-store, messages-store or messages-index";
        return Err(Broken::new("group", rule).into());
    }
    Ok(Answer(Lag {
        sampled_at: lag.sampled_at,
        interval_ms: lag.interval_ms,
        status: worst(&groups),
        groups,
    }))
}

/// A group without its partitions.
pub(crate) fn head(group: &GroupLag) -> GroupLag {
    GroupLag {
        group: group.group.clone(),
        topic: group.topic.clone(),
        status: group.status,
        reason: group.reason.clone(),
        members: group.members,
        figures: group.figures.clone(),
        history: group.history.clone(),
        partitions_total: group.partitions_total,
        partitions: Vec::new(),
    }
}

/// The first partitions in this order.
fn pick(partitions: &[PartitionLag], sort: Sort, most: Option<u32>) -> Vec<PartitionLag> {
    let most = most.map_or(usize::MAX, |most| most as usize);
    match sort {
        Sort::Partition => partitions.iter().take(most).cloned().collect(),
        Sort::Lag => {
            let mut order: Vec<&PartitionLag> = partitions.iter().collect();
            order.sort_by_key(|one| {
                let lag = one.figures.lag_records;
                (lag.is_some(), Reverse(lag), Reverse(one.status))
            });
            order.into_iter().take(most).cloned().collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use chat_wire::admin::lag::{Figures, Status};

    use super::*;

    #[test]
    fn the_worst_partitions_come_first() {
        let partitions: Vec<PartitionLag> = (0..)
            .zip([Some(0), Some(7), None, Some(9)])
            .map(|(partition, lag_records)| PartitionLag {
                partition,
                status: Status::Ok,
                start_offset: None,
                end_offset: None,
                committed_offset: None,
                figures: Figures {
                    lag_records,
                    ..Figures::default()
                },
            })
            .collect();
        let numbers = |sort, most| -> Vec<u32> {
            let picked = pick(&partitions, sort, most);
            picked.iter().map(|one| one.partition).collect()
        };
        assert_eq!(numbers(Sort::Lag, None), [2, 3, 1, 0]);
        assert_eq!(numbers(Sort::Lag, Some(2)), [2, 3]);
        assert_eq!(numbers(Sort::Partition, Some(2)), [0, 1]);
        assert_eq!(numbers(Sort::Partition, Some(0)), [0; 0]);
    }
}
