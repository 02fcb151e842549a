//! Copying what is intact into a new data directory. What is not is listed, and its numbers are reserved,
//! so that nobody gets them again.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use chat_core::port::log::{Group, Headers, NewRecord, PartitionId, Topic};
use chat_core::port::store::{
    ApplicationRow, ChatKey, ChatRow, Error as StoreError, KeyRow, LetterRow, MessageKey,
    MessageRow, Position, Presence, RenumberedRow, State, Store, Writes,
};
use chat_wire::ids::{AppToken, MessageNumber};
use chat_wire::time::Timestamp;
use serde::Serialize;
use sqlx::{Row, SqliteConnection};

use super::report::{Damage, Report};
use super::rows::{
    APPLICATIONS, CHATS, EPOCHS, KEYS, LETTERS, MESSAGES, NOTES, POSITIONS, RENUMBERED, key_of,
};
use super::scan::Scan;
use super::{Error, Premises, events};
use crate::log::batches::{self, Batch, Read};
use crate::log::file::{self, Place};
use crate::progress::Progress;
use crate::store::rows::{self, Counted};
use crate::store::{Rows, epoch};

/// Rows of one transaction.
const CHUNK: usize = 5_000;
/// Records of one batch that stands for missing ones.
const FILLER_RECORDS: u64 = 1_000;
/// Records missing in one place that are filled in; more are no gap but a wrong offset.
const FILLER_MAX: u64 = 10_000_000;

/// What was copied, and what was not.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Salvaged {
    /// Records of the log that were copied.
    pub records: u64,
    /// Records that became marks of damage: they hold their place and their numbers.
    pub records_damaged: u64,
    /// Of these, how many have unknown numbers.
    pub records_unknown: u64,
    /// Messages that were copied.
    pub messages: u64,
    /// Numbers that were reserved as void because their message is damaged or missing.
    pub messages_void: u64,
    /// Applications and chats that were made again from what they contain.
    pub recreated: u64,
    /// What was read, and everything that is damaged.
    pub report: Report,
}

impl fmt::Display for Salvaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.report)?;
        writeln!(
            f,
            "copied {} records and {} messages; {} damaged records keep their place ({} of them \
             with unknown numbers); {} numbers are void; {} applications and chats were made again",
            self.records,
            self.messages,
            self.records_damaged,
            self.records_unknown,
            self.messages_void,
            self.recreated
        )
    }
}

/// Copies what is intact in `dir` into `to`, which must not exist yet. The copy opens and serves; its
/// index is made from the rows when it is first opened.
///
/// # Errors
/// [`Error`] where the directory cannot be read at all, or the copy cannot be written.
pub async fn salvage(dir: &Path, to: &Path) -> Result<Salvaged, Error> {
    let premises = Premises::take(dir)?;
    let target = |reason: String| Error::Target {
        dir: to.to_owned(),
        reason,
    };
    std::fs::create_dir(to).map_err(|error| target(error.to_string()))?;
    let (mut log, mut store) = (premises.log().await?, premises.store().await?);
    let mut done = Salvaged::default();
    for (file, on) in [("log.db", &mut log), ("store.db", &mut store)] {
        super::integrity(file, on, &mut done.report).await;
    }
    let copied = async {
        let positions = copy_rows(&mut store, to, &mut done).await?;
        copy_log(&mut log, to, &positions, &mut done).await?;
        Ok::<_, Failure>(())
    };
    copied.await.map_err(|error| target(error.to_string()))?;
    Ok(done)
}

/// Why the copy could not be written.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error(transparent)]
    Sqlite(#[from] sqlx::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the store says of the log.
#[derive(Default)]
struct OfLog {
    positions: BTreeMap<Group, Position>,
    known: BTreeMap<Topic, ([u8; 16], u32)>,
}

async fn copy_rows(
    store: &mut SqliteConnection,
    to: &Path,
    done: &mut Salvaged,
) -> Result<OfLog, Failure> {
    let target = Rows::open(&to.join("store.db"), Arc::new(Progress::default())).await?;
    let mut applications: BTreeMap<AppToken, Option<ApplicationRow>> = BTreeMap::new();
    let report = &mut done.report;
    APPLICATIONS
        .read(store, report, rows::application, |found: Counted<_>| {
            let row: ApplicationRow = found.row;
            applications.insert(row.token, Some(row));
        })
        .await;
    let mut chats: BTreeMap<ChatKey, Option<ChatRow>> = BTreeMap::new();
    CHATS
        .read(store, report, rows::chat, |found: Counted<ChatRow>| {
            let mut row = found.row;
            if !found.sound {
                (row.highest, row.settled_through) = (0, 0);
            }
            chats.insert(row.key, Some(row));
        })
        .await;
    for key in chats_of_messages(store).await {
        chats.entry(key).or_default();
    }
    for key in chats.keys() {
        applications.entry(key.token).or_default();
    }
    let mut written: BTreeMap<AppToken, u32> = BTreeMap::new();
    for (key, row) in chats {
        *written.entry(key.token).or_default() += 1;
        copy_chat(store, &target, key, row, done).await?;
    }
    copy_applications(&target, applications, &written, done).await?;
    let of_log = copy_others(store, &target, &mut done.report).await?;
    target.close().await;
    Ok(of_log)
}

/// The chats that messages say to be of.
async fn chats_of_messages(store: &mut SqliteConnection) -> Vec<ChatKey> {
    let scan = Scan {
        select: "SELECT DISTINCT application_token, chat_number FROM messages",
        order: &["application_token", "chat_number"],
    };
    let mut found = Vec::new();
    // What cannot be reached is listed when the messages are read.
    let _ = scan
        .run(store, |row| {
            let key = rows::chat_key(row).ok();
            found.extend(key);
            key
        })
        .await;
    found
}

/// Copies the messages of a chat, makes void what is not there, and counts.
async fn copy_chat(
    store: &mut SqliteConnection,
    target: &Rows,
    key: ChatKey,
    row: Option<ChatRow>,
    done: &mut Salvaged,
) -> Result<(), Failure> {
    let mut messages: BTreeMap<u32, MessageRow> = BTreeMap::new();
    // A row whose key is damaged may say to be of a chat that never was.
    let mut reached = row
        .as_ref()
        .map_or(0, |row| row.highest.max(row.settled_through));
    let select = format!(
        "SELECT {} FROM messages WHERE application_token = x'{}' AND chat_number = {}",
        rows::MESSAGE,
        key.token.reveal(),
        key.chat
    );
    let scan = Scan {
        select: &select,
        order: &["number"],
    };
    let report = &mut done.report;
    let stops = scan
        .run(store, |found| {
            report.rows += 1;
            let number: i64 = found.try_get_unchecked(2).unwrap_or_default();
            match rows::message(found) {
                Ok(message) => {
                    messages.insert(message.key.number.get(), message);
                }
                Err(error) => report.found(
                    Damage::of("store.db")
                        .place(MESSAGES.name)
                        .key(format!("message {number} of {}", key_of(key)))
                        .what(error.to_string()),
                ),
            }
            number
        })
        .await;
    for stop in stops {
        report.found(
            Damage::of("store.db")
                .place(MESSAGES.name)
                .key(key_of(key))
                .what(stop),
        );
    }
    if row.is_none() && messages.is_empty() {
        return Ok(());
    }
    reached = reached.max(messages.keys().next_back().copied().unwrap_or(0));
    done.recreated += u64::from(row.is_none());
    let first_at = messages.values().next().map(|message| message.created_at);
    let row = row.unwrap_or_else(|| recreated(key, first_at.unwrap_or_else(Timestamp::now)));
    done.messages += messages.len() as u64;
    let live = messages.values().filter(|row| row.state == State::Live);
    let live = u32::try_from(live.count()).unwrap_or(u32::MAX);
    let mut chunk = Vec::with_capacity(CHUNK);
    for number in (1..=reached).filter_map(MessageNumber::new) {
        let message = messages.remove(&number.get()).unwrap_or_else(|| {
            done.messages_void += 1;
            void(MessageKey { chat: key, number }, row.created_at)
        });
        chunk.push(message);
        if chunk.len() == CHUNK {
            write_messages(target, &mut chunk).await?;
        }
    }
    write_messages(target, &mut chunk).await?;
    let row = ChatRow {
        messages_count: live,
        highest: reached,
        settled_through: reached,
        ..row
    };
    write(
        target,
        Writes {
            insert_chats: vec![row],
            ..Writes::default()
        },
    )
    .await
}

async fn copy_applications(
    target: &Rows,
    applications: BTreeMap<AppToken, Option<ApplicationRow>>,
    chats: &BTreeMap<AppToken, u32>,
    done: &mut Salvaged,
) -> Result<(), Failure> {
    let mut insert_applications = Vec::with_capacity(applications.len());
    for (token, row) in applications {
        let chats_count = chats.get(&token).copied().unwrap_or(0);
        done.recreated += u64::from(row.is_none());
        let now = Timestamp::now();
        let row = row.unwrap_or_else(|| ApplicationRow {
            token,
            name: "salvaged".to_owned(),
            chats_count,
            created_at: now,
            updated_at: now,
            revision: 0,
            presence: Presence::Live,
        });
        insert_applications.push(ApplicationRow { chats_count, ..row });
    }
    write(
        target,
        Writes {
            insert_applications,
            ..Writes::default()
        },
    )
    .await
}

async fn copy_others(
    store: &mut SqliteConnection,
    target: &Rows,
    report: &mut Report,
) -> Result<OfLog, Failure> {
    let mut put_keys: Vec<KeyRow> = Vec::new();
    KEYS.read(store, report, rows::key, |row| put_keys.push(row))
        .await;
    let mut put_renumbered: Vec<RenumberedRow> = Vec::new();
    RENUMBERED
        .read(store, report, rows::renumbered, |row| {
            put_renumbered.push(row);
        })
        .await;
    write(
        target,
        Writes {
            put_keys,
            put_renumbered,
            ..Writes::default()
        },
    )
    .await?;
    let mut notes = Vec::new();
    NOTES
        .read(store, report, rows::note, |note| notes.push(note))
        .await;
    for (name, note) in notes {
        target.put_note(&name, 0, &note.text).await?;
    }
    let mut letters: Vec<LetterRow> = Vec::new();
    LETTERS
        .read(store, report, rows::letter, |row| letters.push(row))
        .await;
    target.decide(&letters, Timestamp::now()).await?;
    let mut of_log = OfLog::default();
    POSITIONS
        .read(
            store,
            report,
            rows::position_of_group,
            |(group, _, position)| {
                of_log.positions.insert(group, position);
            },
        )
        .await;
    EPOCHS
        .read(store, report, rows::epoch, |(topic, id, epoch)| {
            of_log.known.insert(topic, (id, epoch));
        })
        .await;
    Ok(of_log)
}

/// Copies the log, then lets the store know it.
async fn copy_log(
    log: &mut SqliteConnection,
    to: &Path,
    of_log: &OfLog,
    done: &mut Salvaged,
) -> Result<(), Failure> {
    let place = Place::in_dir(to, None);
    let (mut target, fresh) = place.open().await?;
    let known = of_log.known.values().next().map(|(id, _)| *id);
    let found = file::read_identity(log).await.ok().flatten();
    let id = found.map(|(id, _)| id).or(known).unwrap_or(fresh.id);
    file::put_identity(&mut target, &id).await?;
    let rows = Rows::open(&to.join("store.db"), Arc::new(Progress::default())).await?;
    for topic in Topic::ALL {
        let kept = file::topic_row(log, topic).await;
        if let Err(error) = &kept {
            let damage = Damage::of("log.db").place("topics").key(topic.name());
            done.report.found(damage.what(error.to_string()));
        }
        let (kept, epoch) = kept.unwrap_or_default();
        let known = of_log.known.get(&topic).copied();
        let epoch = epoch.max(known.map_or(0, |(_, epoch)| epoch));
        let groups = Group::ALL
            .into_iter()
            .filter(|group| group.topic() == topic);
        let applied = groups
            .clone()
            .filter_map(|group| of_log.positions.get(&group))
            .map(|position| position.next)
            .max()
            .unwrap_or(0);
        let (start, end) = copy_topic(log, &mut target, topic, applied, done).await?;
        let next = end.max(kept).max(applied);
        file::put_topic(&mut target, topic, next, epoch).await?;
        let mut writer = rows.writer().await?;
        epoch::put_known(&mut writer, topic, id, epoch).await?;
        for group in groups {
            // A position that is lost begins where the log does: applying again changes nothing.
            let position = of_log.positions.get(&group).copied().unwrap_or(Position {
                next: start.unwrap_or(next),
                epoch,
                last_uid: None,
            });
            let partition = PartitionId { topic, index: 0 };
            crate::store::transaction::put_position(&mut writer, group, partition, position)
                .await?;
        }
    }
    rows.close().await;
    sqlx::Connection::close(target).await?;
    Ok(())
}

/// One run of records with nothing missing between them.
struct Run {
    first: u64,
    appended_at: Timestamp,
    records: Vec<NewRecord>,
}

/// Copies one topic; answers with its first offset and the one behind its last.
async fn copy_topic(
    log: &mut SqliteConnection,
    target: &mut SqliteConnection,
    topic: Topic,
    applied: u64,
    done: &mut Salvaged,
) -> Result<(Option<u64>, u64), Failure> {
    let mut found: BTreeMap<u64, Batch> = BTreeMap::new();
    let mut wrong = Vec::new();
    let stops = events::batches(log, topic, |batch| match batch {
        Ok(batch) => {
            found.insert(batch.first(), batch);
        }
        Err(offset) => wrong.push((offset, "the batch is not what was written".to_owned())),
    })
    .await;
    let damage = |what: String| Damage::of("log.db").place(topic.name()).what(what);
    for stop in stops {
        done.report.found(damage(stop));
    }
    for (offset, what) in wrong {
        done.report
            .found(damage(what).key(format!("offset {offset}")));
    }
    let start = found.keys().next().copied();
    let mut next = start.unwrap_or(0);
    for batch in found.into_values() {
        if batch.first() < next {
            let what = "a batch overlaps another one".to_owned();
            done.report
                .found(damage(what).key(format!("offset {}", batch.first())));
            continue;
        }
        fill(
            target,
            topic,
            (next, batch.first()),
            batch.appended_at(),
            done,
        )
        .await?;
        next = batch.first() + batch.records();
        let run = intact(&batch, done);
        batches::put(target, topic, run.first, run.appended_at, &run.records).await?;
    }
    if start.is_some() && applied > next {
        fill(target, topic, (next, applied), Timestamp::now(), done).await?;
        next = applied;
    }
    Ok((start, next))
}

/// The records of a batch; the damaged ones as marks.
fn intact(batch: &Batch, done: &mut Salvaged) -> Run {
    let topic = batch.topic();
    let mut records = Vec::new();
    for read in batch.read() {
        done.report.records += 1;
        let damage = |offset: u64| {
            let damage = Damage::of("log.db").place(topic.name());
            damage.key(format!("offset {offset}"))
        };
        records.push(match read {
            Read::Intact(record) => {
                done.records += 1;
                NewRecord {
                    key: record.key,
                    headers: record.headers,
                    value: record.value,
                }
            }
            Read::Damaged(record) => {
                done.records_damaged += 1;
                done.report.found(
                    damage(record.offset)
                        .numbers(events::numbers(record.headers.scope.as_ref()))
                        .what("the record is not what was appended"),
                );
                NewRecord {
                    key: record.key,
                    headers: record.headers,
                    value: record.value,
                }
            }
            Read::Unknown(offset) => {
                done.records_damaged += 1;
                done.records_unknown += 1;
                let what = "the record is not what was appended, and its numbers are unknown";
                done.report.found(damage(offset).what(what));
                mark()
            }
        });
    }
    Run {
        first: batch.first(),
        appended_at: batch.appended_at(),
        records,
    }
}

/// Puts marks where records are missing: offsets go on without a gap.
async fn fill(
    target: &mut SqliteConnection,
    topic: Topic,
    (from, to): (u64, u64),
    at: Timestamp,
    done: &mut Salvaged,
) -> Result<(), Failure> {
    if from >= to {
        return Ok(());
    }
    let missing = to - from;
    done.report.found(
        Damage::of("log.db")
            .place(topic.name())
            .key(format!("offset {from} to {}", to - 1))
            .what(format!(
                "{missing} records are missing, and their numbers are unknown"
            )),
    );
    if missing > FILLER_MAX {
        return Err(sqlx::Error::Decode(
            format!("{missing} records are missing at {} {from}", topic.name()).into(),
        )
        .into());
    }
    done.records_damaged += missing;
    done.records_unknown += missing;
    let mut first = from;
    while first < to {
        let records = (to - first).min(FILLER_RECORDS);
        let marks: Vec<NewRecord> = (0..records).map(|_| mark()).collect();
        batches::put(target, topic, first, at, &marks).await?;
        first += records;
    }
    Ok(())
}

/// A record that nothing is known of.
fn mark() -> NewRecord {
    NewRecord {
        key: bytes::Bytes::new(),
        headers: Headers {
            damaged: true,
            ..Headers::default()
        },
        value: bytes::Bytes::new(),
    }
}

const fn recreated(key: ChatKey, created_at: Timestamp) -> ChatRow {
    ChatRow {
        key,
        uid: None,
        generation: 0,
        messages_count: 0,
        highest: 0,
        settled_through: 0,
        resets: 0,
        reset_from: 0,
        created_at,
        presence: Presence::Live,
    }
}

const fn void(key: MessageKey, created_at: Timestamp) -> MessageRow {
    MessageRow {
        key,
        uid: None,
        generation: 0,
        sender: None,
        body: String::new(),
        state: State::Void,
        sent_at: None,
        created_at,
        updated_at: None,
        revision: 0,
    }
}

async fn write_messages(target: &Rows, chunk: &mut Vec<MessageRow>) -> Result<(), Failure> {
    if chunk.is_empty() {
        return Ok(());
    }
    let insert_messages = std::mem::take(chunk);
    write(
        target,
        Writes {
            insert_messages,
            ..Writes::default()
        },
    )
    .await
}

async fn write(target: &Rows, writes: Writes) -> Result<(), Failure> {
    let mut tx = target.begin_free().await?;
    tx.write(writes).await?;
    Ok(tx.commit(&[]).await?)
}
