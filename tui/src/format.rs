//! Figures as text. Zero, none and unknown are three different signs.

use chat_wire::time::Timestamp;

/// There is none.
pub const NONE: &str = "—";
/// It could not be found out.
pub const UNKNOWN: &str = "?";

/// A whole number with its thousands apart.
#[must_use]
pub fn count(number: u64) -> String {
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

/// The same, or the sign for unknown.
#[must_use]
pub fn known(number: Option<u64>) -> String {
    number.map_or_else(|| UNKNOWN.to_owned(), count)
}

/// A length of time in two units at most: `850 ms`, `12 s`, `3 min`, `2 h 5 min`, `4 d`.
#[must_use]
pub fn age(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (minutes, hours) = (seconds / 60, seconds / 3_600);
    match seconds {
        0 => format!("{ms} ms"),
        1..=99 => format!("{seconds} s"),
        100..=5_999 => format!("{minutes} min"),
        6_000..=172_799 => match minutes % 60 {
            0 => format!("{hours} h"),
            rest => format!("{hours} h {rest} min"),
        },
        _ => format!("{} d", hours / 24),
    }
}

/// The same in whole seconds, for what is looked at every second.
#[must_use]
pub fn ago(ms: u64) -> String {
    if ms < 1_000 {
        return "now".to_owned();
    }
    format!("{} ago", age(ms))
}

/// Something a second.
#[must_use]
pub fn rate(per_second: f64) -> String {
    if !per_second.is_finite() {
        return UNKNOWN.to_owned();
    }
    if per_second != 0.0 && per_second.abs() < 9.95 {
        return format!("{per_second:.1}");
    }
    if per_second < 0.0 {
        return format!("{per_second:.0}");
    }
    // Rounded first, and far below 2^53: nothing is lost.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "finite, not negative, and `as` saturates"
    )]
    count(per_second.round() as u64)
}

/// Something a second, or the sign for unknown.
#[must_use]
pub fn known_rate(per_second: Option<f64>) -> String {
    per_second.map_or_else(|| UNKNOWN.to_owned(), rate)
}

/// Milliseconds with the digits that matter.
#[must_use]
pub fn millis(ms: f64) -> String {
    match ms {
        _ if !ms.is_finite() => UNKNOWN.to_owned(),
        _ if ms < 10.0 => format!("{ms:.1} ms"),
        _ if ms < 10_000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.0} s", ms / 1_000.0),
    }
}

/// Bytes in the unit that fits.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut size = bytes as f64 / 1_024.0;
    for unit in ["KiB", "MiB", "GiB"] {
        if size < 1_000.0 {
            return format!("{size:.1} {unit}");
        }
        size /= 1_024.0;
    }
    format!("{size:.1} TiB")
}

/// A point in time to the second, in UTC: `2026-01-31 12:00:00`.
#[must_use]
pub fn when(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(..19)
        .map_or_else(|| text.clone(), |head| head.replace('T', " "))
}

/// The time of day alone: `12:00:00`.
#[must_use]
pub fn clock(at: Timestamp) -> String {
    when(at).split_off(11)
}

/// What a terminal would obey instead of showing becomes a dot, one for one, so that positions
/// counted in characters stay true.
#[must_use]
pub fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' => '↵',
            '\t' => '→',
            _ if is_unsafe(c) => '·',
            _ => c,
        })
        .collect()
}

/// Control characters, and those that reorder text or break lines.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `1 step`, `2 steps`.
#[must_use]
pub fn plural(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {noun}{s}", count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_none_and_unknown_differ() {
        assert_eq!(known(Some(0)), "0");
        assert_eq!(known(None), UNKNOWN);
        assert_ne!(NONE, UNKNOWN);
        assert_eq!(known_rate(Some(0.0)), "0");
        assert_eq!(known_rate(None), UNKNOWN);
        assert_eq!(rate(f64::NAN), UNKNOWN);
    }

    #[test]
    fn figures_have_the_digits_that_matter() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(rate(0.04), "0.0");
        assert_eq!(rate(9.91), "9.9");
        assert_eq!(rate(1_234.4), "1,234");
        assert_eq!(bytes(1_000), "1000 B");
        assert_eq!(bytes(65_536), "64.0 KiB");
        assert_eq!(millis(1.25), "1.2 ms");
        assert_eq!(plural(1, "step"), "1 step");
        assert_eq!(plural(0, "step"), "0 steps");
    }

    #[test]
    fn ages_have_two_units_at_most() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (12_000, "12 s"),
            (180_000, "3 min"),
            (7_500_000, "2 h 5 min"),
            (7_200_000, "2 h"),
            (400_000_000, "4 d"),
        ] {
            assert_eq!(age(ms), text);
        }
        assert_eq!(ago(300), "now");
    }

    #[test]
    fn text_stays_as_long_and_does_nothing_to_the_terminal() {
        let text = "a\nb\u{1b}[2J\u{202e}ü";
        let shown = visible(text);
        assert_eq!(shown, "a↵b·[2J·ü");
        assert_eq!(shown.chars().count(), text.chars().count());
    }
}
