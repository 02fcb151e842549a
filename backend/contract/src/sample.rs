//! Rows, records and keys to test with.

use bytes::Bytes;
use chat_core::key::{KeyHash, StoredKey};
use chat_core::port::log::{Headers, NewRecord, PollLimits};
use chat_core::port::store::{
    ApplicationRow, ChatKey, ChatRow, KeyRow, MessageKey, MessageRow, Presence, State,
};
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::time::Timestamp;
use uuid::Uuid;

/// Texts that some database, somewhere, has changed on their way.
pub const TEXTS: [&str; 14] = [
    "",
    "plain",
    " blanks around ",
    "trailing blanks   ",
    "Case",
    "case",
    "e\u{301} is not é",
    "שלום עולם",
    "日本語のテキスト",
    "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467} \u{1F600}",
    "nul \u{0} inside",
    "quotes ' \" ` and \\ and % and _",
    "line\r\nbreaks\n\ttabs",
    "\u{FFFF}\u{10FFFF}\u{FEFF}",
];

/// A token.
#[must_use]
pub fn token(nth: u8) -> AppToken {
    let mut bytes = [nth; 16];
    // Both ends differ from each other, so that a cut or padded token is another one.
    bytes[0] = nth.wrapping_mul(31);
    AppToken::from_bytes(bytes)
}

/// A chat of [`token`].
#[must_use]
pub fn chat(application: u8, number: u32) -> ChatKey {
    ChatKey {
        token: token(application),
        chat: ChatNumber::new(number).unwrap(),
    }
}

/// A message of a chat.
#[must_use]
pub fn message(chat: ChatKey, number: u32) -> MessageKey {
    MessageKey {
        chat,
        number: MessageNumber::new(number).unwrap(),
    }
}

/// A time, microseconds after 2026-01-01.
#[must_use]
pub fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000 + micros).unwrap()
}

/// An application's row.
#[must_use]
pub fn application_row(nth: u8) -> ApplicationRow {
    ApplicationRow {
        token: token(nth),
        name: format!("application {nth}"),
        chats_count: 3,
        created_at: time(1),
        updated_at: time(2),
        revision: 4,
        presence: Presence::Live,
    }
}

/// A chat's row.
#[must_use]
pub fn chat_row(key: ChatKey) -> ChatRow {
    ChatRow {
        key,
        uid: Some(Uuid::from_u128(0xc0 + u128::from(key.chat.get()))),
        generation: 1,
        messages_count: 5,
        highest: 7,
        settled_through: 7,
        resets: 2,
        reset_from: 4,
        created_at: time(3),
        presence: Presence::Live,
    }
}

/// A live message's row.
#[must_use]
pub fn message_row(chat: ChatKey, number: u32) -> MessageRow {
    MessageRow {
        key: message(chat, number),
        uid: Some(Uuid::from_u128(u128::from(number) << 64 | 0xfeed)),
        generation: 1,
        sender: Some(format!("sender {}", number % 7)),
        body: format!("body {number}"),
        state: State::Live,
        sent_at: Some(time(-i64::from(number))),
        created_at: time(i64::from(number)),
        updated_at: None,
        revision: u64::from(number),
    }
}

/// An idempotency key: the first number makes its hash, the second the body's.
#[must_use]
pub fn key(nth: u128, body: u128) -> StoredKey {
    StoredKey {
        hash: KeyHash::from_bytes(nth.to_be_bytes()),
        body_hash: KeyHash::from_bytes(body.to_be_bytes()),
    }
}

/// A row of an idempotency key.
#[must_use]
pub fn key_row(nth: u128) -> KeyRow {
    KeyRow {
        key: key(nth, nth + 1),
        token: token(1),
        first: 8,
        count: 3,
        uid: Uuid::from_u128(nth << 8),
        generation: 2,
        created_at: time(0),
    }
}

/// A record whose value is this text.
#[must_use]
pub fn record(key: &str, value: &str) -> NewRecord {
    NewRecord {
        key: Bytes::copy_from_slice(key.as_bytes()),
        headers: Headers {
            event: Some("message.created".to_owned()),
            uid: Some(Uuid::from_u128(9)),
            schema: Some(1),
            ..Headers::default()
        },
        value: Bytes::copy_from_slice(value.as_bytes()),
    }
}

/// Limits that hardly limit.
pub const PLENTY: PollLimits = PollLimits {
    records: 1_000,
    bytes: 8 * 1024 * 1024,
    wait_ms: 1_000,
};
