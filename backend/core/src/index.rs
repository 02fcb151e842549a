//! Indexing: a record says only what changed; what is indexed is the row (rule 2).

use std::collections::{HashMap, HashSet};

use chat_wire::ids::MessageNumber;
use uuid::Uuid;

use crate::apply::Batch;
use crate::error::Error;
use crate::event::Event;
use crate::port::Ports;
use crate::port::log::{Group, PartitionId};
use crate::port::search::{self, Document, Indexed};
use crate::port::store::{self, ChatKey, MessageKey, MessageRow, State};

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

/// Whether the store has applied these batches, so that the rows say at least what their records say.
///
/// # Errors
/// Those of the store.
pub async fn ready(ports: &Ports, batches: &[Batch]) -> Result<bool, store::Error> {
    let positions = ports.store.positions(Group::MessagesStore).await?;
    let applied: HashMap<PartitionId, u64> = positions
        .into_iter()
        .map(|(partition, position)| (partition, position.next))
        .collect();
    let is_applied =
        |batch: &Batch| applied.get(&batch.partition).copied().unwrap_or(0) >= batch.next;
    Ok(batches.iter().all(is_applied))
}

/// What the index should say of the rows that batches touched, as they are now.
///
/// # Errors
/// Those of the store.
pub async fn documents(ports: &Ports, batches: &[Batch]) -> Result<Vec<Document>, Error> {
    let rows = rows(ports, batches).await?;
    Ok(rows.into_iter().filter_map(document).collect())
}

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
pub async fn publish(ports: &Ports, staged: Staged) -> Result<Report, Error> {
    let mut report = Report::default();
    let Staged {
        keys,
        staged: Some(staged),
    } = staged
    else {
        return Ok(report);
    };
    for (key, verdict) in keys.into_iter().zip(ports.search.publish(staged).await?) {
        match verdict {
            Indexed::Done => report.indexed += 1,
            Indexed::Newer => report.newer += 1,
            Indexed::Refused(reason) => report.refused.push((key, reason)),
        }
    }
    Ok(report)
}

async fn rows(ports: &Ports, batches: &[Batch]) -> Result<Vec<MessageRow>, Error> {
    let mut created: HashMap<MessageKey, Uuid> = HashMap::new();
    let mut touched: HashSet<MessageKey> = HashSet::new();
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
                touched.insert(event.target());
            }
            Event::MessageDeleted(event) => {
                touched.insert(event.target());
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
    touched.extend(created.keys().copied());
    let mut keys: Vec<MessageKey> = touched.into_iter().collect();
    keys.sort_unstable();
    let mut rows = if keys.is_empty() {
        Vec::new()
    } else {
        intact(ports, &keys).await?
    };

    // Where another message has the number, this one may have moved.
    let mut moved = Vec::new();
    for row in &rows {
        if let Some(uid) = created.get(&row.key)
            && row.uid != Some(*uid)
            && let Some(number) = ports.store.renumbered(row.key.chat, *uid).await?
            && let Some(number) = MessageNumber::new(number)
        {
            moved.push(MessageKey {
                chat: row.key.chat,
                number,
            });
        }
    }
    if !moved.is_empty() {
        rows.extend(intact(ports, &moved).await?);
    }
    Ok(rows)
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
