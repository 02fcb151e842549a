//! The log, read from end to end: every record compared with its checksum, no offset left out, and what
//! log and store say of each other.

use chat_core::port::log::{Group, PartitionId, Scope, Topic};
use sqlx::SqliteConnection;

use super::report::{Damage, Report};
use super::scan::Scan;
use crate::log::batches::{Batch, Read, SELECT};
use crate::log::file::{self, OFFSETS, base};
use crate::store::epoch::{self, Known};

/// Reads the log and compares it with the positions.
pub(super) async fn check(
    log: &mut SqliteConnection,
    store: &mut SqliteConnection,
    report: &mut Report,
) {
    let of_log = |what: String| Damage::of("log.db").what(what);
    if let Err(error) = file::read_identity(log).await {
        report.found(of_log(error.to_string()));
    }
    for topic in Topic::ALL {
        let mut next = None;
        let stops =
            batches(log, topic, |batch| {
                let damage = |offset: u64| {
                    Damage::of("log.db")
                        .place(topic.name())
                        .key(format!("offset {offset}"))
                };
                let batch = match batch {
                    Ok(batch) => batch,
                    Err(offset) => {
                        report.found(damage(offset).what("the batch is not what was written"));
                        return;
                    }
                };
                if let Some(next) = next.filter(|next| *next != batch.first()) {
                    let what = format!("records up to offset {} are missing", batch.first());
                    report.found(damage(next).what(what));
                }
                next = Some(batch.first() + batch.records());
                report.records += batch.records();
                if !batch.is_protected() {
                    report.unprotected += batch.records();
                }
                for read in batch.read() {
                    match read {
                        Read::Intact(_) => {}
                        Read::Damaged(record) => report.found(
                            damage(record.offset)
                                .numbers(numbers(record.headers.scope.as_ref()))
                                .what("the record is not what was appended"),
                        ),
                        Read::Unknown(offset) => report.found(damage(offset).what(
                            "the record is not what was appended, and its numbers are unknown",
                        )),
                    }
                }
            })
            .await;
        for stop in stops {
            report.found(Damage::of("log.db").place(topic.name()).what(stop));
        }
    }
    if let Err(error) = file::extents(log).await {
        report.found(of_log(error.to_string()));
    }
    positions(log, store, report).await;
}

/// Hands over every batch of a topic that can be reached; the offset of one that says to stand elsewhere.
pub(super) async fn batches(
    log: &mut SqliteConnection,
    topic: Topic,
    mut each: impl FnMut(Result<Batch, u64>),
) -> Vec<String> {
    let select = format!(
        "{SELECT} WHERE id >= {} AND id < {}",
        base(topic),
        base(topic) + OFFSETS
    );
    let scan = Scan {
        select: &select,
        order: &["id"],
    };
    scan.run(log, |row| {
        let batch = Batch::of(topic, row);
        let first = match &batch {
            Ok(batch) => batch.first(),
            Err(offset) => *offset,
        };
        each(batch);
        first
    })
    .await
}

/// The numbers of a record, for people.
pub(super) fn numbers(scope: Option<&Scope>) -> Option<String> {
    let scope = scope?;
    let last = scope.first.saturating_add(scope.count).saturating_sub(1);
    let token = scope.token.reveal();
    let verb = if scope.creates { "creates" } else { "changes" };
    Some(match scope.chat {
        Some(chat) => format!(
            "{verb} messages {} to {last} of chat {chat} of {token}",
            scope.first
        ),
        None if scope.first > 0 => format!("{verb} chat {} of {token}", scope.first),
        None => format!("{verb} application {token}"),
    })
}

/// Positions that are beyond the log, or after a record that the log does not have.
async fn positions(log: &mut SqliteConnection, store: &mut SqliteConnection, report: &mut Report) {
    let (Ok(extents), Ok(known)) = (file::extents(log).await, epoch::all_known(store).await) else {
        // Said already, or about to be said by whoever reads the rows.
        return;
    };
    let identity = file::read_identity(log).await.ok().flatten();
    for Known { topic, id, epoch } in known {
        let extent = extents[topic as usize];
        let damage = || Damage::of("store.db").place("log_epochs").key(topic.name());
        if identity.is_some_and(|(identity, _)| identity != id) {
            report.found(damage().what("the store knows another log"));
        }
        if extent.epoch != epoch {
            let what = format!("the store is in epoch {epoch}, the log in {}", extent.epoch);
            report.found(damage().what(what));
        }
    }
    for group in Group::ALL {
        let topic = group.topic();
        let partition = PartitionId { topic, index: 0 };
        let Ok(position) = crate::store::read::position(store, group, partition).await else {
            continue;
        };
        let damage = || {
            Damage::of("store.db")
                .place("log_positions")
                .key(group.name())
        };
        let extent = extents[topic as usize];
        if position.next > extent.next {
            let what = format!(
                "it is at offset {}, beyond the end of the log at {}",
                position.next, extent.next
            );
            report.found(damage().what(what));
        } else if position.next > extent.start {
            let found = file::record_at(log, topic, position.next - 1).await;
            let found = found.ok().flatten();
            if found.is_some_and(|found| !found.may_be(position.last_uid)) {
                report.found(damage().what("the log has another record where it was last"));
            }
        }
    }
}
