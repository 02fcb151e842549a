//! Rows that are not found and must be there: their key was damaged, or the way to them.
//!
//! Reads see one moment each, so whoever finds nothing, then learns that something must be there, looks
//! once more before calling it damage.

use chat_core::port::store::{ChatKey, Error, MessageKey};
use chat_wire::ids::{AppToken, MessageNumber};
use sqlx::{SqlSafeStr, SqliteConnection};

use super::counts;
use super::read::{self, one};
use super::rows::{Counted, Values, damaged};

const MISSING: &str = "it is not in its place";

/// A message that was not found: below what is settled every number has a row.
pub(super) async fn message(on: &mut SqliteConnection, key: MessageKey) -> Result<(), Error> {
    let settled = match read::chat_as_found(on, key.chat).await? {
        Some(Counted { row, sound: true }) => row.settled_through,
        Some(Counted { row, .. }) => counts::chat(on, row).await?.settled_through,
        None => 0,
    };
    if settled < key.number.get() {
        return Ok(());
    }
    match read::message_as_found(on, key).await? {
        Some(_) => Ok(()),
        None => Err(damaged("a message", MISSING)),
    }
}

/// A number of a page that has no row.
pub(super) async fn number(
    on: &mut SqliteConnection,
    chat: ChatKey,
    number: u32,
) -> Result<(), Error> {
    match MessageNumber::new(number) {
        Some(number) => message(on, MessageKey { chat, number }).await,
        None => Ok(()),
    }
}

/// A chat that was not found: where it has messages it has a row, and an application counts its chats.
pub(super) async fn chat(on: &mut SqliteConnection, key: ChatKey) -> Result<(), Error> {
    let text = "SELECT 1 FROM messages WHERE application_token = ? AND chat_number = ? LIMIT 1";
    let mut values = Values::with_capacity(2);
    values.chat_key(key);
    let has_messages = one(on, text.into_sql_str(), values, |_| Ok(())).await?;
    if has_messages.is_some() {
        return match read::chat_as_found(on, key).await? {
            Some(_) => Ok(()),
            None => Err(damaged("a chat", MISSING)),
        };
    }
    if key.chat.get() < read::highest_chat(on, key.token).await? {
        chats(on, key.token).await?;
    }
    Ok(())
}

/// A list of chats with a gap: an application has as many as it counts.
pub(super) async fn chats(on: &mut SqliteConnection, token: AppToken) -> Result<(), Error> {
    // One statement, so row and count are of one moment.
    let found = super::operate::application_counts(on, token).await?;
    match found {
        Some((counted, rows)) if rows < counted => Err(damaged("a chat", MISSING)),
        _ => Ok(()),
    }
}

/// An application that was not found: where it has chats it has a row.
pub(super) async fn application(on: &mut SqliteConnection, token: AppToken) -> Result<(), Error> {
    let text = "SELECT 1 FROM chats WHERE application_token = ? LIMIT 1";
    let mut values = Values::with_capacity(1);
    values.bytes(token.as_bytes());
    if one(on, text.into_sql_str(), values, |_| Ok(()))
        .await?
        .is_none()
    {
        return Ok(());
    }
    match read::application_as_found(on, token).await? {
        Some(_) => Ok(()),
        None => Err(damaged("an application", MISSING)),
    }
}
