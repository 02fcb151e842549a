//! Apply: from the log into the store, one transaction for what was polled, the same result however often it is told.
//!
//! The rules are here and in the files of the nouns; the store's transactions only read, lock and write rows.

mod applications;
mod chats;
mod messages;

use std::collections::{BTreeMap, HashMap};

use chat_wire::ids::AppToken;
use chat_wire::time::Timestamp;
use uuid::Uuid;

use crate::event::{Event, Undecodable, is_place, revision};
use crate::failpoint::{Failpoint, reach};
use crate::key::{KeyHash, StoredKey};
use crate::port::log::{Group, PartitionId, Record, Scope};
use crate::port::signals::Subject;
use crate::port::store::{
    ApplicationRow, ChatKey, Error, KeyRow, Position, Presence, Store, Transaction, Writes,
};

/// How long a key is answered with what it was answered first, in milliseconds.
const KEY_LIFE_MS: u64 = 24 * 60 * 60 * 1_000;
/// Chats of which one transaction reserves a number.
const CHATS_RESERVED_AT_ONCE: usize = 500;

/// A record that was read and found good.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// Where it stands in the partition.
    pub offset: u64,
    /// Of the place where the event stood first.
    pub revision: u64,
    /// Of the event.
    pub uid: Uuid,
    /// What happened.
    pub event: Event,
}

/// A record that will never apply.
#[derive(Debug, Clone)]
pub struct Poison {
    /// As it was read.
    pub record: Record,
    /// Why, in words.
    pub reason: String,
}

/// Records of one partition, ready to be applied.
#[derive(Debug)]
pub struct Batch {
    /// The group that applies them.
    pub group: Group,
    /// Where they come from.
    pub partition: PartitionId,
    /// Epoch of the topic.
    pub epoch: u32,
    /// Offset from which the partition was read for this batch: every record between here and `next` is
    /// in the batch. A batch that begins above the stored position would jump over records.
    pub first: u64,
    /// The good ones, in order.
    pub records: Vec<Decoded>,
    /// Creates whose content cannot be read or stored: their numbers stay theirs
    /// (invariant: dead-letters-keep-numbers).
    pub reserved: Vec<Decoded>,
    /// What records were about that cannot be read, where that is known: the store may hold more of it
    /// than the record says.
    pub touched: Vec<Scope>,
    /// Offset behind the last record, good or not.
    pub next: u64,
    /// Fingerprint of the last record, to know the log again.
    pub last_uid: Option<Uuid>,
    /// Offsets and fingerprints of all records, good or not, in order, and of the one before them where it is
    /// known: they tell whether the stored position is one of this log.
    pub seen: Vec<(u64, Uuid)>,
    /// The schema of a record behind the batch that a newer program wrote: the group waits there for a program
    /// that reads it.
    pub newer: Option<u32>,
}

impl Batch {
    /// Reads records of one partition, which follow each other from `first` on; those that are no events
    /// come back beside the batch.
    #[must_use]
    pub fn decode(
        group: Group,
        partition: PartitionId,
        epoch: u32,
        first: u64,
        records: Vec<Record>,
    ) -> (Self, Vec<Poison>) {
        let mut batch = Self {
            group,
            partition,
            epoch,
            first,
            records: Vec::with_capacity(records.len()),
            reserved: Vec::new(),
            touched: Vec::new(),
            next: first,
            last_uid: None,
            seen: Vec::with_capacity(records.len() + 1),
            newer: None,
        };
        let mut poison = Vec::new();
        for record in records {
            let decoded_event = Event::decode(&record);
            if let Err(Undecodable::Newer(schema)) = decoded_event {
                batch.newer = Some(schema);
                break;
            }
            batch.next = record.offset + 1;
            let fingerprint = record.fingerprint();
            batch.last_uid = Some(fingerprint);
            batch.seen.push((record.offset, fingerprint));
            match decoded_event {
                Ok((uid, event)) => batch.records.push(decoded(epoch, &record, uid, event)),
                Err(reason) => {
                    batch.reserve(&record);
                    poison.push(Poison {
                        reason: reason.to_string(),
                        record,
                    });
                }
            }
        }
        (batch, poison)
    }

    /// Keeps what is known of a record that cannot be read.
    fn reserve(&mut self, record: &Record) {
        let Some(scope) = record.headers.scope else {
            return;
        };
        self.touched.push(scope);
        let uid = record.headers.uid.unwrap_or_default();
        if let Some(event) = Event::reservation(&scope, uid, record.appended_at) {
            self.reserved.push(decoded(self.epoch, record, uid, event));
        }
    }

    /// Notes the fingerprint of the record before the batch, where it is known.
    pub fn follow(&mut self, before: Option<Uuid>) {
        if let Some(last) = self.first.checked_sub(1).zip(before) {
            self.seen.insert(0, last);
        }
    }

    /// The fingerprint of the record at an offset.
    #[must_use]
    pub fn fingerprint_at(&self, offset: u64) -> Option<Uuid> {
        let at = self
            .seen
            .binary_search_by_key(&offset, |(offset, _)| *offset);
        at.ok().map(|at| self.seen[at].1)
    }

    fn position(&self) -> Position {
        Position {
            next: self.next,
            epoch: self.epoch,
            last_uid: self.last_uid,
        }
    }
}

fn decoded(epoch: u32, record: &Record, uid: Uuid, event: Event) -> Decoded {
    Decoded {
        offset: record.offset,
        // A reservation may be of a record whose origin is no place.
        revision: record.headers.origin.filter(is_place).map_or_else(
            || revision(epoch, record.offset),
            |origin| revision(origin.epoch, origin.offset),
        ),
        uid,
        event,
    }
}

/// What one apply did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows that were made by their create.
    pub created: u64,
    /// Edits, deletes and renames that took effect.
    pub changed: u64,
    /// Events that had been applied before, or are older than what is stored.
    pub repeated: u64,
    /// Creates that found their number taken and got another one, which is never expected
    /// (invariant: renumber-from-counter).
    pub renumbered: u64,
    /// Creates that lost to one of a higher generation with the same idempotency key, and dead letters whose
    /// number was given again; none of them was acknowledged.
    pub superseded: u64,
    /// Chats in which a stored message made way for one of a higher generation: no record of this batch tells
    /// the index of its new number.
    pub displaced: Vec<ChatKey>,
    /// Creates that were stored although another one had the same idempotency key: either may have been
    /// acknowledged, so neither is discarded.
    pub key_conflicts: u64,
    /// Whom to tell.
    pub subjects: Vec<Subject>,
}

/// A create whose number, or one of whose numbers, another message has: it needs a range of its own. All
/// lines of a batch move together, so that their numbers still follow each other. Or one stored message whose
/// number a create of a higher generation has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Homeless {
    /// Where it belongs.
    pub chat: ChatKey,
    /// Of the event, and of its first line.
    pub uid: Uuid,
    /// How many numbers it needs.
    pub count: u32,
    /// Its idempotency key, whose answer changes with the number.
    pub key: Option<StoredKey>,
    /// Of the event.
    pub generation: u32,
    /// It is stored, and makes way for a create of a higher generation that was given its number.
    pub is_displaced: bool,
}

/// Numbers that were taken from the counters for a create without any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first of them.
    pub first: u32,
    /// Of the counters when they were taken: whoever is given one of them again in the same generation
    /// conflicts with this create, and does not replace it.
    pub generation: u32,
}

/// What was taken, by who needs it.
pub type Numbers = HashMap<Homeless, Range>;

/// A batch that does not begin where its group is: the store was put back to an earlier state, or the
/// partition has not been compared with its position since the epoch was raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Of which partition.
    pub partition: PartitionId,
    /// How far the store says that the group is.
    pub stored: Position,
    /// Where the batch begins.
    pub first: u64,
    /// In which epoch it was read.
    pub epoch: u32,
    /// Reading again from the stored position closes it. Otherwise the partition has to be compared with its
    /// position first, as at an assignment: a store that went back may remember a log that is gone.
    pub is_of_one_log: bool,
}

/// A record that applies to nothing, because another one took its place and both may have been
/// acknowledged: it has to become a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Within its partition.
    pub offset: u64,
    /// Of the event.
    pub uid: Uuid,
    /// Why, in words.
    pub reason: String,
}

/// The end of an apply.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable.
    Applied(Report),
    /// Nothing was written: take numbers for each of these, then apply again.
    NeedsNumbers(Vec<Homeless>),
    /// Nothing was written: read these partitions again from their stored positions.
    Gaps(Vec<Gap>),
    /// Nothing was written: these records become dead letters, then the rest is applied.
    Conflicts(Vec<Conflict>),
}

/// Applies batches of different partitions of one group in one transaction: it has the position of each
/// locked, skips what lies below, and moves all of them together
/// (invariant: positions-in-store).
///
/// # Errors
/// Those of the store; nothing was written then.
pub async fn apply(
    store: &dyn Store,
    batches: &[Batch],
    numbers: &Numbers,
) -> Result<Outcome, Error> {
    run(store, batches, numbers, Trust::Highest).await
}

/// As [`apply`], but believes no chat's highest number: it looks up every row that the records may
/// meet, and counts. For batches that the store refuses because a row is there that should not be.
///
/// # Errors
/// As [`apply`].
pub async fn apply_verified(
    store: &dyn Store,
    batches: &[Batch],
    numbers: &Numbers,
) -> Result<Outcome, Error> {
    run(store, batches, numbers, Trust::Rows).await
}

/// Makes void rows of numbers that neither the log nor the store knows any more, although something else does:
/// the highest number of each chat, so that no counter gives it or one below it out again. The numbers between are
/// settled like any other that has no record. Returns how many rows were written.
///
/// # Errors
/// Those of the store; to call it again goes on where it stopped.
pub async fn reserve(
    store: &dyn Store,
    highest: &BTreeMap<ChatKey, u32>,
    at: Timestamp,
) -> Result<u64, Error> {
    let mut written = 0;
    let chats: Vec<(ChatKey, u32)> = highest
        .iter()
        .map(|(chat, number)| (*chat, *number))
        .collect();
    for some in chats.chunks(CHATS_RESERVED_AT_ONCE) {
        let keys: Vec<ChatKey> = some.iter().map(|(chat, _)| *chat).collect();
        let mut tx = store.begin_free().await?;
        let rows = tx.chats(&keys).await?;
        let known: HashMap<ChatKey, u32> = rows.iter().map(|row| (row.key, row.highest)).collect();
        let unknown = some
            .iter()
            .filter(|(chat, number)| known.get(chat).is_none_or(|known| known < number));
        let reserved: Vec<Decoded> = unknown
            .filter_map(|(chat, number)| reservation(*chat, *number, at))
            .collect();
        if reserved.is_empty() {
            continue;
        }
        let reserved: Vec<&Decoded> = reserved.iter().collect();
        let mut work = messages::Work::load(tx.as_mut(), &[], &reserved, Trust::Highest).await?;
        let mut report = Report::default();
        // A reservation whose number is taken meanwhile asks for no other one.
        work.run(tx.as_mut(), &[], &reserved, &Numbers::new())
            .await?;
        let writes = work.finish(tx.as_mut(), &mut report).await?;
        written += writes.insert_messages.len() as u64;
        tx.write(writes).await?;
        tx.commit(&[]).await?;
    }
    Ok(written)
}

fn reservation(chat: ChatKey, number: u32, at: Timestamp) -> Option<Decoded> {
    let scope = Scope {
        token: chat.token,
        chat: Some(chat.chat),
        first: number,
        count: 1,
        generation: 0,
        creates: true,
    };
    let uid = Uuid::nil();
    let event = Event::reservation(&scope, uid, at)?;
    Some(Decoded {
        offset: 0,
        revision: 0,
        uid,
        event,
    })
}

/// The rows of idempotency keys of creates of applications and chats. The first create of a key stays its answer.
struct Keys {
    rows: HashMap<KeyHash, KeyRow>,
}

impl Keys {
    async fn load(tx: &mut dyn Transaction, hashes: Vec<KeyHash>) -> Result<Self, Error> {
        let rows = match hashes.is_empty() {
            true => Vec::new(),
            false => tx.keys(&hashes).await?,
        };
        let rows = rows.into_iter().map(|row| (row.key.hash, row)).collect();
        Ok(Self { rows })
    }

    /// Adds the row of a create that is stored, unless another create has the key: then the counters have lost
    /// it, and both may have been acknowledged.
    fn put(&mut self, row: KeyRow, writes: &mut Writes, report: &mut Report) {
        let known = self.rows.get(&row.key.hash);
        let counts = |known: &&KeyRow| {
            known.uid != row.uid && row.created_at.millis_since(known.created_at) < KEY_LIFE_MS
        };
        if let Some(known) = known.filter(counts) {
            report.key_conflicts += 1;
            tracing::error!(
                number = row.first,
                first_number = known.first,
                "two creates were accepted under one idempotency key; both are stored"
            );
            return;
        }
        self.rows.insert(row.key.hash, row.clone());
        writes.put_keys.push(row);
    }
}

/// What says whether a number has a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// The chat's highest number: above it there is none.
    Highest,
    /// The rows alone.
    Rows,
}

async fn run(
    store: &dyn Store,
    batches: &[Batch],
    numbers: &Numbers,
    trust: Trust,
) -> Result<Outcome, Error> {
    let mut batches: Vec<&Batch> = batches.iter().collect();
    batches.sort_unstable_by_key(|batch| batch.partition.index);
    let Some(group) = batches.first().map(|batch| batch.group) else {
        return Ok(Outcome::Applied(Report::default()));
    };
    let partitions: Vec<PartitionId> = batches.iter().map(|batch| batch.partition).collect();
    let mut tx = store.begin(group, &partitions).await?;

    let mut positions = tx.positions().to_vec();
    let (mut records, mut reserved) = (Vec::new(), Vec::new());
    let mut all = 0;
    let mut moves = false;
    let gaps: Vec<Gap> = batches
        .iter()
        .zip(&positions)
        .filter_map(|(batch, position)| gap(batch, position))
        .collect();
    if !gaps.is_empty() {
        return Ok(Outcome::Gaps(gaps));
    }
    for (batch, position) in batches.iter().zip(&mut positions) {
        all += batch.records.len();
        let done = position.next;
        if batch.next <= done {
            continue;
        }
        let fresh = |record: &&Decoded| record.offset >= done;
        records.extend(batch.records.iter().filter(fresh));
        reserved.extend(batch.reserved.iter().filter(fresh));
        *position = batch.position();
        moves = true;
    }
    let mut report = Report {
        repeated: (all - records.len()) as u64,
        ..Report::default()
    };
    if !moves {
        return Ok(Outcome::Applied(report));
    }
    let writes = match group {
        Group::ApplicationsStore => applications::apply(tx.as_mut(), &records, &mut report).await?,
        Group::ChatsStore => {
            match chats::apply(tx.as_mut(), &records, &reserved, &mut report).await? {
                Ok(writes) => writes,
                Err(conflicts) => return Ok(Outcome::Conflicts(conflicts)),
            }
        }
        Group::MessagesStore => {
            let mut work = messages::Work::load(tx.as_mut(), &records, &reserved, trust).await?;
            match work.run(tx.as_mut(), &records, &reserved, numbers).await? {
                Some(homeless) => return Ok(Outcome::NeedsNumbers(homeless)),
                None => work.finish(tx.as_mut(), &mut report).await?,
            }
        }
        // The index is written by other means; the transaction only moves its positions.
        Group::MessagesIndex => Writes::default(),
    };
    tx.write(writes).await?;
    reach(before_commit(group));
    tx.commit(&positions).await?;
    Ok(Outcome::Applied(report))
}

/// Whether a batch begins above the position of its group, was read in another epoch than it, or holds another
/// record where the position says that its last one stood. A position at the very beginning is of no epoch yet.
fn gap(batch: &Batch, position: &Position) -> Option<Gap> {
    let is_other_epoch = position.epoch != batch.epoch && position.next > 0;
    let known = |fingerprint: Option<Uuid>| fingerprint.filter(|known| !known.is_nil());
    let last = position.next.checked_sub(1);
    let found = known(last.and_then(|last| batch.fingerprint_at(last)));
    let is_other_record =
        found.is_some() && known(position.last_uid).is_some_and(|stored| Some(stored) != found);
    (is_other_epoch || is_other_record || batch.first > position.next).then_some(Gap {
        partition: batch.partition,
        stored: *position,
        first: batch.first,
        epoch: batch.epoch,
        is_of_one_log: false,
    })
}

const fn before_commit(group: Group) -> Failpoint {
    match group {
        Group::ApplicationsStore => Failpoint::ApplicationsWriteCommit,
        Group::ChatsStore => Failpoint::ChatsWriteCommit,
        Group::MessagesStore => Failpoint::MessagesWriteCommit,
        Group::MessagesIndex => Failpoint::IndexWriteCommit,
    }
}

/// Applications under lock, with what was changed in them.
struct Applications {
    rows: HashMap<AppToken, (ApplicationRow, Change)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    Insert,
    Update,
}

impl Applications {
    async fn lock(tx: &mut dyn Transaction, mut tokens: Vec<AppToken>) -> Result<Self, Error> {
        // One order for everybody keeps two workers from waiting for each other.
        tokens.sort_unstable();
        tokens.dedup();
        let rows = if tokens.is_empty() {
            Vec::new()
        } else {
            tx.applications(&tokens).await?
        };
        Ok(Self {
            rows: rows
                .into_iter()
                .map(|row| (row.token, (row, Change::None)))
                .collect(),
        })
    }

    /// The row to change; a stub is made where there is none.
    fn touch(&mut self, token: AppToken, at: Timestamp) -> &mut ApplicationRow {
        let (row, change) = self.rows.entry(token).or_insert_with(|| {
            let stub = ApplicationRow {
                token,
                name: String::new(),
                chats_count: 0,
                created_at: at,
                updated_at: at,
                revision: 0,
                presence: Presence::Stub,
            };
            (stub, Change::Insert)
        });
        if *change == Change::None {
            *change = Change::Update;
        }
        row
    }

    fn write(self, writes: &mut Writes) {
        for (row, change) in self.rows.into_values() {
            match change {
                Change::None => {}
                Change::Insert => writes.insert_applications.push(row),
                Change::Update => writes.update_applications.push(row),
            }
        }
    }
}
