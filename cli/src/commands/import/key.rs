//! Idempotency keys of an import: the same input gives the same keys, whenever and however fast it is read.

use chat_client::key::IdempotencyKey;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// All keys of one import derive from this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keys([u8; 32]);

impl Keys {
    /// An input with this content.
    pub(crate) fn of_content(digest: [u8; 32]) -> Self {
        Self::of(b"content", &digest)
    }

    /// An import that was named by hand.
    pub(crate) fn of_name(name: &str) -> Self {
        Self::of(b"name", name.as_bytes())
    }

    /// An import that shall have nothing to do with any other; its name.
    pub(crate) fn fresh_name() -> String {
        Uuid::new_v4().to_string()
    }

    fn of(kind: &[u8], identity: &[u8]) -> Self {
        Self(hash(&[b"chatctl import", kind, identity]))
    }

    /// For the application with this name.
    pub(crate) fn application(&self, name: &str) -> IdempotencyKey {
        self.key(&[b"application", name.as_bytes()])
    }

    /// For the chat with this value, as JSON.
    pub(crate) fn chat(&self, value: &str) -> IdempotencyKey {
        self.key(&[b"chat", value.as_bytes()])
    }

    /// For a batch. The ordinal tells it from an equal batch of the same chat; the payload
    /// tells it from what is left when the server has refused one of its lines.
    pub(crate) fn batch(&self, chat: &str, ordinal: u64, payload: &[u8]) -> IdempotencyKey {
        self.key(&[b"batch", chat.as_bytes(), &ordinal.to_be_bytes(), payload])
    }

    fn key(&self, parts: &[&[u8]]) -> IdempotencyKey {
        let mut all = vec![self.0.as_slice()];
        all.extend_from_slice(parts);
        let digest = hash(&all);
        let half = digest.first_chunk().expect("32 bytes have 16");
        IdempotencyKey::from_digest(*half)
    }
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        // With its length before it, no part can pass for the end of the one before.
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_matters_changes_the_key() {
        let keys = Keys::of_name("one");
        let other = Keys::of_name("two");
        let all = [
            keys.application("a"),
            keys.chat("a"),
            keys.batch("a", 0, b"x"),
            keys.batch("a", 1, b"x"),
            keys.batch("a", 0, b"y"),
            keys.batch("b", 0, b"x"),
            other.batch("a", 0, b"x"),
        ];
        for (at, key) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(key), "{at}");
        }
        assert_eq!(
            keys.batch("a", 0, b"x"),
            Keys::of_name("one").batch("a", 0, b"x")
        );
    }

    #[test]
    fn a_name_is_no_content() {
        assert_ne!(Keys::of_content([b'a'; 32]), Keys::of_name(&"a".repeat(32)));
    }

    #[test]
    fn keys_stay_the_same_from_release_to_release() {
        let key = Keys::of_name("one").batch("\"a\"", 3, b"{}\n");
        insta::assert_snapshot!(key.as_str(), @"6a23bcd5-8a04-81ce-9859-7fc1192f48af");
    }
}
