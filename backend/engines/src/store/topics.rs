//! What the store knows about the log: partition counts, which log the positions are of, epochs.

use chat_core::epochs;
use chat_core::failpoint::{Failpoint, reach};
use chat_core::port::log::{Group, PartitionId, Topic};
use chat_core::port::store::{Error, Position};
use chat_wire::ids::AppToken;
use chat_wire::time::Timestamp;
use sqlx::mysql::MySqlArguments;
use sqlx::{MySqlConnection, SqlSafeStr};

use super::Rows;
use super::failure::told;
use super::lease::{Lease, within};
use super::operate;
use super::read;
use super::rows::{self, Values};
use super::transaction::command;

/// What `migrate` wrote down about a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// How many partitions its keys are spread over.
    pub(crate) partitions: u32,
    /// The name of the Kafka cluster that it was made in.
    pub(crate) cluster: String,
    /// The high bits of every revision.
    pub(crate) epoch: u32,
}

impl Rows {
    /// A topic as `migrate` left it; `None` before that.
    pub(crate) async fn topic(&self, topic: Topic) -> Result<Option<Known>, Error> {
        let mut lease = Lease::of(&self.pool).await?;
        let known = within(known(&mut lease, topic, "")).await?;
        lease.release();
        Ok(known)
    }

    /// Writes down a new topic; what is known already stays.
    pub(crate) async fn add_topic(
        &self,
        topic: Topic,
        partitions: u32,
        cluster: &str,
    ) -> Result<(), Error> {
        let text = "INSERT IGNORE INTO log_topics (topic, partitions, cluster, epoch) \
                    VALUES (?, ?, ?, 0)";
        let mut values = Values::default();
        values
            .text(Some(topic.name()))
            .number(partitions)
            .text(Some(cluster));
        let mut lease = Lease::of(&self.pool).await?;
        within(execute(&mut lease, text, values)).await?;
        lease.release();
        Ok(())
    }

    /// Begins a new epoch, because a partition is not the one that was applied, and sends every group
    /// of it back to `start`. Somebody who found the same meanwhile has done it already: an epoch is
    /// raised only from the one that was `seen` with the position that does not fit.
    pub(crate) async fn raise_epoch(
        &self,
        partition: PartitionId,
        seen: u32,
        cluster: &str,
        start: u64,
    ) -> Result<u32, Error> {
        let mut lease = Lease::of(&self.pool).await?;
        let epoch = within(async {
            let on = &mut *lease;
            command(on, "BEGIN").await?;
            let topic = partition.topic;
            let Some(known) = known(on, topic, " FOR UPDATE").await? else {
                return Err(Error::Unavailable(
                    "the topic is not known: run `chatd migrate`".into(),
                ));
            };
            let epoch = known.epoch.max(seen + 1);
            let text = "UPDATE log_topics SET epoch = ?, cluster = ? WHERE topic = ?";
            let mut values = Values::default();
            values
                .number(epoch)
                .text(Some(cluster))
                .text(Some(topic.name()));
            execute(on, text, values).await?;
            let text = "UPDATE log_positions SET next = ?, epoch = ?, last_uid = NULL \
                        WHERE topic = ? AND partition_index = ? AND epoch < ?";
            let mut values = Values::default();
            values
                .wide(start)
                .number(epoch)
                .text(Some(topic.name()))
                .number(partition.index)
                .number(epoch);
            execute(on, text, values).await?;
            if epoch > known.epoch {
                note_raised(on, topic, epoch).await?;
            }
            Ok(epoch)
        })
        .await?;
        reach(Failpoint::EpochWriteCommit);
        lease.commit().await?;
        lease.release();
        Ok(epoch)
    }

    /// Raises a topic's epoch above one that was found elsewhere; returns it.
    pub(crate) async fn raise_epoch_above(&self, topic: Topic, above: u32) -> Result<u32, Error> {
        let text = "UPDATE log_topics SET epoch = GREATEST(epoch, ?) WHERE topic = ?";
        let mut values = Values::default();
        values
            .number(above.saturating_add(1))
            .text(Some(topic.name()));
        let mut lease = Lease::of(&self.pool).await?;
        let known = within(async {
            let before = known(&mut lease, topic, "").await?;
            execute(&mut lease, text, values).await?;
            let after = known(&mut lease, topic, "").await?;
            let epoch = |known: &Option<Known>| known.as_ref().map(|known| known.epoch);
            if let (Some(before), Some(after)) = (epoch(&before), epoch(&after))
                && after > before
            {
                note_raised(&mut lease, topic, after).await?;
            }
            Ok(after)
        })
        .await?;
        lease.release();
        let unknown = || Error::Unavailable("the topic is not known: run `chatd migrate`".into());
        known.map(|known| known.epoch).ok_or_else(unknown)
    }

    /// Notes that a partition was compared with its position in this epoch, and is what it was.
    pub(crate) async fn adopt_epoch(
        &self,
        group: Group,
        partition: PartitionId,
        epoch: u32,
    ) -> Result<Position, Error> {
        let text = "UPDATE log_positions SET epoch = ? WHERE group_name = ? AND topic = ? \
                    AND partition_index = ? AND epoch < ?";
        let mut values = Values::default();
        values.number(epoch).place(group, partition).number(epoch);
        let mut lease = Lease::of(&self.pool).await?;
        let position = within(async {
            execute(&mut lease, text, values).await?;
            read::position(&mut lease, group, partition).await
        })
        .await?;
        lease.release();
        Ok(position)
    }

    /// How far a group has come in one partition.
    pub(crate) async fn position_of(
        &self,
        group: Group,
        partition: PartitionId,
    ) -> Result<Position, Error> {
        let mut lease = Lease::of(&self.pool).await?;
        let position = within(read::position(&mut lease, group, partition)).await?;
        lease.release();
        Ok(position)
    }

    /// Raises the generation of an application's counters and returns it.
    pub(super) async fn next_generation(&self, token: AppToken, seen: u32) -> Result<u32, Error> {
        let mut lease = Lease::of(&self.pool).await?;
        let generation = within(async {
            let on = &mut *lease;
            command(on, "BEGIN").await?;
            // The update keeps the row locked until the commit, so nobody else reads this one.
            let text = "INSERT INTO counter_generations (application_token, generation) \
                        VALUES (?, ?) ON DUPLICATE KEY UPDATE \
                        generation = GREATEST(generation + 1, VALUES(generation))";
            let mut values = Values::default();
            values
                .bytes(token.as_bytes())
                .number(seen.saturating_add(1).max(2));
            execute(on, text, values).await?;
            let text = "SELECT generation FROM counter_generations WHERE application_token = ?";
            let mut values = Values::default();
            values.bytes(token.as_bytes());
            let read = |row: &_| rows::number(row, 0);
            let found = read::all(on, text.into_sql_str(), values, read).await?;
            found.first().copied().ok_or_else(|| {
                Error::Corrupt("a generation is gone as soon as it was written".into())
            })
        })
        .await?;
        lease.commit().await?;
        lease.release();
        Ok(generation)
    }
}

/// Remembers when the epoch was raised, for the doctor. Whoever raised it meanwhile has noted it as well.
async fn note_raised(on: &mut MySqlConnection, topic: Topic, epoch: u32) -> Result<(), Error> {
    let name = epochs::note_name(topic);
    let before = operate::note(on, &name).await?;
    let version = before.map_or(0, |note| note.version);
    let text = epochs::note_text(epoch, Timestamp::now());
    operate::put_note(on, &name, version, &text).await?;
    Ok(())
}

async fn known(on: &mut MySqlConnection, topic: Topic, lock: &str) -> Result<Option<Known>, Error> {
    let text = format!("SELECT partitions, cluster, epoch FROM log_topics WHERE topic = ?{lock}");
    let mut values = Values::default();
    values.text(Some(topic.name()));
    let read = |row: &_| {
        Ok(Known {
            partitions: rows::number(row, 0)?,
            cluster: rows::text(row, 1)?,
            epoch: rows::number(row, 2)?,
        })
    };
    let found = read::all(on, sqlx::AssertSqlSafe(text).into_sql_str(), values, read).await?;
    Ok(found.into_iter().next())
}

async fn execute(
    on: &mut MySqlConnection,
    text: &'static str,
    values: Values,
) -> Result<(), Error> {
    sqlx::query_with::<_, MySqlArguments>(text.into_sql_str(), values.into_inner())
        .execute(on)
        .await
        .map_err(told)?;
    Ok(())
}
