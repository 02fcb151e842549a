//! Dead letters: listed from their topics, shown as they were read, replayed to where they came from, or
//! given up with a reason.
//!
//! `bury` makes them; `decide` holds what may be done about them.

mod bury;
mod decide;

use std::collections::HashMap;

use bytes::Bytes;
use chat_wire::admin::dlq::{Letter, LetterPage, Place, State};
use chat_wire::time::Timestamp;

pub use self::bury::Burial;
use crate::backend::Backend;
use crate::error::Error;
use crate::limits::Broken;
use crate::port::log::{PartitionId, PollLimits, Record, Topic};
use crate::port::store::{Fate, LetterRow};

/// The dead-letter topics, in the order in which they are listed.
const TOPICS: [Topic; 3] = [Topic::ApplicationsDlq, Topic::ChatsDlq, Topic::MessagesDlq];
/// Letters of one look: their bytes are in memory together.
const LOOK: PollLimits = PollLimits {
    records: 200,
    bytes: 4 * 1024 * 1024,
    wait_ms: 0,
};
/// Records that one page looks through for letters in the state asked for.
const LOOKED_MAX: usize = 20_000;
/// Names a letter: where it stands in its dead-letter topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId {
    partition: PartitionId,
    offset: u64,
}

impl LetterId {
    /// Reads `topic-partition-offset`; `None` where that names no letter.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let topic = dead_letters(parts.next()?)?;
        let index = parts.next()?.parse().ok()?;
        let offset = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self {
            partition: PartitionId { topic, index },
            offset,
        })
    }

    fn text(self) -> String {
        let Self { partition, offset } = self;
        format!("{}-{}-{offset}", partition.topic.name(), partition.index)
    }
}

/// A dead-letter topic by its name.
fn dead_letters(name: &str) -> Option<Topic> {
    TOPICS.into_iter().find(|topic| topic.name() == name)
}

/// Which letters are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// Only those of this dead-letter topic.
    pub topic: Option<String>,
    /// Only those in this state.
    pub state: Option<State>,
    /// The id of the last letter before.
    pub after: Option<String>,
    /// At most so many.
    pub limit: u32,
}

/// Up to where every letter is decided, as far as somebody has looked.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    from: HashMap<(PartitionId, u32), u64>,
}

/// A letter with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What is said of it.
    pub letter: Letter,
    /// As it was read.
    pub key: Bytes,
    /// As it was read.
    pub value: Bytes,
}

/// A letter and what was decided about it.
struct Read {
    record: Record,
    row: Option<LetterRow>,
}

impl Read {
    const fn id(&self) -> LetterId {
        LetterId {
            partition: self.record.partition,
            offset: self.record.offset,
        }
    }

    fn state(&self) -> State {
        match self.row.as_ref().map(|row| row.fate) {
            None | Some(Fate::Replaying) => State::Waiting,
            Some(Fate::Replayed) => State::Replayed,
            Some(Fate::Discarded) => State::Discarded,
        }
    }

    fn letter(&self) -> Letter {
        let headers = &self.record.headers;
        let decided = self.row.as_ref().filter(|_| self.state() != State::Waiting);
        Letter {
            id: self.id().text(),
            origin: headers.origin.map(|origin| Place {
                topic: origin.partition.topic.name().to_owned(),
                partition: origin.partition.index,
                offset: origin.offset,
            }),
            event: headers.event.clone(),
            reason: headers.reason.clone().unwrap_or_default(),
            buried_at: self.record.appended_at,
            bytes: self.record.value.len() as u64,
            state: self.state(),
            decided_at: decided.map(|row| row.at),
            discard_reason: decided
                .filter(|row| row.fate == Fate::Discarded)
                .map(|row| row.reason.clone()),
        }
    }
}

impl Backend {
    /// A page of letters: topic by topic, the oldest first.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the wish names no topic or letter; those of log and store.
    pub async fn letters(&self, wish: &Wish) -> Result<LetterPage, Error> {
        let topic = named(wish.topic.as_deref())?;
        let after = match wish.after.as_deref() {
            None => None,
            Some(text) => Some(
                LetterId::parse(text)
                    .ok_or_else(|| Broken::new("after", "must be that of an earlier page"))?,
            ),
        };
        let limit = wish.limit as usize;
        let (mut letters, mut looked, mut last) = (Vec::new(), 0, after);
        let mut more = false;
        'topics: for partition in self.dead_partitions(topic).await? {
            let mut from = match after {
                Some(after) if partition < after.partition => continue,
                Some(after) if partition == after.partition => after.offset + 1,
                _ => 0,
            };
            loop {
                let read = self.read_letters(partition, from, LOOK).await?;
                let Some(end) = read.last() else { break };
                from = end.id().offset + 1;
                for one in read {
                    if letters.len() == limit || looked == LOOKED_MAX {
                        more = true;
                        break 'topics;
                    }
                    looked += 1;
                    last = Some(one.id());
                    if wish.state.is_none_or(|state| state == one.state()) {
                        letters.push(one.letter());
                    }
                }
            }
        }
        Ok(LetterPage {
            waiting: self.letters_waiting().await?,
            letters,
            next_after: last.filter(|_| more).map(LetterId::text),
        })
    }

    /// How many letters wait, over all topics.
    ///
    /// # Errors
    /// Those of log and store.
    pub async fn letters_waiting(&self) -> Result<u64, Error> {
        let ports = self.ports();
        let mut waiting = 0;
        for partition in self.dead_partitions(None).await? {
            let (start, end) = ports.log.range(partition).await?;
            let epoch = ports.log.epoch(partition.topic).await?;
            let decided = ports.store.letters_decided(partition, epoch, start).await?;
            waiting += end.saturating_sub(start).saturating_sub(decided);
        }
        Ok(waiting)
    }

    /// When the oldest letter that waits was buried; `None` where none waits. What `watch` remembers
    /// spares the next look those that are decided.
    ///
    /// # Errors
    /// Those of log and store.
    pub async fn oldest_letter(&self, watch: &mut Watch) -> Result<Option<Timestamp>, Error> {
        let mut oldest: Option<Timestamp> = None;
        for partition in self.dead_partitions(None).await? {
            let epoch = self.ports().log.epoch(partition.topic).await?;
            let from = watch.from.entry((partition, epoch)).or_default();
            loop {
                let read = self.read_letters(partition, *from, LOOK).await?;
                let Some(last) = read.last() else { break };
                let next = last.id().offset + 1;
                if let Some(first) = read.iter().find(|one| one.state() == State::Waiting) {
                    let at = first.record.appended_at;
                    oldest = Some(oldest.map_or(at, |oldest| oldest.min(at)));
                    // A decision is final: nothing before this one will wait again.
                    *from = first.id().offset;
                    break;
                }
                *from = next;
            }
        }
        Ok(oldest)
    }

    /// One letter with its bytes.
    ///
    /// # Errors
    /// [`Error::UnknownLetter`]; those of log and store.
    pub async fn letter(&self, id: LetterId) -> Result<Opened, Error> {
        let read = self.read_letter(id).await?;
        Ok(Opened {
            letter: read.letter(),
            key: read.record.key,
            value: read.record.value,
        })
    }

    /// The partitions of the dead-letter topics, in order.
    async fn dead_partitions(&self, only: Option<Topic>) -> Result<Vec<PartitionId>, Error> {
        let mut partitions = Vec::new();
        for topic in TOPICS {
            if only.is_some_and(|only| only != topic) {
                continue;
            }
            for index in 0..self.ports().log.partitions(topic).await? {
                partitions.push(PartitionId { topic, index });
            }
        }
        Ok(partitions)
    }

    async fn read_letter(&self, id: LetterId) -> Result<Read, Error> {
        let log = &self.ports().log;
        if id.partition.index >= log.partitions(id.partition.topic).await? {
            return Err(Error::UnknownLetter);
        }
        let (start, end) = log.range(id.partition).await?;
        if id.offset < start || id.offset >= end {
            return Err(Error::UnknownLetter);
        }
        let one = PollLimits { records: 1, ..LOOK };
        let read = self.read_letters(id.partition, id.offset, one).await?;
        read.into_iter()
            .find(|read| read.id() == id)
            .ok_or(Error::UnknownLetter)
    }

    async fn read_letters(
        &self,
        partition: PartitionId,
        from: u64,
        limits: PollLimits,
    ) -> Result<Vec<Read>, Error> {
        let ports = self.ports();
        let (start, end) = ports.log.range(partition).await?;
        let from = from.max(start);
        if from >= end {
            return Ok(Vec::new());
        }
        let records = ports.log.read(partition, from, limits).await?;
        let Some(last) = records.last().map(|record| record.offset) else {
            return Ok(Vec::new());
        };
        let epoch = ports.log.epoch(partition.topic).await?;
        let rows = ports.store.letters(partition, epoch, from, last).await?;
        let mut rows: HashMap<u64, LetterRow> =
            rows.into_iter().map(|row| (row.offset, row)).collect();
        Ok(records
            .into_iter()
            .map(|record| Read {
                row: rows.remove(&record.offset),
                record,
            })
            .collect())
    }
}

fn named(topic: Option<&str>) -> Result<Option<Topic>, Error> {
    match topic {
        None => Ok(None),
        Some(name) => match dead_letters(name) {
            Some(topic) => Ok(Some(topic)),
            None => Err(Broken::new("topic", "must be a topic that ends with .dlq").into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back() {
        let id = LetterId::parse("messages.dlq-0-12").unwrap();
        assert_eq!(id.text(), "messages.dlq-0-12");
        for wrong in [
            "",
            "messages-0-1",
            "messages.dlq-0",
            "messages.dlq-0-1-2",
            "messages.dlq-x-1",
        ] {
            assert_eq!(LetterId::parse(wrong), None, "{wrong}");
        }
    }
}
