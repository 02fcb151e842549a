//! What a chat and an application count, counted again where the checksum of the counts does not match.

use chat_core::port::store::{ApplicationRow, ChatKey, ChatRow, Error};
use sqlx::SqliteConnection;

use super::read::numbers_after;
use super::rows::Counted;
use super::{operate, read};
use crate::damage;

/// Numbers that one step along a chat's rows reads.
const STEP: u32 = 1_000;

/// Chats with counts that can be believed.
pub(super) async fn chats(
    on: &mut SqliteConnection,
    found: Vec<Counted<ChatRow>>,
) -> Result<Vec<ChatRow>, Error> {
    let mut rows = Vec::with_capacity(found.len());
    for Counted { row, sound } in found {
        rows.push(if sound { row } else { chat(on, row).await? });
    }
    Ok(rows)
}

/// Applications with counts that can be believed.
pub(super) async fn applications(
    on: &mut SqliteConnection,
    found: Vec<Counted<ApplicationRow>>,
) -> Result<Vec<ApplicationRow>, Error> {
    let mut rows = Vec::with_capacity(found.len());
    for Counted { row, sound } in found {
        rows.push(if sound {
            row
        } else {
            application(on, row).await?
        });
    }
    Ok(rows)
}

/// A chat with what its messages say.
pub(super) async fn chat(on: &mut SqliteConnection, row: ChatRow) -> Result<ChatRow, Error> {
    let number = row.key.chat;
    damage::report("store.db", || {
        format!("what chat {number} counts (counted again)")
    });
    let tally = operate::tally(on, row.key).await?;
    let settled_through = if tally.rows == u64::from(tally.highest) {
        tally.highest
    } else {
        settled(on, row.key).await?
    };
    Ok(ChatRow {
        messages_count: u32::try_from(tally.live).unwrap_or(u32::MAX),
        highest: tally.highest,
        settled_through,
        ..row
    })
}

/// An application with what its chats say.
pub(super) async fn application(
    on: &mut SqliteConnection,
    row: ApplicationRow,
) -> Result<ApplicationRow, Error> {
    damage::report("store.db", || {
        "what an application counts (counted again)".to_owned()
    });
    let tally = operate::tally_chats(on, row.token).await?;
    Ok(ApplicationRow {
        chats_count: u32::try_from(tally.rows).unwrap_or(u32::MAX),
        ..row
    })
}

/// The number up to which every number has a row.
async fn settled(on: &mut SqliteConnection, chat: ChatKey) -> Result<u32, Error> {
    let mut settled = 0;
    loop {
        let numbers = numbers_after(on, chat, settled, STEP).await?;
        for number in &numbers {
            if *number != settled + 1 {
                return Ok(settled);
            }
            settled = *number;
        }
        if numbers.len() < STEP as usize {
            return Ok(settled);
        }
    }
}

/// Counts these chats again, in a transaction that has changed them.
pub(super) async fn recount(
    on: &mut SqliteConnection,
    keys: &[ChatKey],
) -> Result<Vec<ChatRow>, Error> {
    let mut rows = Vec::with_capacity(keys.len());
    for found in read::chats_as_stored(on, keys).await? {
        rows.push(chat(on, found.row).await?);
    }
    Ok(rows)
}
