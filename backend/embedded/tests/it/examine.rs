//! What the doctor finds in a data directory.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use chat_embedded::open::{Config, open};
use chat_wire::admin::doctor::{Examined, Finding};
use sqlx::{Connection, SqliteConnection};

async fn examine(dir: &Path, config: impl FnOnce(&mut Config)) -> Vec<Examined> {
    let mut settings = Config::new(dir);
    config(&mut settings);
    let ports = open(&settings).await.unwrap();
    let checks = ports.life.examine().await;
    ports.life.close().await;
    checks
}

fn find<'a>(checks: &'a [Examined], id: &str) -> &'a Examined {
    let found = checks.iter().find(|check| check.id == id);
    found.unwrap_or_else(|| panic!("{id} is not among {checks:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_directory_is_well() {
    let dir = tempfile::tempdir().unwrap();
    let checks = examine(dir.path(), |_| {}).await;
    let ids: Vec<_> = checks.iter().map(|check| check.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "disk.free",
            "store.journal",
            "store.synchronous",
            "store.integrity",
            "log.journal",
            "log.integrity",
            "log.size",
            "log.retention",
            "index.present",
        ]
    );
    for check in &checks {
        // How full the disk is that the tests run on is not ours to say.
        assert!(
            check.finding == Finding::Ok || check.id == "disk.free",
            "{check:?}"
        );
        assert_eq!(
            check.finding == Finding::Ok,
            check.hint.is_none(),
            "{check:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_at_its_limit_is_told() {
    let dir = tempfile::tempdir().unwrap();
    examine(dir.path(), |_| {}).await;
    let bytes = std::fs::metadata(dir.path().join("log.db")).unwrap().len();
    let checks = examine(dir.path(), |config| config.log_bytes_max = Some(bytes)).await;
    assert_eq!(find(&checks, "log.size").finding, Finding::Warning);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_told() {
    let dir = tempfile::tempdir().unwrap();
    examine(dir.path(), |_| {}).await;
    let file = dir.path().join("store.db");
    // The root of a table that nothing needs in order to open the store.
    let mut database = SqliteConnection::connect(file.to_str().unwrap())
        .await
        .unwrap();
    let root = "SELECT rootpage FROM sqlite_master WHERE name = 'renumbered'";
    let page: u32 = sqlx::query_scalar(root)
        .fetch_one(&mut database)
        .await
        .unwrap();
    database.close().await.unwrap();
    let mut store = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    let at = u64::from(page - 1) * 4_096;
    store.seek(SeekFrom::Start(at)).unwrap();
    store.write_all(&[0xff; 4_096]).unwrap();
    drop(store);
    let checks = examine(dir.path(), |_| {}).await;
    let damaged = find(&checks, "store.integrity");
    assert_eq!(damaged.finding, Finding::Failed, "{damaged:?}");
    assert!(damaged.hint.as_deref().unwrap().starts_with("sqlite3 "));
    // The rest is told all the same.
    assert_eq!(find(&checks, "log.integrity").finding, Finding::Ok);
}
