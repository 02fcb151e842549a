//! Rows as the database has them: columns, arguments, decoding.

use chat_core::key::{KeyHash, StoredKey};
use chat_core::port::log::{Group, PartitionId, Topic};
use chat_core::port::store::{
    ApplicationRow, ChatKey, ChatRow, Error, Fate, KeyRow, LetterRow, MessageKey, MessageRow,
    Position, Presence, RenumberedRow, State,
};
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::time::Timestamp;
use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::{Arguments, Decode, Encode, MySql, Row, Type};
use uuid::Uuid;

use super::failure::told;

/// Columns of `applications`, in the order of [`Values::application`] and [`application`].
pub(super) const APPLICATION: &str =
    "token, name, chats_count, created_at, updated_at, revision, presence";
/// Columns of `chats`.
pub(super) const CHAT: &str = "application_token, number, uid, generation, messages_count, highest, \
     settled_through, resets, reset_from, created_at, presence";
/// How many they are: what else is selected comes behind them.
pub(super) const CHAT_COLUMNS: usize = columns(CHAT);
/// What is written of a chat: its columns, and the minute of Unix time.
pub(super) const CHAT_WRITTEN: &str = "application_token, number, uid, generation, messages_count, highest, \
     settled_through, resets, reset_from, created_at, presence, changed";
/// Columns of `dead_letters`, in the order of [`Values::letter`] and [`letter`].
pub(super) const LETTER: &str =
    "topic, partition_index, epoch, log_offset, fate, claim, decided_at, reason";
/// Columns of `messages`.
pub(super) const MESSAGE: &str = "application_token, chat_number, number, uid, generation, sender, \
     body, state, sent_at, created_at, updated_at, revision";
/// Columns of `idempotency`.
pub(super) const KEY: &str =
    "hash, body_hash, application_token, first, count, uid, generation, created_at";
/// Columns of `renumbered`.
pub(super) const RENUMBERED: &str = "application_token, chat_number, uid, number";

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
pub(super) fn application(row: &MySqlRow) -> Result<ApplicationRow, Error> {
    Ok(ApplicationRow {
        token: token(row, 0)?,
        name: text(row, 1)?,
        chats_count: number(row, 2)?,
        created_at: time(row, 3)?,
        updated_at: time(row, 4)?,
        revision: get(row, 5)?,
        presence: presence(row, 6)?,
    })
}

/// Reads a row of [`CHAT`].
pub(super) fn chat(row: &MySqlRow) -> Result<ChatRow, Error> {
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
pub(super) fn message(row: &MySqlRow) -> Result<MessageRow, Error> {
    let of_message = MessageNumber::new(number(row, 2)?);
    Ok(MessageRow {
        key: MessageKey {
            chat: chat_key(row)?,
            number: of_message.ok_or_else(|| corrupt("a message has number 0"))?,
        },
        uid: uid(row, 3)?,
        generation: number(row, 4)?,
        sender: maybe_text(row, 5)?,
        body: text(row, 6)?,
        state: match number(row, 7)? {
            0 => State::Live,
            1 => State::Void,
            2 => State::Deleted,
            _ => return Err(corrupt("a message has an unknown state")),
        },
        sent_at: maybe_time(row, 8)?,
        created_at: time(row, 9)?,
        updated_at: maybe_time(row, 10)?,
        revision: get(row, 11)?,
    })
}

/// Reads a row of [`KEY`].
pub(super) fn key(row: &MySqlRow) -> Result<KeyRow, Error> {
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
pub(super) fn renumbered(row: &MySqlRow) -> Result<RenumberedRow, Error> {
    Ok(RenumberedRow {
        chat: chat_key(row)?,
        uid: uid(row, 2)?.ok_or_else(|| corrupt("a moved message has no uid"))?,
        number: number(row, 3)?,
    })
}

/// Reads `next, epoch, last_uid`.
pub(super) fn position(row: &MySqlRow) -> Result<Position, Error> {
    Ok(Position {
        next: get(row, 0)?,
        epoch: number(row, 1)?,
        last_uid: uid(row, 2)?,
    })
}

/// Reads a row of [`LETTER`].
pub(super) fn letter(row: &MySqlRow) -> Result<LetterRow, Error> {
    let name = text(row, 0)?;
    let topic = Topic::ALL.into_iter().find(|topic| topic.name() == name);
    Ok(LetterRow {
        partition: PartitionId {
            topic: topic.ok_or_else(|| corrupt("a dead letter is of an unknown topic"))?,
            index: number(row, 1)?,
        },
        epoch: number(row, 2)?,
        offset: get(row, 3)?,
        fate: match number(row, 4)? {
            0 => Fate::Replaying,
            1 => Fate::Replayed,
            2 => Fate::Discarded,
            _ => return Err(corrupt("a dead letter has an unknown fate")),
        },
        claim: uid(row, 5)?.ok_or_else(|| corrupt("a decision has no claim"))?,
        at: time(row, 6)?,
        reason: text(row, 7)?,
    })
}

/// Arguments of one statement.
#[derive(Default)]
pub(super) struct Values(MySqlArguments);

impl Values {
    /// Room for so many values, of so many bytes together.
    pub(super) fn with_capacity(values: usize, bytes: usize) -> Self {
        let mut arguments = MySqlArguments::default();
        arguments.reserve(values, bytes);
        Self(arguments)
    }

    pub(super) fn into_inner(self) -> MySqlArguments {
        self.0
    }

    pub(super) fn bytes(&mut self, bytes: &[u8; 16]) -> &mut Self {
        self.push(&bytes[..])
    }

    pub(super) fn uid(&mut self, uid: Option<Uuid>) -> &mut Self {
        self.push(uid.as_ref().map(|uid| &uid.as_bytes()[..]))
    }

    pub(super) fn number(&mut self, number: u32) -> &mut Self {
        self.push(number)
    }

    /// A revision, an offset or a connection.
    pub(super) fn wide(&mut self, number: u64) -> &mut Self {
        self.push(number)
    }

    pub(super) fn time(&mut self, at: Option<Timestamp>) -> &mut Self {
        self.push(at.map(Timestamp::as_micros))
    }

    pub(super) fn text(&mut self, text: Option<&str>) -> &mut Self {
        self.push(text)
    }

    /// The key of a position.
    pub(super) fn place(&mut self, group: Group, partition: PartitionId) -> &mut Self {
        self.text(Some(group.name()))
            .text(Some(partition.topic.name()))
            .number(partition.index)
    }

    pub(super) fn chat_key(&mut self, key: ChatKey) -> &mut Self {
        self.bytes(key.token.as_bytes()).number(key.chat.get())
    }

    pub(super) fn application(&mut self, row: &ApplicationRow) {
        self.bytes(row.token.as_bytes())
            .text(Some(&row.name))
            .number(row.chats_count)
            .time(Some(row.created_at))
            .time(Some(row.updated_at))
            .wide(row.revision)
            .number(presence_code(row.presence));
    }

    pub(super) fn chat(&mut self, row: &ChatRow) {
        self.chat_key(row.key)
            .uid(row.uid)
            .number(row.generation)
            .number(row.messages_count)
            .number(row.highest)
            .number(row.settled_through)
            .number(row.resets)
            .number(row.reset_from)
            .time(Some(row.created_at))
            .number(presence_code(row.presence))
            .number(Timestamp::now().unix_minute());
    }

    pub(super) fn letter(&mut self, row: &LetterRow) {
        self.text(Some(row.partition.topic.name()))
            .number(row.partition.index)
            .number(row.epoch)
            .wide(row.offset)
            .number(match row.fate {
                Fate::Replaying => 0,
                Fate::Replayed => 1,
                Fate::Discarded => 2,
            })
            .uid(Some(row.claim))
            .time(Some(row.at))
            .text(Some(&row.reason));
    }

    pub(super) fn message(&mut self, row: &MessageRow) {
        self.chat_key(row.key.chat)
            .number(row.key.number.get())
            .uid(row.uid)
            .number(row.generation)
            .text(row.sender.as_deref())
            .text(Some(&row.body))
            .number(match row.state {
                State::Live => 0,
                State::Void => 1,
                State::Deleted => 2,
            })
            .time(row.sent_at)
            .time(Some(row.created_at))
            .time(row.updated_at)
            .wide(row.revision);
    }

    pub(super) fn key(&mut self, row: &KeyRow) {
        self.bytes(row.key.hash.as_bytes())
            .bytes(row.key.body_hash.as_bytes())
            .bytes(row.token.as_bytes())
            .number(row.first)
            .number(row.count)
            .uid(Some(row.uid))
            .number(row.generation)
            .time(Some(row.created_at));
    }

    pub(super) fn renumbered(&mut self, row: &RenumberedRow) {
        self.chat_key(row.chat)
            .uid(Some(row.uid))
            .number(row.number);
    }

    fn push<'t, T>(&mut self, value: T) -> &mut Self
    where
        T: Encode<'t, MySql> + Type<MySql>,
    {
        self.0
            .add(value)
            .expect("bytes, texts and integers always encode");
        self
    }
}

const fn presence_code(presence: Presence) -> u32 {
    match presence {
        Presence::Stub => 0,
        Presence::Live => 1,
    }
}

fn presence(row: &MySqlRow, column: usize) -> Result<Presence, Error> {
    match number(row, column)? {
        0 => Ok(Presence::Stub),
        1 => Ok(Presence::Live),
        _ => Err(corrupt("a row is neither stub nor live")),
    }
}

/// A chat's key in the first two columns.
pub(super) fn chat_key(row: &MySqlRow) -> Result<ChatKey, Error> {
    Ok(ChatKey {
        token: token(row, 0)?,
        chat: ChatNumber::new(number(row, 1)?).ok_or_else(|| corrupt("a chat has number 0"))?,
    })
}

fn token(row: &MySqlRow, column: usize) -> Result<AppToken, Error> {
    bytes(row, column).map(AppToken::from_bytes)
}

fn bytes(row: &MySqlRow, column: usize) -> Result<[u8; 16], Error> {
    let bytes: &[u8] = get(row, column)?;
    bytes
        .try_into()
        .map_err(|_| corrupt("a token, uid or hash has not 16 bytes"))
}

fn uid(row: &MySqlRow, column: usize) -> Result<Option<Uuid>, Error> {
    let bytes: Option<&[u8]> = get(row, column)?;
    bytes
        .map(|bytes| Uuid::from_slice(bytes).map_err(|_| corrupt("a uid has not 16 bytes")))
        .transpose()
}

/// Text arrives as bytes: a binary collation is told to the client as a binary string.
pub(super) fn text(row: &MySqlRow, column: usize) -> Result<String, Error> {
    maybe_text(row, column)?.ok_or_else(|| corrupt("a text is missing"))
}

fn maybe_text(row: &MySqlRow, column: usize) -> Result<Option<String>, Error> {
    let bytes: Option<&[u8]> = get(row, column)?;
    bytes
        .map(|bytes| {
            let text = std::str::from_utf8(bytes);
            text.map(str::to_owned)
                .map_err(|_| corrupt("a text is not UTF-8"))
        })
        .transpose()
}

/// A `u32`.
pub(super) fn number(row: &MySqlRow, column: usize) -> Result<u32, Error> {
    let number: u64 = get(row, column)?;
    u32::try_from(number).map_err(|_| corrupt("a number is outside of 32 bits"))
}

fn time(row: &MySqlRow, column: usize) -> Result<Timestamp, Error> {
    in_range(get(row, column)?)
}

fn maybe_time(row: &MySqlRow, column: usize) -> Result<Option<Timestamp>, Error> {
    let micros: Option<i64> = get(row, column)?;
    micros.map(in_range).transpose()
}

fn in_range(micros: i64) -> Result<Timestamp, Error> {
    Timestamp::from_micros(micros).map_err(|_| corrupt("a time is outside of the calendar"))
}

/// Without a check of types: the schema is ours, and the check would refuse text that is compared
/// by its bytes.
pub(super) fn get<'r, T: Decode<'r, MySql>>(row: &'r MySqlRow, column: usize) -> Result<T, Error> {
    row.try_get_unchecked(column).map_err(told)
}

fn corrupt(what: &str) -> Error {
    Error::Corrupt(what.to_owned())
}
