//! Burying: a record that can never be applied becomes one dead letter, however often its batch is told.
//!
//! A batch is told again when the store fails behind the append, when a process dies before the position
//! has moved, and when nobody knows whether an append arrived. What was about to be buried then may be
//! there already. So the intention is written down before the append: which records, and where their
//! topic of dead letters ended. Whoever is told the batch again looks from there for each of them, and
//! buries what is missing; where an append may still arrive, only after the time that it has.

use std::collections::BTreeMap;

use chat_wire::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::LOOK;
use crate::apply::Poison;
use crate::backend::Backend;
use crate::error::Error;
use crate::port::log::{
    self, Group, Headers, NewRecord, Origin, PartitionId, PollLimits, Record, Topic,
};
use crate::port::store;
use crate::recover::MARGIN;

/// Letters to look for are compared with this many at a time.
const SEARCH: PollLimits = PollLimits {
    records: 1_000,
    ..LOOK
};

/// What is to be done about the poison of one batch.
#[derive(Debug, Default)]
pub struct Burial {
    /// To be appended to the dead-letter topic, in this order, before the position moves.
    pub letters: Vec<NewRecord>,
    /// How many records become letters by the batch: those to append, and those that are there already.
    pub dead: u64,
}

/// The note of a partition: what somebody was about to bury.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Intention {
    /// Of the topic of the records.
    epoch: u32,
    /// The records, ascending.
    offsets: Vec<u64>,
    /// Where each partition of the dead-letter topic ended before the first of them.
    ends: Vec<u64>,
    /// When it was written, in microseconds since 1970.
    at: i64,
}

impl Intention {
    /// Without what the position has passed, or was said of another log.
    fn ahead(mut self, epoch: u32, next: u64) -> Self {
        self.offsets.retain(|offset| *offset >= next);
        if self.epoch != epoch || self.offsets.is_empty() {
            return Self::default();
        }
        self
    }

    fn names(&self, offset: u64) -> bool {
        self.offsets.binary_search(&offset).is_ok()
    }
}

/// A letter and the record that it is made of.
struct Due {
    offset: u64,
    letter: NewRecord,
}

impl Backend {
    /// Says which letters the poison of a partition makes that are not there yet, and writes down that
    /// they are about to be appended.
    ///
    /// # Errors
    /// [`log::Error::Unavailable`] while an earlier append may still arrive; those of log and store. The
    /// batch is to be told again then.
    pub async fn bury(
        &self,
        group: Group,
        partition: PartitionId,
        epoch: u32,
        poison: Vec<Poison>,
    ) -> Result<Burial, Error> {
        if poison.is_empty() {
            return Ok(Burial::default());
        }
        let store = &self.ports().store;
        let applied = store.position(group, partition).await?;
        let next = if applied.epoch == epoch {
            applied.next
        } else {
            0
        };
        let due: Vec<Due> = poison
            .into_iter()
            .filter(|poison| poison.record.offset >= next)
            .map(|poison| due(epoch, poison))
            .collect();
        if due.is_empty() {
            return Ok(Burial::default());
        }
        let dead = due.len() as u64;
        let name = format!("burial-{}-{}", partition.topic.name(), partition.index);
        let note = store.note(&name).await?;
        let before = read(note.as_ref()).ahead(epoch, next);
        // Asked before the look: what arrives after the look was appended too late for its deadline.
        let arrived = self.has_arrived(&before);
        let dead_letters = partition.topic.dead_letters();
        let (tried, mut missing): (Vec<Due>, Vec<Due>) =
            due.into_iter().partition(|due| before.names(due.offset));
        let lost = self.absent(dead_letters, &before.ends, tried).await?;
        if !lost.is_empty() && !arrived {
            let reason = format!("{} dead letters may still be on their way", lost.len());
            return Err(log::Error::Unavailable(reason).into());
        }
        missing.extend(lost);
        if missing.is_empty() {
            return Ok(Burial {
                letters: Vec::new(),
                dead,
            });
        }
        missing.sort_unstable_by_key(|due| due.offset);
        let intention = self
            .intend(dead_letters, epoch, before, missing.iter())
            .await?;
        let text = serde_json::to_string(&intention).map_err(|error| {
            let reason = format!("the intention to bury cannot be written: {error}");
            store::Error::Refused(reason)
        })?;
        let version = note.map_or(0, |note| note.version);
        if !store.put_note(&name, version, &text).await? {
            let reason = "another worker buries records of this partition".into();
            return Err(store::Error::Unavailable(reason).into());
        }
        Ok(Burial {
            letters: missing.into_iter().map(|due| due.letter).collect(),
            dead,
        })
    }

    /// Whether everything that was appended with this intention is there or will never be.
    fn has_arrived(&self, intention: &Intention) -> bool {
        let Ok(since) = Timestamp::from_micros(intention.at) else {
            return true;
        };
        let now = self.now();
        // Of a clock that is far ahead nothing can be said: a letter may come twice then, and no
        // partition stands still.
        let apart = now.millis_since(since).max(since.millis_since(now));
        let patience = self.settings().create_deadline + MARGIN;
        u128::from(apart) >= patience.as_millis()
    }

    /// What was intended before and these.
    async fn intend(
        &self,
        dead_letters: Topic,
        epoch: u32,
        before: Intention,
        missing: impl Iterator<Item = &Due>,
    ) -> Result<Intention, Error> {
        let mut offsets = before.offsets;
        let ends = if offsets.is_empty() {
            let ranges = self.ports().log.ranges(dead_letters).await?;
            ranges.into_iter().map(|(_, end)| end).collect()
        } else {
            before.ends
        };
        offsets.extend(missing.map(|due| due.offset));
        offsets.sort_unstable();
        offsets.dedup();
        Ok(Intention {
            epoch,
            offsets,
            ends,
            at: self.now().as_micros(),
        })
    }

    /// Those that are not among the letters behind these ends.
    async fn absent(
        &self,
        dead_letters: Topic,
        ends: &[u64],
        tried: Vec<Due>,
    ) -> Result<Vec<Due>, Error> {
        let log = &self.ports().log;
        let mut by_partition: BTreeMap<PartitionId, Vec<Due>> = BTreeMap::new();
        for due in tried {
            let partition = log.partition_of(dead_letters, &due.letter.key).await?;
            by_partition.entry(partition).or_default().push(due);
        }
        let mut absent = Vec::new();
        for (partition, mut wanted) in by_partition {
            let (start, end) = log.range(partition).await?;
            // A topic that ends before it ended was made anew.
            let noted = ends.get(partition.index as usize);
            let mut from = noted.copied().filter(|noted| *noted <= end).unwrap_or(0);
            from = from.max(start);
            while from < end && !wanted.is_empty() {
                let records = log.read(partition, from, SEARCH).await?;
                let Some(last) = records.last() else { break };
                from = last.offset + 1;
                for record in &records {
                    // One letter is one record: of two that are equal both are buried.
                    if let Some(found) = wanted.iter().position(|due| is(record, &due.letter)) {
                        wanted.swap_remove(found);
                    }
                }
            }
            absent.extend(wanted);
        }
        Ok(absent)
    }
}

/// The letter that a record becomes.
fn due(epoch: u32, poison: Poison) -> Due {
    let Poison { record, reason } = poison;
    let origin = record.headers.origin.unwrap_or(Origin {
        epoch,
        partition: record.partition,
        offset: record.offset,
    });
    Due {
        offset: record.offset,
        letter: NewRecord {
            key: record.key,
            headers: Headers {
                origin: Some(origin),
                reason: Some(reason),
                ..record.headers
            },
            value: record.value,
        },
    }
}

/// Whether a record is this letter, for whatever reason it was buried.
fn is(record: &Record, letter: &NewRecord) -> bool {
    let (found, wanted) = (&record.headers, &letter.headers);
    found.origin == wanted.origin
        && (&found.event, found.uid, found.schema) == (&wanted.event, wanted.uid, wanted.schema)
        && record.key == letter.key
        && record.value == letter.value
}

/// What cannot be read was written by another version: a letter may come twice then, and none is lost.
fn read(note: Option<&store::Note>) -> Intention {
    note.and_then(|note| {
        serde_json::from_str(&note.text)
            .inspect_err(|error| tracing::warn!(%error, "an intention to bury cannot be read"))
            .ok()
    })
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_passed_or_is_of_another_log_counts_no_more() {
        let intention = Intention {
            epoch: 2,
            offsets: vec![3, 5, 8],
            ends: vec![4],
            at: 1,
        };
        let left = intention.clone().ahead(2, 4);
        assert_eq!(
            (left.offsets.as_slice(), left.ends.as_slice()),
            (&[5, 8][..], &[4][..])
        );
        assert!(left.names(5) && !left.names(3) && !left.names(6));
        assert_eq!(intention.clone().ahead(2, 9), Intention::default());
        assert_eq!(intention.ahead(3, 0), Intention::default());
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let intention = Intention {
            epoch: 1,
            offsets: vec![7],
            ends: vec![0, 2],
            at: 1_700_000_000_000_000,
        };
        let text = serde_json::to_string(&intention).unwrap();
        let note = store::Note { version: 1, text };
        assert_eq!(read(Some(&note)), intention);
        assert_eq!(read(None), Intention::default());
        let other = store::Note {
            version: 2,
            text: "[]".into(),
        };
        assert_eq!(read(Some(&other)), Intention::default());
    }
}
