//! What happens to the files: they are lost, cut, full, copied, pruned.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use chat_core::port::Ports;
use chat_core::port::log::{
    Error, Group, Headers, NewRecord, PartitionId, PollLimits, Polled, Topic,
};
use chat_core::port::store::Position;
use chat_embedded::open::{Config, OpenError, open};
use tempfile::TempDir;
use uuid::Uuid;

const PLACE: PartitionId = PartitionId {
    topic: Topic::Messages,
    index: 0,
};

const PAGE: PollLimits = PollLimits {
    records: 1_000,
    bytes: 1 << 20,
    wait_ms: 0,
};

fn record(value: &str) -> NewRecord {
    NewRecord {
        key: Bytes::from_static(b"key"),
        headers: Headers {
            uid: Some(Uuid::from_u128(1)),
            ..Headers::default()
        },
        value: Bytes::copy_from_slice(value.as_bytes()),
    }
}

async fn append(ports: &Ports, value: &str) -> u64 {
    let appended = ports.log.append(Topic::Messages, record(value)).await;
    appended.unwrap().offset
}

async fn apply(ports: &Ports, group: Group, next: u64) {
    let epoch = ports.log.epoch(group.topic()).await.unwrap();
    let partition = PartitionId {
        topic: group.topic(),
        index: 0,
    };
    let tx = ports.store.begin(group, &[partition]).await.unwrap();
    let position = Position {
        next,
        epoch,
        last_uid: Some(Uuid::from_u128(1)),
    };
    tx.commit(&[position]).await.unwrap();
}

async fn position(ports: &Ports, group: Group) -> (u64, u32) {
    let position = ports.store.position(group, PLACE).await.unwrap();
    (position.next, position.epoch)
}

async fn values(ports: &Ports, from: u64) -> Vec<String> {
    let (_, end) = ports.log.range(PLACE).await.unwrap();
    let mut values = Vec::new();
    let mut at = from;
    while at < end {
        let records = ports.log.read(PLACE, at, PAGE).await.unwrap();
        at = records.last().unwrap().offset + 1;
        values.extend(
            records
                .iter()
                .map(|record| String::from_utf8(record.value.to_vec()).unwrap()),
        );
    }
    values
}

async fn opened(dir: &TempDir) -> Ports {
    open(&Config::new(dir.path())).await.unwrap()
}

/// Retention that removes all that it may.
async fn impatient(dir: &TempDir) -> Ports {
    let config = Config {
        log_retention: Duration::ZERO,
        ..Config::new(dir.path())
    };
    open(&config).await.unwrap()
}

fn remove(dir: &TempDir, database: &str) {
    for suffix in ["", "-wal", "-shm"] {
        let file = dir.path().join(format!("{database}{suffix}"));
        if file.exists() {
            std::fs::remove_file(file).unwrap();
        }
    }
}

#[tokio::test]
async fn a_second_open_is_told_who_is_first() {
    let dir = tempfile::tempdir().unwrap();
    let ports = opened(&dir).await;
    let Err(refused) = open(&Config::new(dir.path())).await else {
        panic!("two have one directory")
    };
    assert!(matches!(refused, OpenError::Held { .. }));
    let text = refused.to_string();
    let process = format!("process {}", std::process::id());
    assert!(
        text.contains(&process) && text.contains("--data-dir"),
        "{text}"
    );
    ports.life.close().await;
    opened(&dir).await;
}

#[tokio::test]
async fn a_lost_log_begins_a_new_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let ports = opened(&dir).await;
    for nth in 0..3 {
        assert_eq!(append(&ports, "old").await, nth);
    }
    apply(&ports, Group::MessagesStore, 3).await;
    apply(&ports, Group::MessagesIndex, 2).await;
    ports.life.close().await;
    remove(&dir, "log.db");

    let ports = opened(&dir).await;
    assert_eq!(ports.log.epoch(Topic::Messages).await.unwrap(), 1);
    assert_eq!(position(&ports, Group::MessagesStore).await, (0, 1));
    assert_eq!(position(&ports, Group::MessagesIndex).await, (0, 1));
    assert_eq!(append(&ports, "new").await, 0);
    ports.life.close().await;

    // The epoch stands from now on, and outlives the store too.
    let ports = opened(&dir).await;
    assert_eq!(ports.log.epoch(Topic::Messages).await.unwrap(), 1);
    assert_eq!(position(&ports, Group::MessagesStore).await, (0, 1));
    ports.life.close().await;
    remove(&dir, "store.db");
    let ports = opened(&dir).await;
    assert_eq!(ports.log.epoch(Topic::Messages).await.unwrap(), 1);
    assert_eq!(values(&ports, 0).await, ["new"]);
}

#[tokio::test]
async fn a_log_of_another_store_is_noticed() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [&dir, &other] {
        let ports = opened(dir).await;
        for _ in 0..5 {
            append(&ports, "any").await;
        }
        apply(&ports, Group::MessagesStore, 4).await;
        ports.life.close().await;
    }
    // As long as the one that it replaces, so only its identity tells.
    std::fs::copy(other.path().join("log.db"), dir.path().join("log.db")).unwrap();
    let ports = opened(&dir).await;
    assert_eq!(ports.log.epoch(Topic::Messages).await.unwrap(), 1);
    assert_eq!(position(&ports, Group::MessagesStore).await, (0, 1));
}

/// A backup that others went on with has the identity and the length of the log that was applied; the uid
/// of the last applied record tells them apart.
#[tokio::test]
async fn a_log_that_others_went_on_with_begins_a_new_epoch() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let went_on = async |dir: &TempDir, uid: u128| {
        let ports = opened(dir).await;
        let mut record = record("later");
        record.headers.uid = Some(Uuid::from_u128(uid));
        ports.log.append(Topic::Messages, record).await.unwrap();
        ports
    };
    let ports = opened(&dir).await;
    append(&ports, "both").await;
    ports.life.close().await;
    std::fs::copy(dir.path().join("log.db"), other.path().join("log.db")).unwrap();
    went_on(&other, 2).await.life.close().await;

    let ports = went_on(&dir, 1).await;
    apply(&ports, Group::MessagesStore, 2).await;
    ports.life.close().await;
    let ports = opened(&dir).await;
    assert_eq!(ports.log.epoch(Topic::Messages).await.unwrap(), 0);
    ports.life.close().await;

    std::fs::copy(other.path().join("log.db"), dir.path().join("log.db")).unwrap();
    let ports = opened(&dir).await;
    assert_eq!(ports.log.epoch(Topic::Messages).await.unwrap(), 1);
    assert_eq!(position(&ports, Group::MessagesStore).await, (0, 1));
    assert_eq!(ports.log.epoch(Topic::Chats).await.unwrap(), 0);
}

#[tokio::test]
async fn a_log_that_was_cut_begins_a_new_epoch_at_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let backup = dir.path().join("backup");
    let ports = opened(&dir).await;
    append(&ports, "0").await;
    append(&ports, "1").await;
    ports.life.close().await;
    std::fs::copy(dir.path().join("log.db"), &backup).unwrap();
    let ports = opened(&dir).await;
    for nth in 2..5 {
        assert_eq!(append(&ports, "cut").await, nth);
    }
    apply(&ports, Group::MessagesStore, 5).await;
    apply(&ports, Group::MessagesIndex, 1).await;
    ports.life.close().await;
    remove(&dir, "log.db");
    std::fs::copy(&backup, dir.path().join("log.db")).unwrap();

    let ports = opened(&dir).await;
    assert_eq!(ports.log.epoch(Topic::Messages).await.unwrap(), 1);
    assert_eq!(ports.log.epoch(Topic::Chats).await.unwrap(), 0);
    assert_eq!(position(&ports, Group::MessagesStore).await, (2, 1));
    assert_eq!(position(&ports, Group::MessagesIndex).await, (1, 1));
    assert_eq!(append(&ports, "2").await, 2);
    assert_eq!(values(&ports, 0).await, ["0", "1", "2"]);
}

#[tokio::test]
async fn a_copy_of_a_running_directory_has_every_acknowledged_record() {
    let dir = tempfile::tempdir().unwrap();
    let ports = opened(&dir).await;
    let mut sent = Vec::new();
    for nth in 0..200 {
        sent.push(format!("{nth}"));
        append(&ports, &sent[nth]).await;
    }
    apply(&ports, Group::MessagesStore, 150).await;
    // What a killed process leaves behind: the files as they are, nothing closed.
    let copy = tempfile::tempdir().unwrap();
    for file in ["log.db", "log.db-wal", "store.db", "store.db-wal"] {
        std::fs::copy(dir.path().join(file), copy.path().join(file)).unwrap();
    }
    let ports = opened(&copy).await;
    assert_eq!(values(&ports, 0).await, sent);
    assert_eq!(position(&ports, Group::MessagesStore).await, (150, 0));
    assert_eq!(append(&ports, "next").await, 200);
}

#[tokio::test]
async fn a_full_log_refuses_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let full = Config {
        log_bytes_max: Some(400 * 1024),
        ..Config::new(dir.path())
    };
    let ports = open(&full).await.unwrap();
    let mut sent = Vec::new();
    let mut refused = 0;
    // The large ones stop fitting first; small ones may go on for a while.
    for nth in 0..60 {
        let value = format!(
            "{nth} {}",
            "x".repeat(if nth % 3 == 0 { 30_000 } else { 300 })
        );
        match ports.log.append(Topic::Messages, record(&value)).await {
            Ok(at) => {
                assert_eq!(at.offset, sent.len() as u64);
                sent.push(value);
            }
            Err(error) => {
                assert!(matches!(error, Error::NotAppended(_)), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && sent.len() > 5, "{refused} refused");
    assert_eq!(values(&ports, 0).await, sent);
    ports.life.close().await;
    let ports = opened(&dir).await;
    assert_eq!(values(&ports, 0).await, sent);
    assert_eq!(append(&ports, "more").await, sent.len() as u64);
}

#[tokio::test]
async fn retention_removes_what_all_have_passed() {
    let dir = tempfile::tempdir().unwrap();
    let ports = impatient(&dir).await;
    let body = "x".repeat(100_000);
    for nth in 0..300 {
        assert_eq!(append(&ports, &body).await, nth);
    }
    let before = size(dir.path());
    apply(&ports, Group::MessagesStore, 300).await;
    apply(&ports, Group::MessagesIndex, 250).await;
    ports.life.housekeep().await;
    assert_eq!(ports.log.range(PLACE).await.unwrap(), (250, 300));
    let gone = ports.log.read(PLACE, 249, PAGE).await.unwrap_err();
    assert!(
        matches!(
            gone,
            Error::OutOfRange {
                asked: 249,
                start: 250
            }
        ),
        "{gone}"
    );
    assert_eq!(values(&ports, 250).await.len(), 50);

    apply(&ports, Group::MessagesIndex, 300).await;
    ports.life.housekeep().await;
    assert_eq!(ports.log.range(PLACE).await.unwrap(), (300, 300));
    ports.life.close().await;
    let after = size(dir.path());
    assert!(after < before / 2, "{before} bytes before, {after} after");

    // Emptied, and the next offset is known all the same (invariant: offsets-never-repeat).
    let ports = impatient(&dir).await;
    assert_eq!(ports.log.range(PLACE).await.unwrap(), (300, 300));
    assert_eq!(ports.log.epoch(Topic::Messages).await.unwrap(), 0);
    assert_eq!(append(&ports, "after").await, 300);
}

#[tokio::test]
async fn retention_waits_for_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let ports = opened(&dir).await;
    append(&ports, "young").await;
    apply(&ports, Group::MessagesStore, 1).await;
    apply(&ports, Group::MessagesIndex, 1).await;
    ports.life.housekeep().await;
    assert_eq!(ports.log.range(PLACE).await.unwrap(), (0, 1));
}

fn size(dir: &Path) -> u64 {
    ["log.db", "log.db-wal"]
        .iter()
        .filter_map(|file| std::fs::metadata(dir.join(file)).ok())
        .map(|file| file.len())
        .sum()
}

/// What retention took is told as gone; the member stays, and goes on where it is sent.
#[tokio::test(flavor = "multi_thread")]
async fn reading_what_retention_took_stops_the_partition() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        log_retention: Duration::ZERO,
        ..Config::new(dir.path())
    };
    let ports = open(&config).await.unwrap();
    for nth in 0..3 {
        append(&ports, &nth.to_string()).await;
    }
    for group in [Group::MessagesStore, Group::MessagesIndex] {
        apply(&ports, group, 2).await;
    }
    while ports.log.range(PLACE).await.unwrap().0 < 2 {
        ports.life.housekeep().await;
    }
    let mut consumer = ports.log.join(Group::MessagesStore).await.unwrap();
    let polled = consumer.poll(PAGE).await.unwrap();
    assert!(matches!(polled, Polled::Assigned(_)), "{polled:?}");
    consumer.seek(PLACE, 1).await.unwrap();
    let polled = consumer.poll(PAGE).await.unwrap();
    let Polled::Gone {
        partition,
        asked,
        start,
    } = polled
    else {
        panic!("{polled:?}");
    };
    assert_eq!((partition, asked, start), (PLACE, 1, 2));
    assert!(matches!(consumer.poll(PAGE).await.unwrap(), Polled::Idle));
    assert_eq!(ports.log.members(Group::MessagesStore).await.unwrap(), 1);
    consumer.seek(PLACE, start).await.unwrap();
    let polled = consumer.poll(PAGE).await.unwrap();
    assert!(matches!(polled, Polled::Records(_)), "{polled:?}");
    consumer.leave().await;
}

/// `cp *.db` of a directory in use leaves behind what SQLite has committed into the write-ahead log alone.
#[tokio::test]
async fn a_log_that_was_copied_without_its_wal_begins_a_new_epoch() {
    let (dir, bare, whole) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let ports = open(&Config::new(dir.path())).await.unwrap();
    append(&ports, "acknowledged").await;
    let copy = |to: &TempDir, files: &[&str]| {
        for file in files {
            std::fs::copy(dir.path().join(file), to.path().join(file)).unwrap();
        }
    };
    copy(&bare, &["log.db", "store.db"]);
    copy(
        &whole,
        &["log.db", "log.db-wal", "store.db", "store.db-wal"],
    );
    ports.life.close().await;
    let epoch = async |of: &TempDir| {
        let ports = open(&Config::new(of.path())).await.unwrap();
        let epoch = ports.log.epoch(Topic::Messages).await.unwrap();
        let end = ports.log.range(PLACE).await.unwrap().1;
        ports.life.close().await;
        (epoch, end)
    };
    assert_eq!(epoch(&bare).await, (1, 0));
    // It is said once.
    assert_eq!(epoch(&bare).await, (1, 0));
    assert_eq!(epoch(&whole).await, (0, 1));
    // A directory that was closed has everything in its databases.
    let closed = tempfile::tempdir().unwrap();
    copy(&closed, &["log.db", "store.db"]);
    assert_eq!(epoch(&closed).await, (0, 1));
}
