//! Identifiers: made only by parsing, so that a value is proof of its own shape.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize, de};

/// Why a text is no identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseError {
    /// A token is 32 lower-case hexadecimal digits.
    Token,
    /// A number is a decimal from 1 to 4294967295 without sign or leading zero.
    Number,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token => "a token is 32 hexadecimal digits in lower case",
            Self::Number => "a number is a whole number from 1 to 4294967295",
        })
    }
}

impl std::error::Error for ParseError {}

/// The name and the credential of one application: 128 random bits.
///
/// `Debug` and `Display` are redacted, so that a token cannot slip into a log;
/// [`AppToken::reveal`] gives the text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppToken([u8; 16]);

impl AppToken {
    /// Wraps the 16 bytes that a store or a random source gave.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes, as the stores keep them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The 32 hexadecimal digits. Whoever holds them may use the application.
    #[must_use]
    pub fn reveal(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(32);
        for byte in self.0 {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        text
    }
}

impl FromStr for AppToken {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let digits = text.as_bytes();
        if digits.len() != 32 {
            return Err(ParseError::Token);
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn digit(byte: u8) -> Result<u8, ParseError> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(ParseError::Token),
    }
}

impl fmt::Debug for AppToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppToken(redacted)")
    }
}

impl fmt::Display for AppToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redacted")
    }
}

impl Serialize for AppToken {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.reveal())
    }
}

impl<'de> Deserialize<'de> for AppToken {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(NonZeroU32);

        impl $name {
            /// The first number that is ever given.
            pub const FIRST: Self = Self(NonZeroU32::MIN);

            /// `None` for zero, which names nothing.
            #[must_use]
            pub const fn new(number: u32) -> Option<Self> {
                match NonZeroU32::new(number) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// The plain number.
            #[must_use]
            pub const fn get(self) -> u32 {
                self.0.get()
            }
        }

        impl FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                // `u32::from_str` takes "+1" and "01", which would give one
                // resource several addresses.
                if !text.starts_with(|first: char| matches!(first, '1'..='9')) {
                    return Err(ParseError::Number);
                }
                text.parse().map(Self).map_err(|_| ParseError::Number)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// The number of a chat within its application: 1, 2, 3 …
    ChatNumber
);
number!(
    /// The number of a message within its chat: 1, 2, 3 …
    MessageNumber
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_token_reads_back(bytes: [u8; 16]) {
            let token = AppToken::from_bytes(bytes);
            prop_assert_eq!(token.reveal().parse::<AppToken>(), Ok(token));
        }

        #[test]
        fn only_the_canonical_text_is_a_number(text in "[+0-9 ]{0,12}") {
            if let Ok(number) = text.parse::<ChatNumber>() {
                prop_assert_eq!(number.to_string(), text);
            }
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let token = AppToken::from_bytes([7; 16]);
        assert!(!format!("{token} {token:?}").contains('7'));
    }

    #[test]
    fn near_tokens_are_refused() {
        for text in [
            "",
            "0",
            &"0".repeat(31),
            &"0".repeat(33),
            &"G".repeat(32),
            &"A".repeat(32),
        ] {
            assert_eq!(text.parse::<AppToken>(), Err(ParseError::Token), "{text}");
        }
    }

    #[test]
    fn zero_is_no_number() {
        assert_eq!("0".parse::<MessageNumber>(), Err(ParseError::Number));
        assert_eq!(MessageNumber::new(0), None);
        assert!("4294967296".parse::<MessageNumber>().is_err());
    }
}
