//! One process a data directory: an exclusive lock on a file that says who holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use chat_wire::time::Timestamp;

/// Name of the file in the data directory.
const FILE: &str = "chatd.lock";

/// Why a data directory is not ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Another process has it: which, and since when, as it has written down itself.
    #[error("in use by {0}")]
    Held(String),
    /// The lock file cannot be made or locked.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Holds the directory until it is dropped, or until the process ends in whatever way.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the directory, or says who has it.
    pub(crate) fn acquire(dir: &Path) -> Result<Self, Error> {
        // Not truncated: until the lock is ours the text is the holder's.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(FILE))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The holder may be about to write it.
                let _ = file.read_to_string(&mut text);
                return Err(Error::Held(match text.trim() {
                    "" => "another process".to_owned(),
                    text => text.to_owned(),
                }));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(
            file,
            "process {} since {}",
            std::process::id(),
            Timestamp::now()
        )?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_is_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::acquire(dir.path()).unwrap();
        let refused = Lock::acquire(dir.path()).unwrap_err().to_string();
        let pid = format!("process {} since", std::process::id());
        assert!(refused.contains(&pid), "{refused}");
        drop(first);
        Lock::acquire(dir.path()).unwrap();
    }
}
