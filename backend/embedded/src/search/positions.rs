//! How far the index has read which log: the payload of every commit, so that it is durable with the
//! documents of the same commit and with no others.
//!
//! The payload is a CRC-32C of what follows it, and one line for each partition: topic, partition,
//! log, epoch, next offset, and whether all below is there. Its checksum is its own, because it is also read where the rest of the
//! list of segments is damaged.

use std::fmt::Write as _;
use std::path::Path;

use chat_core::port::log::{LogId, PartitionId, Topic};
use chat_core::port::search::IndexPosition;

use super::META_FILE;

/// The index holds all messages below its position.
const WHOLE: &str = "whole";
/// It lacks some that the log does not have any more.
const PARTIAL: &str = "partial";

/// The recorded positions with these in place of those of the same partitions, in order of partition.
pub(super) fn merge(recorded: &[IndexPosition], new: &[IndexPosition]) -> Vec<IndexPosition> {
    let mut merged = new.to_vec();
    let is_kept = |kept: &&IndexPosition| new.iter().all(|new| new.partition != kept.partition);
    merged.extend(recorded.iter().filter(is_kept));
    merged.sort_unstable_by_key(|position| position.partition);
    merged
}

/// `None` where there is nothing to record.
pub(super) fn encode(positions: &[IndexPosition]) -> Option<String> {
    let mut lines = String::new();
    for position in positions {
        let PartitionId { topic, index } = position.partition;
        let log = u128::from_be_bytes(*position.log.as_bytes());
        let extent = if position.whole { WHOLE } else { PARTIAL };
        // Writing to a string does not fail.
        let _ = write!(
            lines,
            "\n{} {index} {log:032x} {} {} {extent}",
            topic.name(),
            position.epoch,
            position.next
        );
    }
    let checksum = crc32c::crc32c(lines.as_bytes());
    (!positions.is_empty()).then(|| format!("{checksum:08x}{lines}"))
}

/// `None` where the payload is damaged.
pub(super) fn decode(payload: Option<&str>) -> Option<Vec<IndexPosition>> {
    let Some(payload) = payload else {
        return Some(Vec::new());
    };
    let (checksum, lines) = payload.split_at_checked(8)?;
    if u32::from_str_radix(checksum, 16).ok()? != crc32c::crc32c(lines.as_bytes()) {
        return None;
    }
    lines.lines().skip(1).map(decode_line).collect()
}

fn decode_line(line: &str) -> Option<IndexPosition> {
    let mut fields = line.split(' ');
    let topic = fields.next()?;
    let partition = PartitionId {
        topic: Topic::ALL.into_iter().find(|known| known.name() == topic)?,
        index: fields.next()?.parse().ok()?,
    };
    let log = u128::from_str_radix(fields.next()?, 16).ok()?;
    Some(IndexPosition {
        partition,
        log: LogId::from_bytes(log.to_be_bytes()),
        epoch: fields.next()?.parse().ok()?,
        next: fields.next()?.parse().ok()?,
        whole: match fields.next()? {
            WHOLE => true,
            PARTIAL => false,
            _ => return None,
        },
    })
}

/// What the index in a directory has recorded, as far as that can be read without opening it.
pub(crate) fn read_recorded(dir: &Path) -> Vec<IndexPosition> {
    let read = || -> Option<Vec<IndexPosition>> {
        let meta = std::fs::read(dir.join(META_FILE)).ok()?;
        let meta: serde_json::Value = serde_json::from_slice(&meta).ok()?;
        decode(meta.get("payload").and_then(serde_json::Value::as_str))
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(topic: Topic, index: u32, next: u64) -> IndexPosition {
        IndexPosition {
            partition: PartitionId { topic, index },
            log: LogId::from_bytes([0x0f; 16]),
            epoch: 7,
            next,
            whole: index != 3,
        }
    }

    #[test]
    fn positions_survive_their_encoding() {
        let positions = [
            position(Topic::Chats, 3, u64::MAX),
            position(Topic::Messages, 0, 0),
        ];
        let payload = encode(&positions);
        assert_eq!(decode(payload.as_deref()), Some(positions.to_vec()));
        assert_eq!(encode(&[]), None);
        assert_eq!(decode(None), Some(Vec::new()));
    }

    #[test]
    fn a_damaged_payload_is_noticed() {
        let payload = encode(&[position(Topic::Messages, 0, 1234)]).unwrap();
        for at in 0..payload.len() {
            for bit in 0..7 {
                let mut bytes = payload.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let damaged = String::from_utf8(bytes).unwrap();
                // An upper-case digit of the checksum says the same.
                let is_same = damaged.eq_ignore_ascii_case(&payload) && at < 8;
                assert!(is_same || decode(Some(&damaged)).is_none(), "{damaged}");
            }
        }
        assert_eq!(decode(Some("")), None);
    }

    #[test]
    fn positions_of_other_partitions_stay() {
        let recorded = [
            position(Topic::Messages, 0, 1),
            position(Topic::Messages, 1, 1),
        ];
        let merged = merge(
            &recorded,
            &[
                position(Topic::Messages, 2, 9),
                position(Topic::Messages, 0, 9),
            ],
        );
        let nexts: Vec<u64> = merged.iter().map(|position| position.next).collect();
        assert_eq!(nexts, [9, 1, 9]);
    }
}
