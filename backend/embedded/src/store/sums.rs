//! The checksum of each kind of row: of its key, so that a row in another's place is found, and of all
//! that an event set. What is derived from other rows has a checksum of its own.

use chat_core::port::log::{Group, PartitionId};
use chat_core::port::store::{
    ApplicationRow, ChatKey, ChatRow, Fate, KeyRow, LetterRow, MessageRow, Position, Presence,
    RenumberedRow, State,
};
use chat_wire::time::Timestamp;
use uuid::Uuid;

use crate::checksum::Checksum;

/// Of `applications`.
pub(crate) fn application(row: &ApplicationRow) -> i64 {
    Checksum::new(b'A')
        .fixed(row.token.as_bytes())
        .text(Some(&row.name))
        .int(row.created_at.as_micros())
        .int(row.updated_at.as_micros())
        .int(row.revision.cast_signed())
        .int(presence_code(row.presence))
        .column()
}

/// Of what an application counts.
pub(crate) fn application_counts(row: &ApplicationRow) -> i64 {
    Checksum::new(b'a')
        .fixed(row.token.as_bytes())
        .int(row.chats_count)
        .column()
}

/// Of `chats`.
pub(crate) fn chat(row: &ChatRow) -> i64 {
    of_chat(b'C', row.key)
        .bytes(uid(row.uid.as_ref()))
        .int(row.generation)
        .int(row.resets)
        .int(row.reset_from)
        .int(row.created_at.as_micros())
        .int(presence_code(row.presence))
        .column()
}

/// Of what a chat counts.
pub(crate) fn chat_counts(row: &ChatRow) -> i64 {
    of_chat(b'c', row.key)
        .int(row.messages_count)
        .int(row.highest)
        .int(row.settled_through)
        .column()
}

/// Of `messages`.
pub(crate) fn message(row: &MessageRow) -> i64 {
    of_chat(b'M', row.key.chat)
        .int(row.key.number.get())
        .bytes(uid(row.uid.as_ref()))
        .int(row.generation)
        .text(row.sender.as_deref())
        .text(Some(&row.body))
        .int(state_code(row.state))
        .maybe_int(row.sent_at.map(Timestamp::as_micros))
        .int(row.created_at.as_micros())
        .maybe_int(row.updated_at.map(Timestamp::as_micros))
        .int(row.revision.cast_signed())
        .column()
}

/// Of `idempotency`.
pub(crate) fn key(row: &KeyRow) -> i64 {
    Checksum::new(b'K')
        .fixed(row.key.hash.as_bytes())
        .fixed(row.key.body_hash.as_bytes())
        .fixed(row.token.as_bytes())
        .int(row.first)
        .int(row.count)
        .fixed(row.uid.as_bytes())
        .int(row.generation)
        .int(row.created_at.as_micros())
        .column()
}

/// Of `renumbered`.
pub(crate) fn renumbered(row: &RenumberedRow) -> i64 {
    of_chat(b'R', row.chat)
        .fixed(row.uid.as_bytes())
        .int(row.number)
        .column()
}

/// Of `log_positions`.
pub(crate) fn position(group: Group, partition: PartitionId, position: &Position) -> i64 {
    Checksum::new(b'P')
        .text(Some(group.name()))
        .text(Some(partition.topic.name()))
        .int(partition.index)
        .int(position.next.cast_signed())
        .int(position.epoch)
        .bytes(uid(position.last_uid.as_ref()))
        .column()
}

/// Of `log_epochs`.
pub(crate) fn log_epoch(topic: &str, id: &[u8; 16], epoch: u32) -> i64 {
    Checksum::new(b'E')
        .text(Some(topic))
        .fixed(id)
        .int(epoch)
        .column()
}

/// Of `notes`.
pub(crate) fn note(name: &str, version: u64, text: &str) -> i64 {
    Checksum::new(b'N')
        .text(Some(name))
        .int(version.cast_signed())
        .text(Some(text))
        .column()
}

/// Of `dead_letters`.
pub(crate) fn letter(row: &LetterRow) -> i64 {
    Checksum::new(b'L')
        .text(Some(row.partition.topic.name()))
        .int(row.partition.index)
        .int(row.epoch)
        .int(row.offset.cast_signed())
        .int(fate_code(row.fate))
        .fixed(row.claim.as_bytes())
        .int(row.at.as_micros())
        .text(Some(&row.reason))
        .column()
}

/// A presence as its column has it.
pub(super) const fn presence_code(presence: Presence) -> i32 {
    match presence {
        Presence::Stub => 0,
        Presence::Live => 1,
    }
}

/// A state as its column has it.
pub(super) const fn state_code(state: State) -> i32 {
    match state {
        State::Live => 0,
        State::Void => 1,
        State::Deleted => 2,
    }
}

/// A fate as its column has it.
pub(super) const fn fate_code(fate: Fate) -> i32 {
    match fate {
        Fate::Replaying => 0,
        Fate::Replayed => 1,
        Fate::Discarded => 2,
    }
}

fn of_chat(kind: u8, key: ChatKey) -> Checksum {
    Checksum::new(kind)
        .fixed(key.token.as_bytes())
        .int(key.chat.get())
}

fn uid(uid: Option<&Uuid>) -> Option<&[u8]> {
    uid.map(|uid| &uid.as_bytes()[..])
}
