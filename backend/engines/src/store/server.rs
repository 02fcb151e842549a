//! Which server a connection leads to, and whether it takes writes.

use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::{MySqlConnection, SqlSafeStr};

use super::failure::is_unknown;

/// What can be asked, by kind of server; whoever does not know a variable or a table is asked the next
/// one. Each answers the identity and the three switches that make a server read-only.
///
/// MySQL names itself by a UUID. MariaDB has none, and its `server_id` is 1 unless somebody changed it,
/// so it is known by where it runs and on which files. Either is another one to us after a restart:
/// what it does not have on disk is gone. All nodes of a Galera cluster are one, because each of them
/// has what any of them committed.
pub(super) const QUESTIONS: [&str; 4] = [
    "SELECT CAST(CONCAT(@@global.server_uuid, ' of ', @@hostname, ':', @@port, ', started ', \
     UNIX_TIMESTAMP() - VARIABLE_VALUE) AS CHAR), CAST(@@global.read_only AS CHAR), \
     CAST(@@global.super_read_only AS CHAR), CAST(@@global.innodb_read_only AS CHAR) \
     FROM performance_schema.global_status WHERE VARIABLE_NAME = 'Uptime'",
    "SELECT CAST(CONCAT(@@global.server_uuid, ' of ', @@hostname, ':', @@port) AS CHAR), \
     CAST(@@global.read_only AS CHAR), CAST(@@global.super_read_only AS CHAR), \
     CAST(@@global.innodb_read_only AS CHAR)",
    "SELECT CAST(CASE WHEN @@global.wsrep_on THEN CONCAT('cluster ', @@global.wsrep_cluster_name) \
     ELSE CONCAT(@@global.server_id, ' of ', @@hostname, ':', @@port, @@datadir, ', started ', \
     UNIX_TIMESTAMP() - VARIABLE_VALUE) END AS CHAR), CAST(@@global.read_only AS CHAR), '0', \
     CAST(@@global.innodb_read_only AS CHAR) \
     FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'UPTIME'",
    "SELECT CAST(CONCAT(@@global.server_id, ' of ', @@hostname, ':', @@port, @@datadir, ', started ', \
     UNIX_TIMESTAMP() - VARIABLE_VALUE) AS CHAR), CAST(@@global.read_only AS CHAR), '0', \
     CAST(@@global.innodb_read_only AS CHAR) \
     FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'UPTIME'",
];
/// In the order in which they are answered.
const SWITCHES: [&str; 3] = ["read_only", "super_read_only", "innodb_read_only"];

/// An identity, and the positions of the switches: as bytes, whatever the server's character sets are.
type Answer = (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>);

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Differs between two servers, and between two lives of one.
    pub(super) identity: String,
    /// The setting that makes it read-only.
    pub(super) read_only: Option<&'static str>,
}

/// Asks; `question` is the one that the last server could answer.
pub(super) async fn look(
    on: &mut MySqlConnection,
    question: &AtomicUsize,
) -> Result<Seen, sqlx::Error> {
    let first = question.load(Ordering::Relaxed);
    let mut tries = 0;
    loop {
        let asked = (first + tries) % QUESTIONS.len();
        let text = QUESTIONS[asked].into_sql_str();
        let answer: Result<Option<Answer>, _> = sqlx::query_as(text).fetch_optional(&mut *on).await;
        tries += 1;
        let last = tries == QUESTIONS.len();
        match answer {
            Ok(Some((identity, one, two, three))) => {
                question.store(asked, Ordering::Relaxed);
                return Ok(Seen {
                    identity: String::from_utf8_lossy(&identity).into_owned(),
                    read_only: switched([&one, &two, &three]),
                });
            }
            // The table may be switched off.
            Ok(None) if !last => {}
            Ok(None) => return Err(sqlx::Error::RowNotFound),
            Err(error) if !last && is_unknown(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The first switch that is on. Newer servers have more than two positions, and only one of them is off.
fn switched(positions: [&[u8]; 3]) -> Option<&'static str> {
    let on = |position: &[u8]| !matches!(position, b"0" | b"OFF");
    let at = positions.into_iter().position(on)?;
    Some(SWITCHES[at])
}

/// What to say of a server that takes no writes.
pub(super) fn refusal(setting: &str) -> String {
    format!(
        "the server is read-only ({setting} is on): it is a replica or was demoted, and its rows may be old; \
         DATABASE_URL has to lead to the primary"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_switch_is_enough_to_be_read_only() {
        assert_eq!(switched([b"0", b"0", b"OFF"]), None);
        assert_eq!(switched([b"1", b"0", b"0"]), Some("read_only"));
        assert_eq!(switched([b"0", b"ON", b"0"]), Some("super_read_only"));
        assert_eq!(switched([b"NO_LOCK", b"0", b"0"]), Some("read_only"));
        assert_eq!(switched([b"0", b"0", b"1"]), Some("innodb_read_only"));
    }
}
