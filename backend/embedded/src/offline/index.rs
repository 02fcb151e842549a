//! The index: its files compared with their checksums, its documents with the rows.

use std::path::Path;

use chat_core::port::log::{Group, PartitionId, Topic};
use chat_core::port::search::{Listed, Search};
use chat_core::port::store::{ChatKey, Span};
use sqlx::SqliteConnection;

use super::report::{Damage, Report};
use super::rows::{CHATS, key_of};
use crate::search::{Index, META_FILE, verify};
use crate::store::{pages, read, rows};

/// Messages of one look.
const PAGE: u32 = 10_000;

/// Compares the index with itself and with the rows.
pub(super) async fn check(dir: &Path, store: &mut SqliteConnection, report: &mut Report) {
    let dir = dir.join("index");
    let of_index = |what: String| Damage::of("index").what(what);
    match verify(&dir).await {
        Ok(damaged) if damaged.is_empty() => {}
        Ok(damaged) => {
            for file in damaged {
                let file = file.strip_prefix(&dir).unwrap_or(&file);
                let damage = Damage::of(&Path::new("index").join(file).to_string_lossy());
                report.found(damage.what("it is missing, or its checksum does not match"));
            }
            return;
        }
        Err(error) => return report.found(of_index(error.to_string())),
    }
    if !dir.join(META_FILE).exists() {
        // An index that is not there is made from the rows at the next start.
        return;
    }
    match Index::open(&dir).await {
        Ok(index) => {
            if let Err(error) = documents(&index, store, report).await {
                report.found(of_index(error));
            }
            index.close().await;
        }
        Err(error) => report.found(of_index(error.to_string())),
    }
}

/// Every live message that the index group has passed has its document, and nothing else has one.
async fn documents(
    index: &Index,
    store: &mut SqliteConnection,
    report: &mut Report,
) -> Result<(), String> {
    let partition = PartitionId {
        topic: Topic::Messages,
        index: 0,
    };
    let text = |error: chat_core::port::store::Error| error.to_string();
    let position = read::position(store, Group::MessagesIndex, partition).await;
    let position = position.map_err(text)?;
    // Revisions up to this one are of records that the group has passed.
    let passed = chat_core::event::revision(position.epoch, position.next).saturating_sub(1);
    let mut chats = Vec::new();
    let mut ignored = Report::default();
    CHATS
        .read(store, &mut ignored, rows::chat, |found| {
            chats.push((found.row.key, found.row.highest));
        })
        .await;
    for (chat, highest) in chats {
        let span = Span::After {
            after: 0,
            through: highest,
        };
        // Damage in the rows is listed with the rows.
        let Ok(rows) = pages::messages_in(store, chat, span, u32::MAX >> 1).await else {
            continue;
        };
        let mut listed = list(index, chat).await?.into_iter().peekable();
        for row in rows {
            let number = row.key.number;
            while let Some(extra) = listed.next_if(|found| found.number < number) {
                extra_document(chat, extra, passed, report);
            }
            let found = listed.next_if(|found| found.number == number);
            report.documents += 1;
            if row.revision <= passed && found.is_none_or(|found| found.revision < row.revision) {
                let damage =
                    Damage::of("index").key(format!("message {number} of {}", key_of(chat)));
                report.found(damage.what("the index has not what the row says"));
            }
        }
        for extra in listed {
            extra_document(chat, extra, passed, report);
        }
    }
    Ok(())
}

fn extra_document(chat: ChatKey, extra: Listed, passed: u64, report: &mut Report) {
    if extra.revision <= passed {
        let key = format!("message {} of {}", extra.number, key_of(chat));
        let damage = Damage::of("index").key(key);
        report.found(damage.what("the index has a document of a message that is not there"));
    }
}

async fn list(index: &Index, chat: ChatKey) -> Result<Vec<Listed>, String> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let page = index
            .list(chat, after, PAGE as usize)
            .await
            .map_err(|error| error.to_string())?;
        let is_last = page.len() < PAGE as usize;
        after = page.last().map_or(after, |last| last.number.get());
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}
