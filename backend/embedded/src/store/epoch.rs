//! Whether the log is still the one that the positions are of (invariant: log-identity).

use chat_core::epochs;
use chat_core::failpoint::{Failpoint, reach};
use chat_core::port::log::{Group, LogId, PartitionId, Record, Topic};
use chat_core::port::search::IndexPosition;
use chat_core::port::store::{Error, Position};
use chat_wire::time::Timestamp;
use sqlx::{AssertSqlSafe, SqlSafeStr, SqliteConnection};

use super::Rows;
use super::operate;
use super::read;
use super::rows::{EPOCH, POSITION, Values, epoch, position, told};
use super::sums;
use super::transaction::put_position;
use crate::log::file::{Extent, Found};

/// What happened to a topic since the store last saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Nothing, or the store is new.
    None,
    /// It is another log: none of its records has been applied.
    Recreated,
    /// It has the name and length of the one that was applied, and holds another record where the last
    /// applied one stood: for example a backup that others went on with. What of it was applied is not
    /// known, so all of it is applied again.
    Replaced,
    /// It ends before what has been applied: what is left of it has been applied.
    Truncated,
    /// The index has read another log, or a part or an epoch of this one that neither the log nor the
    /// store knows any more: both went back in time, and will give offsets and revisions again.
    Forgotten,
    /// Its file was copied or restored without its write-ahead log: what was committed since the last checkpoint
    /// is lost, unless another program has moved it into the file.
    Cut,
}

impl Rows {
    /// Compares the positions with the log and raises the epoch of each topic that is not what it
    /// was; returns the epochs, which the log has to be told.
    ///
    /// A position of a re-created topic goes back to its start. One of a truncated topic goes back to
    /// its end, not further: everything below has been applied, and applying an old edit again under
    /// the new epoch would put it above later ones.
    ///
    /// `index` is what the index has recorded as read: it is a third memory of the log, beside the
    /// log itself and the store. `last` are the records in the log that stand right before the
    /// positions of the groups, where they can be read.
    pub(crate) async fn agree(
        &self,
        log: &Found,
        index: &[IndexPosition],
        last: &[Option<Record>; Group::ALL.len()],
    ) -> Result<[u32; Topic::ALL.len()], Error> {
        let mut work = self.begin_immediate().await?;
        sound(&mut work.inner).await?;
        let mut epochs = [0; Topic::ALL.len()];
        let mut raised = false;
        for topic in Topic::ALL {
            let extent = log.topics[topic as usize];
            let known = known(&mut work.inner, topic).await?;
            let positions = positions(&mut work.inner, topic).await?;
            let read = index.iter().find(|read| read.partition == partition(topic));
            let agreed = known.map_or(0, |(_, epoch)| epoch).max(extent.epoch);
            let change = match change(known.map(|(id, _)| id), log.id, extent, &positions, last) {
                Change::None
                    if read.is_some_and(|read| is_forgotten(read, log.id, extent, agreed)) =>
                {
                    Change::Forgotten
                }
                Change::None if log.lacks_wal => Change::Cut,
                change => change,
            };
            let epoch =
                agreed.max(read.map_or(0, |read| read.epoch)) + u32::from(change != Change::None);
            raised |= change != Change::None;
            if change != Change::None {
                tracing::error!(
                    topic = topic.name(),
                    epoch,
                    log.start = extent.start,
                    log.next = extent.next,
                    index.read = ?read,
                    change = ?change,
                    "the log is not the one that was applied or indexed: it was re-created, \
                     replaced, truncated or restored, and what was acknowledged since and not yet \
                     applied is lost; going on in a new epoch"
                );
            }
            for (group, position) in positions {
                let moved = moved(position, change, extent, epoch);
                // Mostly nothing has changed, and opening need not wait for the disk.
                if moved != position {
                    put_position(&mut work.inner, group, partition(topic), moved).await?;
                }
            }
            if known != Some((log.id, epoch)) {
                put_known(&mut work.inner, topic, log.id, epoch).await?;
            }
            if change != Change::None {
                note_raised(&mut work.inner, topic, epoch).await?;
            }
            epochs[topic as usize] = epoch;
        }
        if raised {
            reach(Failpoint::EpochWriteCommit);
        }
        work.inner.commit().await.map_err(told)?;
        Ok(epochs)
    }

    /// Sends a group back to records that it has to read again.
    pub(crate) async fn rewind(&self, group: Group, position: Position) -> Result<(), Error> {
        let mut work = self.begin_immediate().await?;
        put_position(&mut work.inner, group, partition(group.topic()), position).await?;
        work.inner.commit().await.map_err(told)?;
        self.progress.applied(group, position.next);
        Ok(())
    }

    /// How far every group is, in the order of [`Group::ALL`].
    pub(crate) async fn all_positions(&self) -> Result<[Position; Group::ALL.len()], Error> {
        let mut writer = self.writer().await?;
        let mut positions = [Position::START; Group::ALL.len()];
        for group in Group::ALL {
            let found = read::position(&mut writer, group, partition(group.topic())).await?;
            positions[group as usize] = found;
        }
        Ok(positions)
    }

    /// Reads how far every group is.
    pub(crate) async fn load_progress(&self) -> Result<(), Error> {
        let mut writer = self.writer().await?;
        for group in Group::ALL {
            let position = read::position(&mut writer, group, partition(group.topic())).await?;
            self.progress.applied(group, position.next);
        }
        Ok(())
    }
}

/// Remembers when the epoch was raised, for the doctor.
async fn note_raised(on: &mut SqliteConnection, topic: Topic, epoch: u32) -> Result<(), Error> {
    let name = epochs::note_name(topic);
    let before = operate::note(on, &name).await?;
    let version = before.map_or(0, |note| note.version);
    let text = epochs::note_text(epoch, Timestamp::now());
    operate::put_note(on, &name, version, &text).await?;
    Ok(())
}

const fn partition(topic: Topic) -> PartitionId {
    PartitionId { topic, index: 0 }
}

fn change(
    known: Option<[u8; 16]>,
    id: [u8; 16],
    extent: Extent,
    positions: &[(Group, Position)],
    last: &[Option<Record>; Group::ALL.len()],
) -> Change {
    if known.is_some_and(|known| known != id) {
        return Change::Recreated;
    }
    if positions
        .iter()
        .any(|(_, position)| position.next > extent.next)
    {
        return Change::Truncated;
    }
    let differs = |(group, position): &(Group, Position)| {
        let found = last[*group as usize].as_ref();
        found.is_some_and(|found| !found.may_be(position.last_uid))
    };
    if positions.iter().any(differs) {
        return Change::Replaced;
    }
    Change::None
}

/// Whether the index has read what the log and the store do not know. `agreed` is the epoch that
/// these two know of.
fn is_forgotten(read: &IndexPosition, log: [u8; 16], extent: Extent, agreed: u32) -> bool {
    let is_cut = read.epoch == agreed && read.next > extent.next;
    read.log != LogId::from_bytes(log) || read.epoch > agreed || is_cut
}

/// Refuses positions and epochs that are damaged, also where their key is: a position that is not
/// found would begin anew.
async fn sound(on: &mut SqliteConnection) -> Result<(), Error> {
    let text = format!("SELECT {POSITION} FROM log_positions");
    let values = Values::with_capacity(0);
    read::all(on, AssertSqlSafe(text).into_sql_str(), values, position).await?;
    let text = format!("SELECT {EPOCH} FROM log_epochs");
    let values = Values::with_capacity(0);
    read::all(on, AssertSqlSafe(text).into_sql_str(), values, epoch).await?;
    Ok(())
}

fn moved(position: Position, change: Change, extent: Extent, epoch: u32) -> Position {
    match change {
        Change::None => Position { epoch, ..position },
        Change::Recreated | Change::Replaced => Position {
            next: extent.start,
            epoch,
            last_uid: None,
        },
        Change::Truncated if position.next > extent.next => Position {
            next: extent.next,
            epoch,
            last_uid: None,
        },
        Change::Truncated | Change::Forgotten | Change::Cut => Position { epoch, ..position },
    }
}

async fn positions(
    on: &mut SqliteConnection,
    topic: Topic,
) -> Result<Vec<(Group, Position)>, Error> {
    let mut positions = Vec::new();
    for group in Group::ALL {
        if group.topic() == topic {
            let position = read::position(on, group, partition(topic)).await?;
            if position != Position::START {
                positions.push((group, position));
            }
        }
    }
    Ok(positions)
}

/// Which log the store knows each topic of, and in which epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) topic: Topic,
    pub(crate) id: [u8; 16],
    pub(crate) epoch: u32,
}

/// What the store knows of every topic.
pub(crate) async fn all_known(on: &mut SqliteConnection) -> Result<Vec<Known>, Error> {
    let mut all = Vec::new();
    for topic in Topic::ALL {
        let found = known(on, topic).await?;
        all.extend(found.map(|(id, epoch)| Known { topic, id, epoch }));
    }
    Ok(all)
}

async fn known(on: &mut SqliteConnection, topic: Topic) -> Result<Option<([u8; 16], u32)>, Error> {
    let text = format!("SELECT {EPOCH} FROM log_epochs WHERE topic = ?");
    let mut values = Values::with_capacity(1);
    values.text(Some(topic.name().to_owned()));
    let found = read::one(on, AssertSqlSafe(text).into_sql_str(), values, epoch).await?;
    Ok(found.map(|(_, id, epoch)| (id, epoch)))
}

/// Writes down which log the store knows.
pub(crate) async fn put_known(
    on: &mut SqliteConnection,
    topic: Topic,
    id: [u8; 16],
    epoch: u32,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO log_epochs (topic, log_id, epoch, checksum) VALUES (?, ?, ?, ?) \
         ON CONFLICT (topic) DO UPDATE SET log_id = excluded.log_id, epoch = excluded.epoch, \
         checksum = excluded.checksum",
    )
    .bind(topic.name())
    .bind(&id[..])
    .bind(epoch)
    .bind(sums::log_epoch(topic.name(), &id, epoch))
    .execute(on)
    .await
    .map_err(told)?;
    Ok(())
}
