//! An index that does not fit the log and the store: older, newer, foreign, damaged.

use std::path::Path;
use std::time::Duration;

use chat_contract::sample::{application_row, chat, chat_row, message_row, record, token};
use chat_core::index::document;
use chat_core::port::Ports;
use chat_core::port::log::{Group, PartitionId, Topic};
use chat_core::port::search::{IndexPosition, Indexed, Query};
use chat_core::port::store::{ChatRow, MessageKey, MessageRow, Position, State, Writes};
use chat_core::text::normalize;
use chat_embedded::open::{Config, open};
use chat_wire::ids::MessageNumber;
use chat_wire::search::Sort;
use tempfile::TempDir;

const PLACE: PartitionId = PartitionId {
    topic: Topic::Messages,
    index: 0,
};

async fn opened(dir: &TempDir) -> Ports {
    let config = Config {
        // Whatever may go goes at the first housekeeping.
        log_retention: Duration::ZERO,
        ..Config::new(dir.path())
    };
    open(&config).await.unwrap()
}

/// Creates messages with this body, from the log into the index, as the workers do.
async fn create(ports: &Ports, numbers: std::ops::RangeInclusive<u32>, body: &str) {
    let epoch = ports.log.epoch(Topic::Messages).await.unwrap();
    let mut rows = Vec::new();
    let mut next = 0;
    for number in numbers {
        let appended = ports.log.append(Topic::Messages, record("k", body)).await;
        let offset = appended.unwrap().offset;
        next = offset + 1;
        rows.push(MessageRow {
            body: body.to_owned(),
            revision: u64::from(epoch) << 40 | offset,
            ..message_row(chat(1, 1), number)
        });
    }
    let position = Position {
        next,
        epoch,
        last_uid: None,
    };
    let mut writes = Writes {
        insert_messages: rows.clone(),
        ..Writes::default()
    };
    if ports.store.application(token(1)).await.unwrap().is_none() {
        writes.insert_applications.push(application_row(1));
        writes.insert_chats.push(ChatRow {
            highest: 100,
            settled_through: 0,
            ..chat_row(chat(1, 1))
        });
    }
    let mut tx = ports
        .store
        .begin(Group::MessagesStore, &[PLACE])
        .await
        .unwrap();
    tx.write(writes).await.unwrap();
    tx.commit(&[position]).await.unwrap();

    let documents: Vec<_> = rows.into_iter().filter_map(document).collect();
    let count = documents.len();
    let staged = ports.search.stage(documents).await.unwrap();
    let read = IndexPosition {
        partition: PLACE,
        log: ports.log.identity().await.unwrap(),
        epoch,
        next,
        whole: true,
    };
    let verdicts = ports.search.publish(staged, &[read]).await.unwrap();
    assert_eq!(verdicts, vec![Indexed::Done; count]);
    let tx = ports
        .store
        .begin(Group::MessagesIndex, &[PLACE])
        .await
        .unwrap();
    tx.commit(&[position]).await.unwrap();
}

/// The numbers of the messages that the index finds.
async fn find(ports: &Ports, text: &str) -> Vec<u32> {
    let query = Query {
        token: token(1),
        chat: None,
        text: normalize(text),
        sort: Sort::Number,
        after: None,
        limit: 1_000,
    };
    let candidates = ports.search.candidates(&query).await.unwrap();
    candidates.iter().map(|hit| hit.key.number.get()).collect()
}

async fn epoch(ports: &Ports) -> u32 {
    ports.log.epoch(Topic::Messages).await.unwrap()
}

/// What the index has read, and what the store says of it.
async fn read(ports: &Ports) -> ((u32, u64), (u32, u64)) {
    let recorded = ports.search.positions().await.unwrap();
    let [recorded] = recorded.as_slice() else {
        panic!("{recorded:?}");
    };
    assert_eq!(recorded.log, ports.log.identity().await.unwrap());
    let group = ports
        .store
        .position(Group::MessagesIndex, PLACE)
        .await
        .unwrap();
    ((recorded.epoch, recorded.next), (group.epoch, group.next))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Puts these files or directories back as they are in the backup.
fn restore(dir: &TempDir, backup: &TempDir, names: &[&str]) {
    for name in names {
        let (from, to) = (backup.path().join(name), dir.path().join(name));
        if from.is_dir() {
            std::fs::remove_dir_all(&to).unwrap();
            copy(&from, &to);
            continue;
        }
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(dir.path().join(format!("{name}{suffix}")));
        }
        std::fs::copy(from, to).unwrap();
    }
}

/// A directory with five messages, its backup, and three messages after that.
async fn with_backup() -> (TempDir, TempDir) {
    let (dir, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ports = opened(&dir).await;
    create(&ports, 1..=5, "former").await;
    ports.life.close().await;
    copy(dir.path(), backup.path());
    let ports = opened(&dir).await;
    create(&ports, 6..=8, "latter").await;
    assert_eq!(epoch(&ports).await, 0);
    ports.life.close().await;
    (dir, backup)
}

#[tokio::test]
async fn an_index_newer_than_the_restored_log_and_store_raises_the_epoch() {
    let (dir, backup) = with_backup().await;
    restore(&dir, &backup, &["log.db", "store.db"]);

    let ports = opened(&dir).await;
    assert_eq!(epoch(&ports).await, 1);
    assert_eq!(read(&ports).await, ((1, 5), (1, 5)));
    assert_eq!(find(&ports, "former").await, [1, 2, 3, 4, 5]);
    assert!(find(&ports, "latter").await.is_empty());
    // The numbers and the offsets of the lost messages are given again, and are searchable.
    create(&ports, 6..=7, "again").await;
    assert_eq!(find(&ports, "again").await, [6, 7]);
    ports.life.close().await;
    let ports = opened(&dir).await;
    assert_eq!(epoch(&ports).await, 1);
    assert_eq!(find(&ports, "again").await, [6, 7]);
}

#[tokio::test]
async fn numbers_that_only_the_index_remembers_are_not_issued_again() {
    let (dir, backup) = with_backup().await;
    let ports = opened(&dir).await;
    create(&ports, 101..=103, "lost").await;
    ports.life.close().await;
    restore(&dir, &backup, &["log.db", "store.db"]);
    // Also where nothing is created before the next start.
    for _ in 0..2 {
        let ports = opened(&dir).await;
        assert!(find(&ports, "lost").await.is_empty());
        let row = ports.store.chat(chat(1, 1)).await.unwrap().unwrap();
        assert_eq!(row.highest, 103);
        let key = MessageKey {
            chat: chat(1, 1),
            number: MessageNumber::new(103).unwrap(),
        };
        let reserved = ports.store.message(key).await.unwrap().unwrap();
        assert_eq!(reserved.state, State::Void);
        ports.life.close().await;
    }
}

#[tokio::test]
async fn an_index_newer_than_the_restored_store_alone_keeps_the_epoch() {
    let (dir, backup) = with_backup().await;
    restore(&dir, &backup, &["store.db"]);
    let ports = opened(&dir).await;
    // The log still has all of it, and the store is about to read it again.
    assert_eq!(epoch(&ports).await, 0);
    assert_eq!(read(&ports).await, ((0, 5), (0, 5)));
    assert_eq!(find(&ports, "former").await, [1, 2, 3, 4, 5]);
    assert!(find(&ports, "latter").await.is_empty());
}

#[tokio::test]
async fn an_older_index_reads_the_log_again() {
    let (dir, backup) = with_backup().await;
    restore(&dir, &backup, &["index"]);
    let ports = opened(&dir).await;
    assert_eq!(epoch(&ports).await, 0);
    assert_eq!(read(&ports).await, ((0, 5), (0, 5)));
    assert_eq!(find(&ports, "former").await, [1, 2, 3, 4, 5]);
    // What is not read yet stays in the log.
    ports.life.housekeep().await;
    assert_eq!(ports.log.range(PLACE).await.unwrap().0, 5);
}

#[tokio::test]
async fn an_older_index_is_made_again_where_the_log_is_gone() {
    let (dir, backup) = with_backup().await;
    let ports = opened(&dir).await;
    while ports.log.range(PLACE).await.unwrap().0 < 8 {
        ports.life.housekeep().await;
    }
    ports.life.close().await;
    restore(&dir, &backup, &["index"]);
    let ports = opened(&dir).await;
    assert_eq!(epoch(&ports).await, 0);
    assert_eq!(read(&ports).await, ((0, 8), (0, 8)));
    assert_eq!(find(&ports, "latter").await, [6, 7, 8]);
}

#[tokio::test]
async fn an_index_of_another_log_is_made_again() {
    let (dir, _) = with_backup().await;
    let (other, _) = with_backup().await;
    let ports = opened(&other).await;
    create(&ports, 9..=12, "foreign").await;
    ports.life.close().await;
    restore(&dir, &other, &["index"]);
    let ports = opened(&dir).await;
    assert_eq!(epoch(&ports).await, 1);
    assert_eq!(read(&ports).await, ((1, 8), (1, 8)));
    assert!(find(&ports, "foreign").await.is_empty());
    assert_eq!(find(&ports, "latter").await, [6, 7, 8]);
    create(&ports, 9..=9, "own").await;
    assert_eq!(find(&ports, "own").await, [9]);
}

#[tokio::test]
async fn an_index_outlives_its_log() {
    let (dir, _) = with_backup().await;
    for name in ["log.db", "log.db-wal", "log.db-shm"] {
        let _ = std::fs::remove_file(dir.path().join(name));
    }
    let ports = opened(&dir).await;
    assert_eq!(epoch(&ports).await, 1);
    assert_eq!(read(&ports).await, ((1, 0), (1, 0)));
    assert_eq!(find(&ports, "latter").await, [6, 7, 8]);
}

#[tokio::test]
async fn a_damaged_index_is_set_aside_and_made_again() {
    let (dir, backup) = with_backup().await;
    drop(backup);
    let index = dir.path().join("index");
    let backup = tempfile::tempdir().unwrap();
    copy(&index, backup.path());
    let mut files: Vec<_> = std::fs::read_dir(backup.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| !name.to_string_lossy().starts_with('.'))
        .collect();
    files.sort();
    for file in files {
        let bytes = std::fs::read(backup.path().join(&file)).unwrap();
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            std::fs::remove_dir_all(&index).unwrap();
            copy(backup.path(), &index);
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            std::fs::write(index.join(&file), damaged).unwrap();
            let ports = opened(&dir).await;
            assert_eq!(
                find(&ports, "former").await,
                [1, 2, 3, 4, 5],
                "{file:?} {at}"
            );
            assert_eq!(find(&ports, "latter").await, [6, 7, 8], "{file:?} {at}");
            assert_eq!(read(&ports).await, ((0, 8), (0, 8)), "{file:?} {at}");
            ports.life.close().await;
            // One is kept for whoever wants to know, and no more.
            let aside = std::fs::read_dir(dir.path()).unwrap().filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_string_lossy().starts_with("index.damaged-")
            });
            assert_eq!(aside.count(), 1, "{file:?} {at}");
        }
    }
}
