//! An index that is gone is made again from the rows: it is only their projection.

use std::path::Path;

use chat_core::failpoint::{Failpoint, reach};
use chat_core::index::document;
use chat_core::port::search::{self, Document, Search};
use chat_core::port::store::{self, ChatKey, Span, Store};
use tokio::time::Instant;

use crate::search::Index;

/// Applications or chats of one look.
const PAGE: u32 = 1_000;
/// Messages of one commit of the index.
const BATCH: u32 = 10_000;

/// Why an index could not be made again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rows cannot be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The index cannot be written.
    #[error(transparent)]
    Search(#[from] search::Error),
    /// The directory cannot be put in place.
    #[error("the rebuilt index cannot be put in place: {0}")]
    Directory(#[from] std::io::Error),
}

/// Opens the index in `dir`; where it holds nothing and the store holds something, it is made again.
///
/// It grows beside its place and is moved there whole: a process that dies in the middle leaves an
/// empty index behind, and the next one begins anew.
pub(crate) async fn open(dir: &Path, rows: &impl Store) -> Result<Index, Error> {
    let index = Index::open(dir).await?;
    if !index.is_empty() || rows.applications(None, 1).await?.is_empty() {
        return Ok(index);
    }
    index.close().await;
    drop(index);
    let beside = dir.with_extension("rebuilding");
    if beside.exists() {
        std::fs::remove_dir_all(&beside)?;
    }
    let started = Instant::now();
    let index = Index::open(&beside).await?;
    let messages = fill(&index, rows).await?;
    index.close().await;
    drop(index);
    reach(Failpoint::RebuildFillRemove);
    std::fs::remove_dir_all(dir)?;
    reach(Failpoint::RebuildRemoveMove);
    std::fs::rename(&beside, dir)?;
    if messages > 0 {
        tracing::warn!(
            messages,
            duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "the search index was empty and is made again from the store"
        );
    }
    Ok(Index::open(dir).await?)
}

/// Walks through every row of every application, and indexes as many as make a good commit.
async fn fill(index: &Index, rows: &impl Store) -> Result<u64, Error> {
    let mut filler = Filler {
        index,
        waiting: Vec::new(),
        filled: 0,
    };
    let mut token = None;
    loop {
        let applications = rows.applications(token, PAGE).await?;
        for application in &applications {
            let mut after = 0;
            loop {
                let chats = rows.chats(application.token, after, PAGE).await?;
                for chat in &chats {
                    filler.chat(rows, chat.key, chat.highest).await?;
                }
                match chats.last() {
                    Some(last) if chats.len() == PAGE as usize => after = last.key.chat.get(),
                    _ => break,
                }
            }
        }
        match applications.last() {
            Some(last) if applications.len() == PAGE as usize => token = Some(last.token),
            _ => break,
        }
    }
    filler.flush().await?;
    Ok(filler.filled)
}

struct Filler<'a> {
    index: &'a Index,
    waiting: Vec<Document>,
    filled: u64,
}

impl Filler<'_> {
    async fn chat(&mut self, rows: &impl Store, chat: ChatKey, highest: u32) -> Result<(), Error> {
        let mut after = 0;
        loop {
            let span = Span::After {
                after,
                through: highest,
            };
            let messages = rows.messages(chat, span, BATCH).await?;
            let Some(last) = messages.last() else {
                return Ok(());
            };
            after = last.key.number.get();
            self.waiting
                .extend(messages.into_iter().filter_map(document));
            if self.waiting.len() >= BATCH as usize {
                self.flush().await?;
            }
        }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let documents = std::mem::take(&mut self.waiting);
        self.filled += documents.len() as u64;
        self.index.index(documents).await?;
        Ok(())
    }
}
