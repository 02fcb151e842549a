//! What a failed commit means: whether anything was appended, and whether the file can be believed still.

use std::sync::Arc;

use chat_core::port::log::Error;
use tokio::sync::watch;

/// Why the log can take nothing any more; `None` as long as it can.
pub(super) type Fault = Arc<watch::Sender<Option<String>>>;

/// What is known of a commit that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The transaction was taken back; the connection and the file are as before.
    RolledBack,
    /// It may have been committed or not; reading the file again tells.
    Unknown,
    /// The disk may have dropped what it had accepted, or the file is damaged. Reading it again would
    /// show the page cache and not the disk (as PostgreSQL learned in 2018), so it must not be trusted.
    Lost,
}

/// Result codes of SQLite, <https://sqlite.org/rescode.html>; the low byte is the family.
const PERM: u32 = 3;
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const NOMEM: u32 = 7;
const READONLY: u32 = 8;
const IOERR: u32 = 10;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const TOOBIG: u32 = 18;
const CONSTRAINT: u32 = 19;
const NOTADB: u32 = 26;
/// Writing failed, before the commit: the record of the commit is written last.
const IOERR_WRITE: u32 = IOERR | 3 << 8;
const IOERR_READ: u32 = IOERR | 1 << 8;
const IOERR_SHORT_READ: u32 = IOERR | 2 << 8;
const IOERR_FSYNC: u32 = IOERR | 4 << 8;
const IOERR_DIR_FSYNC: u32 = IOERR | 5 << 8;
const IOERR_CORRUPTFS: u32 = IOERR | 33 << 8;

impl Verdict {
    pub(super) fn of(error: &sqlx::Error) -> Self {
        let code = error
            .as_database_error()
            .and_then(|error| error.code()?.parse().ok());
        match code {
            Some(code) => Self::of_code(code),
            None => Self::Unknown,
        }
    }

    const fn of_code(code: u32) -> Self {
        match (code, code & 0xff) {
            (IOERR_FSYNC | IOERR_DIR_FSYNC | IOERR_CORRUPTFS, _)
            | (IOERR_READ | IOERR_SHORT_READ, _)
            | (_, CORRUPT | NOTADB) => Self::Lost,
            (_, FULL | BUSY | LOCKED | NOMEM | PERM | READONLY | TOOBIG | CONSTRAINT) => {
                Self::RolledBack
            }
            (IOERR_WRITE, _) | (_, _) => Self::Unknown,
        }
    }
}

/// The same error for everybody who waited for one commit.
pub(super) fn same(error: &Error) -> Error {
    match error {
        Error::NotAppended(text) => Error::NotAppended(text.clone()),
        Error::Refused(text) => Error::Refused(text.clone()),
        other => Error::Unavailable(other.to_string()),
    }
}

/// Sounds when it is dropped before it is disarmed: the task that holds it has ended unexpectedly.
pub(super) struct Alarm(Option<Fault>);

impl Alarm {
    pub(super) const fn new(fault: Fault) -> Self {
        Self(Some(fault))
    }

    /// The end is as it should be.
    pub(super) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let Some(fault) = &self.0 else { return };
        fault.send_if_modified(|fault| {
            let first = fault.is_none();
            fault.get_or_insert_with(|| "the task that writes log.db has ended".to_owned());
            first
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_fsync_is_never_continued_and_a_full_disk_is() {
        assert_eq!(Verdict::of_code(1_034), Verdict::Lost);
        assert_eq!(Verdict::of_code(11), Verdict::Lost);
        assert_eq!(Verdict::of_code(13), Verdict::RolledBack);
        assert_eq!(Verdict::of_code(5), Verdict::RolledBack);
        assert_eq!(Verdict::of_code(778), Verdict::Unknown);
        assert_eq!(Verdict::of(&sqlx::Error::WorkerCrashed), Verdict::Unknown);
    }

    #[test]
    fn a_writer_that_ends_by_itself_raises_the_alarm() {
        let fault: Fault = Arc::new(watch::Sender::new(None));
        Alarm::new(Arc::clone(&fault)).disarm();
        assert_eq!(*fault.borrow(), None);
        drop(Alarm::new(Arc::clone(&fault)));
        assert!(fault.borrow().is_some());
    }
}
