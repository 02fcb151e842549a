//! Applying `chat.created`.

use std::collections::BTreeMap;

use crate::apply::{Applications, Change, Conflict, Decoded, Report};
use crate::event::{ChatCreated, Event};
use crate::port::signals::Subject;
use crate::port::store::{ChatKey, ChatRow, Error, KeyRow, Presence, Transaction, Writes};

pub(super) async fn apply(
    tx: &mut dyn Transaction,
    records: &[&Decoded],
    reserved: &[&Decoded],
    report: &mut Report,
) -> Result<Result<Writes, Vec<Conflict>>, Error> {
    let (created, reserved) = (created(records), created(reserved));
    let all = || created.iter().chain(&reserved);
    let tokens = all().map(|(_, event)| event.application_token);
    let mut applications = Applications::lock(tx, tokens.collect()).await?;
    let mut keys: Vec<ChatKey> = all().map(|(_, event)| key(event)).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut chats: BTreeMap<ChatKey, (ChatRow, Change)> = if keys.is_empty() {
        BTreeMap::new()
    } else {
        let rows = tx.chats(&keys).await?;
        rows.into_iter()
            .map(|row| (row.key, (row, Change::None)))
            .collect()
    };
    let mut writes = Writes::default();
    let mut conflicts = Vec::new();

    for (record, event) in created {
        let known = chats.get(&key(event)).map(|(row, _)| row);
        match known.map(|row| (row.presence, row.uid, row.generation)) {
            Some((Presence::Live, uid, _)) if uid == Some(record.uid) => {
                report.repeated += 1;
                continue;
            }
            // The number was reissued by a recovery: of the two creates only the later generation
            // can have been acknowledged (invariant: late-append).
            Some((Presence::Live, _, generation)) if generation > event.generation => {
                report.superseded += 1;
                continue;
            }
            // Both may have been acknowledged, and what was sent to either is in one chat by now. That
            // cannot be taken apart, so somebody has to know of it.
            Some((Presence::Live, _, generation)) if generation == event.generation => {
                conflicts.push(Conflict {
                    offset: record.offset,
                    uid: record.uid,
                    reason: format!(
                        "another chat of this application was created with number {}, in the same \
                         generation of the counters",
                        event.chat_number
                    ),
                });
                continue;
            }
            Some((Presence::Live, ..)) => report.superseded += 1,
            Some((Presence::Stub, ..)) => {}
            None => {
                let application = applications.touch(event.application_token, event.created_at);
                application.chats_count += 1;
            }
        }
        fill(&mut chats, record, event);
        if let Some(stored) = event.key {
            writes.put_keys.push(KeyRow {
                key: stored,
                token: event.application_token,
                first: event.chat_number.get(),
                count: 1,
                uid: record.uid,
                generation: event.generation,
                created_at: event.created_at,
            });
        }
        report.created += 1;
        report
            .subjects
            .push(Subject::Application(event.application_token));
    }

    if !conflicts.is_empty() {
        return Ok(Err(conflicts));
    }

    // The number of a create that cannot be read is given to nobody else: a stub holds it.
    for (_, event) in reserved {
        chats.entry(key(event)).or_insert_with(|| {
            let application = applications.touch(event.application_token, event.created_at);
            application.chats_count += 1;
            (unwritten(event, Presence::Stub), Change::Insert)
        });
    }

    applications.write(&mut writes);
    for (row, change) in chats.into_values() {
        match change {
            Change::None => {}
            Change::Insert => writes.insert_chats.push(row),
            Change::Update => writes.update_chats.push(row),
        }
    }
    Ok(Ok(writes))
}

fn created<'a>(records: &[&'a Decoded]) -> Vec<(&'a Decoded, &'a ChatCreated)> {
    records
        .iter()
        .filter_map(|record| match &record.event {
            Event::ChatCreated(event) => Some((*record, event)),
            _ => None,
        })
        .collect()
}

const fn unwritten(event: &ChatCreated, presence: Presence) -> ChatRow {
    ChatRow {
        key: key(event),
        uid: None,
        generation: 0,
        messages_count: 0,
        highest: 0,
        settled_through: 0,
        resets: 0,
        reset_from: 0,
        created_at: event.created_at,
        presence,
    }
}

const fn key(event: &ChatCreated) -> ChatKey {
    ChatKey {
        token: event.application_token,
        chat: event.chat_number,
    }
}

/// Gives the row its identity; what its messages have counted stays.
fn fill(chats: &mut BTreeMap<ChatKey, (ChatRow, Change)>, record: &Decoded, event: &ChatCreated) {
    let (row, change) = chats
        .entry(key(event))
        .or_insert_with(|| (unwritten(event, Presence::Live), Change::Insert));
    if *change == Change::None {
        *change = Change::Update;
    }
    row.uid = Some(record.uid);
    row.generation = event.generation;
    row.created_at = event.created_at;
    row.presence = Presence::Live;
}
