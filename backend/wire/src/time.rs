//! Points in time with the resolution that every store keeps: microseconds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, de};

/// Microseconds since 1970-01-01T00:00:00Z, within the years 1000 to 9999 (the range of `DATETIME(6)`).
///
/// As text and in JSON: RFC 3339 in UTC, with only as many digits of the fraction as are needed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A text or number that is no time within the years 1000 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfRange;

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time is RFC 3339 with an offset, like 2026-01-31T12:00:00Z, in the years 1000 to 9999")
    }
}

impl std::error::Error for OutOfRange {}

impl Timestamp {
    /// 1000-01-01T00:00:00Z.
    const MIN_MICROS: i64 = -30_610_224_000_000_000;
    /// 9999-12-30T00:00:00Z: the calendar ends there once the widest offsets are taken off.
    const MAX_MICROS: i64 = 253_402_128_000_000_000;

    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Self = Self(0);

    /// The system's clock.
    #[must_use]
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_microsecond())
    }

    /// # Errors
    /// [`OutOfRange`] outside the years 1000 to 9999.
    pub const fn from_micros(micros: i64) -> Result<Self, OutOfRange> {
        if micros < Self::MIN_MICROS || micros > Self::MAX_MICROS {
            return Err(OutOfRange);
        }
        Ok(Self(micros))
    }

    /// Reads the `Date` of an HTTP answer, like `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section
    /// 5.6.7); whole seconds.
    ///
    /// # Errors
    /// [`OutOfRange`] for what is no such time.
    pub fn from_http_date(text: &str) -> Result<Self, OutOfRange> {
        let parsed = jiff::fmt::rfc2822::DateTimeParser::new()
            .parse_timestamp(text)
            .map_err(|_| OutOfRange)?;
        Self::from_micros(parsed.as_microsecond())
    }

    /// Microseconds since 1970, negative before.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole minutes since 1970; zero before.
    #[must_use]
    pub fn unix_minute(self) -> u32 {
        u32::try_from(self.0.max(0) / 60_000_000).unwrap_or(u32::MAX)
    }

    /// So much earlier; the beginning of the range where that is before it.
    #[must_use]
    pub fn minus(self, span: std::time::Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(micros).max(Self::MIN_MICROS))
    }

    /// Milliseconds since `earlier`; zero where the clock went back.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0) / 1_000).unwrap_or(0)
    }
}

impl FromStr for Timestamp {
    type Err = OutOfRange;

    fn from_str(text: &str) -> Result<Self, OutOfRange> {
        let parsed: jiff::Timestamp = text.parse().map_err(|_| OutOfRange)?;
        let micros = parsed
            .round(jiff::Unit::Microsecond)
            .map_err(|_| OutOfRange)?
            .as_microsecond();
        Self::from_micros(micros)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = jiff::Timestamp::from_microsecond(self.0).expect("the range was checked");
        fmt::Display::fmt(&at, f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_reads_back(micros in Timestamp::MIN_MICROS..=Timestamp::MAX_MICROS) {
            let at = Timestamp::from_micros(micros).unwrap();
            prop_assert_eq!(at.to_string().parse::<Timestamp>(), Ok(at));
        }
    }

    #[test]
    fn offsets_are_converted_and_fractions_rounded() {
        let at: Timestamp = "2004-12-25T10:14:00.1234567+01:00".parse().unwrap();
        assert_eq!(at.to_string(), "2004-12-25T09:14:00.123457Z");
        let whole: Timestamp = "2004-12-25T09:14:00Z".parse().unwrap();
        assert_eq!(whole.to_string(), "2004-12-25T09:14:00Z");
    }

    #[test]
    fn the_date_of_http_is_read() {
        let at = Timestamp::from_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(at.to_string(), "1994-11-06T08:49:37Z");
        assert_eq!(Timestamp::from_http_date("today"), Err(OutOfRange));
    }

    #[test]
    fn what_datetime_cannot_hold_is_refused() {
        for text in [
            "",
            "yesterday",
            "2004-12-25",
            "2004-12-25T09:14:00",
            "0999-12-31T23:59:59Z",
            "-000044-03-15T00:00:00Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(OutOfRange), "{text}");
        }
        assert!("1000-01-01T00:00:00Z".parse::<Timestamp>().is_ok());
    }
}
