//! Checking a directory offline, and copying what is intact.

use std::path::{Path, PathBuf};

use chat_core::port::counters::Counter;
use chat_core::port::log::{Group, PartitionId, Topic};
use chat_core::port::store::{ChatKey, Error, MessageKey, State};
use chat_embedded::offline::{self, check, salvage};
use chat_embedded::open::{Config, open};
use chat_wire::ids::MessageNumber;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

use crate::directory::{APPLIED, Ledger, PENDING, compare, damage, drain, fill};

struct Filled {
    _dir: TempDir,
    data: PathBuf,
    to: PathBuf,
    ledger: Ledger,
}

async fn filled() -> Filled {
    let dir = tempfile::tempdir().unwrap();
    let (data, to) = (dir.path().join("data"), dir.path().join("salvaged"));
    let ledger = fill(&data).await;
    Filled {
        _dir: dir,
        data,
        to,
        ledger,
    }
}

impl Filled {
    fn chat(&self) -> ChatKey {
        *self.ledger.messages.keys().next().unwrap()
    }

    fn message(&self, number: u32) -> MessageKey {
        MessageKey {
            chat: self.chat(),
            number: MessageNumber::new(number).unwrap(),
        }
    }

    /// The body of a message of the first chat.
    fn body(&self, number: u32) -> String {
        self.ledger.messages[&self.chat()][&number].clone().unwrap()
    }
}

/// Opens it, applies what waits and compares; answers how many messages became dead letters.
async fn served(dir: &Path, ledger: &Ledger) -> (u64, Option<String>) {
    let ports = open(&Config::new(dir)).await.unwrap();
    let dead = drain(&ports).await.unwrap();
    let wrong = compare(&ports, ledger, dead).await.unwrap();
    ports.life.close().await;
    (dead, wrong)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_directory_is_found_sound_and_copied_whole() {
    let filled = filled().await;
    let report = check(&filled.data).await.unwrap();
    assert!(report.is_sound(), "{report}");
    assert!(report.records > 0 && report.rows > 0 && report.documents > 0);
    assert_eq!(report.unprotected, 0);

    let done = salvage(&filled.data, &filled.to).await.unwrap();
    assert!(done.report.is_sound(), "{done}");
    assert_eq!(
        (done.records_damaged, done.messages_void, done.recreated),
        (0, 0, 0)
    );
    assert_eq!(served(&filled.to, &filled.ledger).await, (0, None));
    let report = check(&filled.to).await.unwrap();
    assert!(report.is_sound(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_is_neither_checked_nor_overwritten() {
    let filled = filled().await;
    let ports = open(&Config::new(&filled.data)).await.unwrap();
    let refused = check(&filled.data).await.unwrap_err();
    assert!(matches!(refused, offline::Error::Held { .. }), "{refused}");
    ports.life.close().await;
    std::fs::create_dir(&filled.to).unwrap();
    let refused = salvage(&filled.data, &filled.to).await.unwrap_err();
    assert!(
        matches!(refused, offline::Error::Target { .. }),
        "{refused}"
    );
    let nowhere = check(&filled.to).await.unwrap_err();
    assert!(matches!(nowhere, offline::Error::File { .. }), "{nowhere}");
}

/// A create that is only in the log and cannot be read keeps its numbers, through restarts too.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_create_becomes_a_dead_letter_and_keeps_its_numbers() {
    let filled = filled().await;
    let last = APPLIED + PENDING;
    damage(&filled.data.join("log.db"), &filled.body(last));

    let report = check(&filled.data).await.unwrap();
    let [found] = report.damage.as_slice() else {
        panic!("{report}");
    };
    let numbers = found.numbers.as_deref().unwrap();
    assert!(
        numbers.contains(&format!("to {last} of chat 1 of")),
        "{report}"
    );

    for dir in [&filled.data, &filled.to] {
        if dir == &filled.to {
            let done = salvage(&filled.data, &filled.to).await.unwrap();
            assert_eq!(
                (done.records_damaged, done.records_unknown),
                (1, 0),
                "{done}"
            );
        }
        let ports = open(&Config::new(dir)).await.unwrap();
        let counter = Counter::Messages(filled.chat());
        assert_eq!(ports.counters.last(counter).await.unwrap(), Some(last));
        ports.life.close().await;
    }
    for dir in [&filled.data, &filled.to] {
        // Three messages were in that record, and all others are served.
        assert_eq!(served(dir, &filled.ledger).await, (3, None));
        let ports = open(&Config::new(dir)).await.unwrap();
        let row = ports
            .store
            .message(filled.message(last))
            .await
            .unwrap()
            .unwrap();
        assert!(row.state == State::Void && row.uid.is_some(), "{row:?}");
        let chat = ports.store.chat(filled.chat()).await.unwrap().unwrap();
        assert_eq!((chat.highest, chat.settled_through), (last, last));
        ports.life.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_made_again_without_the_rows_that_are_damaged() {
    let filled = filled().await;
    let chat = filled.chat();
    let chats = [chat.chat];
    let ports = open(&Config::new(&filled.data)).await.unwrap();
    drain(&ports).await.unwrap();
    let before = ports.search.counts(chat.token, &chats).await.unwrap();
    ports.life.close().await;

    damage(&filled.data.join("store.db"), &filled.body(20));
    std::fs::remove_dir_all(filled.data.join("index")).unwrap();
    let ports = open(&Config::new(&filled.data)).await.unwrap();
    let after = ports.search.counts(chat.token, &chats).await.unwrap();
    assert_eq!(after, [before[0] - 1]);
    ports.life.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_is_not_served_and_its_number_is_void_in_the_copy() {
    let filled = filled().await;
    let number = 20;
    let body = filled.body(number);
    let file = filled.data.join("store.db");
    damage(&file, &body);

    let report = check(&filled.data).await.unwrap();
    assert!(report.damages >= 1, "{report}");
    let named = report.damage.iter().any(|damage| {
        let key = damage.key.as_deref().unwrap_or_default();
        damage.place.as_deref() == Some("messages") && key.ends_with(&format!(" {number}"))
    });
    assert!(named, "{report}");

    let ports = open(&Config::new(&filled.data)).await.unwrap();
    drain(&ports).await.unwrap();
    let met = ports
        .store
        .message(filled.message(number))
        .await
        .unwrap_err();
    assert!(matches!(met, Error::Corrupt(_)), "{met}");
    // Its neighbours are served.
    let beside = ports
        .store
        .message(filled.message(number + 1))
        .await
        .unwrap();
    assert_eq!(beside.unwrap().body, filled.body(number + 1));
    let by_key = ports.store.messages_by_key(&[filled.message(number)]).await;
    assert!(matches!(by_key.unwrap_err(), Error::Corrupt(_)));
    ports.life.close().await;

    let done = salvage(&filled.data, &filled.to).await.unwrap();
    assert_eq!(done.messages_void, 1, "{done}");
    let mut ledger = filled.ledger.clone();
    let sent = ledger.messages.get_mut(&filled.chat()).unwrap();
    sent.insert(number, None);
    assert_eq!(served(&filled.to, &ledger).await, (0, None));
    let ports = open(&Config::new(&filled.to)).await.unwrap();
    let partition = PartitionId {
        topic: Topic::Messages,
        index: 0,
    };
    let at = ports
        .store
        .position(Group::MessagesStore, partition)
        .await
        .unwrap();
    assert_eq!(at.next, ports.log.range(partition).await.unwrap().1);
    ports.life.close().await;
}

/// What was written before there were checksums is read as it is.
#[tokio::test(flavor = "multi_thread")]
async fn rows_and_records_without_checksums_are_served() {
    let filled = filled().await;
    unprotect(&filled.data).await;
    let report = check(&filled.data).await.unwrap();
    assert!(report.is_sound() && report.unprotected > 100, "{report}");
    assert_eq!(served(&filled.data, &filled.ledger).await, (0, None));
}

/// Takes the checksums away: those of all rows, and those of batches with one record.
async fn unprotect(data: &Path) {
    let mut store = connect(&data.join("store.db")).await;
    for table in [
        "applications",
        "chats",
        "messages",
        "log_positions",
        "log_epochs",
    ] {
        let text = format!("UPDATE {table} SET checksum = NULL");
        sqlx::raw_sql(sqlx::AssertSqlSafe(text))
            .execute(&mut store)
            .await
            .unwrap();
    }
    store.close().await.unwrap();
    let mut log = connect(&data.join("log.db")).await;
    let text = "UPDATE batches SET frames = substr(frames, 1, length(frames) - 4), heads = NULL \
                WHERE records = 1; UPDATE topics SET checksum = NULL; \
                UPDATE identity SET checksum = NULL";
    sqlx::raw_sql(text).execute(&mut log).await.unwrap();
    log.close().await.unwrap();
}

async fn connect(file: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(file);
    SqliteConnection::connect_with(&options).await.unwrap()
}
