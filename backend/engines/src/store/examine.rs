//! What is wrong with the database, if anything.

use chat_core::examine::{clock, failed, ok, skipped, warning};
use chat_core::port::store::Error;
use chat_wire::admin::doctor::Examined;
use chat_wire::time::Timestamp;
use sqlx::{MySqlConnection, SqlSafeStr};

use super::Rows;
use super::failure::told;
use super::lease::{Lease, within};
use super::schema;

/// The smallest packet that holds a statement of ours: four of these make the server's default.
const PACKET_BYTES: i64 = 16 * 1024 * 1024;
/// Every variable by its type, so that no server's own idea of it matters.
const SETTINGS: &str = "SELECT CAST(VERSION() AS CHAR), \
    CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED), \
    CAST(@@log_bin AS SIGNED), CAST(@@sync_binlog AS SIGNED), \
    CAST(@@innodb_flush_log_at_trx_commit AS SIGNED), CAST(@@max_allowed_packet AS SIGNED)";

/// As the server has them.
struct Settings {
    version: Vec<u8>,
    now_us: i64,
    log_bin: i64,
    sync_binlog: i64,
    flush_log: i64,
    packet_bytes: i64,
}

impl Rows {
    /// The checks of the database; an error where it does not answer.
    pub(crate) async fn examine(&self) -> Result<Vec<Examined>, Error> {
        let mut lease = Lease::of(&self.pool).await?;
        let checks = within(async {
            let on = &mut *lease;
            let asked = Timestamp::now();
            let settings = settings(on).await?;
            let answered = Timestamp::now();
            let middle = i64::midpoint(asked.as_micros(), answered.as_micros());
            let mut checks = judge(&settings);
            let server = self.pool.identity().unwrap_or_default();
            // A server that takes no writes gives us no connection at all.
            checks.push(ok("mysql.server", format!("{server}; it takes writes")));
            checks.push(clock("mysql.clock", (settings.now_us - middle) / 1_000));
            checks.push(migrations(&applied(on).await?));
            Ok(checks)
        })
        .await?;
        lease.release();
        Ok(checks)
    }
}

async fn settings(on: &mut MySqlConnection) -> Result<Settings, Error> {
    let found: (Vec<u8>, i64, i64, i64, i64, i64) = sqlx::query_as(SETTINGS.into_sql_str())
        .fetch_one(on)
        .await
        .map_err(told)?;
    let (version, now_us, log_bin, sync_binlog, flush_log, packet_bytes) = found;
    Ok(Settings {
        version,
        now_us,
        log_bin,
        sync_binlog,
        flush_log,
        packet_bytes,
    })
}

/// Versions of the migrations that ran, and whether each came to its end.
async fn applied(on: &mut MySqlConnection) -> Result<Vec<(i64, bool)>, Error> {
    let text = "SELECT version, success FROM _sqlx_migrations ORDER BY version";
    sqlx::query_as(text.into_sql_str())
        .fetch_all(on)
        .await
        .map_err(told)
}

fn judge(settings: &Settings) -> Vec<Examined> {
    let version = String::from_utf8_lossy(&settings.version);
    let mut checks = vec![ok("mysql.version", version)];
    let id = "mysql.flush";
    checks.push(match settings.flush_log {
        1 => ok(id, "commits are on disk when they return"),
        other => failed(
            id,
            format!("innodb_flush_log_at_trx_commit is {other}: the last commits are lost with the power, and positions with rows that they count as stored"),
            "SET GLOBAL innodb_flush_log_at_trx_commit = 1, and in the server's configuration",
        ),
    });
    let id = "mysql.binlog";
    checks.push(match (settings.log_bin, settings.sync_binlog) {
        (0, _) => skipped(id, "there is no binary log, and so no replica"),
        (_, 1) => ok(id, "the binary log is synced with each commit"),
        (_, other) => warning(
            id,
            format!(
                "sync_binlog is {other}: a replica may lack what the primary lost with the power"
            ),
            "SET GLOBAL sync_binlog = 1, and in the server's configuration",
        ),
    });
    let id = "mysql.packet";
    let mib = settings.packet_bytes / (1024 * 1024);
    checks.push(if settings.packet_bytes < PACKET_BYTES {
        failed(
            id,
            format!("max_allowed_packet is {mib} MiB: batches may be refused"),
            "SET GLOBAL max_allowed_packet = 67108864, and in the server's configuration",
        )
    } else {
        ok(id, format!("max_allowed_packet is {mib} MiB"))
    });
    checks
}

fn migrations(applied: &[(i64, bool)]) -> Examined {
    let id = "mysql.migrations";
    let known: Vec<i64> = schema::versions();
    if let Some((version, _)) = applied.iter().find(|(_, success)| !success) {
        let detail = format!("migration {version} did not come to its end");
        return failed(id, detail, "see the server's log, and run `chatd migrate`");
    }
    let missing = |version: &&i64| !applied.iter().any(|(one, _)| one == *version);
    if let Some(version) = known.iter().find(missing) {
        return failed(
            id,
            format!("migration {version} is missing"),
            "chatd migrate",
        );
    }
    match applied.iter().find(|(version, _)| !known.contains(version)) {
        Some((version, _)) => warning(
            id,
            format!("migration {version} is of a newer chatd than this one"),
            "use the chatd that made it, or a newer one",
        ),
        None => ok(id, format!("all {} are done", known.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_wire::admin::doctor::Finding;

    const WELL: Settings = Settings {
        version: Vec::new(),
        now_us: 0,
        log_bin: 1,
        sync_binlog: 1,
        flush_log: 1,
        packet_bytes: 64 * 1024 * 1024,
    };

    fn finding(settings: &Settings, id: &str) -> Finding {
        let checks = judge(settings);
        checks.iter().find(|check| check.id == id).unwrap().finding
    }

    #[test]
    fn what_can_lose_commits_is_told() {
        assert!(
            judge(&WELL)
                .iter()
                .all(|check| check.finding == Finding::Ok)
        );
        let lazy = Settings {
            flush_log: 2,
            sync_binlog: 0,
            packet_bytes: 1024 * 1024,
            ..WELL
        };
        assert_eq!(finding(&lazy, "mysql.flush"), Finding::Failed);
        assert_eq!(finding(&lazy, "mysql.binlog"), Finding::Warning);
        assert_eq!(finding(&lazy, "mysql.packet"), Finding::Failed);
        let alone = Settings { log_bin: 0, ..lazy };
        assert_eq!(finding(&alone, "mysql.binlog"), Finding::Skipped);
    }

    #[test]
    fn tables_of_another_version_are_told() {
        let known: Vec<_> = schema::versions()
            .into_iter()
            .map(|one| (one, true))
            .collect();
        assert_eq!(migrations(&known).finding, Finding::Ok);
        assert_eq!(migrations(&[]).finding, Finding::Failed);
        let newer = [known.clone(), vec![(i64::MAX, true)]].concat();
        assert_eq!(migrations(&newer).finding, Finding::Warning);
        let broken = [known, vec![(i64::MAX, false)]].concat();
        assert_eq!(migrations(&broken).finding, Finding::Failed);
    }
}
