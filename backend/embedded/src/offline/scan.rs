//! Reading a table to the end although pages of it may be damaged.

use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, SqlSafeStr, SqliteConnection};

/// What stopped a scan, for people.
pub(super) type Stops = Vec<String>;

/// A statement without its order.
pub(super) struct Scan<'a> {
    /// `SELECT … FROM … WHERE …`.
    pub(super) select: &'a str,
    /// The columns of the key.
    pub(super) order: &'a [&'a str],
}

impl Scan<'_> {
    /// Hands over every row that can be reached: in order of the key up to damage, then from the end
    /// back to it. `row` answers with a name of the row, by which the second walk knows where the
    /// first one ended.
    pub(super) async fn run<K: PartialEq>(
        &self,
        on: &mut SqliteConnection,
        mut row: impl FnMut(&SqliteRow) -> K,
    ) -> Stops {
        let mut last = None;
        let Err(stopped) = self
            .walk(on, "", |found| {
                last = Some(row(found));
                true
            })
            .await
        else {
            return Vec::new();
        };
        let mut stops = vec![stopped.to_string()];
        let back = self.walk(on, " DESC", |found| {
            let key = row(found);
            last.as_ref() != Some(&key)
        });
        if let Err(stopped) = back.await {
            stops.push(stopped.to_string());
        }
        stops
    }

    async fn walk(
        &self,
        on: &mut SqliteConnection,
        direction: &str,
        mut goes_on: impl FnMut(&SqliteRow) -> bool,
    ) -> Result<(), sqlx::Error> {
        let order: Vec<String> = self
            .order
            .iter()
            .map(|column| format!("{column}{direction}"))
            .collect();
        let text = format!("{} ORDER BY {}", self.select, order.join(", "));
        let mut rows = sqlx::query(AssertSqlSafe(text).into_sql_str()).fetch(on);
        while let Some(row) = rows.try_next().await? {
            if !goes_on(&row) {
                break;
            }
        }
        Ok(())
    }
}
