//! The rows, read from end to end: every one compared with its checksum, and counts with what they count.

use std::collections::HashMap;

use chat_core::port::store::{ApplicationRow, ChatKey, ChatRow, Error, State};
use chat_wire::ids::AppToken;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, TypeInfo, ValueRef};

use super::report::{Damage, Report};
use super::scan::Scan;
use crate::store::rows::{self, Counted};

/// A table: how its rows are read, and what names them.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static str,
    /// The columns of the key.
    pub(super) key: &'static [&'static str],
}

/// `applications`.
pub(super) const APPLICATIONS: Table = Table {
    name: "applications",
    columns: rows::APPLICATION,
    key: &["token"],
};
/// `chats`.
pub(super) const CHATS: Table = Table {
    name: "chats",
    columns: rows::CHAT,
    key: &["application_token", "number"],
};
/// `messages`.
pub(super) const MESSAGES: Table = Table {
    name: "messages",
    columns: rows::MESSAGE,
    key: &["application_token", "chat_number", "number"],
};
/// `idempotency`.
pub(super) const KEYS: Table = Table {
    name: "idempotency",
    columns: rows::KEY,
    key: &["hash"],
};
/// `renumbered`.
pub(super) const RENUMBERED: Table = Table {
    name: "renumbered",
    columns: rows::RENUMBERED,
    key: &["application_token", "chat_number", "uid"],
};
/// `log_positions`.
pub(super) const POSITIONS: Table = Table {
    name: "log_positions",
    columns: rows::POSITION,
    key: &["group_name", "topic", "partition"],
};
/// `log_epochs`.
pub(super) const EPOCHS: Table = Table {
    name: "log_epochs",
    columns: rows::EPOCH,
    key: &["topic"],
};
/// `notes`.
pub(super) const NOTES: Table = Table {
    name: "notes",
    columns: rows::NOTE,
    key: &["name"],
};
/// `dead_letters`.
pub(super) const LETTERS: Table = Table {
    name: "dead_letters",
    columns: rows::LETTER,
    key: &["topic", "partition", "epoch", "log_offset"],
};

impl Table {
    /// Hands over every row that is what was written; the others are damage.
    pub(super) async fn read<T>(
        &self,
        store: &mut SqliteConnection,
        report: &mut Report,
        decode: fn(&SqliteRow) -> Result<T, Error>,
        mut each: impl FnMut(T),
    ) {
        let select = format!("SELECT {} FROM {}", self.columns, self.name);
        let scan = Scan {
            select: &select,
            order: self.key,
        };
        let stops = scan
            .run(store, |row| {
                report.rows += 1;
                report.unprotected += u64::from(self.is_unprotected(row));
                let key = self.key_of(row);
                match decode(row) {
                    Ok(row) => each(row),
                    Err(error) => report.found(
                        Damage::of("store.db")
                            .place(self.name)
                            .key(key.clone())
                            .what(error.to_string()),
                    ),
                }
                key
            })
            .await;
        for stop in stops {
            report.found(Damage::of("store.db").place(self.name).what(stop));
        }
    }

    fn is_unprotected(&self, row: &SqliteRow) -> bool {
        let checksum = row.try_get_unchecked::<Option<i64>, _>("checksum");
        checksum.is_ok_and(|checksum| checksum.is_none())
    }

    /// The key as text, whatever stands there.
    fn key_of(&self, row: &SqliteRow) -> String {
        let columns: Vec<String> = self
            .key
            .iter()
            .map(|name| format!("{name} {}", shown(row, name)))
            .collect();
        columns.join(", ")
    }
}

fn shown(row: &SqliteRow, column: &str) -> String {
    let kind = row
        .try_get_raw(column)
        .map(|value| value.type_info().name().to_owned());
    match kind.as_deref() {
        Ok("BLOB") => {
            let bytes: Vec<u8> = row.try_get_unchecked(column).unwrap_or_default();
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        }
        Ok("INTEGER") => {
            let number: i64 = row.try_get_unchecked(column).unwrap_or_default();
            number.to_string()
        }
        Ok("TEXT") => {
            let bytes: Vec<u8> = row.try_get_unchecked(column).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        _ => "?".to_owned(),
    }
}

/// A chat and what its messages say.
struct Tally {
    row: ChatRow,
    sound: bool,
    live: u32,
    highest: u32,
    /// Numbers up to `settled_through` that have a row.
    settled: u32,
}

/// Reads every table.
pub(super) async fn check(store: &mut SqliteConnection, report: &mut Report) {
    let mut applications: HashMap<AppToken, (Counted<ApplicationRow>, u32)> = HashMap::new();
    let application = |found: Counted<ApplicationRow>| {
        applications.insert(found.row.token, (found, 0));
    };
    APPLICATIONS
        .read(store, report, rows::application, application)
        .await;
    let mut chats: HashMap<ChatKey, Tally> = HashMap::new();
    let mut strays = Vec::new();
    let chat = |Counted { row, sound }: Counted<ChatRow>| {
        match applications.get_mut(&row.key.token) {
            Some((_, chats)) => *chats += 1,
            None => strays.push(key_of(row.key)),
        }
        let tally = Tally {
            row,
            sound,
            live: 0,
            highest: 0,
            settled: 0,
        };
        chats.insert(tally.row.key, tally);
    };
    CHATS.read(store, report, rows::chat, chat).await;
    for key in strays {
        let damage = Damage::of("store.db").place("chats").key(key);
        report.found(damage.what("its application has no row"));
    }
    let mut homeless = 0_u64;
    MESSAGES
        .read(store, report, rows::message, |row| {
            let Some(tally) = chats.get_mut(&row.key.chat) else {
                homeless += 1;
                return;
            };
            let number = row.key.number.get();
            tally.live += u32::from(row.state == State::Live);
            tally.highest = tally.highest.max(number);
            tally.settled += u32::from(number <= tally.row.settled_through);
        })
        .await;
    if homeless > 0 {
        let what = format!("{homeless} messages are of chats that have no row");
        report.found(Damage::of("store.db").place("messages").what(what));
    }
    for (found, chats) in applications.into_values() {
        count_chats(&found, chats, report);
    }
    for tally in chats.into_values() {
        count_messages(&tally, report);
    }
    others(store, report).await;
}

async fn others(store: &mut SqliteConnection, report: &mut Report) {
    KEYS.read(store, report, rows::key, drop).await;
    RENUMBERED.read(store, report, rows::renumbered, drop).await;
    POSITIONS.read(store, report, rows::position, drop).await;
    EPOCHS.read(store, report, rows::epoch, drop).await;
    NOTES.read(store, report, rows::note, drop).await;
    LETTERS.read(store, report, rows::letter, drop).await;
}

fn count_chats(found: &Counted<ApplicationRow>, chats: u32, report: &mut Report) {
    let what = match (found.sound, found.row.chats_count == chats) {
        (true, true) => return,
        (false, _) => "what the application counts is not what was written".to_owned(),
        (true, false) => {
            format!("it counts {} chats and has {chats}", found.row.chats_count)
        }
    };
    let damage = Damage::of("store.db").place("applications");
    report.found(damage.key(found.row.token.reveal()).what(what));
}

fn count_messages(tally: &Tally, report: &mut Report) {
    let row = &tally.row;
    let damage = |what: String| {
        let damage = Damage::of("store.db").place("chats");
        damage.key(key_of(row.key)).what(what)
    };
    if !tally.sound {
        report.found(damage(
            "what the chat counts is not what was written".to_owned(),
        ));
        return;
    }
    if (row.messages_count, row.highest) != (tally.live, tally.highest) {
        report.found(damage(format!(
            "it counts {} messages up to {} and has {} up to {}",
            row.messages_count, row.highest, tally.live, tally.highest
        )));
    }
    if tally.settled < row.settled_through {
        report.found(damage(format!(
            "of the numbers up to {} only {} have a row",
            row.settled_through, tally.settled
        )));
    }
}

/// A chat, for people.
pub(super) fn key_of(key: ChatKey) -> String {
    format!("chat {} of {}", key.chat, key.token.reveal())
}
