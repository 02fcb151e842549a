//! JSON that is also safe to show on a terminal: the same values, with more of them escaped.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};

use crate::output::text::is_unsafe;

/// Writes one value, compact, without a line end.
pub(crate) fn write(writer: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(writer, Safe(CompactFormatter));
    value.serialize(&mut serializer).map_err(io::Error::from)
}

/// The same as a text.
pub(crate) fn to_string(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    write(&mut bytes, value).expect("writing to memory does not fail");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// Compact, and escapes what JSON allows raw but a terminal obeys.
struct Safe(CompactFormatter);

impl Formatter for Safe {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // Nearly all text is free of such bytes: DEL, and the first bytes of C1 and
        // of the blocks that hold the reordering characters.
        let suspicious = |byte: u8| matches!(byte, 0x7f | 0xc2 | 0xd8 | 0xe2);
        if !fragment.bytes().any(suspicious) {
            return self.0.write_string_fragment(writer, fragment);
        }
        let mut rest = fragment;
        while let Some(at) = rest.find(is_unsafe) {
            self.0.write_string_fragment(writer, &rest[..at])?;
            let c = rest[at..]
                .chars()
                .next()
                .expect("a character was found here");
            write!(writer, "\\u{:04x}", u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        self.0.write_string_fragment(writer, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_value_with_more_escapes() {
        let text = "a\u{1b}[1m\u{7f}é\u{9b}2J\u{61c}\u{202e}👍 \"\\";
        let json = to_string(&text);
        assert_eq!(json, r#""a\u001b[1m\u007fé\u009b2J\u061c\u202e👍 \"\\""#);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn every_unsafe_character_is_suspicious() {
        for c in (0x20..=0x10_ffff).filter_map(char::from_u32) {
            if is_unsafe(c) {
                assert!(!to_string(&c.to_string()).contains(c), "{c:?}");
            }
        }
    }
}
