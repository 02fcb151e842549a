//! Proves that the log can be written, without writing anything that stays.

use sqlx::{Connection, SqliteConnection};

use super::file::Place;

/// Bytes that there has to be room for: as much as a few records of the usual size.
const PROBE_BYTES: u32 = 256 * 1024;
/// Pages that are kept in memory: what goes beyond is written to the disk before the transaction ends.
const CACHE_PAGES: u32 = 16;

/// Writes into a transaction that is rolled back. Its pages go to the disk because they do not fit into
/// the cache, and they count against the limit of the file.
pub(super) async fn probe(place: &Place) -> Result<(), sqlx::Error> {
    let mut connection = place.connect().await?;
    let written = write(&mut connection).await;
    // The transaction ends with the connection, whatever came of it.
    let closed = connection.close().await;
    written.and(closed)
}

async fn write(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    // Statements that are always the same: nothing of them can be bound.
    for text in [
        format!("PRAGMA cache_size = {CACHE_PAGES}"),
        format!("PRAGMA cache_spill = {CACHE_PAGES}"),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(text))
            .execute(&mut *connection)
            .await?;
    }
    let mut work = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("CREATE TABLE probe (room BLOB)")
        .execute(&mut *work)
        .await?;
    sqlx::query("INSERT INTO probe (room) VALUES (zeroblob(?))")
        .bind(PROBE_BYTES)
        .execute(&mut *work)
        .await?;
    work.rollback().await
}
