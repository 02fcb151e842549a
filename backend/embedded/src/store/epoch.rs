//! Whether the log is still the one that the positions are of (CORRECTNESS, rule 14).

use chat_core::failpoint::{Failpoint, reach};
use chat_core::port::log::{Group, PartitionId, Topic};
use chat_core::port::store::{Error, Position};
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use super::Rows;
use super::read;
use super::rows::told;
use super::transaction::put_position;
use crate::log::file::{Extent, Found};

/// What happened to a topic since the store last saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Nothing, or the store is new.
    None,
    /// It is another log: none of its records has been applied.
    Recreated,
    /// It ends before what has been applied: what is left of it has been applied.
    Truncated,
}

impl Rows {
    /// Compares the positions with the log and raises the epoch of each topic that is not what it
    /// was; returns the epochs, which the log has to be told.
    ///
    /// A position of a re-created topic goes back to its start. One of a truncated topic goes back to
    /// its end, not further: everything below has been applied, and applying an old edit again under
    /// the new epoch would put it above later ones.
    pub(crate) async fn agree(&self, log: &Found) -> Result<[u32; Topic::ALL.len()], Error> {
        let mut work = self.begin_immediate().await?;
        let mut epochs = [0; Topic::ALL.len()];
        let mut raised = false;
        for topic in Topic::ALL {
            let extent = log.topics[topic as usize];
            let known = known(&mut work.inner, topic).await?;
            let positions = positions(&mut work.inner, topic).await?;
            let change = change(known.map(|(id, _)| id), log.id, extent, &positions);
            let epoch = known.map_or(0, |(_, epoch)| epoch).max(extent.epoch)
                + u32::from(change != Change::None);
            raised |= change != Change::None;
            if change != Change::None {
                tracing::error!(
                    topic = topic.name(),
                    epoch,
                    log.start = extent.start,
                    log.next = extent.next,
                    change = ?change,
                    "the log is not the one that was applied: it was re-created or truncated, and \
                     what was acknowledged but not yet applied is lost; going on in a new epoch"
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
            epochs[topic as usize] = epoch;
        }
        if raised {
            reach(Failpoint::EpochWriteCommit);
        }
        work.inner.commit().await.map_err(told)?;
        Ok(epochs)
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

const fn partition(topic: Topic) -> PartitionId {
    PartitionId { topic, index: 0 }
}

fn change(
    known: Option<[u8; 16]>,
    id: [u8; 16],
    extent: Extent,
    positions: &[(Group, Position)],
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
    Change::None
}

fn moved(position: Position, change: Change, extent: Extent, epoch: u32) -> Position {
    match change {
        Change::None => Position { epoch, ..position },
        Change::Recreated => Position {
            next: extent.start,
            epoch,
            last_uid: None,
        },
        Change::Truncated if position.next > extent.next => Position {
            next: extent.next,
            epoch,
            last_uid: None,
        },
        Change::Truncated => Position { epoch, ..position },
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

async fn known(on: &mut SqliteConnection, topic: Topic) -> Result<Option<([u8; 16], u32)>, Error> {
    let row = sqlx::query("SELECT log_id, epoch FROM log_epochs WHERE topic = ?")
        .bind(topic.name())
        .fetch_optional(on)
        .await
        .map_err(told)?;
    row.map(|row| {
        let id: Uuid = Uuid::from_slice(row.try_get_unchecked(0).map_err(told)?)
            .map_err(|_| Error::Corrupt("the log's id has not 16 bytes".into()))?;
        Ok((id.into_bytes(), super::rows::number(&row, 1)?))
    })
    .transpose()
}

async fn put_known(
    on: &mut SqliteConnection,
    topic: Topic,
    id: [u8; 16],
    epoch: u32,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO log_epochs (topic, log_id, epoch) VALUES (?, ?, ?) \
         ON CONFLICT (topic) DO UPDATE SET log_id = excluded.log_id, epoch = excluded.epoch",
    )
    .bind(topic.name())
    .bind(&id[..])
    .bind(epoch)
    .execute(on)
    .await
    .map_err(told)?;
    Ok(())
}
