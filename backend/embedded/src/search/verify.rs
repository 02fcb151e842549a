//! The checksums of an index that no process has open for writing.

use std::path::{Path, PathBuf};

use chat_core::port::search::Error;
use tantivy::directory::MmapDirectory;
use tantivy::directory::error::OpenReadError;
use tantivy::{IndexReader, ReloadPolicy, TantivyError};

use super::{META_FILE, blocking, failure, is_damage, is_list_intact, positions};

/// Reads every file of the index in `dir` and compares it with its checksum. Returns those that are
/// damaged or missing; a directory that does not exist has none.
///
/// The cost is that of reading the index from the disk once: the CRC-32 itself runs at several GB/s.
///
/// # Errors
/// [`Error::Unavailable`] when the files cannot be read.
pub async fn verify(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let dir = dir.to_owned();
    blocking(move || find_damage(&dir).map_err(failure)).await
}

/// How many bytes the files in `dir` have.
pub(crate) fn size_bytes(dir: &Path) -> std::io::Result<u64> {
    if !dir.exists() {
        return Ok(0);
    }
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

fn find_damage(dir: &Path) -> tantivy::Result<Vec<PathBuf>> {
    if !dir.join(META_FILE).exists() {
        return Ok(find_orphans(dir)?.into_iter().collect());
    }
    if !is_list_intact(dir)? {
        return Ok(vec![dir.join(META_FILE)]);
    }
    let index = match tantivy::Index::open(MmapDirectory::open(dir)?) {
        Ok(index) => index,
        Err(error) if is_damage(&error) => return Ok(vec![dir.join(META_FILE)]),
        Err(error) => return Err(error),
    };
    let metas = index.load_metas()?;
    let mut damaged = Vec::new();
    if positions::decode(metas.payload.as_deref()).is_none() {
        damaged.push(dir.join(META_FILE));
    }
    let mut files: Vec<PathBuf> = metas.list_segment_files().into_iter().collect();
    files.sort_unstable();
    // Segments without deletions have no file of them.
    for file in files.into_iter().filter(|file| dir.join(file).exists()) {
        match index.directory().validate_checksum(&file) {
            Ok(true) => {}
            // A file whose footer cannot be read is an error of the second kind.
            Ok(false)
            | Err(OpenReadError::IncompatibleIndex(_) | OpenReadError::IoError { .. }) => {
                damaged.push(dir.join(file));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if damaged.is_empty() {
        damaged.extend(find_missing(dir, &index)?);
    }
    Ok(damaged)
}

/// Segments without the list of segments.
fn find_orphans(dir: &Path) -> std::io::Result<Option<PathBuf>> {
    if !dir.exists() {
        return Ok(None);
    }
    for entry in std::fs::read_dir(dir)? {
        if entry?.path().extension().is_some_and(|kind| kind == "idx") {
            return Ok(Some(dir.join(META_FILE)));
        }
    }
    Ok(None)
}

/// Opens what searches open.
fn find_missing(dir: &Path, index: &tantivy::Index) -> tantivy::Result<Option<PathBuf>> {
    let manual = ReloadPolicy::Manual;
    let opened: tantivy::Result<IndexReader> =
        index.reader_builder().reload_policy(manual).try_into();
    match opened {
        Ok(_) => Ok(None),
        Err(TantivyError::OpenReadError(OpenReadError::FileDoesNotExist(file))) => {
            Ok(Some(dir.join(file)))
        }
        Err(error) if is_damage(&error) => Ok(Some(dir.join(META_FILE))),
        Err(error) => Err(error),
    }
}
