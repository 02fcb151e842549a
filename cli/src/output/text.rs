//! Text from strangers, made safe to show: what a terminal would obey becomes visible.

use std::borrow::Cow;

/// Whether a terminal would act on this character instead of showing it.
///
/// Beside the control characters (C0, DEL, C1) these are the ones that reorder text, and
/// the two that break lines.
pub(crate) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Appends the character, visibly.
pub(crate) fn push_visible(text: &mut String, c: char) {
    match c {
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        _ if !is_unsafe(c) => text.push(c),
        '\0'..='\u{ff}' => text.push_str(&format!("\\x{:02x}", u32::from(c))),
        _ => text.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
    }
}

/// The whole text, visibly.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        push_visible(&mut shown, c);
    }
    Cow::Owned(shown)
}

/// A number with its thousands apart, for people.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun, which takes an s where there is not one of them.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {noun}{s}", grouped(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        assert_eq!(visible("plain äöü 👩‍💻"), "plain äöü 👩‍💻");
        assert_eq!(
            visible("a\nb\tc\r\u{1b}[2J\u{7f}\u{9b}1m\u{202e}\0"),
            "a\\nb\\tc\\r\\x1b[2J\\x7f\\x9b1m\\u{202e}\\x00"
        );
    }

    #[test]
    fn one_is_not_many() {
        let shown = [0, 1, 2_000].map(|count| counted(count, "step"));
        assert_eq!(shown, ["0 steps", "1 step", "2,000 steps"]);
    }

    #[test]
    fn thousands_are_apart() {
        let shown = [0, 999, 1_000, 196_123, 1_000_000].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "196,123", "1,000,000"]);
    }
}
