//! Who holds a position, and what happens to an owner that is frozen (invariant: frozen-owner).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use chat_core::port::log::{Group, PartitionId};
use chat_core::port::store::{Error, Position};
use parking_lot::Mutex;
use sqlx::mysql::MySqlArguments;
use sqlx::{MySqlConnection, SqlSafeStr};

use super::bulk::Lookup;
use super::failure::{self, LOCK_HELD, LOCK_TIMEOUT, NO_SUCH_CONNECTION, told};
use super::lease::{Lease, within};
use super::pool::Pool;
use super::read;
use super::rows::{self, Values};
use super::transaction::command;

/// In order of index, whatever the order of the question. Without the hint the small table would be
/// scanned as a whole, and locked as a whole.
static LOCKED: LazyLock<Lookup> = LazyLock::new(|| {
    Lookup::new(
        "SELECT next, epoch, last_uid, partition_index, owner, CAST(CONNECTION_ID() AS UNSIGNED) \
         FROM log_positions FORCE INDEX (PRIMARY) WHERE ",
        "(group_name = ? AND topic = ? AND partition_index = ?)",
        " ORDER BY group_name, topic, partition_index FOR UPDATE",
    )
});

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

    /// Begins a transaction that has the positions locked, by a connection that the rows name.
    pub(super) async fn begin(
        &self,
        pool: &Arc<Pool>,
        group: Group,
        partitions: &[PartitionId],
    ) -> Result<(Lease, Vec<Position>), Error> {
        let parked = self.parked.lock().remove(&group);
        let mut lease = match parked {
            Some(lease) => lease.verified().await?,
            None => Lease::of(pool).await?,
        };
        // Twice at most writes something: rows where there are none, and the name of the owner.
        for _ in 0..4 {
            within(command(&mut lease, "BEGIN")).await?;
            match within(lock(&mut lease, group, partitions)).await? {
                Found::Ours(positions) => return Ok((lease, positions)),
                Found::Missing(missing) => {
                    within(command(&mut lease, "ROLLBACK")).await?;
                    for partition in missing {
                        within(make(&mut lease, group, partition)).await?;
                    }
                }
                Found::Anothers(theirs, connection) => {
                    for partition in theirs {
                        within(claim(&mut lease, group, partition, connection)).await?;
                    }
                    // It must be committed before it helps: a successor cannot read what is locked.
                    lease.commit().await?;
                }
                Found::Held => {
                    drop(lease);
                    return Err(self.evict(pool, group, partitions).await?);
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
        pool: &Arc<Pool>,
        group: Group,
        partitions: &[PartitionId],
    ) -> Result<Error, Error> {
        let mut lease = Lease::of(pool).await?;
        if let Some((partition, owner)) = within(holder(&mut lease, group, partitions)).await? {
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
            "another worker held the position of a partition".into(),
        ))
    }
}

enum Found {
    /// The rows are locked and name this connection.
    Ours(Vec<Position>),
    /// The rows are locked, and these name another connection or none; this is ours.
    Anothers(Vec<PartitionId>, u64),
    /// There are no rows of these.
    Missing(Vec<PartitionId>),
    /// Somebody else has one locked for longer than we wait.
    Held,
}

async fn lock(
    on: &mut MySqlConnection,
    group: Group,
    partitions: &[PartitionId],
) -> Result<Found, Error> {
    let mut found: BTreeMap<u32, (Position, Option<u64>, u64)> = BTreeMap::new();
    for (text, these) in LOCKED.cut(partitions) {
        let mut values = Values::default();
        for partition in these {
            values.place(group, *partition);
        }
        let locked = sqlx::query_with::<_, MySqlArguments>(text, values.into_inner())
            .fetch_all(&mut *on)
            .await;
        let rows = match locked {
            Ok(rows) => rows,
            Err(error) if failure::number(&error) == Some(LOCK_TIMEOUT) => return Ok(Found::Held),
            Err(error) => return Err(told(error)),
        };
        for row in &rows {
            let one = (rows::position(row)?, rows::get(row, 4)?, rows::get(row, 5)?);
            found.insert(rows::get(row, 3)?, one);
        }
    }
    let (mut positions, mut missing) = (Vec::with_capacity(partitions.len()), Vec::new());
    let (mut theirs, mut connection) = (Vec::new(), 0);
    for partition in partitions {
        match found.get(&partition.index) {
            None => missing.push(*partition),
            Some((position, owner, this)) => {
                positions.push(*position);
                connection = *this;
                if *owner != Some(*this) {
                    theirs.push(*partition);
                }
            }
        }
    }
    Ok(match (missing.is_empty(), theirs.is_empty()) {
        (false, _) => Found::Missing(missing),
        (true, false) => Found::Anothers(theirs, connection),
        (true, true) => Found::Ours(positions),
    })
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
    values.wide(connection).place(group, partition);
    execute(on, text, values).await
}

/// The first of these partitions whose row is locked by somebody else, and the owner that it names: the
/// others may well be worked on.
async fn holder(
    on: &mut MySqlConnection,
    group: Group,
    partitions: &[PartitionId],
) -> Result<Option<(PartitionId, u64)>, Error> {
    for partition in partitions {
        let probe = "SELECT owner FROM log_positions FORCE INDEX (PRIMARY) WHERE group_name = ? \
                     AND topic = ? AND partition_index = ? FOR UPDATE NOWAIT";
        let asked = sqlx::query_with::<_, MySqlArguments>(
            probe.into_sql_str(),
            of(group, *partition).into_inner(),
        )
        .fetch_all(&mut *on)
        .await;
        match asked {
            Ok(_) => continue,
            Err(error) if matches!(failure::number(&error), Some(LOCK_TIMEOUT | LOCK_HELD)) => {}
            Err(error) => return Err(told(error)),
        }
        let text = "SELECT owner FROM log_positions \
                    WHERE group_name = ? AND topic = ? AND partition_index = ?";
        let found = read::all(on, text.into_sql_str(), of(group, *partition), |row| {
            rows::get::<Option<u64>>(row, 0)
        })
        .await?;
        return Ok(found
            .first()
            .copied()
            .flatten()
            .map(|owner| (*partition, owner)));
    }
    Ok(None)
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
    values.place(group, partition);
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
