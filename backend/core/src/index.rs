//! Indexing: a record says only what changed; what is indexed is the row (invariant: index-from-rows).

use std::collections::{HashMap, HashSet};

use chat_wire::ids::MessageNumber;
use uuid::Uuid;

use crate::apply::Batch;
use crate::error::Error;
use crate::event::Event;
use crate::port::Ports;
use crate::port::log::{Group, LogId, PartitionId};
use crate::port::search::{self, Document, IndexPosition, Indexed};
use crate::port::store::{self, ChatKey, MessageKey, MessageRow, Position, State};

/// What indexing a batch did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Documents that are searchable now.
    pub indexed: u64,
    /// Documents that were there in the same or a newer revision.
    pub newer: u64,
    /// Documents that the index refuses, with its reason.
    pub refused: Vec<(MessageKey, String)>,
}

/// Whether the store has applied these batches, so that the rows say at least what their records say. A
/// position of another epoch says nothing about these records.
///
/// # Errors
/// Those of the store.
pub async fn ready(ports: &Ports, batches: &[Batch]) -> Result<bool, store::Error> {
    let positions = ports.store.positions(Group::MessagesStore).await?;
    let applied: HashMap<PartitionId, Position> = positions.into_iter().collect();
    let is_applied = |batch: &Batch| {
        let position = applied.get(&batch.partition);
        position.is_some_and(|at| at.epoch == batch.epoch && at.next >= batch.next)
    };
    Ok(batches.iter().all(is_applied))
}

/// Where the index has to be read on in a partition, by what it has recorded itself: an index that was
/// restored from a snapshot, lost or replaced says so by it, whatever the store remembers of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It holds every message of the records below.
    Through(u64),
    /// It has read to there, and lacks something below that the log does not have any more: the rows
    /// have to be indexed again.
    Lacking(u64),
    /// It has read another log than this one, or more of it than there is: its revisions are not of
    /// this log, and its topic needs an epoch above the one that the index knows.
    Foreign {
        /// The highest epoch that the index knows.
        epoch: u32,
    },
}

/// Judges what the index has recorded of a partition.
#[must_use]
pub fn recorded(
    position: Option<&IndexPosition>,
    log: LogId,
    epoch: u32,
    (start, end): (u64, u64),
) -> Recorded {
    let Some(position) = position else {
        // Nothing was ever recorded: the log can be read, if it has everything from its first epoch on.
        return match (start, epoch) {
            (0, 0) => Recorded::Through(0),
            _ => Recorded::Lacking(start),
        };
    };
    let is_ahead = position.epoch > epoch || (position.epoch == epoch && position.next > end);
    if position.log != log || is_ahead {
        let epoch = position.epoch;
        return Recorded::Foreign { epoch };
    }
    // Of an earlier epoch: what it holds is right, and the offsets of this one are to be read. What the store had
    // applied and the index had not read when the log lost it, no record tells any more.
    let is_of_epoch = position.epoch == epoch;
    let next = if is_of_epoch { position.next } else { 0 };
    match is_of_epoch && position.whole && next >= start {
        true => Recorded::Through(next),
        false => Recorded::Lacking(next.max(start)),
    }
}

/// What the index should say of the rows that batches touched, as they are now.
///
/// # Errors
/// Those of the store.
pub async fn documents(ports: &Ports, batches: &[Batch]) -> Result<Vec<Document>, Error> {
    let (rows, _) = rows(ports, batches).await?;
    Ok(rows.into_iter().filter_map(document).collect())
}

/// As [`documents`]; `None` where rows do not say yet what the records say, although the store has applied them:
/// it was put back to an earlier state before they were read.
///
/// # Errors
/// Those of the store.
pub async fn applied_documents(
    ports: &Ports,
    batches: &[Batch],
) -> Result<Option<Vec<Document>>, Error> {
    let (rows, Lacking(lacking)) = rows(ports, batches).await?;
    Ok((lacking == 0).then(|| rows.into_iter().filter_map(document).collect()))
}

/// How many records the rows do not know of, although they were applied. A row is missing also where it is damaged.
struct Lacking(usize);

/// Documents that the index has, or has to do with, and that are not searchable for sure.
#[derive(Debug)]
pub struct Staged {
    keys: Vec<MessageKey>,
    /// `None` where there are no documents.
    staged: Option<search::Staged>,
}

/// Gives documents to the index ahead of their turn.
///
/// # Errors
/// Those of the index; staging again is harmless.
pub async fn stage(ports: &Ports, documents: Vec<Document>) -> Result<Staged, Error> {
    let keys: Vec<MessageKey> = documents.iter().map(|document| document.key).collect();
    let staged = match keys.is_empty() {
        true => None,
        false => Some(ports.search.stage(documents).await?),
    };
    Ok(Staged { keys, staged })
}

/// Makes staged documents searchable, all in one: a visible change of the index costs much the same for one
/// message and for a thousand. They are searchable when this returns; the positions are the caller's to move.
///
/// # Errors
/// Those of the index; staging and publishing again is harmless.
pub async fn publish(
    ports: &Ports,
    staged: Staged,
    positions: &[IndexPosition],
) -> Result<Report, Error> {
    let mut report = Report::default();
    let Staged { keys, staged } = staged;
    let staged = staged.unwrap_or(search::Staged::Documents(Vec::new()));
    let verdicts = ports.search.publish(staged, positions).await?;
    for (key, verdict) in keys.into_iter().zip(verdicts) {
        match verdict {
            Indexed::Done => report.indexed += 1,
            Indexed::Newer => report.newer += 1,
            Indexed::Refused(reason) => report.refused.push((key, reason)),
        }
    }
    Ok(report)
}

async fn rows(ports: &Ports, batches: &[Batch]) -> Result<(Vec<MessageRow>, Lacking), Error> {
    let mut created: HashMap<MessageKey, Uuid> = HashMap::new();
    let mut touched: HashSet<MessageKey> = HashSet::new();
    let mut changed: HashMap<MessageKey, u64> = HashMap::new();
    // The store may have read a create that was damaged only afterwards: its rows are looked at too.
    let all = |batch| {
        let Batch {
            records, reserved, ..
        }: &Batch = batch;
        records.iter().chain(reserved)
    };
    for record in batches.iter().flat_map(all) {
        match &record.event {
            Event::MessagesCreated(event) => {
                for (number, line) in (event.first.get()..).zip(&event.messages) {
                    if let Some(number) = MessageNumber::new(number) {
                        let chat = event.chat();
                        created.insert(MessageKey { chat, number }, line.uid);
                    }
                }
            }
            Event::MessageEdited(event) => {
                let known = changed.entry(event.target()).or_default();
                *known = record.revision.max(*known);
            }
            Event::MessageDeleted(event) => {
                let known = changed.entry(event.target()).or_default();
                *known = record.revision.max(*known);
            }
            _ => {}
        }
    }
    for scope in batches.iter().flat_map(|batch| &batch.touched) {
        if let (Some(chat), Some(number)) = (scope.chat, MessageNumber::new(scope.first)) {
            let token = scope.token;
            let chat = ChatKey { token, chat };
            touched.insert(MessageKey { chat, number });
        }
    }
    touched.extend(created.keys().chain(changed.keys()).copied());
    let mut keys: Vec<MessageKey> = touched.into_iter().collect();
    keys.sort_unstable();
    let mut rows = if keys.is_empty() {
        Vec::new()
    } else {
        intact(ports, &keys).await?
    };

    // Where a create is not under its number, it may have moved: another message has the number, or
    // that of another line of the same batch.
    let stored: HashMap<MessageKey, (Option<Uuid>, u64)> = rows
        .iter()
        .map(|row| (row.key, (row.uid, row.revision)))
        .collect();
    let is_behind = |(key, revision): &(&MessageKey, &u64)| {
        stored.get(key).is_none_or(|(_, stored)| stored < revision)
    };
    let mut lacking = changed.iter().filter(is_behind).count();
    let mut elsewhere: Vec<(MessageKey, Uuid)> = created
        .into_iter()
        .filter(|(key, uid)| {
            stored
                .get(key)
                .is_none_or(|(stored, _)| *stored != Some(*uid))
        })
        .collect();
    elsewhere.sort_unstable();
    let mut moved = Vec::new();
    for (key, uid) in elsewhere {
        let renumbered = ports.store.renumbered(key.chat, uid).await?;
        match renumbered.and_then(MessageNumber::new) {
            Some(number) => moved.push(MessageKey {
                chat: key.chat,
                number,
            }),
            // Every number of an applied create has a row, be it void.
            None => lacking += usize::from(!stored.contains_key(&key)),
        }
    }
    if !moved.is_empty() {
        rows.extend(intact(ports, &moved).await?);
    }
    Ok((rows, Lacking(lacking)))
}

/// The rows of these messages without those that are damaged: nobody waits behind them, and the store
/// has said which they are.
async fn intact(ports: &Ports, keys: &[MessageKey]) -> Result<Vec<MessageRow>, Error> {
    match ports.store.messages_by_key(keys).await {
        Err(store::Error::Corrupt(_)) => {}
        rows => return Ok(rows?),
    }
    let (mut rows, mut damaged) = (Vec::with_capacity(keys.len()), 0_u64);
    for key in keys {
        match ports.store.message(*key).await {
            Err(store::Error::Corrupt(_)) => damaged += 1,
            row => rows.extend(row?),
        }
    }
    tracing::error!(damaged, "messages whose rows are damaged are not indexed");
    Ok(rows)
}

/// What the index should say of a row; `None` for a void one, of which it says nothing.
#[must_use]
pub fn document(row: MessageRow) -> Option<Document> {
    let body = match row.state {
        State::Live => Some(row.body),
        State::Deleted => None,
        State::Void => return None,
    };
    Some(Document {
        key: row.key,
        revision: row.revision,
        created_at: row.created_at,
        body,
    })
}
