//! The search port on tantivy: one directory, one writer, exact sets of grams.
//!
//! Every message is a document with the distinct grams of its normalized body, without positions:
//! a query is the conjunction of its grams, and the rules check each candidate against the stored
//! body. A deleted message is a document without grams and scope, which keeps its revision.

mod fence;
mod find;
mod grams;
mod highest;
mod plan;
pub(crate) mod positions;
mod schema;
mod seal;
#[cfg(test)]
mod tests;
pub(crate) mod verify;
mod view;
mod writer;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::port::search::{
    Candidate, Document, Error, IndexPosition, Indexed, Listed, Query, Search, Staged,
};
use chat_core::port::store::ChatKey;
use chat_wire::ids::{AppToken, ChatNumber};
use parking_lot::{Mutex, RwLock};
use tantivy::directory::MmapDirectory;
use tantivy::directory::error::OpenReadError;
use tantivy::error::DataCorruption;
use tantivy::{IndexReader, ReloadPolicy, TantivyError};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use self::plan::{Fate, Plan};
pub use self::verify::verify;
use self::view::View;
use self::writer::Writer;

/// The list of segments: the file whose replacement is a commit.
pub(crate) const META_FILE: &str = "meta.json";

/// How long closing waits for a merge. One that is cut off is done again later.
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// The index of one data directory.
pub struct Index {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    /// Only for reading: each writer has an index of its own, on a directory that can be fenced.
    index: tantivy::Index,
    reader: IndexReader,
    /// Replaced as a whole when a commit becomes visible.
    view: RwLock<Arc<View>>,
    /// As of the last commit.
    positions: RwLock<Vec<IndexPosition>>,
    writer: Mutex<Slot>,
}

enum Slot {
    Open(Box<Writer>),
    /// After a failure; the next call makes another one.
    Broken,
    Closed,
}

impl Index {
    /// Opens the index in `dir`, or makes an empty one.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the directory holds a damaged index or one of another version,
    /// [`Error::Unavailable`] when it cannot be read or written, or another process writes it.
    pub async fn open(dir: &Path) -> Result<Self, Error> {
        let dir = dir.to_owned();
        let inner =
            blocking(move || Inner::open(&dir).map_err(|error| cannot_open(&dir, &error))).await?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// How many documents there are, those of deleted messages included.
    pub(crate) fn documents(&self) -> u64 {
        self.inner.view().len()
    }

    /// The highest number of every chat that the index has held, also of messages that were deleted since,
    /// unless their names were merged away. Reads the names of all messages.
    pub(crate) async fn highest(&self) -> Result<BTreeMap<ChatKey, u32>, Error> {
        let view = self.inner.view();
        blocking(move || view.highest().map_err(failure)).await
    }

    /// Whether nothing was ever indexed, or all of it was cleared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.view().len() == 0
    }

    /// Drops all documents and positions, to index everything again.
    ///
    /// # Errors
    /// As for [`Search::index`].
    pub async fn clear(&self) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.clear()).await
    }

    /// Goes over to what merges have made since the last commit, so that the files and the memory
    /// of the segments that they replaced are let go. Cheap when there is nothing to do.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the directory cannot be read.
    pub async fn housekeep(&self) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.housekeep()).await
    }

    /// Waits for merges and lets go of the directory. Calls that write fail afterwards.
    pub async fn close(&self) {
        let inner = Arc::clone(&self.inner);
        let (taken, directory) = oneshot::channel();
        let (done, closed) = oneshot::channel();
        // A thread of its own: the runtime would wait for one of its own at its end, however
        // long the merge takes.
        std::thread::spawn(move || {
            let slot = std::mem::replace(&mut *inner.writer.lock(), Slot::Closed);
            let Slot::Open(writer) = slot else { return };
            let _ = taken.send(writer.directory());
            if let Err(error) = writer.finish() {
                tracing::warn!(%error, "a merge of the search index failed");
            }
            let _ = done.send(());
        });
        let deadline = Instant::now() + CLOSE_WAIT;
        let directory = match timeout_at(deadline, directory).await {
            Ok(Ok(directory)) => directory,
            Ok(Err(_closed)) => return,
            Err(_elapsed) => {
                tracing::warn!("the search index is left in the middle of a batch");
                return;
            }
        };
        if timeout_at(deadline, closed).await.is_err() {
            directory.fence();
            tracing::warn!("the search index is left in the middle of a merge");
        }
    }
}

#[async_trait]
impl Search for Index {
    async fn positions(&self) -> Result<Vec<IndexPosition>, Error> {
        Ok(self.inner.positions.read().clone())
    }

    async fn publish(
        &self,
        staged: Staged,
        positions: &[IndexPosition],
    ) -> Result<Vec<Indexed>, Error> {
        let (documents, written) = match staged {
            Staged::Documents(documents) => (documents, None),
            Staged::Written(verdicts) => (Vec::new(), Some(verdicts)),
        };
        let (inner, positions) = (Arc::clone(&self.inner), positions.to_vec());
        let verdicts = blocking(move || inner.index(documents, false, &positions)).await?;
        Ok(written.unwrap_or(verdicts))
    }

    async fn repair(&self, documents: Vec<Document>) -> Result<Vec<Indexed>, Error> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.index(documents, true, &[])).await
    }

    async fn list(&self, chat: ChatKey, after: u32, limit: usize) -> Result<Vec<Listed>, Error> {
        let view = self.inner.view();
        blocking(move || {
            let mut found = view.list(chat, after).map_err(failure)?;
            found.sort_unstable_by_key(|listed| listed.number);
            found.truncate(limit);
            Ok(found)
        })
        .await
    }

    async fn counts(&self, token: AppToken, chats: &[ChatNumber]) -> Result<Vec<u64>, Error> {
        let (view, chats) = (self.inner.view(), chats.to_vec());
        blocking(move || {
            let count = |chat| view.count(&schema::scope_path(token, Some(chat)));
            let counts: tantivy::Result<Vec<u64>> = chats.into_iter().map(count).collect();
            counts.map_err(failure)
        })
        .await
    }

    async fn candidates(&self, query: &Query) -> Result<Vec<Candidate>, Error> {
        let (view, query) = (self.inner.view(), query.clone());
        blocking(move || find::candidates(&view, &query)).await
    }

    async fn count(&self, token: AppToken, chat: Option<ChatNumber>) -> Result<u64, Error> {
        let view = self.inner.view();
        let scope = schema::scope_path(token, chat);
        blocking(move || view.count(&scope).map_err(failure)).await
    }

    async fn check(&self) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.index.load_metas().map(|_| ()).map_err(failure)).await
    }
}

impl Inner {
    fn open(dir: &Path) -> tantivy::Result<Self> {
        std::fs::create_dir_all(dir)?;
        if !is_list_intact(dir)? {
            return Err(damaged_list("it does not match its checksum"));
        }
        let writer = Writer::open(dir)?;
        let index = tantivy::Index::open(MmapDirectory::open(dir)?)?;
        let manual = ReloadPolicy::Manual;
        let reader = index.reader_builder().reload_policy(manual).try_into()?;
        let view = View::open(&reader.searcher())?;
        let positions = recorded(&index)?;
        Ok(Self {
            dir: dir.to_owned(),
            index,
            reader,
            view: RwLock::new(Arc::new(view)),
            positions: RwLock::new(positions),
            writer: Mutex::new(Slot::Open(Box::new(writer))),
        })
    }

    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read())
    }

    fn reload(&self) -> tantivy::Result<()> {
        self.reader.reload()?;
        let view = View::open(&self.reader.searcher())?;
        let positions = recorded(&self.index)?;
        *self.view.write() = Arc::new(view);
        *self.positions.write() = positions;
        Ok(())
    }

    fn index(
        &self,
        documents: Vec<Document>,
        again: bool,
        positions: &[IndexPosition],
    ) -> Result<Vec<Indexed>, Error> {
        self.write(|writer| {
            let recorded = self.positions.read().clone();
            let positions = positions::merge(&recorded, positions);
            let plan = Plan::new(&self.view(), &documents, again)?;
            for (document, fate) in documents.into_iter().zip(&plan.fates) {
                let Fate::Add { replaces } = fate else {
                    continue;
                };
                if *replaces {
                    writer.delete(document.key);
                }
                writer.add(document)?;
            }
            if plan.changes() || positions != recorded {
                self.commit(writer, &positions)?;
            }
            Ok(plan.verdicts())
        })
    }

    fn clear(&self) -> Result<(), Error> {
        self.write(|writer| {
            writer.delete_all()?;
            self.commit(writer, &[])
        })
    }

    /// Lends the writer, and gives it up when that fails or panics: what was added since the last
    /// commit must never be committed later.
    fn write<T>(&self, change: impl FnOnce(&mut Writer) -> tantivy::Result<T>) -> Result<T, Error> {
        let mut slot = self.writer.lock();
        let mut writer = match std::mem::replace(&mut *slot, Slot::Broken) {
            Slot::Open(writer) => writer,
            Slot::Broken => Box::new(self.reopen_writer().map_err(failure)?),
            Slot::Closed => {
                *slot = Slot::Closed;
                return Err(Error::Unavailable("it is closed".to_owned()));
            }
        };
        match change(&mut writer) {
            Ok(result) => {
                *slot = Slot::Open(writer);
                Ok(result)
            }
            Err(error) => Err(failure(writer.give_up(error))),
        }
    }

    /// The view is read again too: nobody knows how far the failed call has come.
    fn reopen_writer(&self) -> tantivy::Result<Writer> {
        let writer = Writer::open(&self.dir)?;
        self.reload()?;
        Ok(writer)
    }

    /// Everything up to here is durable and visible when this returns.
    fn commit(&self, writer: &mut Writer, positions: &[IndexPosition]) -> tantivy::Result<()> {
        writer.commit(positions)?;
        self.reload()
    }

    fn housekeep(&self) -> Result<(), Error> {
        // A batch that is being written does all of this itself.
        let Some(slot) = self.writer.try_lock() else {
            return Ok(());
        };
        let Slot::Open(writer) = &*slot else {
            return Ok(());
        };
        let listed = self.index.searchable_segment_ids().map_err(failure)?;
        let view = self.view();
        let open = view.segments.iter();
        let open: Vec<_> = open.map(|segment| segment.reader.segment_id()).collect();
        if listed.len() == open.len() && listed.iter().all(|id| open.contains(id)) {
            return Ok(());
        }
        drop(view);
        self.reload().map_err(failure)?;
        writer.collect_garbage().map_err(failure)
    }
}

/// The positions of the last commit.
fn recorded(index: &tantivy::Index) -> tantivy::Result<Vec<IndexPosition>> {
    let payload = index.load_metas()?.payload;
    positions::decode(payload.as_deref())
        .ok_or_else(|| damaged_list("the positions do not match their checksum"))
}

/// Whether the list of segments matches its checksum; one that does not exist does.
fn is_list_intact(dir: &Path) -> std::io::Result<bool> {
    match std::fs::read(dir.join(META_FILE)) {
        Ok(list) => Ok(seal::is_intact(&list)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn damaged_list(comment: &str) -> TantivyError {
    let file = PathBuf::from(META_FILE);
    TantivyError::DataCorruption(DataCorruption::new(file, comment.to_owned()))
}

/// Everything here touches files or computes for milliseconds, so none of it runs on a thread
/// of the runtime.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Unavailable(error.to_string())),
    }
}

fn failure(error: TantivyError) -> Error {
    let text = error.to_string();
    if is_damage(&error) {
        Error::Unusable(text)
    } else {
        Error::Unavailable(text)
    }
}

/// Whether it is what the files say, rather than that they could not be read or written.
fn is_damage(error: &TantivyError) -> bool {
    match error {
        TantivyError::DataCorruption(_)
        | TantivyError::IncompatibleIndex(_)
        | TantivyError::SchemaError(_)
        | TantivyError::FieldNotFound(_)
        | TantivyError::DeserializeError(_)
        | TantivyError::OpenReadError(OpenReadError::IncompatibleIndex(_)) => true,
        TantivyError::OpenReadError(OpenReadError::IoError { io_error, .. })
        | TantivyError::IoError(io_error) => matches!(
            io_error.kind(),
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof
        ),
        _ => false,
    }
}

/// Adds what an operator needs to know about an index that cannot be opened.
fn cannot_open(dir: &Path, error: &TantivyError) -> Error {
    let place = dir.display();
    let is_incomplete = matches!(
        error,
        TantivyError::OpenReadError(OpenReadError::FileDoesNotExist(_))
    );
    if is_incomplete || is_damage(error) {
        Error::Unusable(format!(
            "{place} is damaged or of another version ({error}); remove this directory, the index can be built again from the store"
        ))
    } else {
        Error::Unavailable(format!("{place}: {error}"))
    }
}
