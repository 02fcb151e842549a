//! A writer that ends in the middle of a merge, and the writers after it.

use std::collections::HashSet;
use std::path::Path;

use chat_core::port::search::{Error, Search};
use tantivy::TantivyError;
use tantivy::directory::Directory;
use tempfile::TempDir;

use super::super::{Index, Slot};
use super::{document, numbers, open, token};

/// How a writer ends whose merges are not awaited.
#[derive(Clone, Copy)]
enum End {
    Dropped,
    Failed,
}

const ROUNDS: u32 = 60;

/// Each commit begins a merge, because the last one never came to its end.
async fn end_writers_during_merges(end: End) {
    let dir = TempDir::new().unwrap();
    let mut index = open(&dir).await;
    let mut sent: u32 = 0;
    for _ in 0..ROUNDS {
        // Fewer segments than this are not merged.
        let segments = index.inner.view().segments.len();
        for _ in segments..8.max(segments + 1) {
            let batch = (1..=20).map(|nth| document(1, 1, sent + nth, 1, "ended"));
            index.index(batch.collect()).await.unwrap();
            sent += 20;
        }
        match end {
            End::Dropped => {
                drop(index);
                index = open(&dir).await;
            }
            End::Failed => fail(&index),
        }
    }
    let batch = vec![document(1, 1, sent + 1, 1, "last")];
    index.index(batch).await.unwrap();
    assert_eq!(
        index.count(token(1), None).await.unwrap(),
        u64::from(sent + 1)
    );
    assert_eq!(numbers(&index, "last").await, [sent + 1]);
    index.close().await;
    drop(index);

    // The next commit collects all that the merges which were cut off have left behind.
    let index = open(&dir).await;
    let batch = vec![document(1, 1, sent + 2, 1, "last")];
    index.index(batch).await.unwrap();
    index.close().await;
    assert_eq!(numbers(&index, "last").await, [sent + 1, sent + 2]);
    assert_eq!(stray_files(&index), HashSet::new());
}

pub(super) fn fail(index: &Index) {
    let failed: Result<(), Error> = index
        .inner
        .write(|_| Err(TantivyError::InternalError("told to fail".to_owned())));
    assert!(failed.unwrap_err().to_string().contains("told to fail"));
}

/// Files of segments that the index does not have.
fn stray_files(index: &Index) -> HashSet<String> {
    let segments = index.inner.index.searchable_segment_ids().unwrap();
    let segments: Vec<String> = segments.iter().map(|id| id.uuid_string()).collect();
    let entries = std::fs::read_dir(&index.inner.dir).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && name != "meta.json")
        .filter(|name| !segments.iter().any(|id| name.starts_with(id)))
        .collect()
}

#[tokio::test]
async fn a_writer_dropped_during_a_merge_disturbs_no_later_one() {
    end_writers_during_merges(End::Dropped).await;
}

#[tokio::test]
async fn a_writer_that_fails_during_a_merge_disturbs_no_later_one() {
    end_writers_during_merges(End::Failed).await;
}

#[tokio::test]
async fn a_writer_that_is_gone_cannot_replace_the_list_of_segments() {
    let dir = TempDir::new().unwrap();
    let former = open(&dir).await;
    former
        .index(vec![document(1, 1, 1, 1, "former")])
        .await
        .unwrap();
    let directory = match &*former.inner.writer.lock() {
        Slot::Open(writer) => writer.directory(),
        Slot::Broken | Slot::Closed => panic!("it has no writer"),
    };
    let list = directory.atomic_read(Path::new("meta.json")).unwrap();
    drop(former);

    // As the end of a merge does that was in progress when the writer was dropped.
    let latter = open(&dir).await;
    latter
        .index(vec![document(1, 1, 2, 1, "latter")])
        .await
        .unwrap();
    directory
        .atomic_write(Path::new("meta.json"), &list)
        .unwrap_err();
    drop(latter);
    assert_eq!(numbers(&open(&dir).await, "latter").await, [2]);
}
