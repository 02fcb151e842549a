//! What operators need of the store: tallies, what changed, shared notes, decisions about dead letters.

use std::sync::LazyLock;

use chat_core::port::log::PartitionId;
use chat_core::port::store::{ApplicationRow, ChatKey, ChatRow, Error, LetterRow, Note, Tally};
use chat_wire::ids::AppToken;
use chat_wire::time::Timestamp;
use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::{AssertSqlSafe, MySqlConnection, SqlSafeStr};

use super::bulk::{Bulk, Lookup};
use super::failure::{DEADLOCK, number, told};
use super::read::{all, many, sorted};
use super::rows::{self, APPLICATION, CHAT, CHAT_COLUMNS, LETTER, Values};

type Result<T> = std::result::Result<T, Error>;

/// Rows, live rows and highest number of one chat; the key is that of `r`. A statement is answered
/// from one moment, so a row and its tally belong together.
const OF_CHAT: &str = "(SELECT COUNT(*) FROM messages m WHERE m.application_token = r.application_token \
     AND m.chat_number = r.number), \
     (SELECT COUNT(*) FROM messages m WHERE m.application_token = r.application_token \
     AND m.chat_number = r.number AND m.state = 0), \
     (SELECT CAST(COALESCE(MAX(m.number), 0) AS UNSIGNED) FROM messages m \
     WHERE m.application_token = r.application_token AND m.chat_number = r.number)";
/// The same of the chats of an application.
const OF_APPLICATION: &str = "(SELECT COUNT(*) FROM chats c WHERE c.application_token = r.token), \
     (SELECT CAST(COALESCE(MAX(c.number), 0) AS UNSIGNED) FROM chats c \
     WHERE c.application_token = r.token)";

static CHATS: LazyLock<Lookup> = LazyLock::new(|| {
    let head = format!(
        "SELECT {}, {OF_CHAT} FROM chats r FORCE INDEX (PRIMARY) WHERE ",
        of_r(CHAT)
    );
    Lookup::new(&head, "(r.application_token = ? AND r.number = ?)", "")
});
static APPLICATIONS: LazyLock<Lookup> = LazyLock::new(|| {
    let head = format!(
        "SELECT {}, {OF_APPLICATION} FROM applications r FORCE INDEX (PRIMARY) WHERE ",
        of_r(APPLICATION)
    );
    Lookup::new(&head, "r.token = ?", "")
});
/// What stands is replaced only where it is somebody's intention: this order's own, or a stale one.
/// MySQL assigns from left to right and reads what it has assigned: a row that may be replaced has
/// the new claim from then on, and its fate, which also decides, comes last.
static DECIDE: LazyLock<Bulk> = LazyLock::new(|| {
    let head = format!("INSERT INTO dead_letters ({LETTER}) VALUES ");
    let may = "fate = 0 AND (claim = VALUES(claim) OR decided_at < ?)";
    let sets: Vec<String> = ["claim", "decided_at", "reason", "fate"]
        .into_iter()
        .map(|name| format!("{name} = IF({may}, VALUES({name}), {name})"))
        .collect();
    let tail = format!(" ON DUPLICATE KEY UPDATE {}", sets.join(", "));
    Bulk::new(&head, "(?,?,?,?,?,?,?,?)", &tail)
});
/// Times that a statement is said which the server ends for a deadlock. Each time somebody else went on.
const DECIDE_TRIES: u32 = 20;
/// More than a decision's fixed columns need in a statement.
const LETTER_BYTES: usize = 100;

fn of_r(columns: &str) -> String {
    let columns: Vec<String> = columns
        .split(", ")
        .map(|name| format!("r.{}", name.trim()))
        .collect();
    columns.join(", ")
}

/// Chats with what their messages say.
pub(super) async fn chat_tallies(
    on: &mut MySqlConnection,
    keys: &[ChatKey],
) -> Result<Vec<(ChatRow, Tally)>> {
    let bind = |values: &mut Values, key: &ChatKey| {
        values.chat_key(*key);
    };
    many(on, &CHATS, &sorted(keys), bind, |row| {
        Ok((rows::chat(row)?, tally_of(row, CHAT_COLUMNS)?))
    })
    .await
}

/// Applications with what their chats say.
pub(super) async fn application_tallies(
    on: &mut MySqlConnection,
    tokens: &[AppToken],
) -> Result<Vec<(ApplicationRow, Tally)>> {
    let bind = |values: &mut Values, token: &AppToken| {
        values.bytes(token.as_bytes());
    };
    many(on, &APPLICATIONS, &sorted(tokens), bind, |row| {
        let count = signed(row, 7)?;
        let tally = Tally {
            rows: count,
            live: count,
            highest: rows::number(row, 8)?,
        };
        Ok((rows::application(row)?, tally))
    })
    .await
}

/// What the messages of one chat say.
pub(super) async fn tally(on: &mut MySqlConnection, chat: ChatKey) -> Result<Tally> {
    let text = "SELECT COUNT(*), COUNT(CASE WHEN state = 0 THEN 1 END), \
                CAST(COALESCE(MAX(number), 0) AS UNSIGNED) FROM messages FORCE INDEX (PRIMARY) \
                WHERE application_token = ? AND chat_number = ?";
    let mut values = Values::default();
    values.chat_key(chat);
    let found = all(on, text.into_sql_str(), values, |row| tally_of(row, 0)).await?;
    Ok(found.first().copied().unwrap_or_default())
}

/// What the chats of one application say.
pub(super) async fn tally_chats(on: &mut MySqlConnection, token: AppToken) -> Result<Tally> {
    let text = "SELECT COUNT(*), COUNT(*), CAST(COALESCE(MAX(number), 0) AS UNSIGNED) \
                FROM chats WHERE application_token = ?";
    let mut values = Values::default();
    values.bytes(token.as_bytes());
    let found = all(on, text.into_sql_str(), values, |row| tally_of(row, 0)).await?;
    Ok(found.first().copied().unwrap_or_default())
}

fn tally_of(row: &MySqlRow, at: usize) -> Result<Tally> {
    Ok(Tally {
        rows: signed(row, at)?,
        live: signed(row, at + 1)?,
        highest: rows::number(row, at + 2)?,
    })
}

/// A count, which MySQL tells as a signed number.
fn signed(row: &MySqlRow, column: usize) -> Result<u64> {
    let count: i64 = rows::get(row, column)?;
    u64::try_from(count).map_err(|_| Error::Corrupt("a count is negative".into()))
}

/// Number and revision of live messages.
pub(super) async fn revisions(
    on: &mut MySqlConnection,
    chat: ChatKey,
    after: u32,
    limit: u32,
) -> Result<Vec<(u32, u64)>> {
    let text = "SELECT number, revision FROM messages FORCE INDEX (PRIMARY) \
                WHERE application_token = ? AND chat_number = ? AND number > ? AND state = 0 \
                ORDER BY number LIMIT ?";
    let mut values = Values::default();
    values.chat_key(chat).number(after).number(limit);
    all(on, text.into_sql_str(), values, |row| {
        Ok((rows::number(row, 0)?, rows::get(row, 1)?))
    })
    .await
}

/// Chats whose row was written lately.
pub(super) async fn changed_chats(
    on: &mut MySqlConnection,
    minute: u32,
    after: Option<ChatKey>,
    limit: u32,
) -> Result<Vec<(u32, ChatKey)>> {
    let text = "SELECT application_token, number, changed FROM chats FORCE INDEX (chats_changed) \
                WHERE changed >= ? AND (changed > ? OR application_token > ? \
                OR (application_token = ? AND number > ?)) \
                ORDER BY changed, application_token, number LIMIT ?";
    // No chat has the number 0, so without an `after` this is before the first one.
    let (token, number) = after.map_or(([0; 16], 0), |after| {
        (*after.token.as_bytes(), after.chat.get())
    });
    let mut values = Values::default();
    values
        .number(minute)
        .number(minute)
        .bytes(&token)
        .bytes(&token)
        .number(number)
        .number(limit);
    all(on, text.into_sql_str(), values, |row| {
        Ok((rows::number(row, 2)?, rows::chat_key(row)?))
    })
    .await
}

/// A shared text.
pub(super) async fn note(on: &mut MySqlConnection, name: &str) -> Result<Option<Note>> {
    let text = "SELECT version, text FROM notes WHERE name = ?";
    let mut values = Values::default();
    values.text(Some(name));
    let found = all(on, text.into_sql_str(), values, |row| {
        Ok(Note {
            version: rows::get(row, 0)?,
            text: rows::text(row, 1)?,
        })
    })
    .await?;
    Ok(found.into_iter().next())
}

/// Puts a shared text over the version that was read.
pub(super) async fn put_note(
    on: &mut MySqlConnection,
    name: &str,
    version: u64,
    text: &str,
) -> Result<bool> {
    let mut values = Values::default();
    let statement = if version == 0 {
        values.text(Some(name)).text(Some(text));
        "INSERT INTO notes (name, version, text) VALUES (?, 1, ?) \
         ON DUPLICATE KEY UPDATE version = version"
    } else {
        values.text(Some(text)).text(Some(name)).wide(version);
        "UPDATE notes SET version = version + 1, text = ? WHERE name = ? AND version = ?"
    };
    let done = sqlx::query_with::<_, MySqlArguments>(statement.into_sql_str(), values.into_inner())
        .execute(&mut *on)
        .await
        .map_err(told)?;
    // The driver reports rows that were found, so an insert that met a row is told as one row too:
    // then the text alone says whose it is.
    if version == 0 {
        let now = note(on, name).await?;
        return Ok(now.is_some_and(|now| now.version == 1 && now.text == text));
    }
    Ok(done.rows_affected() == 1)
}

/// Decisions about some letters of a partition.
pub(super) async fn letters(
    on: &mut MySqlConnection,
    partition: PartitionId,
    epoch: u32,
    from: u64,
    through: u64,
) -> Result<Vec<LetterRow>> {
    let text = format!(
        "SELECT {LETTER} FROM dead_letters WHERE topic = ? AND partition_index = ? AND epoch = ? \
         AND log_offset BETWEEN ? AND ? ORDER BY log_offset"
    );
    let mut values = Values::default();
    values
        .text(Some(partition.topic.name()))
        .number(partition.index)
        .number(epoch)
        .wide(from)
        .wide(through);
    all(on, AssertSqlSafe(text).into_sql_str(), values, rows::letter).await
}

/// Writes decisions where nothing stands in their way. Two orders about the same letters lock their
/// rows in one order, of the key; where the server sees a deadlock all the same, the statement, which
/// is a transaction of its own and may be said twice, is said again.
pub(super) async fn decide(
    on: &mut MySqlConnection,
    letters: &[LetterRow],
    stale: Timestamp,
) -> Result<()> {
    let bytes = |letter: &LetterRow| LETTER_BYTES + letter.reason.len();
    let mut letters: Vec<&LetterRow> = letters.iter().collect();
    letters.sort_unstable_by_key(|letter| {
        (
            letter.partition.topic.name(),
            letter.partition.index,
            letter.epoch,
            letter.offset,
        )
    });
    let mut rest = letters.as_slice();
    let mut tries = DECIDE_TRIES;
    while let Some((text, size, bytes)) =
        DECIDE.first(rest.iter().map(|letter| bytes(letter)), rest.len())
    {
        let (these, others) = rest.split_at(size);
        let mut values = Values::with_capacity(8 * size + 4, bytes);
        for letter in these {
            values.letter(letter);
        }
        for _ in 0..4 {
            values.time(Some(stale));
        }
        let said = sqlx::query_with::<_, MySqlArguments>(text, values.into_inner())
            .execute(&mut *on)
            .await;
        match said {
            Err(error) if number(&error) == Some(DEADLOCK) && tries > 1 => tries -= 1,
            Err(error) => return Err(told(error)),
            Ok(_) => {
                rest = others;
                tries = DECIDE_TRIES;
            }
        }
    }
    Ok(())
}

/// How many letters do not wait any more.
pub(super) async fn letters_decided(
    on: &mut MySqlConnection,
    partition: PartitionId,
    epoch: u32,
    from: u64,
) -> Result<u64> {
    let text = "SELECT COUNT(*) FROM dead_letters WHERE topic = ? AND partition_index = ? \
                AND epoch = ? AND log_offset >= ? AND fate <> 0";
    let mut values = Values::default();
    values
        .text(Some(partition.topic.name()))
        .number(partition.index)
        .number(epoch)
        .wide(from);
    let found = all(on, text.into_sql_str(), values, |row| signed(row, 0)).await?;
    Ok(found.first().copied().unwrap_or(0))
}
