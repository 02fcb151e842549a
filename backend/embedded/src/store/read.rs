//! Reads, on whichever connection: a reader's, which sees what is committed, or the writer's within
//! its transaction, where what is read stays locked because nobody else writes.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use chat_core::key::KeyHash;
use chat_core::port::log::{Group, PartitionId};
use chat_core::port::store::{
    ApplicationRow, ChatKey, ChatRow, Error, KeyRow, MessageKey, MessageRow, Position,
    RenumberedRow,
};
use chat_wire::ids::AppToken;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr, SqliteConnection};
use uuid::Uuid;

use super::rows::{
    self, APPLICATION, CHAT, Counted, KEY, MESSAGE, POSITION, RENUMBERED, Values, told,
};
use super::runs::{Run, runs};
use super::{absent, counts};
use crate::sqlite::Bulk;

type Result<T> = std::result::Result<T, Error>;

/// A statement with column lists in it, put together once.
pub(crate) struct Text(LazyLock<Arc<str>>);

impl Text {
    pub(crate) const fn new(make: fn() -> Arc<str>) -> Self {
        Self(LazyLock::new(make))
    }

    pub(crate) fn sql(&self) -> SqlStr {
        AssertSqlSafe(Arc::clone(&self.0)).into_sql_str()
    }
}

macro_rules! text {
    ($name:ident, $($format:tt)*) => {
        static $name: Text = Text::new(|| Arc::from(format!($($format)*)));
    };
}

pub(crate) use text;

text!(
    ONE_APPLICATION,
    "SELECT {APPLICATION} FROM applications WHERE token = ?"
);
text!(
    PAGE_OF_APPLICATIONS,
    "SELECT {APPLICATION} FROM applications WHERE token > ? ORDER BY token LIMIT ?"
);
text!(
    FIRST_APPLICATIONS,
    "SELECT {APPLICATION} FROM applications ORDER BY token LIMIT ?"
);
text!(
    ONE_CHAT,
    "SELECT {CHAT} FROM chats WHERE application_token = ? AND number = ?"
);
text!(
    PAGE_OF_CHATS,
    "SELECT {CHAT} FROM chats WHERE application_token = ? AND number > ? ORDER BY number LIMIT ?"
);
// The condition must be written as in the index, or SQLite does not use it.
text!(
    UNSETTLED_CHATS,
    "SELECT {CHAT} FROM chats WHERE settled_through < highest \
     AND (application_token, number) > (?, ?) ORDER BY application_token, number LIMIT ?"
);
text!(
    ONE_MESSAGE,
    "SELECT {MESSAGE} FROM messages WHERE application_token = ? AND chat_number = ? AND number = ?"
);
text!(ONE_KEY, "SELECT {KEY} FROM idempotency WHERE hash = ?");

/// A join of the rows that are wanted with the table, wanted first: SQLite goes through the list and
/// finds each by primary key.
fn wanted(columns: &str, names: &str, row: &str, table: &str, on: &str) -> Bulk {
    let columns: Vec<String> = columns
        .split(", ")
        .map(|name| format!("r.{name}"))
        .collect();
    let columns = columns.join(", ");
    Bulk::new(
        &format!("WITH wanted({names}) AS (VALUES "),
        row,
        &format!(") SELECT {columns} FROM wanted w CROSS JOIN {table} r ON {on}"),
    )
}

static APPLICATIONS: LazyLock<Bulk> =
    LazyLock::new(|| wanted(APPLICATION, "t", "(?)", "applications", "r.token = w.t"));
static CHATS: LazyLock<Bulk> = LazyLock::new(|| {
    let on = "r.application_token = w.t AND r.number = w.n";
    wanted(CHAT, "t, n", "(?,?)", "chats", on)
});
static RUNS: LazyLock<Bulk> = LazyLock::new(|| {
    let on = "r.application_token = w.t AND r.chat_number = w.c AND r.number BETWEEN w.a AND w.b";
    wanted(MESSAGE, "t, c, a, b", "(?,?,?,?)", "messages", on)
});
static KEYS: LazyLock<Bulk> =
    LazyLock::new(|| wanted(KEY, "h", "(?)", "idempotency", "r.hash = w.h"));
static MOVED: LazyLock<Bulk> = LazyLock::new(|| {
    let on = "r.application_token = w.t AND r.chat_number = w.c AND r.uid = w.u";
    wanted(RENUMBERED, "t, c, u", "(?,?,?)", "renumbered", on)
});

/// One application.
pub(crate) async fn application(
    on: &mut SqliteConnection,
    token: AppToken,
) -> Result<Option<ApplicationRow>> {
    match application_as_found(on, token).await? {
        Some(Counted { row, sound: true }) => Ok(Some(row)),
        Some(Counted { row, .. }) => counts::application(on, row).await.map(Some),
        None => absent::application(on, token).await.map(|()| None),
    }
}

/// One application, whatever it counts.
pub(crate) async fn application_as_found(
    on: &mut SqliteConnection,
    token: AppToken,
) -> Result<Option<Counted<ApplicationRow>>> {
    let mut values = Values::with_capacity(1);
    values.bytes(token.as_bytes());
    one(on, ONE_APPLICATION.sql(), values, rows::application).await
}

/// A page of applications.
pub(crate) async fn applications_after(
    on: &mut SqliteConnection,
    after: Option<AppToken>,
    limit: u32,
) -> Result<Vec<ApplicationRow>> {
    let mut values = Values::with_capacity(2);
    let text = match after {
        Some(after) => {
            values.bytes(after.as_bytes());
            &PAGE_OF_APPLICATIONS
        }
        None => &FIRST_APPLICATIONS,
    };
    values.int(limit);
    let found = all(on, text.sql(), values, rows::application).await?;
    counts::applications(on, found).await
}

/// These applications, whatever they count.
pub(crate) async fn applications_as_stored(
    on: &mut SqliteConnection,
    tokens: &[AppToken],
) -> Result<Vec<Counted<ApplicationRow>>> {
    let bind = |values: &mut Values, token: &AppToken| {
        values.bytes(token.as_bytes());
    };
    many(on, &APPLICATIONS, &sorted(tokens), bind, rows::application).await
}

/// One chat.
pub(crate) async fn chat(on: &mut SqliteConnection, key: ChatKey) -> Result<Option<ChatRow>> {
    match chat_as_found(on, key).await? {
        Some(Counted { row, sound: true }) => Ok(Some(row)),
        Some(Counted { row, .. }) => counts::chat(on, row).await.map(Some),
        None => absent::chat(on, key).await.map(|()| None),
    }
}

/// One chat, whatever it counts.
pub(crate) async fn chat_as_found(
    on: &mut SqliteConnection,
    key: ChatKey,
) -> Result<Option<Counted<ChatRow>>> {
    let mut values = Values::with_capacity(2);
    values.chat_key(key);
    one(on, ONE_CHAT.sql(), values, rows::chat).await
}

/// A page of an application's chats.
pub(crate) async fn chats_after(
    on: &mut SqliteConnection,
    token: AppToken,
    after: u32,
    limit: u32,
) -> Result<Vec<ChatRow>> {
    let mut values = Values::with_capacity(3);
    values.bytes(token.as_bytes()).int(after).int(limit);
    let found = all(on, PAGE_OF_CHATS.sql(), values, rows::chat).await?;
    let numbers = found.iter().map(|found| found.row.key.chat.get());
    if (after + 1..)
        .zip(numbers)
        .any(|(wanted, found)| wanted != found)
    {
        absent::chats(on, token).await?;
    }
    counts::chats(on, found).await
}

/// These chats.
pub(crate) async fn chats(on: &mut SqliteConnection, keys: &[ChatKey]) -> Result<Vec<ChatRow>> {
    let found = chats_as_stored(on, keys).await?;
    counts::chats(on, found).await
}

/// These chats, whatever they count.
pub(crate) async fn chats_as_stored(
    on: &mut SqliteConnection,
    keys: &[ChatKey],
) -> Result<Vec<Counted<ChatRow>>> {
    let bind = |values: &mut Values, key: &ChatKey| {
        values.chat_key(*key);
    };
    many(on, &CHATS, &sorted(keys), bind, rows::chat).await
}

/// The highest chat number that has a row.
pub(crate) async fn highest_chat(on: &mut SqliteConnection, token: AppToken) -> Result<u32> {
    let text = "SELECT coalesce(max(number), 0) FROM chats WHERE application_token = ?";
    let mut values = Values::with_capacity(1);
    values.bytes(token.as_bytes());
    let highest = one(on, text.into_sql_str(), values, |row| rows::number(row, 0)).await?;
    Ok(highest.unwrap_or(0))
}

/// A page of chats with holes.
pub(crate) async fn unsettled_chats(
    on: &mut SqliteConnection,
    after: Option<ChatKey>,
    limit: u32,
) -> Result<Vec<ChatRow>> {
    let mut values = Values::with_capacity(3);
    match after {
        Some(after) => values.chat_key(after),
        // No chat has the number 0, so this is before the first one.
        None => values.bytes(&[0; 16]).int(0),
    };
    values.int(limit);
    let found = all(on, UNSETTLED_CHATS.sql(), values, rows::chat).await?;
    counts::chats(on, found).await
}

/// One message.
pub(crate) async fn message(
    on: &mut SqliteConnection,
    key: MessageKey,
) -> Result<Option<MessageRow>> {
    match message_as_found(on, key).await? {
        Some(row) => Ok(Some(row)),
        None => absent::message(on, key).await.map(|()| None),
    }
}

/// One message, which may be missing.
pub(crate) async fn message_as_found(
    on: &mut SqliteConnection,
    key: MessageKey,
) -> Result<Option<MessageRow>> {
    let mut values = Values::with_capacity(3);
    values.chat_key(key.chat).int(key.number.get());
    one(on, ONE_MESSAGE.sql(), values, rows::message).await
}

/// These messages. They mostly come in runs of one chat, which are read as runs.
pub(crate) async fn messages(
    on: &mut SqliteConnection,
    keys: &[MessageKey],
) -> Result<Vec<MessageRow>> {
    let sorted = sorted(keys);
    let runs = runs(&sorted);
    let bind = |values: &mut Values, run: &Run| {
        values.chat_key(run.chat).int(run.first).int(run.last);
    };
    let mut found = many(on, &RUNS, &runs, bind, rows::message).await?;
    if runs.iter().any(|run| run.gaps) {
        found.retain(|row| sorted.binary_search(&row.key).is_ok());
    }
    Ok(found)
}

/// These messages; what must be there and is not is damage.
pub(crate) async fn messages_that_must_be(
    on: &mut SqliteConnection,
    keys: &[MessageKey],
) -> Result<Vec<MessageRow>> {
    let found = messages(on, keys).await?;
    let wanted = sorted(keys);
    if found.len() < wanted.len() {
        let found: HashSet<MessageKey> = found.iter().map(|row| row.key).collect();
        for key in wanted.iter().filter(|key| !found.contains(key)) {
            absent::message(on, *key).await?;
        }
    }
    Ok(found)
}

/// Numbers of a chat that have a row.
pub(crate) async fn numbers_after(
    on: &mut SqliteConnection,
    chat: ChatKey,
    after: u32,
    limit: u32,
) -> Result<Vec<u32>> {
    let text = "SELECT number FROM messages WHERE application_token = ? AND chat_number = ? \
                AND number > ? ORDER BY number LIMIT ?";
    let mut values = Values::with_capacity(4);
    values.chat_key(chat).int(after).int(limit);
    all(on, text.into_sql_str(), values, |row| rows::number(row, 0)).await
}

/// One idempotency key.
pub(crate) async fn key(on: &mut SqliteConnection, hash: KeyHash) -> Result<Option<KeyRow>> {
    let mut values = Values::with_capacity(1);
    values.bytes(hash.as_bytes());
    one(on, ONE_KEY.sql(), values, rows::key).await
}

/// These idempotency keys.
pub(crate) async fn keys(on: &mut SqliteConnection, hashes: &[KeyHash]) -> Result<Vec<KeyRow>> {
    let bind = |values: &mut Values, hash: &KeyHash| {
        values.bytes(hash.as_bytes());
    };
    many(on, &KEYS, &sorted(hashes), bind, rows::key).await
}

/// Where these messages went.
pub(crate) async fn renumbered(
    on: &mut SqliteConnection,
    messages: &[(ChatKey, Uuid)],
) -> Result<Vec<RenumberedRow>> {
    let bind = |values: &mut Values, (chat, uid): &(ChatKey, Uuid)| {
        values.chat_key(*chat).uid(Some(*uid));
    };
    many(on, &MOVED, &sorted(messages), bind, rows::renumbered).await
}

/// How far a group has come; the start where it has no row.
pub(crate) async fn position(
    on: &mut SqliteConnection,
    group: Group,
    partition: PartitionId,
) -> Result<Position> {
    let text = format!(
        "SELECT {POSITION} FROM log_positions WHERE group_name = ? AND topic = ? AND partition = ?"
    );
    let mut values = Values::with_capacity(3);
    values
        .text(Some(group.name().to_owned()))
        .text(Some(partition.topic.name().to_owned()))
        .int(partition.index);
    let text = AssertSqlSafe(text).into_sql_str();
    let found = one(on, text, values, rows::position).await?;
    Ok(found.map_or(Position::START, |(_, position)| position))
}

/// One row, where there is one.
pub(crate) async fn one<T>(
    on: &mut SqliteConnection,
    text: SqlStr,
    values: Values,
    read: fn(&SqliteRow) -> Result<T>,
) -> Result<Option<T>> {
    let row = sqlx::query_with::<_, SqliteArguments>(text, values.into_inner())
        .fetch_optional(on)
        .await
        .map_err(told)?;
    row.as_ref().map(read).transpose()
}

/// All rows of a statement.
pub(crate) async fn all<T: Send + Unpin>(
    on: &mut SqliteConnection,
    text: SqlStr,
    values: Values,
    read: fn(&SqliteRow) -> Result<T>,
) -> Result<Vec<T>> {
    // Mapping while they come keeps one row of SQLite's in memory instead of all.
    let found: Vec<Result<T>> = sqlx::query_with::<_, SqliteArguments>(text, values.into_inner())
        .map(move |row| read(&row))
        .fetch_all(on)
        .await
        .map_err(told)?;
    found.into_iter().collect()
}

/// The rows of many keys.
pub(crate) async fn many<K, T: Send + Unpin>(
    on: &mut SqliteConnection,
    bulk: &Bulk,
    wanted: &[K],
    bind: impl Fn(&mut Values, &K),
    read: fn(&SqliteRow) -> Result<T>,
) -> Result<Vec<T>> {
    let mut found = Vec::new();
    for (text, range) in bulk.cut(wanted.len()) {
        let mut values = Values::with_capacity(4 * range.len());
        for key in &wanted[range] {
            bind(&mut values, key);
        }
        found.extend(all(on, text, values, read).await?);
    }
    Ok(found)
}

/// In order of key, so that the B-tree is walked once, and each once.
pub(crate) fn sorted<K: Copy + Ord>(keys: &[K]) -> Vec<K> {
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    sorted
}
