//! Named limits, all checked before a number is taken.

use std::fmt;

/// Longest body, in bytes of UTF-8.
pub const BODY_BYTES: usize = 64 * 1024;
/// Longest application name and sender, in code points.
pub const NAME_CHARS: usize = 255;
/// Most lines in one batch.
pub const BATCH_LINES: usize = 1_000;
/// Largest batch, in bytes of its NDJSON.
pub const BATCH_BYTES: usize = 768 * 1024;
/// Largest record value, in bytes of its JSON.
///
/// A broker's default of 1 MiB a record less room for headers and framing. Lines that JSON
/// must escape to six times their size can exceed it within [`BATCH_BYTES`].
pub const RECORD_BYTES: usize = 1000 * 1024;
/// Largest body of any other request, in bytes: the longest body with every byte escaped, and room around it.
pub const REQUEST_BYTES: usize = 6 * BODY_BYTES + 8 * 1024;
/// Longest idempotency key, in bytes.
pub const KEY_BYTES: usize = 255;
/// Most items on one page.
pub const PAGE_ITEMS: u32 = 1_000;
/// Items on a page that names no limit.
pub const PAGE_ITEMS_DEFAULT: u32 = 50;
/// Most applications with a limit of their own: all of them are read every other second.
pub const RATES: usize = 10_000;
/// Longest wait of `Prefer: wait`, in seconds.
pub const WAIT_SECONDS: u64 = 60;

/// A value that breaks a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    /// The field.
    pub field: &'static str,
    /// Continues a sentence that begins with the field.
    pub rule: &'static str,
    /// Whether it is a matter of size alone.
    pub too_large: bool,
}

impl Broken {
    /// A rule other than size.
    #[must_use]
    pub const fn new(field: &'static str, rule: &'static str) -> Self {
        Self {
            field,
            rule,
            too_large: false,
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.rule)
    }
}

/// Checks an application's name.
///
/// # Errors
/// Empty, or longer than [`NAME_CHARS`].
pub fn name(name: &str) -> Result<(), Broken> {
    if name.is_empty() {
        return Err(Broken::new("name", "must have at least one character"));
    }
    at_most_chars("name", name)
}

/// Checks a sender.
///
/// # Errors
/// Longer than [`NAME_CHARS`].
pub fn sender(sender: &str) -> Result<(), Broken> {
    at_most_chars("sender", sender)
}

/// Checks a body.
///
/// # Errors
/// Empty, or longer than [`BODY_BYTES`].
pub fn body(body: &str) -> Result<(), Broken> {
    if body.is_empty() {
        return Err(Broken::new("body", "must have at least one character"));
    }
    if body.len() > BODY_BYTES {
        return Err(Broken {
            field: "body",
            rule: "must have at most 65536 bytes of UTF-8",
            too_large: true,
        });
    }
    Ok(())
}

/// Checks an idempotency key.
///
/// # Errors
/// Empty, or longer than [`KEY_BYTES`].
pub fn idempotency_key(key: &str) -> Result<(), Broken> {
    if key.is_empty() || key.len() > KEY_BYTES {
        return Err(Broken::new(
            "Idempotency-Key",
            "must have 1 to 255 characters",
        ));
    }
    Ok(())
}

fn at_most_chars(field: &'static str, text: &str) -> Result<(), Broken> {
    // No text has more code points than bytes.
    if text.len() > NAME_CHARS && text.chars().count() > NAME_CHARS {
        return Err(Broken::new(field, "must have at most 255 characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_of_a_body() {
        assert!(body("").is_err());
        assert!(body("x").is_ok());
        assert!(body(&"x".repeat(BODY_BYTES)).is_ok());
        assert!(body(&"x".repeat(BODY_BYTES + 1)).unwrap_err().too_large);
    }

    #[test]
    fn names_are_counted_in_code_points() {
        assert!(name(&"\u{1F600}".repeat(255)).is_ok());
        assert!(name(&"\u{1F600}".repeat(256)).is_err());
        assert!(name("").is_err());
        assert!(sender("").is_ok());
    }
}
