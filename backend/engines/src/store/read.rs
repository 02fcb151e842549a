//! Reads, on whichever connection: one of the pool, which sees what is committed, or a transaction's,
//! where what decides is read under lock.

use std::sync::{Arc, LazyLock};

use chat_core::key::KeyHash;
use chat_core::port::log::{Group, PartitionId};
use chat_core::port::store::{
    ApplicationRow, ChatKey, ChatRow, Error, KeyRow, MessageKey, MessageRow, Position,
    RenumberedRow, Span,
};
use chat_wire::ids::AppToken;
use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::{AssertSqlSafe, MySqlConnection, SqlSafeStr, SqlStr};
use uuid::Uuid;

use super::bulk::Lookup;
use super::failure::told;
use super::rows::{self, APPLICATION, CHAT, KEY, MESSAGE, RENUMBERED, Values};

/// Two runs of numbers with fewer others between them are read as one: passing over a row costs
/// less than another run.
const RUN_GAP: u32 = 8;

type Result<T> = std::result::Result<T, Error>;

/// Whether rows are locked until the transaction ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    None,
    Update,
}

/// A statement with column lists in it, put together once.
struct Text(LazyLock<Arc<str>>);

impl Text {
    const fn new(make: fn() -> Arc<str>) -> Self {
        Self(LazyLock::new(make))
    }

    fn sql(&self) -> SqlStr {
        AssertSqlSafe(Arc::clone(&self.0)).into_sql_str()
    }
}

macro_rules! text {
    ($name:ident, $($format:tt)*) => {
        static $name: Text = Text::new(|| Arc::from(format!($($format)*)));
    };
}

text!(
    PAGE_OF_APPLICATIONS,
    "SELECT {APPLICATION} FROM applications WHERE token > ? ORDER BY token LIMIT ?"
);
text!(
    FIRST_APPLICATIONS,
    "SELECT {APPLICATION} FROM applications ORDER BY token LIMIT ?"
);
text!(
    PAGE_OF_CHATS,
    "SELECT {CHAT} FROM chats WHERE application_token = ? AND number > ? ORDER BY number LIMIT ?"
);
text!(
    UNSETTLED_CHATS,
    "SELECT {CHAT} FROM chats FORCE INDEX (chats_unsettled) WHERE unsettled = 1 \
     AND (application_token > ? OR (application_token = ? AND number > ?)) \
     ORDER BY application_token, number LIMIT ?"
);
text!(
    MESSAGES_AFTER,
    "SELECT {MESSAGE} FROM messages FORCE INDEX (PRIMARY) WHERE application_token = ? \
     AND chat_number = ? AND number > ? AND number <= ? AND state = 0 ORDER BY number LIMIT ?"
);
text!(
    MESSAGES_BEFORE,
    "SELECT {MESSAGE} FROM messages FORCE INDEX (PRIMARY) WHERE application_token = ? \
     AND chat_number = ? AND number < ? AND state = 0 ORDER BY number DESC LIMIT ?"
);

/// Without the hint, a small table would be scanned as a whole, and locked as a whole.
fn wanted(columns: &str, table: &str, condition: &str, tail: &str) -> Lookup {
    let head = format!("SELECT {columns} FROM {table} FORCE INDEX (PRIMARY) WHERE ");
    Lookup::new(&head, condition, tail)
}

macro_rules! lookup {
    ($name:ident, $columns:ident, $table:literal, $condition:literal, $tail:literal) => {
        static $name: LazyLock<Lookup> =
            LazyLock::new(|| wanted($columns, $table, $condition, $tail));
    };
}

lookup!(APPLICATIONS, APPLICATION, "applications", "token = ?", "");
lookup!(
    LOCKED_APPLICATIONS,
    APPLICATION,
    "applications",
    "token = ?",
    " FOR UPDATE"
);
lookup!(
    CHATS,
    CHAT,
    "chats",
    "(application_token = ? AND number = ?)",
    ""
);
lookup!(
    LOCKED_CHATS,
    CHAT,
    "chats",
    "(application_token = ? AND number = ?)",
    " FOR UPDATE"
);
lookup!(
    RUNS,
    MESSAGE,
    "messages",
    "(application_token = ? AND chat_number = ? AND number BETWEEN ? AND ?)",
    ""
);
lookup!(KEYS, KEY, "idempotency", "hash = ?", "");
lookup!(
    MOVED,
    RENUMBERED,
    "renumbered",
    "(application_token = ? AND chat_number = ? AND uid = ?)",
    ""
);

/// A page of applications.
pub(super) async fn applications_after(
    on: &mut MySqlConnection,
    after: Option<AppToken>,
    limit: u32,
) -> Result<Vec<ApplicationRow>> {
    let mut values = Values::default();
    let text = match after {
        Some(after) => {
            values.bytes(after.as_bytes());
            &PAGE_OF_APPLICATIONS
        }
        None => &FIRST_APPLICATIONS,
    };
    values.number(limit);
    all(on, text.sql(), values, rows::application).await
}

/// These applications, in order of token.
pub(super) async fn applications(
    on: &mut MySqlConnection,
    tokens: &[AppToken],
    lock: Lock,
) -> Result<Vec<ApplicationRow>> {
    let lookup = match lock {
        Lock::None => &APPLICATIONS,
        Lock::Update => &LOCKED_APPLICATIONS,
    };
    let bind = |values: &mut Values, token: &AppToken| {
        values.bytes(token.as_bytes());
    };
    many(on, lookup, &sorted(tokens), bind, rows::application).await
}

/// A page of an application's chats.
pub(super) async fn chats_after(
    on: &mut MySqlConnection,
    token: AppToken,
    after: u32,
    limit: u32,
) -> Result<Vec<ChatRow>> {
    let mut values = Values::default();
    values.bytes(token.as_bytes()).number(after).number(limit);
    all(on, PAGE_OF_CHATS.sql(), values, rows::chat).await
}

/// These chats, in order of key.
pub(super) async fn chats(
    on: &mut MySqlConnection,
    keys: &[ChatKey],
    lock: Lock,
) -> Result<Vec<ChatRow>> {
    let lookup = match lock {
        Lock::None => &CHATS,
        Lock::Update => &LOCKED_CHATS,
    };
    let bind = |values: &mut Values, key: &ChatKey| {
        values.chat_key(*key);
    };
    many(on, lookup, &sorted(keys), bind, rows::chat).await
}

/// The highest chat number that has a row.
pub(super) async fn highest_chat(on: &mut MySqlConnection, token: AppToken) -> Result<u32> {
    let text = "SELECT number FROM chats WHERE application_token = ? ORDER BY number DESC LIMIT 1";
    let mut values = Values::default();
    values.bytes(token.as_bytes());
    let found = all(on, text.into_sql_str(), values, |row| rows::number(row, 0)).await?;
    Ok(found.first().copied().unwrap_or(0))
}

/// A page of chats with holes.
pub(super) async fn unsettled_chats(
    on: &mut MySqlConnection,
    after: Option<ChatKey>,
    limit: u32,
) -> Result<Vec<ChatRow>> {
    let mut values = Values::default();
    // No chat has the number 0, so without an `after` this is before the first one.
    let (token, number) = after.map_or(([0; 16], 0), |after| {
        (*after.token.as_bytes(), after.chat.get())
    });
    values
        .bytes(&token)
        .bytes(&token)
        .number(number)
        .number(limit);
    all(on, UNSETTLED_CHATS.sql(), values, rows::chat).await
}

/// A page of live messages.
pub(super) async fn messages_in(
    on: &mut MySqlConnection,
    chat: ChatKey,
    span: Span,
    limit: u32,
) -> Result<Vec<MessageRow>> {
    let mut values = Values::default();
    values.chat_key(chat);
    let text = match span {
        Span::After { after, through } => {
            values.number(after).number(through);
            &MESSAGES_AFTER
        }
        Span::Before(before) => {
            values.number(before);
            &MESSAGES_BEFORE
        }
    };
    values.number(limit);
    all(on, text.sql(), values, rows::message).await
}

/// These messages. They mostly come in runs of one chat, which are read as runs.
pub(super) async fn messages(
    on: &mut MySqlConnection,
    keys: &[MessageKey],
) -> Result<Vec<MessageRow>> {
    let sorted = sorted(keys);
    let runs = runs(&sorted);
    let bind = |values: &mut Values, run: &Run| {
        values.chat_key(run.chat).number(run.first).number(run.last);
    };
    let mut found = many(on, &RUNS, &runs, bind, rows::message).await?;
    if runs.iter().any(|run| run.gaps) {
        found.retain(|row| sorted.binary_search(&row.key).is_ok());
    }
    Ok(found)
}

/// Numbers of a chat that have a row.
pub(super) async fn numbers_after(
    on: &mut MySqlConnection,
    chat: ChatKey,
    after: u32,
    limit: u32,
) -> Result<Vec<u32>> {
    let text = "SELECT number FROM messages FORCE INDEX (PRIMARY) WHERE application_token = ? \
                AND chat_number = ? AND number > ? ORDER BY number LIMIT ?";
    let mut values = Values::default();
    values.chat_key(chat).number(after).number(limit);
    all(on, text.into_sql_str(), values, |row| rows::number(row, 0)).await
}

/// These idempotency keys.
pub(super) async fn keys(on: &mut MySqlConnection, hashes: &[KeyHash]) -> Result<Vec<KeyRow>> {
    let bind = |values: &mut Values, hash: &KeyHash| {
        values.bytes(hash.as_bytes());
    };
    many(on, &KEYS, &sorted(hashes), bind, rows::key).await
}

/// Where these messages went.
pub(super) async fn renumbered(
    on: &mut MySqlConnection,
    messages: &[(ChatKey, Uuid)],
) -> Result<Vec<RenumberedRow>> {
    let bind = |values: &mut Values, (chat, uid): &(ChatKey, Uuid)| {
        values.chat_key(*chat).uid(Some(*uid));
    };
    many(on, &MOVED, &sorted(messages), bind, rows::renumbered).await
}

/// How far a group has come; the start where it has no row.
pub(super) async fn position(
    on: &mut MySqlConnection,
    group: Group,
    partition: PartitionId,
) -> Result<Position> {
    let text = "SELECT next, epoch, last_uid FROM log_positions \
                WHERE group_name = ? AND topic = ? AND partition_index = ?";
    let mut values = Values::default();
    values
        .text(Some(group.name()))
        .text(Some(partition.topic.name()))
        .number(partition.index);
    let found = all(on, text.into_sql_str(), values, rows::position).await?;
    Ok(found.first().copied().unwrap_or(Position::START))
}

/// Neighbours of one chat.
struct Run {
    chat: ChatKey,
    first: u32,
    last: u32,
    /// Whether it has numbers that were not asked for.
    gaps: bool,
}

fn runs(sorted: &[MessageKey]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for key in sorted {
        let number = key.number.get();
        match runs.last_mut() {
            Some(run) if run.chat == key.chat && number - run.last <= RUN_GAP => {
                run.gaps |= number - run.last > 1;
                run.last = number;
            }
            _ => runs.push(Run {
                chat: key.chat,
                first: number,
                last: number,
                gaps: false,
            }),
        }
    }
    runs
}

/// One order for everybody keeps two transactions from waiting for each other.
pub(super) fn sorted<T: Ord + Copy>(keys: &[T]) -> Vec<T> {
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    sorted
}

/// The rows of many keys.
pub(super) async fn many<K, T>(
    on: &mut MySqlConnection,
    lookup: &Lookup,
    keys: &[K],
    bind: impl Fn(&mut Values, &K),
    read: impl Fn(&MySqlRow) -> Result<T>,
) -> Result<Vec<T>> {
    let mut found = Vec::with_capacity(keys.len());
    for (text, keys) in lookup.cut(keys) {
        let mut values = Values::default();
        for key in keys {
            bind(&mut values, key);
        }
        found.append(&mut all(on, text, values, &read).await?);
    }
    Ok(found)
}

/// Runs a statement and reads its rows.
pub(super) async fn all<T>(
    on: &mut MySqlConnection,
    text: SqlStr,
    values: Values,
    read: impl Fn(&MySqlRow) -> Result<T>,
) -> Result<Vec<T>> {
    let rows = sqlx::query_with::<_, MySqlArguments>(text, values.into_inner())
        .fetch_all(on)
        .await
        .map_err(told)?;
    rows.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use chat_wire::ids::{ChatNumber, MessageNumber};

    use super::*;

    #[test]
    fn neighbours_are_read_as_runs() {
        let chat = ChatKey {
            token: AppToken::from_bytes([1; 16]),
            chat: ChatNumber::FIRST,
        };
        let keys: Vec<MessageKey> = [1, 2, 3, 5, 50]
            .into_iter()
            .filter_map(MessageNumber::new)
            .map(|number| MessageKey { chat, number })
            .collect();
        let runs: Vec<(u32, u32, bool)> = runs(&keys)
            .iter()
            .map(|run| (run.first, run.last, run.gaps))
            .collect();
        assert_eq!(runs, [(1, 5, true), (50, 50, false)]);
    }
}
