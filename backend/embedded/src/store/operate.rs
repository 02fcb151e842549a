//! What operators need of the store: tallies, what changed, shared notes, decisions about dead letters.

use std::sync::LazyLock;

use chat_core::port::log::PartitionId;
use chat_core::port::store::{ApplicationRow, ChatKey, ChatRow, Error, LetterRow, Note, Tally};
use chat_wire::ids::AppToken;
use chat_wire::time::Timestamp;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, SqlSafeStr, SqliteConnection};

use super::read::{all, many, one, sorted};
use super::rows::{self, APPLICATION, CHAT, CHAT_COLUMNS, Counted, LETTER, NOTE, Values, told};
use super::sums::{self, fate_code};
use crate::sqlite::Bulk;

type Result<T> = std::result::Result<T, Error>;

/// Rows, live rows and highest number of one chat; the key is that of `r`. SQLite answers a statement
/// from one moment, so a row and its tally belong together.
const OF_CHAT: &str = "(SELECT count(*) FROM messages m WHERE m.application_token = r.application_token \
     AND m.chat_number = r.number), \
     (SELECT count(*) FROM messages m WHERE m.application_token = r.application_token \
     AND m.chat_number = r.number AND m.state = 0), \
     (SELECT coalesce(max(m.number), 0) FROM messages m \
     WHERE m.application_token = r.application_token AND m.chat_number = r.number)";
/// The same of the chats of an application.
const OF_APPLICATION: &str = "(SELECT count(*) FROM chats c WHERE c.application_token = r.token), \
     (SELECT coalesce(max(c.number), 0) FROM chats c WHERE c.application_token = r.token)";

static CHATS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "WITH wanted(t, n) AS (VALUES ",
        "(?,?)",
        &format!(
            ") SELECT {}, {OF_CHAT} FROM wanted w CROSS JOIN chats r \
             ON r.application_token = w.t AND r.number = w.n",
            of_r(CHAT)
        ),
    )
});
static APPLICATIONS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "WITH wanted(t) AS (VALUES ",
        "(?)",
        &format!(
            ") SELECT {}, {OF_APPLICATION} FROM wanted w CROSS JOIN applications r ON r.token = w.t",
            of_r(APPLICATION)
        ),
    )
});
/// What stands is replaced only where it is somebody's intention: this order's own, or a stale one.
static DECIDE: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        &format!("WITH given({LETTER}, stale) AS (VALUES "),
        "(?,?,?,?,?,?,?,?,?,?)",
        &format!(
            ") INSERT INTO dead_letters ({LETTER}) SELECT {LETTER} FROM given WHERE NOT EXISTS \
             (SELECT 1 FROM dead_letters d WHERE d.topic = given.topic \
             AND d.partition = given.partition AND d.epoch = given.epoch \
             AND d.log_offset = given.log_offset AND NOT (d.fate = 0 \
             AND (d.claim = given.claim OR d.decided_at < given.stale))) \
             ON CONFLICT (topic, partition, epoch, log_offset) DO UPDATE SET fate = excluded.fate, \
             claim = excluded.claim, decided_at = excluded.decided_at, reason = excluded.reason, \
             checksum = excluded.checksum"
        ),
    )
});

fn of_r(columns: &str) -> String {
    let columns: Vec<String> = columns
        .split(", ")
        .map(|name| format!("r.{}", name.trim()))
        .collect();
    columns.join(", ")
}

/// Chats with what their messages say.
pub(super) async fn chat_tallies(
    on: &mut SqliteConnection,
    keys: &[ChatKey],
) -> Result<Vec<(ChatRow, Tally)>> {
    let bind = |values: &mut Values, key: &ChatKey| {
        values.chat_key(*key);
    };
    many(on, &CHATS, &sorted(keys), bind, |row| {
        let tally = Tally {
            rows: rows::wide(row, CHAT_COLUMNS)?,
            live: rows::wide(row, CHAT_COLUMNS + 1)?,
            highest: rows::number(row, CHAT_COLUMNS + 2)?,
        };
        // As it stands there: whoever asks wants to know where row and tally differ.
        Ok((rows::chat(row)?.row, tally))
    })
    .await
}

/// Applications with what their chats say.
pub(super) async fn application_tallies(
    on: &mut SqliteConnection,
    tokens: &[AppToken],
) -> Result<Vec<(ApplicationRow, Tally)>> {
    let bind = |values: &mut Values, token: &AppToken| {
        values.bytes(token.as_bytes());
    };
    many(on, &APPLICATIONS, &sorted(tokens), bind, |row| {
        let count = rows::wide(row, 9)?;
        let tally = Tally {
            rows: count,
            live: count,
            highest: rows::number(row, 10)?,
        };
        Ok((rows::application(row)?.row, tally))
    })
    .await
}

/// How many chats an application counts, where that can be believed, and how many it has.
pub(super) async fn application_counts(
    on: &mut SqliteConnection,
    token: AppToken,
) -> Result<Option<(u64, u64)>> {
    let bind = |values: &mut Values, token: &AppToken| {
        values.bytes(token.as_bytes());
    };
    let found = many(on, &APPLICATIONS, &[token], bind, |row| {
        Ok((rows::application(row)?, rows::wide(row, 9)?))
    })
    .await?;
    let believed = found.into_iter().filter(|(found, _)| found.sound);
    let counts =
        |(found, rows): (Counted<ApplicationRow>, u64)| (u64::from(found.row.chats_count), rows);
    Ok(believed.map(counts).next())
}

/// What the messages of one chat say.
pub(super) async fn tally(on: &mut SqliteConnection, chat: ChatKey) -> Result<Tally> {
    let text = "SELECT count(*), coalesce(sum(state = 0), 0), coalesce(max(number), 0) \
                FROM messages WHERE application_token = ? AND chat_number = ?";
    let mut values = Values::with_capacity(2);
    values.chat_key(chat);
    let found = one(on, text.into_sql_str(), values, tally_of).await?;
    Ok(found.unwrap_or_default())
}

/// What the chats of one application say.
pub(super) async fn tally_chats(on: &mut SqliteConnection, token: AppToken) -> Result<Tally> {
    let text = "SELECT count(*), count(*), coalesce(max(number), 0) \
                FROM chats WHERE application_token = ?";
    let mut values = Values::with_capacity(1);
    values.bytes(token.as_bytes());
    let found = one(on, text.into_sql_str(), values, tally_of).await?;
    Ok(found.unwrap_or_default())
}

fn tally_of(row: &SqliteRow) -> Result<Tally> {
    Ok(Tally {
        rows: rows::wide(row, 0)?,
        live: rows::wide(row, 1)?,
        highest: rows::number(row, 2)?,
    })
}

/// Number and revision of live messages.
pub(super) async fn revisions(
    on: &mut SqliteConnection,
    chat: ChatKey,
    after: u32,
    limit: u32,
) -> Result<Vec<(u32, u64)>> {
    let text = "SELECT number, revision FROM messages WHERE application_token = ? \
                AND chat_number = ? AND number > ? AND state = 0 ORDER BY number LIMIT ?";
    let mut values = Values::with_capacity(4);
    values.chat_key(chat).int(after).int(limit);
    all(on, text.into_sql_str(), values, |row| {
        Ok((rows::number(row, 0)?, rows::wide(row, 1)?))
    })
    .await
}

/// Chats whose row was written lately.
pub(super) async fn changed_chats(
    on: &mut SqliteConnection,
    minute: u32,
    after: Option<ChatKey>,
    limit: u32,
) -> Result<Vec<(u32, ChatKey)>> {
    let text = "SELECT application_token, number, changed FROM chats \
                WHERE (changed, application_token, number) > (?, ?, ?) \
                ORDER BY changed, application_token, number LIMIT ?";
    let mut values = Values::with_capacity(4);
    values.int(minute);
    match after {
        Some(after) => values.chat_key(after),
        // No chat has the number 0, so this is before the first one.
        None => values.bytes(&[0; 16]).int(0),
    };
    values.int(limit);
    all(on, text.into_sql_str(), values, |row| {
        Ok((rows::number(row, 2)?, rows::chat_key(row)?))
    })
    .await
}

/// A shared text.
pub(super) async fn note(on: &mut SqliteConnection, name: &str) -> Result<Option<Note>> {
    let text = format!("SELECT {NOTE} FROM notes WHERE name = ?");
    let mut values = Values::with_capacity(1);
    values.text(Some(name.to_owned()));
    let found = one(on, AssertSqlSafe(text).into_sql_str(), values, rows::note).await?;
    Ok(found.map(|(_, note)| note))
}

/// Puts a shared text over the version that was read.
pub(super) async fn put_note(
    on: &mut SqliteConnection,
    name: &str,
    version: u64,
    text: &str,
) -> Result<bool> {
    let mut values = Values::with_capacity(3);
    let statement = if version == 0 {
        values
            .text(Some(name.to_owned()))
            .text(Some(text.to_owned()))
            .int(sums::note(name, 1, text));
        "INSERT INTO notes (name, version, text, checksum) VALUES (?, 1, ?, ?) \
         ON CONFLICT DO NOTHING"
    } else {
        values
            .text(Some(text.to_owned()))
            .int(sums::note(name, version + 1, text))
            .text(Some(name.to_owned()))
            .wide(version)?;
        "UPDATE notes SET version = version + 1, text = ?, checksum = ? \
         WHERE name = ? AND version = ?"
    };
    let done =
        sqlx::query_with::<_, SqliteArguments>(statement.into_sql_str(), values.into_inner())
            .execute(on)
            .await
            .map_err(told)?;
    Ok(done.rows_affected() == 1)
}

/// Decisions about some letters of a partition.
pub(super) async fn letters(
    on: &mut SqliteConnection,
    partition: PartitionId,
    epoch: u32,
    from: u64,
    through: u64,
) -> Result<Vec<LetterRow>> {
    let text = format!(
        "SELECT {LETTER} FROM dead_letters WHERE topic = ? AND partition = ? AND epoch = ? \
         AND log_offset BETWEEN ? AND ? ORDER BY log_offset"
    );
    let mut values = Values::with_capacity(5);
    values
        .text(Some(partition.topic.name().to_owned()))
        .int(partition.index)
        .int(epoch)
        .wide(from)?
        .wide(through)?;
    all(on, AssertSqlSafe(text).into_sql_str(), values, rows::letter).await
}

/// Writes decisions where nothing stands in their way.
pub(super) async fn decide(
    on: &mut SqliteConnection,
    letters: &[LetterRow],
    stale: Timestamp,
) -> Result<()> {
    for (text, range) in DECIDE.cut(letters.len()) {
        let mut values = Values::with_capacity(10 * range.len());
        for letter in &letters[range] {
            values.letter(letter)?.time(Some(stale));
        }
        sqlx::query_with::<_, SqliteArguments>(text, values.into_inner())
            .execute(&mut *on)
            .await
            .map_err(told)?;
    }
    Ok(())
}

/// How many letters do not wait any more.
pub(super) async fn letters_decided(
    on: &mut SqliteConnection,
    partition: PartitionId,
    epoch: u32,
    from: u64,
) -> Result<u64> {
    let text = "SELECT count(*) FROM dead_letters WHERE topic = ? AND partition = ? \
                AND epoch = ? AND log_offset >= ? AND fate <> 0";
    let mut values = Values::with_capacity(4);
    values
        .text(Some(partition.topic.name().to_owned()))
        .int(partition.index)
        .int(epoch)
        .wide(from)?;
    let found = one(on, text.into_sql_str(), values, |row| rows::wide(row, 0)).await?;
    Ok(found.unwrap_or(0))
}

impl Values {
    /// The columns of [`LETTER`].
    fn letter(&mut self, row: &LetterRow) -> Result<&mut Self> {
        Ok(self
            .text(Some(row.partition.topic.name().to_owned()))
            .int(row.partition.index)
            .int(row.epoch)
            .wide(row.offset)?
            .int(fate_code(row.fate))
            .uid(Some(row.claim))
            .time(Some(row.at))
            .text(Some(row.reason.clone()))
            .int(sums::letter(row)))
    }
}
