//! What a batch says about its records outside of them: the format of `batches.heads`.
//!
//! Each part has a checksum of its own. So a damaged frame leaves its numbers known, and a damaged head
//! leaves the frame readable.

use bytes::{Buf, BufMut};
use chat_core::port::log::{NewRecord, Scope};
use chat_wire::ids::{AppToken, ChatNumber};
use uuid::Uuid;

/// Bytes of what is said of the batch as a whole.
pub(super) const BATCH_BYTES: usize = 24;
/// Bytes of one record's head.
const HEAD_BYTES: usize = 57;
/// Bytes of a checksum.
pub(super) const CHECKSUM_BYTES: usize = 4;

const SCOPED: u8 = 1;
const OF_CHAT: u8 = 2;
const CREATES: u8 = 4;

/// What the columns of a batch say, protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchHead {
    /// The place of the first record.
    pub(super) id: i64,
    pub(super) records: u32,
    pub(super) appended_at: i64,
}

/// What is known of a record without its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of the frame.
    pub(super) len: u32,
    pub(super) uid: Option<Uuid>,
    pub(super) scope: Option<Scope>,
}

impl BatchHead {
    /// Writes it in front of the heads.
    pub(super) fn put(self, heads: &mut Vec<u8>) {
        let start = heads.len();
        heads.put_i64_le(self.id);
        heads.put_u32_le(self.records);
        heads.put_i64_le(self.appended_at);
        let checksum = crc32c::crc32c(&heads[start..]);
        heads.put_u32_le(checksum);
    }

    /// Reads it; `None` where it is damaged.
    pub(super) fn read(heads: &[u8]) -> Option<Self> {
        let (mut fields, mut checksum) = heads
            .get(..BATCH_BYTES)?
            .split_at(BATCH_BYTES - CHECKSUM_BYTES);
        (crc32c::crc32c(fields) == checksum.get_u32_le()).then(|| Self {
            id: fields.get_i64_le(),
            records: fields.get_u32_le(),
            appended_at: fields.get_i64_le(),
        })
    }

    /// Bytes of all heads of so many records.
    pub(super) const fn bytes(records: usize) -> usize {
        BATCH_BYTES + records * HEAD_BYTES
    }
}

impl Head {
    /// Of a record whose frame has so many bytes.
    pub(super) fn new(record: &NewRecord, len: usize) -> Self {
        Self {
            len: u32::try_from(len).expect("the size of a record was checked"),
            uid: record.headers.uid,
            scope: record.headers.scope,
        }
    }

    /// Writes it as the head of the record at this place.
    pub(super) fn put(&self, place: i64, heads: &mut Vec<u8>) {
        let start = heads.len();
        heads.put_u32_le(self.len);
        let kind = self.scope.map_or(0, |scope| {
            let of_chat = if scope.chat.is_some() { OF_CHAT } else { 0 };
            SCOPED | of_chat | if scope.creates { CREATES } else { 0 }
        });
        heads.put_u8(kind);
        heads.put_slice(self.uid.unwrap_or_default().as_bytes());
        match self.scope {
            Some(scope) => {
                heads.put_slice(scope.token.as_bytes());
                heads.put_u32_le(scope.chat.map_or(0, ChatNumber::get));
                heads.put_u32_le(scope.first);
                heads.put_u32_le(scope.count);
                heads.put_u32_le(scope.generation);
            }
            None => heads.put_bytes(0, 32),
        }
        let checksum = at(place, &heads[start..]);
        heads.put_u32_le(checksum);
    }

    /// Reads the head of the nth record of a batch; `None` where it is damaged.
    pub(super) fn read(heads: &[u8], nth: usize, place: i64) -> Option<Self> {
        let start = BatchHead::bytes(nth);
        let (mut fields, mut checksum) = heads
            .get(start..start + HEAD_BYTES)?
            .split_at(HEAD_BYTES - CHECKSUM_BYTES);
        if at(place, fields) != checksum.get_u32_le() {
            return None;
        }
        let len = fields.get_u32_le();
        let kind = fields.get_u8();
        let uid = Uuid::from_u128(fields.get_u128());
        let token = AppToken::from_bytes(fields.get_u128().to_be_bytes());
        let chat = fields.get_u32_le();
        let scope = Scope {
            token,
            chat: (kind & OF_CHAT != 0)
                .then(|| ChatNumber::new(chat))
                .flatten(),
            first: fields.get_u32_le(),
            count: fields.get_u32_le(),
            generation: fields.get_u32_le(),
            creates: kind & CREATES != 0,
        };
        Some(Self {
            len,
            uid: (!uid.is_nil()).then_some(uid),
            scope: (kind & SCOPED != 0).then_some(scope),
        })
    }
}

/// The checksum of bytes that belong to this place.
fn at(place: i64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&place.to_le_bytes()), bytes)
}

/// The checksum that a frame ends with: of its bytes, then of where and when it was appended.
pub(super) fn sealed(frame: u32, place: i64, appended_at: i64) -> u32 {
    let placed = crc32c::crc32c_append(frame, &place.to_le_bytes());
    crc32c::crc32c_append(placed, &appended_at.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn any_scope()(
            token: [u8; 16],
            chat in proptest::option::of(1_u32..),
            first: u32,
            count: u32,
            generation: u32,
            creates: bool,
        ) -> Scope {
            let token = AppToken::from_bytes(token);
            let chat = chat.and_then(ChatNumber::new);
            Scope { token, chat, first, count, generation, creates }
        }
    }

    prop_compose! {
        fn any_head()(
            len: u32,
            uid in proptest::option::of(1_u128..),
            scope in proptest::option::of(any_scope()),
        ) -> Head {
            Head { len, uid: uid.map(Uuid::from_u128), scope }
        }
    }

    proptest! {
        #[test]
        fn heads_read_back_and_damage_is_found(
            heads in proptest::collection::vec(any_head(), 1..6),
            id in 0_i64..1 << 43,
            at: usize,
        ) {
            let batch = BatchHead { id, records: heads.len() as u32, appended_at: 7 };
            let mut bytes = Vec::new();
            batch.put(&mut bytes);
            for (nth, head) in (0..).zip(&heads) {
                head.put(id + nth, &mut bytes);
            }
            prop_assert_eq!(bytes.len(), BatchHead::bytes(heads.len()));
            prop_assert_eq!(BatchHead::read(&bytes), Some(batch));
            for (nth, head) in heads.iter().enumerate() {
                prop_assert_eq!(Head::read(&bytes, nth, id + nth as i64), Some(*head));
                // The head of another place is none of this one.
                prop_assert_eq!(Head::read(&bytes, nth, id + nth as i64 + 1), None);
            }
            let bit = at % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let intact = heads.iter().enumerate().filter(|(nth, head)| {
                Head::read(&bytes, *nth, id + *nth as i64) == Some(**head)
            });
            let batch_intact = BatchHead::read(&bytes) == Some(batch);
            prop_assert_eq!(intact.count() + usize::from(batch_intact), heads.len());
        }
    }
}
