//! What was judged, as the wire says it.

use chat_core::lag::look::{Look, Stand};
use chat_core::lag::watch::Judged;
use chat_core::port::log::Group;
use chat_wire::admin::lag::{GroupLag, PartitionLag, Status};

/// One group.
pub(super) fn group(group: Group, look: &Look, judged: Judged) -> GroupLag {
    let parts = look.partitions.iter().zip(judged.partitions);
    let partitions: Vec<PartitionLag> = (0..)
        .zip(parts)
        .map(|(partition, (seen, (status, figures)))| PartitionLag {
            partition,
            status,
            start_offset: seen.range.map(|(start, _)| start),
            end_offset: seen.end(),
            committed_offset: match seen.stand {
                Stand::At(next) => Some(next),
                Stand::Nowhere | Stand::Unknown => None,
            },
            figures,
        })
        .collect();
    GroupLag {
        group: group.name().to_owned(),
        topic: group.topic().name().to_owned(),
        status: judged.status,
        reason: judged.reason,
        members: look.members,
        figures: judged.figures,
        history: judged.history,
        partitions_total: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
        partitions,
    }
}

/// The worst status of these groups.
pub(crate) fn worst(groups: &[GroupLag]) -> Status {
    groups
        .iter()
        .map(|group| group.status)
        .max()
        .unwrap_or(Status::Unknown)
}
