//! What the index keeps of a message, and the names under which it is found again.

use chat_core::port::search::Document;
use chat_core::port::store::{ChatKey, MessageKey};
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use tantivy::schema::document::{ReferenceValue, ReferenceValueLeaf, Value};
use tantivy::schema::{
    BytesOptions, Field, IndexRecordOption, NumericOptions, Schema, TextFieldIndexing, TextOptions,
};

use super::grams;

/// Names of a message: its application, its chat and itself, of which a tombstone has only the last.
pub(super) const PATH: Field = Field::from_field_id(0);
/// Grams of the normalized body.
pub(super) const GRAMS: Field = Field::from_field_id(1);
/// Microseconds since 1970.
pub(super) const CREATED_AT: &str = "created_at";
/// Chat and number in one; see [`position`].
pub(super) const POSITION: &str = "position";
/// External version.
pub(super) const REVISION: &str = "revision";

const CREATED_AT_FIELD: Field = Field::from_field_id(2);
const POSITION_FIELD: Field = Field::from_field_id(3);
const REVISION_FIELD: Field = Field::from_field_id(4);

/// The name of the gram field carries the version of the whole index: tantivy keeps the schema
/// from the first moment on and refuses another one. Raise it with any change of this file, of
/// the grams, or of the normalization (a new version of Unicode is one).
const GRAMS_NAME: &str = "grams.v1";

pub(super) fn schema() -> Schema {
    let mut builder = Schema::builder();
    let path = builder.add_bytes_field("path", BytesOptions::default().set_indexed());
    // Hits are checked against the stored body, so positions, frequencies and lengths would
    // only cost.
    let indexing = TextFieldIndexing::default()
        .set_tokenizer(grams::NAME)
        .set_index_option(IndexRecordOption::Basic)
        .set_fieldnorms(false);
    let grams = builder.add_text_field(
        GRAMS_NAME,
        TextOptions::default().set_indexing_options(indexing),
    );
    let column = || NumericOptions::default().set_fast();
    let created_at = builder.add_i64_field(CREATED_AT, column());
    let position = builder.add_u64_field(POSITION, column());
    let revision = builder.add_u64_field(REVISION, column());
    debug_assert_eq!(
        [path, grams, created_at, position, revision],
        [
            PATH,
            GRAMS,
            CREATED_AT_FIELD,
            POSITION_FIELD,
            REVISION_FIELD
        ]
    );
    builder.build()
}

/// Orders the messages of an application as `Sort::Number` does.
pub(super) fn position(chat: ChatNumber, number: u32) -> u64 {
    u64::from(chat.get()) << 32 | u64::from(number)
}

/// Undoes [`position`]; `None` when it was not one.
pub(super) fn from_position(position: u64) -> Option<(ChatNumber, MessageNumber)> {
    let chat = u32::try_from(position >> 32).ok()?;
    let number = u32::try_from(position & u64::from(u32::MAX)).ok()?;
    ChatNumber::new(chat).zip(MessageNumber::new(number))
}

/// Bytes of the path of an application, a chat, a message. One length each, so no path of one
/// kind is ever taken for one of another.
const APPLICATION: usize = 16;
const CHAT: usize = 20;
const MESSAGE: usize = 24;

pub(super) fn message_path(key: MessageKey) -> [u8; MESSAGE] {
    let mut path = [0; MESSAGE];
    path[..APPLICATION].copy_from_slice(key.chat.token.as_bytes());
    path[APPLICATION..CHAT].copy_from_slice(&key.chat.chat.get().to_be_bytes());
    path[CHAT..].copy_from_slice(&key.number.get().to_be_bytes());
    path
}

/// Undoes [`message_path`]; `None` for a path of another kind.
pub(super) fn from_message_path(path: &[u8]) -> Option<(ChatKey, u32)> {
    let (token, rest) = path.split_first_chunk::<APPLICATION>()?;
    let (chat, rest) = rest.split_first_chunk::<4>()?;
    let number = u32::from_be_bytes(rest.try_into().ok()?);
    let chat = ChatKey {
        token: AppToken::from_bytes(*token),
        chat: ChatNumber::new(u32::from_be_bytes(*chat))?,
    };
    Some((chat, number))
}

/// The path that all messages of an application, or of one of its chats, share.
pub(super) fn scope_path(token: AppToken, chat: Option<ChatNumber>) -> Vec<u8> {
    match chat {
        None => token.as_bytes().to_vec(),
        Some(chat) => {
            let key = MessageKey {
                chat: ChatKey { token, chat },
                number: MessageNumber::FIRST,
            };
            message_path(key)[..CHAT].to_vec()
        }
    }
}

/// A message on its way into the index. It owns the body instead of a copy of it.
pub(super) struct Entry {
    path: [u8; MESSAGE],
    created_at: i64,
    position: u64,
    revision: u64,
    body: Option<String>,
}

impl From<Document> for Entry {
    fn from(document: Document) -> Self {
        let key = document.key;
        Self {
            path: message_path(key),
            created_at: document.created_at.as_micros(),
            position: position(key.chat.chat, key.number.get()),
            revision: document.revision,
            body: document.body,
        }
    }
}

impl tantivy::Document for Entry {
    type Value<'a> = Leaf<'a>;
    type FieldsValuesIter<'a> =
        std::iter::Flatten<std::array::IntoIter<Option<(Field, Leaf<'a>)>, 7>>;

    fn iter_fields_and_values(&self) -> Self::FieldsValuesIter<'_> {
        let body = self.body.as_deref();
        let scope = |length| body.map(|_| (PATH, Leaf(self.path[..length].into())));
        [
            Some((PATH, Leaf(self.path[..].into()))),
            scope(CHAT),
            scope(APPLICATION),
            body.map(|body| (GRAMS, Leaf(body.into()))),
            Some((CREATED_AT_FIELD, Leaf(self.created_at.into()))),
            Some((POSITION_FIELD, Leaf(self.position.into()))),
            Some((REVISION_FIELD, Leaf(self.revision.into()))),
        ]
        .into_iter()
        .flatten()
    }
}

/// A value of a field; there are no arrays and objects.
#[derive(Debug, Clone)]
pub(super) struct Leaf<'a>(ReferenceValueLeaf<'a>);

impl<'a> Value<'a> for Leaf<'a> {
    type ArrayIter = std::iter::Empty<Self>;
    type ObjectIter = std::iter::Empty<(&'a str, Self)>;

    fn as_value(&self) -> ReferenceValue<'a, Self> {
        self.0.clone().into()
    }
}
