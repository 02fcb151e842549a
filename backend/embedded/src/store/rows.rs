//! Rows as SQLite keeps them: the columns in order, out of a row and into the arguments.

use chat_core::key::{KeyHash, StoredKey};
use chat_core::port::log::{PartitionId, Topic};
use chat_core::port::store::{
    ApplicationRow, ChatKey, ChatRow, Error, Fate, KeyRow, LetterRow, MessageKey, MessageRow,
    Position, Presence, RenumberedRow, State,
};
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::time::Timestamp;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, Decode, Row, Sqlite};
use uuid::Uuid;

use crate::sqlite::Failure;

/// The columns of `applications`, in the order of [`application`].
pub(super) const APPLICATION: &str =
    "token, name, chats_count, created_at, updated_at, revision, presence";
/// The columns of `chats`, in the order of [`chat`].
pub(super) const CHAT: &str = "application_token, number, uid, generation, messages_count, \
     highest, settled_through, resets, reset_from, created_at, presence";
/// How many they are: what else is selected comes behind them.
pub(super) const CHAT_COLUMNS: usize = columns(CHAT);
/// What is written of a chat: its columns, and the minute of Unix time.
pub(super) const CHAT_WRITTEN: &str = "application_token, number, uid, generation, messages_count, \
     highest, settled_through, resets, reset_from, created_at, presence, changed";
/// The columns of `dead_letters`, in the order of [`letter`].
pub(super) const LETTER: &str =
    "topic, partition, epoch, log_offset, fate, claim, decided_at, reason";
/// The columns of `messages`, in the order of [`message`].
pub(super) const MESSAGE: &str = "application_token, chat_number, number, uid, generation, \
     sender, body, state, sent_at, created_at, updated_at, revision";
/// The columns of `idempotency`, in the order of [`key`].
pub(super) const KEY: &str =
    "hash, body_hash, application_token, first, count, uid, generation, created_at";
/// The columns of `renumbered`, in the order of [`renumbered`].
pub(super) const RENUMBERED: &str = "application_token, chat_number, uid, number";

/// The port's error for one of SQLite's.
pub(super) fn told(error: sqlx::Error) -> Error {
    match Failure::from(error) {
        Failure::Unavailable(text) => Error::Unavailable(text),
        Failure::Refused(text) => Error::Refused(text),
        Failure::Corrupt(text) => Error::Corrupt(text),
    }
}

/// The number of names in a list.
const fn columns(list: &str) -> usize {
    let (bytes, mut at, mut count) = (list.as_bytes(), 0, 1);
    while at < bytes.len() {
        if bytes[at] == b',' {
            count += 1;
        }
        at += 1;
    }
    count
}

/// Reads a row of [`APPLICATION`].
pub(super) fn application(row: &SqliteRow) -> Result<ApplicationRow, Error> {
    Ok(ApplicationRow {
        token: token(row, 0)?,
        name: get(row, 1)?,
        chats_count: number(row, 2)?,
        created_at: time(row, 3)?,
        updated_at: time(row, 4)?,
        revision: wide(row, 5)?,
        presence: presence(row, 6)?,
    })
}

/// Reads a row of [`CHAT`].
pub(super) fn chat(row: &SqliteRow) -> Result<ChatRow, Error> {
    Ok(ChatRow {
        key: chat_key(row)?,
        uid: uid(row, 2)?,
        generation: number(row, 3)?,
        messages_count: number(row, 4)?,
        highest: number(row, 5)?,
        settled_through: number(row, 6)?,
        resets: number(row, 7)?,
        reset_from: number(row, 8)?,
        created_at: time(row, 9)?,
        presence: presence(row, 10)?,
    })
}

/// Reads a row of [`MESSAGE`].
pub(super) fn message(row: &SqliteRow) -> Result<MessageRow, Error> {
    let number_of_message = MessageNumber::new(number(row, 2)?);
    Ok(MessageRow {
        key: MessageKey {
            chat: chat_key(row)?,
            number: number_of_message.ok_or_else(|| corrupt("a message has number 0"))?,
        },
        uid: uid(row, 3)?,
        generation: number(row, 4)?,
        sender: get(row, 5)?,
        body: get(row, 6)?,
        state: match number(row, 7)? {
            0 => State::Live,
            1 => State::Void,
            2 => State::Deleted,
            _ => return Err(corrupt("a message has an unknown state")),
        },
        sent_at: maybe_time(row, 8)?,
        created_at: time(row, 9)?,
        updated_at: maybe_time(row, 10)?,
        revision: wide(row, 11)?,
    })
}

/// Reads a row of [`KEY`].
pub(super) fn key(row: &SqliteRow) -> Result<KeyRow, Error> {
    Ok(KeyRow {
        key: StoredKey {
            hash: KeyHash::from_bytes(bytes(row, 0)?),
            body_hash: KeyHash::from_bytes(bytes(row, 1)?),
        },
        token: token(row, 2)?,
        first: number(row, 3)?,
        count: number(row, 4)?,
        uid: uid(row, 5)?.ok_or_else(|| corrupt("a key has no uid"))?,
        generation: number(row, 6)?,
        created_at: time(row, 7)?,
    })
}

/// Reads a row of [`RENUMBERED`].
pub(super) fn renumbered(row: &SqliteRow) -> Result<RenumberedRow, Error> {
    Ok(RenumberedRow {
        chat: chat_key(row)?,
        uid: uid(row, 2)?.ok_or_else(|| corrupt("a moved message has no uid"))?,
        number: number(row, 3)?,
    })
}

/// Reads `next, epoch, last_uid`.
pub(super) fn position(row: &SqliteRow) -> Result<Position, Error> {
    Ok(Position {
        next: wide(row, 0)?,
        epoch: number(row, 1)?,
        last_uid: uid(row, 2)?,
    })
}

/// Reads a row of [`LETTER`].
pub(super) fn letter(row: &SqliteRow) -> Result<LetterRow, Error> {
    let name: &str = get(row, 0)?;
    let topic = Topic::ALL.into_iter().find(|topic| topic.name() == name);
    Ok(LetterRow {
        partition: PartitionId {
            topic: topic.ok_or_else(|| corrupt("a dead letter is of an unknown topic"))?,
            index: number(row, 1)?,
        },
        epoch: number(row, 2)?,
        offset: wide(row, 3)?,
        fate: match number(row, 4)? {
            0 => Fate::Replaying,
            1 => Fate::Replayed,
            2 => Fate::Discarded,
            _ => return Err(corrupt("a dead letter has an unknown fate")),
        },
        claim: uid(row, 5)?.ok_or_else(|| corrupt("a decision has no claim"))?,
        at: time(row, 6)?,
        reason: get(row, 7)?,
    })
}

/// Arguments of one statement.
pub(super) struct Values(SqliteArguments);

impl Values {
    /// Room for so many.
    pub(super) fn with_capacity(values: usize) -> Self {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(values, 0);
        Self(arguments)
    }

    pub(super) fn into_inner(self) -> SqliteArguments {
        self.0
    }

    pub(super) fn bytes(&mut self, bytes: &[u8; 16]) -> &mut Self {
        self.push(bytes.to_vec())
    }

    pub(super) fn uid(&mut self, uid: Option<Uuid>) -> &mut Self {
        self.push(uid.map(|uid| uid.as_bytes().to_vec()))
    }

    pub(super) fn int(&mut self, number: impl Into<i64>) -> &mut Self {
        self.push(number.into())
    }

    /// A revision or an offset.
    pub(super) fn wide(&mut self, number: u64) -> Result<&mut Self, Error> {
        let number = i64::try_from(number)
            .map_err(|_| Error::Refused("a revision or offset is above 2^63".into()))?;
        Ok(self.int(number))
    }

    pub(super) fn time(&mut self, at: Option<Timestamp>) -> &mut Self {
        self.push(at.map(Timestamp::as_micros))
    }

    pub(super) fn text(&mut self, text: Option<String>) -> &mut Self {
        self.push(text)
    }

    pub(super) fn chat_key(&mut self, key: ChatKey) -> &mut Self {
        self.bytes(key.token.as_bytes()).int(key.chat.get())
    }

    pub(super) fn application(&mut self, row: ApplicationRow) -> Result<(), Error> {
        self.bytes(row.token.as_bytes())
            .text(Some(row.name))
            .int(row.chats_count)
            .time(Some(row.created_at))
            .time(Some(row.updated_at))
            .wide(row.revision)?
            .int(presence_code(row.presence));
        Ok(())
    }

    pub(super) fn chat(&mut self, row: &ChatRow) {
        self.chat_key(row.key)
            .uid(row.uid)
            .int(row.generation)
            .int(row.messages_count)
            .int(row.highest)
            .int(row.settled_through)
            .int(row.resets)
            .int(row.reset_from)
            .time(Some(row.created_at))
            .int(presence_code(row.presence))
            .int(Timestamp::now().unix_minute());
    }

    pub(super) fn message(&mut self, row: MessageRow) -> Result<(), Error> {
        self.chat_key(row.key.chat)
            .int(row.key.number.get())
            .uid(row.uid)
            .int(row.generation)
            .text(row.sender)
            .text(Some(row.body))
            .int(match row.state {
                State::Live => 0,
                State::Void => 1,
                State::Deleted => 2,
            })
            .time(row.sent_at)
            .time(Some(row.created_at))
            .time(row.updated_at)
            .wide(row.revision)?;
        Ok(())
    }

    pub(super) fn key(&mut self, row: &KeyRow) {
        self.bytes(row.key.hash.as_bytes())
            .bytes(row.key.body_hash.as_bytes())
            .bytes(row.token.as_bytes())
            .int(row.first)
            .int(row.count)
            .uid(Some(row.uid))
            .int(row.generation)
            .time(Some(row.created_at));
    }

    pub(super) fn renumbered(&mut self, row: &RenumberedRow) {
        self.chat_key(row.chat).uid(Some(row.uid)).int(row.number);
    }

    fn push<'t, T>(&mut self, value: T) -> &mut Self
    where
        T: sqlx::Encode<'t, Sqlite> + sqlx::Type<Sqlite>,
    {
        self.0
            .add(value)
            .expect("bytes, texts and integers always encode");
        self
    }
}

const fn presence_code(presence: Presence) -> i32 {
    match presence {
        Presence::Stub => 0,
        Presence::Live => 1,
    }
}

fn presence(row: &SqliteRow, column: usize) -> Result<Presence, Error> {
    match number(row, column)? {
        0 => Ok(Presence::Stub),
        1 => Ok(Presence::Live),
        _ => Err(corrupt("a row is neither stub nor live")),
    }
}

pub(super) fn chat_key(row: &SqliteRow) -> Result<ChatKey, Error> {
    Ok(ChatKey {
        token: token(row, 0)?,
        chat: ChatNumber::new(number(row, 1)?).ok_or_else(|| corrupt("a chat has number 0"))?,
    })
}

fn token(row: &SqliteRow, column: usize) -> Result<AppToken, Error> {
    bytes(row, column).map(AppToken::from_bytes)
}

fn bytes(row: &SqliteRow, column: usize) -> Result<[u8; 16], Error> {
    let bytes: &[u8] = get(row, column)?;
    bytes
        .try_into()
        .map_err(|_| corrupt("a token, uid or hash has not 16 bytes"))
}

fn uid(row: &SqliteRow, column: usize) -> Result<Option<Uuid>, Error> {
    let bytes: Option<&[u8]> = get(row, column)?;
    bytes
        .map(|bytes| Uuid::from_slice(bytes).map_err(|_| corrupt("a uid has not 16 bytes")))
        .transpose()
}

/// A `u32`.
pub(super) fn number(row: &SqliteRow, column: usize) -> Result<u32, Error> {
    let number: i64 = get(row, column)?;
    u32::try_from(number).map_err(|_| corrupt("a number is outside of 32 bits"))
}

/// A `u64`.
pub(super) fn wide(row: &SqliteRow, column: usize) -> Result<u64, Error> {
    let number: i64 = get(row, column)?;
    u64::try_from(number).map_err(|_| corrupt("a revision or offset is negative"))
}

fn time(row: &SqliteRow, column: usize) -> Result<Timestamp, Error> {
    in_range(get(row, column)?)
}

fn maybe_time(row: &SqliteRow, column: usize) -> Result<Option<Timestamp>, Error> {
    let micros: Option<i64> = get(row, column)?;
    micros.map(in_range).transpose()
}

fn in_range(micros: i64) -> Result<Timestamp, Error> {
    Timestamp::from_micros(micros).map_err(|_| corrupt("a time is outside of the calendar"))
}

/// The tables are STRICT, so a column has the type that it was declared with and needs no check.
pub(super) fn get<'r, T: Decode<'r, Sqlite>>(
    row: &'r SqliteRow,
    column: usize,
) -> Result<T, Error> {
    row.try_get_unchecked(column).map_err(told)
}

fn corrupt(what: &str) -> Error {
    Error::Corrupt(what.to_owned())
}
