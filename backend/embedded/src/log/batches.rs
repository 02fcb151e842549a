//! Whole batches, for whoever reads the file while nobody serves it.

use chat_core::port::log::{NewRecord, PartitionId, Record, Topic};
use chat_wire::time::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::file::{id, offset};
use super::frame::encode;
use super::frames::{Frames, Taken, gather};
use super::head::Head;
use super::read::segment;
use super::topic::Segment;

/// The statement that [`Batch::of`] reads, without a condition.
pub(crate) const SELECT: &str = "SELECT id, records, appended_at, frames, heads FROM batches";

/// One row of `batches`.
#[derive(Debug)]
pub(crate) struct Batch {
    segment: Segment,
}

/// What was found at one offset.
#[derive(Debug)]
pub(crate) enum Read {
    /// What was appended.
    Intact(Record),
    /// Something else; what it was about is known.
    Damaged(Record),
    /// Something else, and nothing is known about it.
    Unknown(u64),
}

impl Batch {
    /// Reads a row; answers with its first offset where the row is not what was written.
    pub(crate) fn of(topic: Topic, row: &SqliteRow) -> Result<Self, u64> {
        let place = || row.try_get_unchecked(0).unwrap_or_default();
        let segment = segment(topic, row).map_err(|_| offset(topic, place()))?;
        Ok(Self { segment })
    }

    /// Of which topic.
    pub(crate) const fn topic(&self) -> Topic {
        self.segment.topic
    }

    /// The first offset.
    pub(crate) const fn first(&self) -> u64 {
        self.segment.first
    }

    /// How many records it has.
    pub(crate) const fn records(&self) -> u64 {
        self.segment.records
    }

    /// When it was appended.
    pub(crate) const fn appended_at(&self) -> Timestamp {
        self.segment.appended_at
    }

    /// Whether its records have checksums.
    pub(crate) const fn is_protected(&self) -> bool {
        !self.segment.heads.is_empty()
    }

    /// Compares every record with its checksum.
    pub(crate) fn read(&self) -> Vec<Read> {
        let Segment {
            topic,
            first,
            records,
            appended_at,
            ..
        } = self.segment;
        let partition = PartitionId { topic, index: 0 };
        let mut frames = Frames::new(self.segment.clone());
        (first..first + records)
            .map(|offset| {
                let Ok(taken) = frames.take() else {
                    return Read::Unknown(offset);
                };
                let is_intact = matches!(taken, Taken::Intact(_));
                match taken.record(partition, offset, appended_at) {
                    Ok(record) if is_intact => Read::Intact(record),
                    Ok(record) => Read::Damaged(record),
                    Err(_) => Read::Unknown(offset),
                }
            })
            .collect()
    }
}

/// Writes records as one batch from an offset on.
pub(crate) async fn put(
    on: &mut SqliteConnection,
    topic: Topic,
    first: u64,
    appended_at: Timestamp,
    records: &[NewRecord],
) -> Result<(), sqlx::Error> {
    let frames: Vec<(Head, Vec<u8>)> = records
        .iter()
        .map(|record| {
            let frame = encode(record);
            (Head::new(record, frame.len()), frame)
        })
        .collect();
    let frames = frames.iter().map(|(head, frame)| (head, frame.as_slice()));
    let segment = gather(topic, first, appended_at, frames);
    sqlx::query("INSERT INTO batches (id, records, appended_at, frames, heads) VALUES (?,?,?,?,?)")
        .bind(id(topic, first))
        .bind(i64::try_from(segment.records).unwrap_or(i64::MAX))
        .bind(appended_at.as_micros())
        .bind(segment.frames.to_vec())
        .bind(segment.heads.to_vec())
        .execute(on)
        .await
        .map(drop)
}
