//! Figures of a report as text, with the digits that matter.

use crate::output::text::grouped;
use crate::output::units::NONE;

/// Milliseconds with three digits, as many as the histograms keep; `-` where there were none.
pub(crate) fn ms(value: Option<f64>) -> String {
    value
        .filter(|value| value.is_finite())
        .map_or_else(|| NONE.to_owned(), three)
}

/// A figure with at least three digits, none of them after the point where there are more.
pub(crate) fn three(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if size < 0.9995 {
        format!("{value:.3}")
    } else if size < 9.995 {
        format!("{value:.2}")
    } else if size < 99.95 {
        format!("{value:.1}")
    } else {
        whole(value)
    }
}

/// Rounded, with its thousands apart.
pub(crate) fn whole(value: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float ends at the limits of the integer"
    )]
    let text = grouped(value.abs().round() as u64);
    if value <= -0.5 {
        format!("-{text}")
    } else {
        text
    }
}

/// The share of a part in percent; absent where there is no whole.
pub(crate) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| float(part) / float(whole) * 100.0)
}

/// A percentage; what is more than nothing is not shown as nothing.
pub(crate) fn percent(value: Option<f64>) -> String {
    match value.filter(|value| value.is_finite()) {
        None => NONE.to_owned(),
        Some(0.0) => "0 %".to_owned(),
        Some(value) if value.abs() < 0.01 => "<0.01 %".to_owned(),
        Some(value) if value < 100.0 && value > 99.99 => ">99.99 %".to_owned(),
        Some(value) if value.abs() < 9.995 => format!("{value:.2} %"),
        Some(value) if value.abs() < 99.95 => format!("{value:.1} %"),
        Some(value) => format!("{} %", whole(value)),
    }
}

/// Beyond 2^53 a figure loses its last digits, and nobody misses them.
#[expect(clippy::cast_precision_loss, reason = "see above")]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        let shown = [
            0.0, 0.0421, 0.9999, 1.0, 9.996, 12.34, 99.96, 123.4, 12_345.6,
        ]
        .map(|value| ms(Some(value)));
        assert_eq!(
            shown,
            [
                "0", "0.042", "1.00", "1.00", "10.0", "12.3", "100", "123", "12,346"
            ]
        );
        assert_eq!(ms(None), "-");
        assert_eq!(ms(Some(f64::NAN)), "-");
        assert_eq!(three(-1_234.5), "-1,235");
    }

    #[test]
    fn next_to_nothing_is_not_nothing() {
        let shown = [0.0, 0.000_1, 0.5, 12.34, 99.999, 100.0, 1_234.0].map(|it| percent(Some(it)));
        assert_eq!(
            shown,
            [
                "0 %", "<0.01 %", "0.50 %", "12.3 %", ">99.99 %", "100 %", "1,234 %"
            ]
        );
        assert_eq!(percent(share(1, 0)), "-");
        assert_eq!(share(1, 4), Some(25.0));
    }
}
