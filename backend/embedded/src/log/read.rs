//! Reading: from memory where the freshest records are, from SQLite else.

use chat_core::port::log::{Error, Group, LogId, PartitionId, PollLimits, Record, Topic};
use chat_wire::time::Timestamp;
use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqlitePool};
use tokio::sync::watch;

use super::fault::Fault;
use super::file::{Found, OFFSETS, base, id, offset, told};
use super::head::{BATCH_BYTES, BatchHead};
use super::topic::{Segment, TopicState, Wanted, damaged, records};

/// Most rows that one read asks SQLite for.
const SEGMENTS: u32 = 256;

/// What the port, the writer and the consumers share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Which log this is.
    pub(super) id: LogId,
    /// In the order of [`Topic::ALL`].
    pub(super) topics: [TopicState; Topic::ALL.len()],
    /// The members of each group, the last to join at the end: it has the partitions.
    pub(super) members: [watch::Sender<Vec<u64>>; Group::ALL.len()],
    pub(super) readers: SqlitePool,
    pub(super) fault: Fault,
}

impl Shared {
    pub(super) fn new(
        found: &Found,
        epochs: &[u32; Topic::ALL.len()],
        readers: SqlitePool,
    ) -> Self {
        Self {
            id: LogId::from_bytes(found.id),
            topics: Topic::ALL
                .map(|topic| TopicState::new(found.topics[topic as usize], epochs[topic as usize])),
            members: Group::ALL.map(|_| watch::Sender::new(Vec::new())),
            readers,
            fault: Fault::default(),
        }
    }

    pub(super) const fn topic(&self, topic: Topic) -> &TopicState {
        &self.topics[topic as usize]
    }

    /// Records from an offset on; empty at the end.
    pub(super) async fn read(
        &self,
        partition: PartitionId,
        from: u64,
        limits: PollLimits,
    ) -> Result<Vec<Record>, Error> {
        let state = self.partition(partition)?;
        let (start, end) = state.range();
        if from < start || from > end {
            return Err(Error::OutOfRange { asked: from, start });
        }
        if from == end {
            return Ok(Vec::new());
        }
        let segments = match state.recent(from, limits) {
            Some(segments) => segments,
            None => self.stored(partition.topic, (from, end), limits).await?,
        };
        match segments.first() {
            Some(first) if first.first <= from && from < first.first + first.records => {
                records(partition, segments, (from, end), limits)
            }
            _ => match state.range() {
                // Retention was faster.
                (start, _) if from < start => Err(Error::OutOfRange { asked: from, start }),
                _ => Err(damaged(partition, from)),
            },
        }
    }

    /// The state of a partition that exists.
    pub(super) fn partition(&self, partition: PartitionId) -> Result<&TopicState, Error> {
        if partition.index != 0 {
            return Err(Error::Refused("a topic has one partition here".into()));
        }
        Ok(self.topic(partition.topic))
    }

    async fn stored(
        &self,
        topic: Topic,
        (from, end): (u64, u64),
        limits: PollLimits,
    ) -> Result<Vec<Segment>, Error> {
        let mut reader = self.readers.acquire().await.map_err(told)?;
        stored(&mut reader, topic, (from, end), limits).await
    }
}

/// Batches from the one that holds an offset on, as far as the limits need.
pub(super) async fn stored(
    on: &mut SqliteConnection,
    topic: Topic,
    (from, end): (u64, u64),
    limits: PollLimits,
) -> Result<Vec<Segment>, Error> {
    // The offset may be in the middle of a batch, so reading begins at the last one that begins at or
    // below it.
    let text = "SELECT id, records, appended_at, frames, heads FROM batches WHERE id >= (\
                SELECT coalesce(max(id), ?2) FROM batches WHERE id BETWEEN ?1 AND ?2) \
                AND id < ?3 ORDER BY id LIMIT ?4";
    let mut rows = sqlx::query(text)
        .bind(base(topic))
        .bind(id(topic, from))
        .bind(id(topic, end).min(base(topic) + OFFSETS))
        .bind(SEGMENTS)
        .fetch(on);
    let mut wanted = Wanted::new(from, limits);
    let mut segments = Vec::new();
    while !wanted.full()
        && let Some(row) = rows.try_next().await.map_err(told)?
    {
        let segment = segment(topic, &row)?;
        wanted.more(&segment);
        segments.push(segment);
    }
    Ok(segments)
}

/// Reads a batch; its checksums are compared when its records are taken.
pub(super) fn segment(topic: Topic, row: &SqliteRow) -> Result<Segment, Error> {
    let get = |column| row.try_get_unchecked::<i64, _>(column).map_err(told);
    let (place, mut records, mut appended_at) = (get(0)?, get(1)?, get(2)?);
    let frames: Vec<u8> = row.try_get_unchecked(3).map_err(told)?;
    let heads: Option<Vec<u8>> = row.try_get_unchecked(4).map_err(told)?;
    let heads = heads.unwrap_or_default();
    let first = offset(topic, place);
    let damaged = || damaged(PartitionId { topic, index: 0 }, first);
    if !heads.is_empty() {
        if heads.len() < BATCH_BYTES {
            return Err(damaged());
        }
        // Where it is damaged, the columns are not.
        if let Some(head) = BatchHead::read(&heads) {
            if head.id != place {
                return Err(damaged());
            }
            (records, appended_at) = (i64::from(head.records), head.appended_at);
        }
        let records = usize::try_from(records).map_err(|_| damaged())?;
        if heads.len() != BatchHead::bytes(records) {
            return Err(damaged());
        }
    }
    Ok(Segment {
        topic,
        first,
        records: u64::try_from(records).map_err(|_| damaged())?,
        appended_at: Timestamp::from_micros(appended_at).map_err(|_| damaged())?,
        frames: frames.into(),
        heads: heads.into(),
        verify: true,
    })
}
