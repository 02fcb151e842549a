//! Events: what stands in the log, as JSON that a person can read.
//!
//! The name of the event, its uid and the version of its shape travel as headers; the value is a JSON object.

use bytes::Bytes;
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::key::StoredKey;
use crate::limits;
use crate::port::log::{Headers, NewRecord, Origin, Record, Scope, Topic};
use crate::port::store::{ChatKey, MessageKey};

/// Version of the shapes in this file.
pub const SCHEMA: u32 = 1;

/// Why a record is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// The bytes are not those that were appended.
    #[error("checksum mismatch: the record was damaged after it was appended")]
    Damaged,
    /// The header `event` is missing or unknown in this topic.
    #[error("the record has no event name that belongs in this topic")]
    Name,
    /// The header `uid` is missing or no UUID.
    #[error("the record has no uid")]
    Uid,
    /// The header `schema` is missing, or names one that no program ever wrote.
    #[error("the record has schema {0:?}, this program reads {SCHEMA}")]
    Schema(Option<u32>),
    /// A newer program wrote it: it is no poison, and has to wait for a program that reads it.
    #[error("the record has schema {0}, this program reads {SCHEMA}")]
    Newer(u32),
    /// The value is not the JSON object that the name promises.
    #[error("the value is not what the event name promises: {0}")]
    Shape(String),
    /// The header `origin` names a place that no log has: a revision cannot be made of it.
    #[error("the origin of the record is no place of a log")]
    Origin,
    /// The value breaks a rule that no create path lets through.
    #[error("the value breaks a rule: {0}")]
    Rule(String),
}

/// `application.created`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationCreated {
    /// Of the new application.
    pub application_token: AppToken,
    /// 1 to 255 code points.
    pub name: String,
    /// When the create was accepted.
    pub created_at: Timestamp,
    /// Of the counters then.
    pub generation: u32,
    /// The idempotency key, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<StoredKey>,
}

/// `application.renamed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationRenamed {
    /// Which.
    pub application_token: AppToken,
    /// 1 to 255 code points.
    pub name: String,
    /// When the rename was accepted.
    pub at: Timestamp,
}

/// `chat.created`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatCreated {
    /// The application.
    pub application_token: AppToken,
    /// The number that was taken.
    pub chat_number: ChatNumber,
    /// When the create was accepted.
    pub created_at: Timestamp,
    /// Of the counters when the number was taken.
    pub generation: u32,
    /// The idempotency key, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<StoredKey>,
}

/// `message.created` (one line, its uid is the event's) and `messages.created` (a batch).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessagesCreated {
    /// The application.
    pub application_token: AppToken,
    /// The chat.
    pub chat_number: ChatNumber,
    /// Number of the first line; the others follow without a gap.
    pub first: MessageNumber,
    /// When the create was accepted.
    pub created_at: Timestamp,
    /// Of the counters when the numbers were taken.
    pub generation: u32,
    /// The idempotency key, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<StoredKey>,
    /// At least one.
    pub messages: Vec<Line>,
}

/// One message of a create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Tells a redelivery from a collision.
    pub uid: Uuid,
    /// As it was given.
    pub body: String,
    /// As it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// As it was given, to the microsecond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
}

/// `message.edited`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageEdited {
    /// The application.
    pub application_token: AppToken,
    /// The chat.
    pub chat_number: ChatNumber,
    /// The message.
    pub message_number: MessageNumber,
    /// The new body.
    pub body: String,
    /// When the edit was accepted.
    pub at: Timestamp,
}

/// `message.deleted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageDeleted {
    /// The application.
    pub application_token: AppToken,
    /// The chat.
    pub chat_number: ChatNumber,
    /// The message.
    pub message_number: MessageNumber,
    /// When the delete was accepted.
    pub at: Timestamp,
}

/// Anything that stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the struct of its name")]
pub enum Event {
    ApplicationCreated(ApplicationCreated),
    ApplicationRenamed(ApplicationRenamed),
    ChatCreated(ChatCreated),
    MessagesCreated(MessagesCreated),
    MessageEdited(MessageEdited),
    MessageDeleted(MessageDeleted),
}

impl MessagesCreated {
    /// The chat that the lines are in.
    #[must_use]
    pub const fn chat(&self) -> ChatKey {
        ChatKey {
            token: self.application_token,
            chat: self.chat_number,
        }
    }

    /// Number of the last line.
    #[must_use]
    pub fn last(&self) -> u32 {
        let lines = u32::try_from(self.messages.len()).unwrap_or(u32::MAX);
        self.first.get().saturating_add(lines.saturating_sub(1))
    }
}

impl MessageEdited {
    /// The message that is meant.
    #[must_use]
    pub const fn target(&self) -> MessageKey {
        MessageKey {
            chat: ChatKey {
                token: self.application_token,
                chat: self.chat_number,
            },
            number: self.message_number,
        }
    }
}

impl MessageDeleted {
    /// The message that is meant.
    #[must_use]
    pub const fn target(&self) -> MessageKey {
        MessageKey {
            chat: ChatKey {
                token: self.application_token,
                chat: self.chat_number,
            },
            number: self.message_number,
        }
    }
}

impl Event {
    /// The value of the header `event`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::ApplicationCreated(_) => "application.created",
            Self::ApplicationRenamed(_) => "application.renamed",
            Self::ChatCreated(_) => "chat.created",
            Self::MessagesCreated(event) if event.messages.len() == 1 => "message.created",
            Self::MessagesCreated(_) => "messages.created",
            Self::MessageEdited(_) => "message.edited",
            Self::MessageDeleted(_) => "message.deleted",
        }
    }

    /// The topic that it belongs in.
    #[must_use]
    pub const fn topic(&self) -> Topic {
        match self {
            Self::ApplicationCreated(_) | Self::ApplicationRenamed(_) => Topic::Applications,
            Self::ChatCreated(_) => Topic::Chats,
            Self::MessagesCreated(_) | Self::MessageEdited(_) | Self::MessageDeleted(_) => {
                Topic::Messages
            }
        }
    }

    /// The partition key: the token, and for messages the chat number too.
    #[must_use]
    pub fn key(&self) -> Bytes {
        match self {
            Self::ApplicationCreated(event) => event.application_token.reveal().into(),
            Self::ApplicationRenamed(event) => event.application_token.reveal().into(),
            Self::ChatCreated(event) => event.application_token.reveal().into(),
            Self::MessagesCreated(event) => Self::message_key(event.chat()),
            Self::MessageEdited(event) => Self::message_key(event.target().chat),
            Self::MessageDeleted(event) => Self::message_key(event.target().chat),
        }
    }

    /// The partition key of everything that happens in a chat.
    #[must_use]
    pub fn message_key(chat: ChatKey) -> Bytes {
        format!("{}|{}", chat.token.reveal(), chat.chat).into()
    }

    /// What it is about, without its content.
    #[must_use]
    pub fn scope(&self) -> Scope {
        let of = |token, chat, first, count| Scope {
            token,
            chat,
            first,
            count,
            generation: 0,
            creates: false,
        };
        let changed =
            |key: MessageKey| of(key.chat.token, Some(key.chat.chat), key.number.get(), 1);
        match self {
            Self::ApplicationCreated(event) => Scope {
                generation: event.generation,
                creates: true,
                ..of(event.application_token, None, 0, 0)
            },
            Self::ApplicationRenamed(event) => of(event.application_token, None, 0, 0),
            Self::ChatCreated(event) => Scope {
                generation: event.generation,
                creates: true,
                ..of(event.application_token, None, event.chat_number.get(), 1)
            },
            Self::MessagesCreated(event) => {
                let count = event.last() - event.first.get() + 1;
                let chat = Some(event.chat_number);
                Scope {
                    generation: event.generation,
                    creates: true,
                    ..of(event.application_token, chat, event.first.get(), count)
                }
            }
            Self::MessageEdited(event) => changed(event.target()),
            Self::MessageDeleted(event) => changed(event.target()),
        }
    }

    /// The create that a scope speaks of, with everything but its numbers and uids left empty: it
    /// reserves the numbers of a create whose value cannot be read. `None` where the record created
    /// nothing with a number.
    #[must_use]
    pub fn reservation(scope: &Scope, uid: Uuid, created_at: Timestamp) -> Option<Self> {
        if !scope.creates || scope.first == 0 {
            return None;
        }
        let Some(chat_number) = scope.chat else {
            return Some(Self::ChatCreated(ChatCreated {
                application_token: scope.token,
                chat_number: ChatNumber::new(scope.first)?,
                created_at,
                generation: scope.generation,
                key: None,
            }));
        };
        let single = scope.count == 1;
        let line = |nth: u32| Line {
            uid: if single {
                uid
            } else {
                nth_uid(uid, nth.into())
            },
            body: String::new(),
            sender: None,
            sent_at: None,
        };
        Some(Self::MessagesCreated(MessagesCreated {
            application_token: scope.token,
            chat_number,
            first: MessageNumber::new(scope.first)?,
            created_at,
            generation: scope.generation,
            key: None,
            messages: (0..scope.count).map(line).collect(),
        }))
    }

    /// The record that carries it.
    #[must_use]
    pub fn encode(&self, uid: Uuid) -> NewRecord {
        let value = match self {
            Self::ApplicationCreated(event) => serde_json::to_vec(event),
            Self::ApplicationRenamed(event) => serde_json::to_vec(event),
            Self::ChatCreated(event) => serde_json::to_vec(event),
            Self::MessagesCreated(event) => serde_json::to_vec(event),
            Self::MessageEdited(event) => serde_json::to_vec(event),
            Self::MessageDeleted(event) => serde_json::to_vec(event),
        }
        .expect("events hold nothing that JSON cannot");
        NewRecord {
            key: self.key(),
            headers: Headers {
                event: Some(self.name().to_owned()),
                uid: Some(uid),
                schema: Some(SCHEMA),
                scope: Some(self.scope()),
                ..Headers::default()
            },
            value: value.into(),
        }
    }

    /// Reads a record and checks every rule that an apply relies on.
    ///
    /// # Errors
    /// [`Undecodable`] where it is no event of its topic: it will never apply.
    pub fn decode(record: &Record) -> Result<(Uuid, Self), Undecodable> {
        let headers = &record.headers;
        if headers.damaged {
            return Err(Undecodable::Damaged);
        }
        let uid = headers.uid.ok_or(Undecodable::Uid)?;
        match headers.schema {
            Some(SCHEMA) => {}
            Some(newer) if newer > SCHEMA && headers.event.is_some() => {
                return Err(Undecodable::Newer(newer));
            }
            other => return Err(Undecodable::Schema(other)),
        }
        if headers.origin.is_some_and(|origin| !is_place(&origin)) {
            return Err(Undecodable::Origin);
        }
        let value = &record.value;
        let event = match headers.event.as_deref().ok_or(Undecodable::Name)? {
            "application.created" => Self::ApplicationCreated(parse(value)?),
            "application.renamed" => Self::ApplicationRenamed(parse(value)?),
            "chat.created" => Self::ChatCreated(parse(value)?),
            "message.created" | "messages.created" => Self::MessagesCreated(parse(value)?),
            "message.edited" => Self::MessageEdited(parse(value)?),
            "message.deleted" => Self::MessageDeleted(parse(value)?),
            _ => return Err(Undecodable::Name),
        };
        if event.topic() != record.partition.topic {
            return Err(Undecodable::Name);
        }
        event
            .check()
            .map_err(|broken| Undecodable::Rule(broken.to_string()))?;
        Ok((uid, event))
    }

    fn check(&self) -> Result<(), limits::Broken> {
        match self {
            Self::ApplicationCreated(event) => limits::name(&event.name),
            Self::ApplicationRenamed(event) => limits::name(&event.name),
            Self::MessageEdited(event) => limits::body(&event.body),
            Self::ChatCreated(_) | Self::MessageDeleted(_) => Ok(()),
            Self::MessagesCreated(event) => {
                let fits = u32::try_from(event.messages.len())
                    .is_ok_and(|lines| event.first.get().checked_add(lines).is_some());
                if event.messages.is_empty() || !fits {
                    return Err(limits::Broken::new("messages", "is empty or too long"));
                }
                event.messages.iter().try_for_each(|line| {
                    limits::body(&line.body)?;
                    line.sender.as_deref().map_or(Ok(()), limits::sender)
                })
            }
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Result<T, Undecodable> {
    serde_json::from_slice(value).map_err(|error| Undecodable::Shape(place(&error)))
}

/// The place of a JSON error without the text around it, which may be somebody's message.
fn place(error: &serde_json::Error) -> String {
    format!(
        "{} at line {} column {}",
        match error.classify() {
            serde_json::error::Category::Data => "wrong shape",
            serde_json::error::Category::Eof => "cut off",
            serde_json::error::Category::Io | serde_json::error::Category::Syntax => "no JSON",
        },
        error.line(),
        error.column()
    )
}

/// The uid of a line: the event's with its lowest 62 bits, which are random, counted on.
pub(crate) fn nth_uid(uid: Uuid, nth: u128) -> Uuid {
    const TAIL: u128 = (1 << 62) - 1;
    let bits = uid.as_u128();
    Uuid::from_u128((bits & !TAIL) | ((bits & TAIL) + nth) & TAIL)
}

/// Bits of a revision below the epoch.
const OFFSET_BITS: u32 = 40;
/// Bits of an epoch, so that a revision fits a signed number of 64 bits, as stores have them.
const EPOCH_BITS: u32 = 63 - OFFSET_BITS;

/// Orders all events of one record: the epoch of the topic in the high bits, the offset in the low ones.
#[must_use]
pub const fn revision(epoch: u32, offset: u64) -> u64 {
    ((epoch as u64) << OFFSET_BITS) + offset + 1
}

/// Whether a revision can be made of an origin: anybody may have written the header.
pub(crate) const fn is_place(origin: &Origin) -> bool {
    origin.epoch >> EPOCH_BITS == 0 && origin.offset < (1 << OFFSET_BITS) - 1
}

/// A revision above all of earlier epochs, and below all of this one.
#[must_use]
pub const fn epoch_floor(epoch: u32) -> u64 {
    (epoch as u64) << 40
}

/// The epoch that a revision is of.
#[must_use]
pub(crate) fn epoch_of(revision: u64) -> u32 {
    u32::try_from(revision >> OFFSET_BITS).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::Batch;
    use crate::port::log::{Group, PartitionId};

    fn sample() -> Event {
        Event::MessagesCreated(MessagesCreated {
            application_token: AppToken::from_bytes([1; 16]),
            chat_number: ChatNumber::FIRST,
            first: MessageNumber::FIRST,
            created_at: Timestamp::from_micros(1).unwrap(),
            generation: 1,
            key: None,
            messages: vec![Line {
                uid: Uuid::from_u128(7),
                body: "hé \u{0} \u{1F600}".into(),
                sender: Some("me".into()),
                sent_at: None,
            }],
        })
    }

    fn record(new: NewRecord) -> Record {
        Record {
            partition: PartitionId {
                topic: Topic::Messages,
                index: 0,
            },
            offset: 0,
            appended_at: Timestamp::from_micros(0).unwrap(),
            key: new.key,
            headers: new.headers,
            value: new.value,
        }
    }

    #[test]
    fn an_event_reads_back() {
        let uid = Uuid::from_u128(7);
        let event = sample();
        assert_eq!(Event::decode(&record(event.encode(uid))), Ok((uid, event)));
    }

    #[test]
    fn what_is_no_event_is_told_apart() {
        let good = record(sample().encode(Uuid::from_u128(7)));
        let mut bad = good.clone();
        bad.headers.event = Some("application.created".into());
        assert!(matches!(Event::decode(&bad), Err(Undecodable::Shape(_))));
        let mut bad = good.clone();
        bad.partition.topic = Topic::Chats;
        assert_eq!(Event::decode(&bad), Err(Undecodable::Name));
        let mut bad = good.clone();
        bad.headers.uid = None;
        assert_eq!(Event::decode(&bad), Err(Undecodable::Uid));
        let mut bad = good.clone();
        bad.headers.schema = Some(2);
        assert_eq!(Event::decode(&bad), Err(Undecodable::Newer(2)));
        for never in [None, Some(0)] {
            bad.headers.schema = never;
            assert_eq!(Event::decode(&bad), Err(Undecodable::Schema(never)));
        }
        let mut bad = good;
        bad.value = Bytes::from_static(b"\xff\xfe secret");
        let error = Event::decode(&bad).unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn an_origin_that_no_log_has_is_told_apart() {
        let good = record(sample().encode(Uuid::from_u128(7)));
        let read = |epoch, offset| {
            let origin = Origin {
                epoch,
                partition: good.partition,
                offset,
            };
            let mut replayed = good.clone();
            replayed.headers.origin = Some(origin);
            let (group, partition) = (Group::MessagesStore, good.partition);
            let first = replayed.offset;
            let (batch, poison) = Batch::decode(group, partition, 1, first, vec![replayed]);
            assert_eq!(batch.records.len() + poison.len(), 1);
            batch.records.first().map(|decoded| decoded.revision)
        };
        let (epoch, offset) = ((1 << 23) - 1, (1 << 40) - 2);
        assert_eq!(read(epoch, offset), Some(i64::MAX as u64));
        assert_eq!(read(0, 5), Some(6));
        for (epoch, offset) in [
            (epoch + 1, 0),
            (u32::MAX, 0),
            (0, offset + 1),
            (0, u64::MAX),
        ] {
            assert_eq!(read(epoch, offset), None, "{epoch} {offset}");
        }
    }

    #[test]
    fn an_empty_batch_breaks_a_rule() {
        let Event::MessagesCreated(mut event) = sample() else {
            unreachable!()
        };
        event.messages.clear();
        let bad = record(Event::MessagesCreated(event).encode(Uuid::nil()));
        assert!(matches!(Event::decode(&bad), Err(Undecodable::Rule(_))));
    }

    #[test]
    fn a_later_epoch_has_higher_revisions() {
        assert!(revision(1, 0) > revision(0, 1 << 39));
        assert_eq!(revision(0, 0), 1);
        assert!(epoch_floor(3) < revision(3, 0));
        assert!(epoch_floor(3) > revision(2, (1 << 40) - 2));
        assert_eq!(epoch_of(revision(3, 0)), 3);
        assert_eq!(epoch_of(epoch_floor(3)), 3);
    }
}
