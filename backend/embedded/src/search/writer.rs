//! One writer of the index: it ends with its first failure, and nothing of it writes afterwards.

use std::path::Path;

use chat_core::port::search::{Document, IndexPosition};
use chat_core::port::store::MessageKey;
use tantivy::directory::Directory;
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy, NoMergePolicy};
use tantivy::store::Compressor;
use tantivy::tokenizer::TokenizerManager;
use tantivy::{IndexSettings, IndexWriter, TantivyError, Term};

use super::fence::FencedDirectory;
use super::grams;
use super::positions;
use super::schema::{self, Entry, PATH};

/// Bytes that documents take before they are written as a segment of their own, even without a
/// commit. The least that tantivy takes; a batch of 10,000 short messages fits.
const BUDGET_BYTES: usize = 15_000_000;

/// Threads that turn documents into segments. The analysis is most of the work of a batch, and a
/// second one would take the other core from the store and make twice the segments to merge.
const THREADS: usize = 1;

/// Threads that merge segments.
const MERGE_THREADS: usize = 1;

/// A segment with more than this share of replaced documents is rewritten.
const MAX_REPLACED_SHARE: f32 = 0.3;

/// The lock of the directory and the right to change it, until it is dropped.
pub(super) struct Writer {
    // Dropped before the writer, which would release the lock in the middle of a merge.
    fence: Fence,
    writer: IndexWriter<Entry>,
}

struct Fence(FencedDirectory);

impl Drop for Fence {
    fn drop(&mut self) {
        self.0.fence();
    }
}

impl Writer {
    /// Opens the index in `dir` for writing, or makes an empty one.
    pub(super) fn open(dir: &Path) -> tantivy::Result<Self> {
        let fence = Fence(FencedDirectory::acquire(dir)?);
        let index = tantivy::Index::builder()
            .schema(schema::schema())
            .settings(settings())
            .tokenizers(tokenizers())
            .open_or_create(fence.0.clone())?;
        let options = IndexWriterOptions::builder()
            .memory_budget_per_thread(BUDGET_BYTES)
            .num_worker_threads(THREADS)
            .num_merge_threads(MERGE_THREADS)
            .build();
        let writer = index.writer_with_options(options)?;
        let mut policy = LogMergePolicy::default();
        policy.set_del_docs_ratio_before_merge(MAX_REPLACED_SHARE);
        writer.set_merge_policy(Box::new(policy));
        Ok(Self { fence, writer })
    }

    pub(super) fn add(&self, document: Document) -> tantivy::Result<()> {
        self.writer.add_document(document.into()).map(|_| ())
    }

    /// Removes what earlier commits hold of this message.
    pub(super) fn delete(&self, key: MessageKey) {
        let path = schema::message_path(key);
        self.writer.delete_term(Term::from_field_bytes(PATH, &path));
    }

    pub(super) fn delete_all(&self) -> tantivy::Result<()> {
        self.writer.delete_all_documents().map(|_| ())
    }

    /// Everything up to here is durable when this returns, and these positions with it.
    pub(super) fn commit(&mut self, positions: &[IndexPosition]) -> tantivy::Result<()> {
        let mut commit = self.writer.prepare_commit()?;
        // The end of a merge keeps the payload of the last commit.
        if let Some(payload) = positions::encode(positions) {
            commit.set_payload(&payload);
        }
        commit.commit()?;
        // Tantivy syncs the directory before it renames the new list of segments into place, and
        // not after: without this, a power cut could bring the former list back.
        Ok(self.fence.0.sync_directory()?)
    }

    /// Removes the files that no segment needs any more.
    pub(super) fn collect_garbage(&self) -> tantivy::Result<()> {
        self.writer.garbage_collect_files().wait().map(|_| ())
    }

    /// Gives the writer up after a failure, and says what caused it: adding to a writer whose
    /// thread has failed only says that it has.
    pub(super) fn give_up(self, error: TantivyError) -> TantivyError {
        let Self { fence, mut writer } = self;
        let cause = match error {
            TantivyError::ErrorInThread(_) => writer.prepare_commit().err().unwrap_or(error),
            error => error,
        };
        drop(fence);
        cause
    }

    /// Waits for the merges in progress, and begins no other.
    pub(super) fn finish(self) -> tantivy::Result<()> {
        let Self { fence, writer } = self;
        writer.set_merge_policy(Box::new(NoMergePolicy));
        let finished = writer.wait_merging_threads();
        drop(fence);
        finished
    }

    /// Cuts off, from another thread, a writer that is being finished.
    pub(super) fn directory(&self) -> FencedDirectory {
        self.fence.0.clone()
    }
}

/// Nothing is stored, so there is nothing to compress and no thread needed for it.
fn settings() -> IndexSettings {
    IndexSettings {
        docstore_compression: Compressor::None,
        docstore_compress_dedicated_thread: false,
        ..IndexSettings::default()
    }
}

fn tokenizers() -> TokenizerManager {
    // Not an empty manager: tantivy wants its default tokenizer for the fields that are no text.
    let tokenizers = TokenizerManager::default();
    tokenizers.register(grams::NAME, grams::Grams::default());
    tokenizers
}
