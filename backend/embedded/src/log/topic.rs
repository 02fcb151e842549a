//! One topic in memory: where it begins and ends, and its freshest records.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use chat_core::port::log::{Error, PartitionId, PollLimits, Record};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::file::Extent;
use super::frame::Damaged;
pub(super) use super::frames::Segment;
use super::frames::{Frames, Taken};
use crate::damage;

/// Bytes of a topic's freshest records that are kept in memory. Workers that keep up read nothing else.
const RECENT_BYTES: usize = 8 * 1024 * 1024;

/// One topic.
#[derive(Debug)]
pub(super) struct TopicState {
    /// The offset that the next record will get: all below are durable.
    end: watch::Sender<u64>,
    start: AtomicU64,
    pub(super) epoch: u32,
    recent: Mutex<Recent>,
}

/// The last segments, without a gap up to the end.
#[derive(Debug, Default)]
struct Recent {
    segments: VecDeque<Segment>,
    bytes: usize,
}

impl TopicState {
    pub(super) fn new(extent: Extent, epoch: u32) -> Self {
        Self {
            end: watch::Sender::new(extent.next),
            start: AtomicU64::new(extent.start),
            epoch,
            recent: Mutex::default(),
        }
    }

    /// First offset, and the one behind the last.
    pub(super) fn range(&self) -> (u64, u64) {
        // The end first: a start that was read later may be higher than it, never lower than what
        // the end had been read with.
        let end = *self.end.borrow();
        (self.start.load(Ordering::Acquire).min(end), end)
    }

    /// Hears of appends.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// Shows records that have become durable.
    pub(super) fn publish(&self, segment: Segment) {
        let next = segment.next();
        self.recent.lock().push(segment);
        self.end.send_replace(next);
    }

    /// Notes that what is below is gone.
    pub(super) fn pruned(&self, start: u64) {
        self.start.fetch_max(start, Ordering::AcqRel);
    }

    /// Goes back to what the database holds, after a commit with an unknown end.
    pub(super) fn reset(&self, extent: Extent) {
        if *self.end.borrow() != extent.next {
            *self.recent.lock() = Recent::default();
            self.end.send_replace(extent.next);
        }
    }

    /// Segments from the one that holds this offset on, as far as the limits need; `None` where
    /// memory does not go back so far.
    pub(super) fn recent(&self, from: u64, limits: PollLimits) -> Option<Vec<Segment>> {
        self.recent.lock().from(from, limits)
    }
}

impl Recent {
    fn push(&mut self, segment: Segment) {
        self.bytes += segment.len();
        self.segments.push_back(segment);
        while self.bytes > RECENT_BYTES
            && let Some(oldest) = self.segments.pop_front()
        {
            self.bytes -= oldest.len();
        }
    }

    fn from(&self, from: u64, limits: PollLimits) -> Option<Vec<Segment>> {
        let at = self
            .segments
            .partition_point(|segment| segment.first <= from)
            .checked_sub(1)?;
        let mut wanted = Wanted::new(from, limits);
        let segments = self.segments.range(at..);
        Some(
            segments
                .take_while(|segment| wanted.more(segment))
                .cloned()
                .collect(),
        )
    }
}

/// How many segments a read needs.
#[derive(Debug)]
pub(super) struct Wanted {
    from: u64,
    records: u64,
    bytes: usize,
}

impl Wanted {
    pub(super) fn new(from: u64, limits: PollLimits) -> Self {
        Self {
            from,
            records: limits.records.max(1) as u64,
            bytes: limits.bytes.max(1),
        }
    }

    /// Whether those before left room for this one; counts it.
    pub(super) fn more(&mut self, segment: &Segment) -> bool {
        if self.full() {
            return false;
        }
        let records = segment.next() - segment.first.max(self.from);
        self.records = self.records.saturating_sub(records);
        if segment.first >= self.from {
            // Of the first segment only a part may be wanted, so its bytes do not count.
            self.bytes = self.bytes.saturating_sub(segment.frames.len());
        }
        true
    }

    /// Whether no further segment is needed.
    pub(super) const fn full(&self) -> bool {
        self.records == 0 || self.bytes == 0
    }
}

/// The records of these segments from an offset up to `end`, within the limits. A record whose checksum
/// does not match is among them, marked.
pub(super) fn records(
    partition: PartitionId,
    segments: Vec<Segment>,
    (from, end): (u64, u64),
    limits: PollLimits,
) -> Result<Vec<Record>, Error> {
    let mut records = Vec::new();
    let mut bytes = 0;
    let mut next = None;
    for segment in segments {
        let (first, behind, appended_at) = (segment.first, segment.next(), segment.appended_at);
        if next.is_some_and(|next| next != first) {
            return Err(damaged(partition, next.unwrap_or(first)));
        }
        next = Some(behind);
        let mut frames = Frames::new(segment);
        for offset in first..behind.min(end) {
            let damaged = |Damaged| damaged(partition, offset);
            if offset < from {
                frames.skip().map_err(damaged)?;
                continue;
            }
            if records.len() >= limits.records.max(1) || (bytes >= limits.bytes && bytes > 0) {
                return Ok(records);
            }
            let taken = frames.take().map_err(damaged)?;
            bytes += taken.len();
            if let Taken::Damaged(..) = taken {
                damage::report("log.db", || {
                    format!("the record {}", place(partition, offset))
                });
            }
            let record = taken.record(partition, offset, appended_at);
            records.push(record.map_err(damaged)?);
        }
    }
    Ok(records)
}

/// Where a record stands, for people.
fn place(partition: PartitionId, offset: u64) -> String {
    format!("{} {offset}", partition.topic.name())
}

/// A place where nothing can be read, not even whose numbers it gave out: nobody goes past it.
pub(super) fn damaged(partition: PartitionId, offset: u64) -> Error {
    let place = place(partition, offset);
    damage::report("log.db", || {
        format!("the record {place}, whose numbers are unknown")
    });
    Error::Unavailable(format!(
        "log.db is damaged at {place}, and which numbers that record has is unknown; stop chatd, \
         then run `chatd check` and `chatd salvage`"
    ))
}
