//! What operators ask: how far a group is as a whole, and how much is stored.

use chat_core::port::log::{Group, PartitionId};
use chat_core::port::store::{Error, Position, Totals};
use sqlx::{AssertSqlSafe, SqlSafeStr, SqliteConnection};

use super::read::all;
use super::rows::{self, POSITION, Values, told};

/// How far a group has come in every partition that it has applied anything of.
pub(super) async fn positions(
    on: &mut SqliteConnection,
    group: Group,
) -> Result<Vec<(PartitionId, Position)>, Error> {
    let text = format!(
        "SELECT {POSITION} FROM log_positions \
         WHERE group_name = ? AND topic = ? ORDER BY partition"
    );
    let topic = group.topic();
    let mut values = Values::with_capacity(2);
    values
        .text(Some(group.name().to_owned()))
        .text(Some(topic.name().to_owned()));
    all(
        on,
        AssertSqlSafe(text).into_sql_str(),
        values,
        rows::position,
    )
    .await
}

/// How much is stored, of one state of the database.
pub(super) async fn totals(on: &mut SqliteConnection) -> Result<Totals, Error> {
    let text = "SELECT (SELECT count(*) FROM applications WHERE presence = 1), \
                (SELECT coalesce(sum(chats_count), 0) FROM applications), \
                (SELECT coalesce(sum(messages_count), 0) FROM chats)";
    let (applications, chats, messages): (i64, i64, i64) =
        sqlx::query_as(text).fetch_one(on).await.map_err(told)?;
    let count = |sum: i64| {
        u64::try_from(sum).map_err(|_| Error::Corrupt("counts add up to less than nothing".into()))
    };
    Ok(Totals {
        applications: count(applications)?,
        chats: count(chats)?,
        messages: count(messages)?,
    })
}
