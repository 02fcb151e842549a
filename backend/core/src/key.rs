//! Idempotency keys, as they are kept: hashes of fixed size.

use std::fmt;
use std::time::Duration;

use chat_wire::ids::AppToken;
use serde::{Deserialize, Serialize, de};
use sha2::{Digest, Sha256};

/// How long rows of idempotency keys are kept: twice as long as a key is answered, so that no row goes
/// while its key may still be asked for, whatever the clocks of two machines differ by.
pub const KEY_ROW_LIFE: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// The first 128 bits of a SHA-256, in hexadecimal where it is text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash([u8; 16]);

impl KeyHash {
    /// Wraps what a store kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            // The length keeps ("a", "bc") and ("ab", "c") apart.
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let digest = hasher.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(bytes)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl Serialize for KeyHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        if text.len() != 32 {
            return Err(de::Error::custom("a hash is 32 hexadecimal digits"));
        }
        u128::from_str_radix(&text, 16)
            .map(|bits| Self(bits.to_be_bytes()))
            .map_err(de::Error::custom)
    }
}

/// A key and the body that it came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StoredKey {
    /// Of scope and key.
    pub hash: KeyHash,
    /// Of the request's body.
    pub body_hash: KeyHash,
}

impl StoredKey {
    /// The scope of a key is token, method and path (`POST` is the only method that creates).
    #[must_use]
    pub fn new(token: Option<AppToken>, path: &str, key: &str, body: &[u8]) -> Self {
        let token = token.as_ref().map_or(&[][..], |token| token.as_bytes());
        Self {
            hash: KeyHash::of([token, path.as_bytes(), key.as_bytes()]),
            body_hash: KeyHash::of([body]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_key_and_body_are_kept_apart() {
        let token = AppToken::from_bytes([1; 16]);
        let base = StoredKey::new(Some(token), "chats", "k", b"{}");
        assert_eq!(base, StoredKey::new(Some(token), "chats", "k", b"{}"));
        assert_ne!(base.hash, StoredKey::new(None, "chats", "k", b"{}").hash);
        assert_ne!(
            base.hash,
            StoredKey::new(Some(token), "chat", "sk", b"{}").hash
        );
        let other = StoredKey::new(Some(token), "chats", "k", b"{ }");
        assert_eq!(base.hash, other.hash);
        assert_ne!(base.body_hash, other.body_hash);
    }

    #[test]
    fn a_hash_reads_back_from_json() {
        let key = StoredKey::new(None, "", "", b"");
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<StoredKey>(&json).unwrap(), key);
    }
}
