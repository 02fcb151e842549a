//! The directory of one writer, which can be fenced: from then on that writer changes nothing in it.
//!
//! Tantivy does not join its background threads when a writer is dropped. It releases the lock of
//! the directory, while a merge goes on: the merge registers its files in `.managed.json`, creates
//! them, and may even replace `meta.json`, the list of segments, or delete files that the list on disk
//! still names. The next writer can lose its temporary files, its commits or its segments to such a
//! thread. Waiting for the merge is no answer either: after a failed commit, the end of a merge
//! publishes half of that commit, the additions without the deletions.
//!
//! Each writer therefore has a directory handle of its own, which holds the lock. Fencing waits for
//! the change in progress, refuses every later one, and only then releases the lock.

use std::fs::read_dir;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard};
use tantivy::TantivyError;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    Directory, DirectoryLock, FileHandle, INDEX_WRITER_LOCK, Lock, MmapDirectory, WatchCallback,
    WatchHandle, WritePtr,
};

use super::META_FILE;
use super::seal::seal;

/// The directory of one writer. Clones share the lock and the fence.
#[derive(Clone)]
pub(super) struct FencedDirectory {
    directory: MmapDirectory,
    /// `None` once it is fenced. Every change holds a read guard while it is made.
    lock: Arc<RwLock<Option<DirectoryLock>>>,
}

impl FencedDirectory {
    /// Takes the lock of the directory, and removes the files that a killed process was about to
    /// rename into place: tantivy gives them random names and forgets them.
    pub(super) fn acquire(path: &Path) -> tantivy::Result<Self> {
        let directory = MmapDirectory::open(path)?;
        let lock = directory
            .acquire_lock(&INDEX_WRITER_LOCK)
            .map_err(|error| {
                let holder = "another writer has the directory";
                TantivyError::LockFailure(error, Some(holder.to_owned()))
            })?;
        remove_temporary_files(path)?;
        // The last commit of the former writer may have failed between the rename and this sync.
        directory.sync_directory()?;
        Ok(Self {
            directory,
            lock: Arc::new(RwLock::new(Some(lock))),
        })
    }

    /// Releases the lock. When this returns, no thread of this writer changes the directory any
    /// more, except for the contents of files that it has open and that no commit will ever name.
    pub(super) fn fence(&self) {
        self.lock.write().take();
    }

    /// Allows one change, for as long as the guard lives.
    fn permit(&self) -> io::Result<RwLockReadGuard<'_, Option<DirectoryLock>>> {
        let permit = self.lock.read();
        match *permit {
            Some(_) => Ok(permit),
            None => Err(io::Error::other("this writer of the index is fenced")),
        }
    }

    /// A writer whose commit has failed does not know what is on disk. It must not publish the end
    /// of a merge on top of that, so it is fenced on the thread that does both.
    fn fence_after<T>(&self, committed: io::Result<T>) -> io::Result<T> {
        if committed.is_err() {
            self.fence();
        }
        committed
    }
}

impl std::fmt::Debug for FencedDirectory {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("FencedDirectory");
        debug.field("directory", &self.directory);
        debug.finish_non_exhaustive()
    }
}

impl Directory for FencedDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.directory.get_file_handle(path)
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        let _permit = self.permit().map_err(|error| DeleteError::IoError {
            io_error: Arc::new(error),
            filepath: path.to_owned(),
        })?;
        self.directory.delete(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.directory.exists(path)
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        let refused = |error| OpenWriteError::wrap_io_error(error, path.to_owned());
        let _permit = self.permit().map_err(refused)?;
        self.directory.open_write(path)
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        self.directory.atomic_read(path)
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        let permit = self.permit()?;
        if path != Path::new(META_FILE) {
            return self.directory.atomic_write(path, data);
        }
        let written = self.directory.atomic_write(path, &seal(data));
        drop(permit);
        self.fence_after(written)
    }

    fn sync_directory(&self) -> io::Result<()> {
        let permit = self.permit()?;
        let synced = self.directory.sync_directory();
        drop(permit);
        self.fence_after(synced)
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        // Not held while waiting for the lock: the holder may need a permit to get on.
        drop(self.permit().map_err(LockError::wrap_io_error)?);
        if lock.filepath == INDEX_WRITER_LOCK.filepath {
            // This handle has it, for as long as it is not fenced.
            return Ok(DirectoryLock::from(Box::new(())));
        }
        self.directory.acquire_lock(lock)
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        self.directory.watch(callback)
    }
}

fn remove_temporary_files(path: &Path) -> io::Result<()> {
    for entry in read_dir(path)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(".tmp") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_fenced_directory_is_read_and_not_changed() {
        let dir = tempfile::tempdir().unwrap();
        let former = FencedDirectory::acquire(dir.path()).unwrap();
        let (list, data) = (Path::new(META_FILE), Path::new("data"));
        former.atomic_write(list, b"former").unwrap();
        former.open_write(data).unwrap().flush().unwrap();
        assert!(FencedDirectory::acquire(dir.path()).is_err());

        // A merge has a clone of it.
        let merge = former.clone();
        former.fence();
        let latter = FencedDirectory::acquire(dir.path()).unwrap();
        latter.atomic_write(list, b"latter").unwrap();
        merge.atomic_write(list, b"former").unwrap_err();
        assert!(merge.open_write(Path::new("more")).is_err());
        merge.delete(data).unwrap_err();
        merge.sync_directory().unwrap_err();
        assert!(merge.acquire_lock(&INDEX_WRITER_LOCK).is_err());
        assert_eq!(merge.atomic_read(list).unwrap(), seal(b"latter"));
        assert!(merge.exists(data).unwrap());
    }

    #[test]
    fn fencing_waits_for_the_change_in_progress() {
        let dir = tempfile::tempdir().unwrap();
        let directory = FencedDirectory::acquire(dir.path()).unwrap();
        let permit = directory.permit().unwrap();
        assert!(directory.lock.try_write().is_none());
        drop(permit);
        directory.fence();
        assert!(directory.permit().is_err());
    }

    #[test]
    fn a_failed_commit_fences_its_writer() {
        let dir = tempfile::tempdir().unwrap();
        let directory = FencedDirectory::acquire(dir.path()).unwrap();
        // A file cannot be renamed over a directory.
        std::fs::create_dir(dir.path().join(META_FILE)).unwrap();
        directory.atomic_write(Path::new("other"), b"").unwrap();
        directory
            .atomic_write(Path::new(META_FILE), b"")
            .unwrap_err();
        directory.atomic_write(Path::new("other"), b"").unwrap_err();
        FencedDirectory::acquire(dir.path()).unwrap();
    }
}
