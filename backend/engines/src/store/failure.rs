//! What the database's errors mean, in words that repeat no data.

use chat_core::port::store::Error;

/// A row with this key exists.
pub(super) const DUPLICATE_KEY: u16 = 1062;
/// The wait for a lock was longer than the session allows.
pub(super) const LOCK_TIMEOUT: u16 = 1205;
/// The server ended this transaction so that another one could go on.
pub(super) const DEADLOCK: u16 = 1213;
/// The lock is held, and the question was not to wait: MySQL's number; MariaDB has the one above for it.
pub(super) const LOCK_HELD: u16 = 3572;
/// The server knows no connection of this id.
pub(super) const NO_SUCH_CONNECTION: u16 = 1094;

/// The server knows no variable of this name.
pub(super) const UNKNOWN_VARIABLE: u16 = 1193;

/// Data that the schema can never hold: out of range, too long, not of the character set, or NULL. Only these,
/// and a key that exists, are the record's own fault; whatever else the server says is about the server, and the
/// record may be stored once that has changed.
const DATA: [u16; 6] = [1048, 1264, 1265, 1292, 1366, 1406];
/// The server takes no writes: by an option, within this transaction, as a whole, because InnoDB was started
/// so, or because the database was made so.
const READ_ONLY: [u16; 6] = [1290, 1792, 1836, 1874, 3906, 3989];
/// The statement is larger than `max_allowed_packet`. Ours are far smaller than its default.
const PACKET_TOO_LARGE: u16 = 1153;

/// Tells an error of the driver as one of the port.
pub(super) fn told(error: sqlx::Error) -> Error {
    match &error {
        sqlx::Error::Database(_) => match number(&error) {
            // The text of these repeats a key or a value: tokens and bodies have no place in a log.
            Some(DUPLICATE_KEY) => {
                Error::Refused("a row with this key exists (error 1062)".to_owned())
            }
            Some(code) if DATA.contains(&code) => {
                Error::Refused(format!("a value does not fit its column (error {code})"))
            }
            Some(code) if READ_ONLY.contains(&code) => {
                Error::Unavailable(format!("the server is read-only: {error}"))
            }
            Some(PACKET_TOO_LARGE) => Error::Unavailable(format!(
                "max_allowed_packet is too small for a batch: {error}"
            )),
            Some(1146 | 1054) => {
                Error::Unavailable("a table or column is missing: run `chatd migrate`".to_owned())
            }
            _ => Error::Unavailable(error.to_string()),
        },
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. } => Error::Corrupt(error.to_string()),
        // Whatever else happened, happened on the way; it may work later.
        _ => Error::Unavailable(error.to_string()),
    }
}

/// Whether the server says that it does not have what was asked about, or that we may not see it: an unknown
/// variable or table, or one that is switched off.
pub(super) fn is_unknown(error: &sqlx::Error) -> bool {
    matches!(
        number(error),
        Some(UNKNOWN_VARIABLE | 1109 | 1142 | 1146 | 1227 | 3167)
    )
}

/// Tells an error of an insert. After a look that found nothing, a row that is there all the same was
/// inserted by somebody else meanwhile: the next try will see it.
pub(super) fn told_insert(error: sqlx::Error, looked: bool) -> Error {
    if looked && number(&error) == Some(DUPLICATE_KEY) {
        return Error::Unavailable("another worker inserted the same row meanwhile".to_owned());
    }
    told(error)
}

/// The server's number of an error, where the server sent one.
pub(crate) fn number(error: &sqlx::Error) -> Option<u16> {
    let database = error.as_database_error()?;
    database
        .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
        .map(sqlx::mysql::MySqlDatabaseError::number)
}
