//! Idempotency keys: what makes a create safe to repeat.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 255;

/// The value of an `Idempotency-Key` header. The server keeps it for 24 hours, per token, method and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// A text that cannot be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidKey;

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an idempotency key is 1 to 255 printable ASCII characters")
    }
}

impl std::error::Error for InvalidKey {}

impl IdempotencyKey {
    /// A key that nobody has used before: a random UUID, which also suits `POST /applications`.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4().to_string())
    }

    /// A key that is always the same for the same 16 bytes, in the form of a UUID (version 8, RFC 9562).
    #[must_use]
    pub fn from_digest(digest: [u8; 16]) -> Self {
        let uuid = uuid::Builder::from_bytes(digest)
            .with_variant(uuid::Variant::RFC4122)
            .with_version(uuid::Version::Custom)
            .into_uuid();
        Self(uuid.to_string())
    }

    /// The text of the header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        // Headers lose blanks at their ends, so such a key would not be the one that was meant.
        if text.is_empty() || text.len() > KEY_BYTES_MAX || !printable || text.trim() != text {
            return Err(InvalidKey);
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_makes_a_uuid() {
        let key = IdempotencyKey::from_digest([0xff; 16]);
        assert_eq!(key.as_str(), "ffffffff-ffff-8fff-bfff-ffffffffffff");
        assert!(key.as_str().parse::<Uuid>().is_ok());
        assert_ne!(IdempotencyKey::random(), IdempotencyKey::random());
    }

    #[test]
    fn what_a_header_would_change_is_refused() {
        for text in ["", " a", "a\n", "é", &"x".repeat(256)] {
            assert_eq!(text.parse::<IdempotencyKey>(), Err(InvalidKey), "{text:?}");
        }
        assert!("order 17, line 3".parse::<IdempotencyKey>().is_ok());
    }
}
