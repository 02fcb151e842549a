//! Figures for people: spans of time, rates, and the three signs for what is no figure.
//!
//! `0` is a figure, `-` says that there is nothing to tell, and `?` that it could not be found out.

use crate::output::text::grouped;

/// There is nothing to tell.
pub(crate) const NONE: &str = "-";
/// It could not be found out.
pub(crate) const UNKNOWN: &str = "?";

/// A count, or that it is unknown.
pub(crate) fn count(figure: Option<u64>) -> String {
    figure.map_or_else(|| UNKNOWN.to_owned(), grouped)
}

/// A span of time in its two largest units.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{}.{} s", seconds, ms % 1_000 / 100),
        _ if minutes == 0 => format!("{seconds} s"),
        _ if hours == 0 => format!("{minutes} m {} s", seconds % 60),
        _ if days == 0 => format!("{hours} h {} m", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// The same of seconds with a fraction.
pub(crate) fn span_of_seconds(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float ends at the limits of the integer"
    )]
    let ms = (seconds.max(0.0) * 1_000.0) as u64;
    span(ms)
}

/// A rate a second.
pub(crate) fn rate(per_second: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float ends at the limits of the integer"
    )]
    let whole = per_second.max(0.0).round() as u64;
    if per_second < 9.95 {
        format!("{per_second:.1}")
    } else {
        grouped(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units() {
        let shown = [
            0, 999, 1_250, 59_999, 61_000, 3_599_000, 7_260_000, 90_000_000,
        ]
        .map(span);
        assert_eq!(
            shown,
            [
                "0 ms",
                "999 ms",
                "1.2 s",
                "59 s",
                "1 m 1 s",
                "59 m 59 s",
                "2 h 1 m",
                "1 d 1 h"
            ]
        );
        assert_eq!(span_of_seconds(2.5), "2.5 s");
        assert_eq!(span_of_seconds(-1.0), "0 ms");
    }

    #[test]
    fn small_rates_keep_a_digit() {
        assert_eq!(
            [0.0, 0.04, 9.94, 9.96, 12_345.6].map(rate),
            ["0.0", "0.0", "9.9", "10", "12,346"]
        );
    }

    #[test]
    fn zero_and_unknown_differ() {
        assert_eq!([Some(0), None].map(count), ["0", "?"]);
    }
}
