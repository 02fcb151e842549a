//! How far the index has read, recorded with its documents.

use chat_core::port::log::{LogId, PartitionId, Topic};
use chat_core::port::search::{IndexPosition, Indexed, Search, Staged};
use tempfile::TempDir;

use super::super::positions::read_recorded;
use super::super::{Index, verify::verify};
use super::{document, numbers, open};

fn position(index: u32, next: u64) -> IndexPosition {
    let topic = Topic::Messages;
    IndexPosition {
        partition: PartitionId { topic, index },
        log: LogId::from_bytes([0xab; 16]),
        epoch: 3,
        next,
        whole: index == 0,
    }
}

async fn publish(index: &Index, number: u32, positions: &[IndexPosition]) {
    let documents = vec![document(1, 1, number, 1, "read")];
    let staged = index.stage(documents).await.unwrap();
    let verdicts = index.publish(staged, positions).await.unwrap();
    assert_eq!(verdicts, [Indexed::Done]);
}

#[tokio::test]
async fn positions_are_as_durable_as_the_documents() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir).await;
    assert!(index.positions().await.unwrap().is_empty());
    publish(&index, 1, &[position(1, 5)]).await;
    publish(&index, 2, &[position(0, 7)]).await;
    let expected = [position(0, 7), position(1, 5)];
    assert_eq!(index.positions().await.unwrap(), expected);

    // Neither repairs nor batches of other partitions lose them, nor does a failure.
    let repaired = vec![document(1, 1, 1, 1, "repaired")];
    index.repair(repaired).await.unwrap();
    super::writers::fail(&index);
    publish(&index, 3, &[]).await;
    assert_eq!(index.positions().await.unwrap(), expected);
    drop(index);
    assert_eq!(read_recorded(&dir.path().join("index")), expected);
    let index = open(&dir).await;
    assert_eq!(index.positions().await.unwrap(), expected);
    assert_eq!(numbers(&index, "read").await, [2, 3]);

    index.clear().await.unwrap();
    assert!(index.positions().await.unwrap().is_empty());
    drop(index);
    assert!(open(&dir).await.positions().await.unwrap().is_empty());
}

#[tokio::test]
async fn positions_are_recorded_without_documents() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir).await;
    for next in [4, 9] {
        let nothing = Staged::Documents(Vec::new());
        let verdicts = index.publish(nothing, &[position(0, next)]).await.unwrap();
        assert!(verdicts.is_empty());
        let written = Staged::Written(vec![Indexed::Newer]);
        let verdicts = index.publish(written, &[position(1, next)]).await.unwrap();
        assert_eq!(verdicts, [Indexed::Newer]);
    }
    drop(index);
    let expected = [position(0, 9), position(1, 9)];
    assert_eq!(open(&dir).await.positions().await.unwrap(), expected);
}

#[tokio::test]
async fn merges_keep_the_positions() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir).await;
    for number in 1..=20 {
        publish(&index, number, &[position(0, u64::from(number))]).await;
    }
    index.close().await;
    assert!(index.inner.index.searchable_segment_ids().unwrap().len() < 20);
    drop(index);
    assert_eq!(
        open(&dir).await.positions().await.unwrap(),
        [position(0, 20)]
    );
}

#[tokio::test]
async fn verify_names_every_damaged_file() {
    let dir = TempDir::new().unwrap();
    let home = dir.path().join("index");
    assert!(verify(&home).await.unwrap().is_empty());
    let index = open(&dir).await;
    publish(&index, 1, &[position(0, 1)]).await;
    index.close().await;
    assert!(verify(&home).await.unwrap().is_empty());
    let mut files = 0;
    for entry in std::fs::read_dir(&home).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with('.') {
            continue;
        }
        let intact = std::fs::read(&path).unwrap();
        let mut damaged = intact.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        assert_eq!(verify(&home).await.unwrap(), std::slice::from_ref(&path));
        // Those without which nothing is found; tantivy does without the rest.
        if path
            .extension()
            .is_some_and(|kind| kind == "idx" || kind == "term")
        {
            std::fs::remove_file(&path).unwrap();
            assert_eq!(verify(&home).await.unwrap(), std::slice::from_ref(&path));
        }
        std::fs::write(&path, &intact).unwrap();
        files += 1;
    }
    assert!(files > 4, "{files} files");
    assert!(verify(&home).await.unwrap().is_empty());
}
