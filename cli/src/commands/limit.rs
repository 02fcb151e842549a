//! `--limit`: how many, or all.

use std::str::FromStr;

/// Most items on one page of the API.
pub(crate) const PAGE_ITEMS_MAX: u32 = 1_000;

/// How many items a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit(u64);

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "all" => Ok(Self(u64::MAX)),
            Ok(number) if number > 0 => Ok(Self(number)),
            _ => Err("must be a number from 1, or all".to_owned()),
        }
    }
}

impl Limit {
    /// How many may still come.
    pub(crate) const fn left(self) -> u64 {
        self.0
    }

    /// How many to ask for next.
    pub(crate) fn page(self) -> u32 {
        u32::try_from(self.0).map_or(PAGE_ITEMS_MAX, |left| left.min(PAGE_ITEMS_MAX))
    }

    /// Takes one; `false` where none is left.
    pub(crate) fn take(&mut self) -> bool {
        let any = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_or_all() {
        assert_eq!("all".parse::<Limit>().map(Limit::page), Ok(1_000));
        assert_eq!("20".parse::<Limit>().map(Limit::page), Ok(20));
        assert!("0".parse::<Limit>().is_err());
        assert!("-1".parse::<Limit>().is_err());
        let mut one: Limit = "1".parse().unwrap();
        assert!(one.take());
        assert!(!one.take());
    }
}
