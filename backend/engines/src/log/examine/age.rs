//! Whether records are about to be removed that no worker has applied (invariant: broker-settings).

use chat_core::examine::{failed, ok, skipped};
use chat_core::port::log::{Error, Group, PartitionId, Topic};
use chat_wire::admin::doctor::Examined;
use chat_wire::time::Timestamp;

use super::super::reader::Reader;
use crate::store::Rows;

/// Asks for every partition where the records begin that are younger than half of the retention: a
/// group that has not come so far has let a record grow older. It costs one question to the brokers,
/// however much waits, and no record is read.
pub(super) async fn examine(
    reader: &Reader,
    rows: &Rows,
    partitions: &[u32; Topic::ALL.len()],
    retention_ms: Option<u64>,
) -> Result<Examined, Error> {
    let id = "kafka.retention";
    let Some(retention_ms) = retention_ms else {
        return Ok(skipped(
            id,
            "records are kept for ever, or the brokers do not tell how long",
        ));
    };
    let half_ms = i64::try_from(retention_ms / 2).unwrap_or(i64::MAX);
    let since = Timestamp::now().as_micros() / 1_000 - half_ms;
    let all = Group::ALL.into_iter().flat_map(|group| {
        let topic = group.topic();
        let each = 0..partitions[topic as usize];
        each.map(move |index| (group, PartitionId { topic, index }))
    });
    let young = reader
        .first_since(&partitions_of(partitions), since)
        .await?;
    let mut old = Vec::new();
    for (group, partition) in all {
        let applied = rows.position_of(group, partition).await;
        let applied = applied
            .map_err(|error| Error::Unavailable(error.to_string()))?
            .next;
        let begins = young.iter().find(|(one, _)| *one == partition);
        let Some((_, begins)) = begins else {
            continue;
        };
        if applied < *begins {
            old.push(format!("{} partition {}", group.name(), partition.index));
        }
    }
    let half = half_ms / 1_000;
    Ok(if old.is_empty() {
        ok(
            id,
            format!(
                "kept for {} s, and nothing that waits is older than {half} s",
                retention_ms / 1_000
            ),
        )
    } else {
        let detail = format!(
            "records that are not applied are older than half of the retention ({half} s), after which they are lost: {}",
            old.join(", ")
        );
        failed(
            id,
            detail,
            "chatctl lag; start the worker, or make retention.ms of the topic longer",
        )
    })
}

/// Every partition that some group reads, once.
fn partitions_of(counts: &[u32; Topic::ALL.len()]) -> Vec<PartitionId> {
    let topics = super::APPLIED.into_iter();
    topics
        .flat_map(|topic| {
            (0..counts[topic as usize]).map(move |index| PartitionId { topic, index })
        })
        .collect()
}
