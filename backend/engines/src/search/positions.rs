//! How far the index has read each partition of the log. It is kept in the index itself, so that a snapshot that
//! is restored, or an old copy of a shard that is promoted, brings the position back together with the documents.
//!
//! A position is a document on every shard of the index, and the lowest of them counts: shards are restored and
//! promoted one by one. They are written after the documents that they are about were acknowledged, and with the
//! refresh that makes both visible.
//!
//! A position may go down as well as up: whoever owns the partition decides where it reads on. What must not happen
//! is that somebody writes the next position over one that is not the one before, because the index was restored
//! meanwhile, or because a write of an owner before comes late. Therefore each write names the write that it
//! follows (`if_seq_no` and `if_primary_term`). Where another one stands there, the positions are read again. What
//! is not behind the position that we know is of somebody who has gone on, or is our own whose answer was lost: it
//! stays where it covers ours, and is followed where not. What is behind the position that we know is
//! [`Error::Displaced`], and is believed once whoever writes was told so and the positions were read again.

mod document;

use std::collections::{HashMap, HashSet};

use chat_core::port::log::PartitionId;
use chat_core::port::search::{Error, IndexPosition};
use parking_lot::Mutex;
use serde_json::Value;

pub(super) use self::document::refresh;
use self::document::{Mark, ask, routings, written};
use super::http::Http;
use super::schema::Found;

/// How often positions are written again after somebody else wrote them.
const TRIES: usize = 3;

/// What this process knows of the positions of one index.
pub(super) struct Positions {
    /// The index that all of it is about, and for each of its shards a routing that leads there.
    shards: Mutex<Option<Shards>>,
    marks: Mutex<HashMap<PartitionId, Mark>>,
    /// Partitions of which it was said that the index went back. Before that nobody's question makes us believe
    /// it: the one who records the next position would be none the wiser.
    told: Mutex<HashSet<PartitionId>>,
}

#[derive(Debug, Clone)]
struct Shards {
    index: String,
    routings: Vec<String>,
}

impl Positions {
    pub(super) fn new() -> Self {
        Self {
            shards: Mutex::default(),
            marks: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// Reads what is recorded, and believes it, unless it is less than it was and nobody was told so.
    pub(super) async fn read(
        &self,
        http: &Http,
        alias: &str,
        index: &Found,
    ) -> Result<Vec<IndexPosition>, Error> {
        let shards = self.shards(http, alias, index).await?;
        let found = ask(http, alias, &shards.routings).await?;
        let positions = found.values().filter_map(|mark| mark.position).collect();
        let (mut marks, mut told) = (self.marks.lock(), self.told.lock());
        marks.retain(|partition, mark| {
            let at = found.get(partition).and_then(|now| now.position);
            let known = mark.position.filter(|_| !told.contains(partition));
            known.is_some_and(|known| !at.is_some_and(|at| continues(known, at)))
        });
        for (partition, now) in found {
            marks.entry(partition).or_insert(now);
        }
        told.clear();
        Ok(positions)
    }

    /// Records positions; everything that was written before is visible when it returns.
    pub(super) async fn write(
        &self,
        http: &Http,
        alias: &str,
        index: &Found,
        positions: &[IndexPosition],
    ) -> Result<(), Error> {
        let shards = self.shards(http, alias, index).await?;
        let mut left = positions.to_vec();
        for _ in 0..TRIES {
            if self.attempt(http, alias, &shards, &left).await? {
                return Ok(());
            }
            // It makes visible what was written before, too.
            left = self.follow(http, alias, &shards, left).await?;
            if left.is_empty() {
                return Ok(());
            }
        }
        Err(Error::Unavailable(
            "others write the positions of the same partitions".into(),
        ))
    }

    /// Writes once; false where something else stands there than we know.
    async fn attempt(
        &self,
        http: &Http,
        alias: &str,
        shards: &Shards,
        positions: &[IndexPosition],
    ) -> Result<bool, Error> {
        let Some(lines) = self.lines(shards, positions) else {
            return Ok(false);
        };
        let read = "error.type,items.*.status,items.*.error.type,items.*._seq_no,items.*._primary_term,\
                    items.*._shards.failed";
        let path = format!("/{alias}/_bulk?require_alias=true&refresh=true&filter_path={read}");
        let answer = http.lines(&path, lines).await?.well()?;
        let items = answer["items"].as_array().map_or(&[][..], Vec::as_slice);
        if items.len() != positions.len() * shards.routings.len() {
            return Err(Error::Unavailable("not all positions were answered".into()));
        }
        let mut all = true;
        let mut marks = self.marks.lock();
        for (position, items) in positions.iter().zip(items.chunks(shards.routings.len())) {
            let mut writes = Vec::with_capacity(items.len());
            for item in items {
                let item = item.get("index").or_else(|| item.get("create"));
                match written(item.unwrap_or(&Value::Null))? {
                    Some(write) => writes.push(Some(write)),
                    None => all = false,
                }
            }
            if writes.len() == items.len() {
                let mark = Mark {
                    position: Some(*position),
                    writes: Some(writes),
                };
                marks.insert(position.partition, mark);
            }
        }
        Ok(all)
    }

    /// `None` where the index became another one since we knew what stands there.
    fn lines(&self, shards: &Shards, positions: &[IndexPosition]) -> Option<Vec<u8>> {
        let marks = self.marks.lock();
        let mut lines = Vec::new();
        for position in positions {
            let writes = match marks.get(&position.partition) {
                Some(mark) => mark.writes.as_ref()?.as_slice(),
                None => &[],
            };
            for (nth, routing) in shards.routings.iter().enumerate() {
                let write = writes.get(nth).copied().flatten();
                document::write(&mut lines, position, routing, write);
            }
        }
        Some(lines)
    }

    /// Reads what stands there instead of what we know, and returns the positions that are still to be written: not
    /// those that are recorded already, and not those of a partition where somebody else has gone on.
    async fn follow(
        &self,
        http: &Http,
        alias: &str,
        shards: &Shards,
        mut positions: Vec<IndexPosition>,
    ) -> Result<Vec<IndexPosition>, Error> {
        // What was written and not made visible, because its answer was lost, is to be seen too.
        refresh(http, alias).await?;
        let mut found = ask(http, alias, &shards.routings).await?;
        let mut marks = self.marks.lock();
        for position in &positions {
            let at = found
                .get(&position.partition)
                .and_then(|mark| mark.position);
            let known = marks
                .get(&position.partition)
                .and_then(|mark| mark.position);
            if let Some(known) = known
                && !at.is_some_and(|at| continues(known, at))
            {
                self.told.lock().insert(position.partition);
                return Err(displaced(known, at));
            }
        }
        positions.retain(|position| {
            let Some(mark) = found.remove(&position.partition) else {
                marks.remove(&position.partition);
                return true;
            };
            let there = mark
                .position
                .is_some_and(|at| continues(*position, at) && (position.whole || !at.whole));
            marks.insert(position.partition, mark);
            !there
        });
        Ok(positions)
    }

    /// A routing for each shard of the index. Of another index than before nothing is known.
    async fn shards(&self, http: &Http, alias: &str, index: &Found) -> Result<Shards, Error> {
        let known = self.shards.lock().clone();
        if let Some(known) = known
            && known.index == index.uuid
        {
            return Ok(known);
        }
        let shards = Shards {
            index: index.uuid.clone(),
            routings: routings(http, alias, index.shards).await?,
        };
        // What we know of positions stays: it is what the new index is behind.
        for mark in self.marks.lock().values_mut() {
            mark.writes = None;
        }
        *self.shards.lock() = Some(shards.clone());
        Ok(shards)
    }
}

/// Whether a position may be followed by one that would follow `known`: documents up to there are in the index.
fn continues(known: IndexPosition, at: IndexPosition) -> bool {
    at.log == known.log && (at.epoch, at.next) >= (known.epoch, known.next)
}

fn displaced(known: IndexPosition, at: Option<IndexPosition>) -> Error {
    let at = at.map_or_else(
        || "no position".to_owned(),
        |at| format!("{} in epoch {}", at.next, at.epoch),
    );
    Error::Displaced(format!(
        "partition {} of {} was recorded at {} in epoch {}, and {at} stands there",
        known.partition.index,
        known.partition.topic.name(),
        known.next,
        known.epoch
    ))
}

#[cfg(test)]
mod tests {
    use chat_core::port::log::{LogId, Topic};

    use super::document::Write;
    use super::*;

    fn at(log: u8, epoch: u32, next: u64) -> IndexPosition {
        IndexPosition {
            partition: PartitionId {
                topic: Topic::Messages,
                index: 3,
            },
            log: LogId::from_bytes([log; 16]),
            epoch,
            next,
            whole: true,
        }
    }

    const WRITE: Write = Write {
        seq_no: 5,
        primary_term: 1,
    };

    #[test]
    fn what_is_behind_is_not_followed() {
        let known = at(1, 1, 7);
        assert!(continues(known, known));
        assert!(continues(known, at(1, 1, 8)));
        assert!(continues(known, at(1, 2, 0)));
        assert!(!continues(known, at(1, 1, 6)));
        assert!(!continues(known, at(1, 0, 9)));
        assert!(!continues(known, at(2, 1, 9)));
    }

    #[test]
    fn a_write_follows_the_one_before() {
        let positions = Positions::new();
        let shards = Shards {
            index: String::new(),
            routings: vec!["a".into(), "b".into()],
        };
        let position = at(1, 0, 7);
        let mark = Mark {
            position: Some(position),
            writes: Some(vec![None, Some(WRITE)]),
        };
        positions.marks.lock().insert(position.partition, mark);
        let lines = positions.lines(&shards, &[position]).unwrap();
        let lines: Vec<Value> = String::from_utf8(lines)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0]["create"]["_id"], "position|messages|3|a");
        assert_eq!(lines[2]["index"]["if_seq_no"], 5);
        assert_eq!(lines[2]["index"]["if_primary_term"], 1);
        assert_eq!(lines[3]["next"], 7);
        for mark in positions.marks.lock().values_mut() {
            mark.writes = None;
        }
        assert!(positions.lines(&shards, &[position]).is_none());
    }
}
