//! What operators ask: how far a group is as a whole, and how much is stored.

use chat_core::port::log::{Group, PartitionId};
use chat_core::port::store::{Error, Position, Totals};
use sqlx::{MySqlConnection, SqlSafeStr};

use super::read::all;
use super::rows::{self, Values};

/// How far a group has come in every partition that it has applied anything of.
pub(super) async fn positions(
    on: &mut MySqlConnection,
    group: Group,
) -> Result<Vec<(PartitionId, Position)>, Error> {
    let text = "SELECT next, epoch, last_uid, partition_index FROM log_positions \
                WHERE group_name = ? AND topic = ? ORDER BY partition_index";
    let topic = group.topic();
    let mut values = Values::default();
    values.text(Some(group.name())).text(Some(topic.name()));
    all(on, text.into_sql_str(), values, |row| {
        let index = rows::number(row, 3)?;
        Ok((PartitionId { topic, index }, rows::position(row)?))
    })
    .await
}

/// How much is stored, of one state of the database.
pub(super) async fn totals(on: &mut MySqlConnection) -> Result<Totals, Error> {
    // A sum is a DECIMAL here, whatever is added up.
    let text = "SELECT (SELECT CAST(COUNT(*) AS UNSIGNED) FROM applications WHERE presence = 1), \
                (SELECT CAST(COALESCE(SUM(chats_count), 0) AS UNSIGNED) FROM applications), \
                (SELECT CAST(COALESCE(SUM(messages_count), 0) AS UNSIGNED) FROM chats)";
    let found = all(on, text.into_sql_str(), Values::default(), |row| {
        Ok(Totals {
            applications: rows::get(row, 0)?,
            chats: rows::get(row, 1)?,
            messages: rows::get(row, 2)?,
        })
    })
    .await?;
    found
        .first()
        .copied()
        .ok_or_else(|| Error::Corrupt("a sum has no row".into()))
}
