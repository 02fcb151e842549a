//! Who holds a position, and what happens to an owner that is frozen (CORRECTNESS, rule 23).

use std::collections::HashMap;

use chat_core::port::log::{Group, PartitionId};
use chat_core::port::store::{Error, Position};
use parking_lot::Mutex;
use sqlx::mysql::MySqlArguments;
use sqlx::{MySqlConnection, MySqlPool, SqlSafeStr};

use super::failure::{self, LOCK_TIMEOUT, NO_SUCH_CONNECTION, told};
use super::lease::{Lease, within};
use super::read;
use super::rows::{self, Values};
use super::transaction::command;

const LOCKED: &str = "SELECT next, epoch, last_uid, owner, CAST(CONNECTION_ID() AS UNSIGNED) \
                      FROM log_positions WHERE group_name = ? AND topic = ? \
                      AND partition_index = ? FOR UPDATE";

/// The connection that each group's batches went through last. A worker that comes back to its own
/// connection finds itself named as the owner and has nothing to write before its batch.
#[derive(Default)]
pub(super) struct Owners {
    parked: Mutex<HashMap<Group, Lease>>,
}

impl Owners {
    /// Keeps a connection for the group's next batch.
    pub(super) fn park(&self, group: Group, lease: Lease) {
        if let Some(other) = self.parked.lock().insert(group, lease) {
            other.release();
        }
    }

    /// Lets go of all of them.
    pub(super) fn close(&self) {
        for (_, lease) in self.parked.lock().drain() {
            lease.release();
        }
    }

    /// Begins a transaction that has the position locked, by a connection that the row names.
    pub(super) async fn begin(
        &self,
        pool: &MySqlPool,
        group: Group,
        partition: PartitionId,
    ) -> Result<(Lease, Position), Error> {
        let parked = self.parked.lock().remove(&group);
        let mut lease = match parked {
            Some(lease) => lease,
            None => Lease::of(pool).await?,
        };
        // Twice at most writes something: a row where there is none, and the name of the owner.
        for _ in 0..4 {
            within(command(&mut lease, "BEGIN")).await?;
            match within(lock(&mut lease, group, partition)).await? {
                Found::Ours(position) => return Ok((lease, position)),
                Found::Missing => {
                    within(command(&mut lease, "ROLLBACK")).await?;
                    within(make(&mut lease, group, partition)).await?;
                }
                Found::Anothers(connection) => {
                    // It must be committed before it helps: a successor cannot read what is locked.
                    within(claim(&mut lease, group, partition, connection)).await?;
                    within(command(&mut lease, "COMMIT")).await?;
                }
                Found::Held => {
                    drop(lease);
                    return Err(self.evict(pool, group, partition).await?);
                }
            }
        }
        Err(Error::Unavailable(
            "the owner of a position changes faster than it can be locked".into(),
        ))
    }

    /// Ends the connection of an owner that let us wait too long.
    async fn evict(
        &self,
        pool: &MySqlPool,
        group: Group,
        partition: PartitionId,
    ) -> Result<Error, Error> {
        let mut lease = Lease::of(pool).await?;
        let owner = within(owner(&mut lease, group, partition)).await?;
        if let Some(owner) = owner {
            tracing::warn!(
                group = group.name(),
                partition = partition.index,
                connection = owner,
                "a worker holds its position for too long; its connection is ended"
            );
            within(kill(&mut lease, owner)).await?;
        }
        lease.release();
        Ok(Error::Unavailable(
            "another worker held the position of this partition".into(),
        ))
    }
}

enum Found {
    /// The row is locked and names this connection.
    Ours(Position),
    /// The row is locked and names another connection or none; this is ours.
    Anothers(u64),
    /// There is no row.
    Missing,
    /// Somebody else has it locked for longer than we wait.
    Held,
}

async fn lock(
    on: &mut MySqlConnection,
    group: Group,
    partition: PartitionId,
) -> Result<Found, Error> {
    let locked = sqlx::query_with::<_, MySqlArguments>(LOCKED, of(group, partition).into_inner())
        .fetch_optional(on)
        .await;
    match locked {
        Ok(None) => Ok(Found::Missing),
        Ok(Some(row)) => {
            let (owner, this): (Option<u64>, u64) = (rows::get(&row, 3)?, rows::get(&row, 4)?);
            if owner == Some(this) {
                Ok(Found::Ours(rows::position(&row)?))
            } else {
                Ok(Found::Anothers(this))
            }
        }
        Err(error) if failure::number(&error) == Some(LOCK_TIMEOUT) => Ok(Found::Held),
        Err(error) => Err(told(error)),
    }
}

/// A duplicate is as good as an insert here: the row is what it would have been, or further.
async fn make(on: &mut MySqlConnection, group: Group, partition: PartitionId) -> Result<(), Error> {
    let text = "INSERT IGNORE INTO log_positions \
                (group_name, topic, partition_index, next, epoch, last_uid, owner) \
                VALUES (?, ?, ?, 0, 0, NULL, NULL)";
    execute(on, text, of(group, partition)).await
}

async fn claim(
    on: &mut MySqlConnection,
    group: Group,
    partition: PartitionId,
    connection: u64,
) -> Result<(), Error> {
    let text = "UPDATE log_positions SET owner = ? \
                WHERE group_name = ? AND topic = ? AND partition_index = ?";
    let mut values = Values::default();
    values
        .wide(connection)
        .text(Some(group.name()))
        .text(Some(partition.topic.name()))
        .number(partition.index);
    execute(on, text, values).await
}

async fn owner(
    on: &mut MySqlConnection,
    group: Group,
    partition: PartitionId,
) -> Result<Option<u64>, Error> {
    let text = "SELECT owner FROM log_positions \
                WHERE group_name = ? AND topic = ? AND partition_index = ?";
    let found = read::all(on, text.into_sql_str(), of(group, partition), |row| {
        rows::get::<Option<u64>>(row, 0)
    })
    .await?;
    Ok(found.first().copied().flatten())
}

async fn kill(on: &mut MySqlConnection, connection: u64) -> Result<(), Error> {
    let text = sqlx::AssertSqlSafe(format!("KILL {connection}"));
    match sqlx::raw_sql(text).execute(on).await {
        Ok(_) => Ok(()),
        Err(error) if failure::number(&error) == Some(NO_SUCH_CONNECTION) => Ok(()),
        Err(error) => Err(told(error)),
    }
}

fn of(group: Group, partition: PartitionId) -> Values {
    let mut values = Values::default();
    values
        .text(Some(group.name()))
        .text(Some(partition.topic.name()))
        .number(partition.index);
    values
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
