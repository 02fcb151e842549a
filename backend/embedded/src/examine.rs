//! What is wrong with the data directory, if anything: the doctor's checks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chat_core::examine::{bounded, failed, ok, skipped, warning};
use chat_core::port::log::Topic;
use chat_wire::admin::doctor::Examined;
use sqlx::pool::PoolConnection;
use sqlx::{Sqlite, SqliteConnection};
use tokio::time::timeout;

use crate::life::Estate;
use crate::sqlite;

const MIB: u64 = 1024 * 1024;
/// Below this nothing can be written soon: a batch and its index may need as much.
const FREE_FAILED: u64 = 256 * MIB;
/// Below this somebody should make room.
const FREE_WARNING: u64 = 2 * 1024 * MIB;
/// Databases above this are not read from end to end: it would take longer than a check may.
const QUICK_CHECK_BYTES: u64 = 64 * MIB;

/// How long the only connection that writes is waited for.
const WRITER_TIMEOUT: Duration = Duration::from_secs(1);

/// What the checks need to know beside what is open.
#[derive(Debug, Clone)]
pub(crate) struct Premises {
    /// The data directory.
    pub(crate) dir: PathBuf,
    /// What `log.db` may grow to.
    pub(crate) log_bytes_max: Option<u64>,
    /// How long records stay after every group has passed them.
    pub(crate) retention: Duration,
}

/// All checks, at once.
pub(crate) async fn examine(estate: &Estate) -> Vec<Examined> {
    let premises = &estate.premises;
    let (disk, store, log, index) = tokio::join!(
        bounded("disk", "see the log of chatd", disk(premises)),
        bounded("store", "see the log of chatd", store(estate)),
        bounded("log", "see the log of chatd", log(estate)),
        bounded("index", "see the log of chatd", index(estate)),
    );
    [disk, store, log, index].concat()
}

async fn disk(premises: &Premises) -> Result<Vec<Examined>, std::io::Error> {
    let dir = premises.dir.clone();
    // Asking a file system that hangs would hold up the runtime.
    let free = tokio::task::spawn_blocking(move || fs4::available_space(dir));
    let free = free.await.map_err(std::io::Error::other)??;
    Ok(vec![room(&premises.dir, free)])
}

fn room(dir: &Path, free: u64) -> Examined {
    let id = "disk.free";
    let detail = format!("{} MiB free in {}", free / MIB, dir.display());
    let hint = format!("df -h {}", dir.display());
    match free {
        0..FREE_FAILED => failed(id, detail, hint),
        FREE_FAILED..FREE_WARNING => warning(id, detail, hint),
        _ => ok(id, detail),
    }
}

async fn store(estate: &Estate) -> Result<Vec<Examined>, String> {
    let text = |error: chat_core::port::store::Error| error.to_string();
    // How commits are synced belongs to the connection that writes, and that one may be at work.
    let synchronous = match timeout(WRITER_TIMEOUT, estate.rows.writer()).await {
        Ok(writer) => {
            let mut writer = writer.map_err(text)?;
            synced(
                "store.synchronous",
                pragma(&mut writer, "PRAGMA synchronous").await?,
            )
        }
        Err(_) => skipped("store.synchronous", "a batch is being written"),
    };
    let mut reader = estate.rows.reader().await.map_err(text)?;
    let mut checks = vec![journal("store.journal", &mut reader).await?, synchronous];
    let file = estate.premises.dir.join("store.db");
    checks.push(integrity("store.integrity", &file, reader).await?);
    Ok(checks)
}

async fn log(estate: &Estate) -> Result<Vec<Examined>, String> {
    let mut reader = estate
        .log
        .reader()
        .await
        .map_err(|error| error.to_string())?;
    let journal = journal("log.journal", &mut reader).await?;
    let file = estate.premises.dir.join("log.db");
    let integrity = integrity("log.integrity", &file, reader).await?;
    Ok(vec![
        journal,
        integrity,
        size(estate, &file),
        unread(estate),
    ])
}

async fn index(estate: &Estate) -> Result<Vec<Examined>, chat_core::port::search::Error> {
    use chat_core::port::search::Search as _;
    estate.index.check().await?;
    let documents = estate.index.documents();
    Ok(vec![ok("index.present", format!("{documents} documents"))])
}

async fn journal(id: &str, connection: &mut SqliteConnection) -> Result<Examined, String> {
    let mode: String = pragma(connection, "PRAGMA journal_mode").await?;
    Ok(if mode == "wal" {
        ok(id, "write-ahead log")
    } else {
        let hint = "stop chatd, and start it again: it sets the mode when it opens the database";
        failed(id, format!("journal mode is {mode} instead of wal"), hint)
    })
}

/// 2 is FULL and 3 EXTRA: a commit returns when it is on disk.
fn synced(id: &str, synchronous: i64) -> Examined {
    if synchronous >= 2 {
        return ok(id, "commits are on disk when they return");
    }
    let detail = format!("synchronous is {synchronous}: the last commits are lost with the power");
    failed(id, detail, "stop chatd, and start it again")
}

/// Reads a small database from end to end.
async fn integrity(
    id: &str,
    file: &Path,
    mut connection: PoolConnection<Sqlite>,
) -> Result<Examined, String> {
    let bytes = bytes_of(file);
    let by_hand = format!("sqlite3 {} 'PRAGMA quick_check'", file.display());
    if bytes > QUICK_CHECK_BYTES {
        let size = bytes / MIB;
        let detail = format!("{size} MiB take longer to read than a check may: run {by_hand}");
        return Ok(skipped(id, detail));
    }
    let found: String = pragma(&mut connection, "PRAGMA quick_check(1)").await?;
    Ok(match found.as_str() {
        "ok" => ok(
            id,
            format!("{} KiB read, nothing is damaged", bytes / 1_024),
        ),
        damage => failed(id, damage, by_hand),
    })
}

/// Of the database, with what is committed and not moved into it yet.
fn bytes_of(file: &Path) -> u64 {
    let wal = sqlite::wal_of(file);
    [file, &wal]
        .into_iter()
        .filter_map(|file| std::fs::metadata(file).ok())
        .map(|found| found.len())
        .sum()
}

async fn pragma<T>(on: &mut SqliteConnection, text: &'static str) -> Result<T, String>
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
{
    let asked = sqlx::query_scalar(text).fetch_one(on).await;
    asked.map_err(|error: sqlx::Error| error.to_string())
}

/// How large the log is, beside what it may grow to.
fn size(estate: &Estate, file: &Path) -> Examined {
    let id = "log.size";
    let bytes = bytes_of(file);
    let Some(most) = estate.premises.log_bytes_max else {
        return ok(
            id,
            format!("{} MiB, limited by the disk alone", bytes / MIB),
        );
    };
    let detail = format!("{} of {} MiB", bytes / MIB, most / MIB);
    // The file does not shrink at once, so only what is near to the limit is worth a word.
    if bytes > most / 10 * 9 {
        let hint = "chatctl lag: what no worker has read cannot be removed";
        return warning(id, detail, hint);
    }
    ok(id, detail)
}

/// What nobody has read is never removed here, however old it is.
fn unread(estate: &Estate) -> Examined {
    let kept = estate.premises.retention.as_secs() / 60;
    let unread: u64 = [Topic::Applications, Topic::Chats, Topic::Messages]
        .into_iter()
        .map(|topic| estate.log.end(topic).saturating_sub(estate.passed(topic)))
        .sum();
    let detail = format!(
        "records stay until every group has passed them, and {kept} min longer; {unread} are not passed yet"
    );
    ok("log.retention", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_wire::admin::doctor::Finding;

    #[test]
    fn a_full_disk_is_told_in_time() {
        let finding = |mib: u64| room(Path::new("/data"), mib * MIB).finding;
        assert_eq!(finding(10), Finding::Failed);
        assert_eq!(finding(256), Finding::Warning);
        assert_eq!(finding(2_048), Finding::Ok);
        let hint = room(Path::new("/data"), 0).hint;
        assert_eq!(hint.as_deref(), Some("df -h /data"));
    }

    #[test]
    fn commits_have_to_be_on_disk() {
        assert_eq!(synced("s", 1).finding, Finding::Failed);
        assert_eq!(synced("s", 2).finding, Finding::Ok);
    }
}
