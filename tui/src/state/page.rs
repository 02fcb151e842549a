//! The pages, in the order of their digits.

/// One page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Page {
    /// Whether all is well, and why not.
    #[default]
    Overview,
    /// Lag by group and partition.
    Topics,
    /// Counters beside counts.
    Counters,
    /// Plan and carry out the mending.
    Reconcile,
    /// Records that could not be applied.
    Letters,
    /// Messages by their text.
    Search,
    /// Checks and hints.
    Doctor,
}

impl Page {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Overview,
        Self::Topics,
        Self::Counters,
        Self::Reconcile,
        Self::Letters,
        Self::Search,
        Self::Doctor,
    ];

    /// As it is typed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Topics => "topics",
            Self::Counters => "counters",
            Self::Reconcile => "reconcile",
            Self::Letters => "dead-letters",
            Self::Search => "search",
            Self::Doctor => "doctor",
        }
    }

    /// As it is shown.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Topics => "Topics",
            Self::Counters => "Counters",
            Self::Reconcile => "Reconcile",
            Self::Letters => "Dead letters",
            Self::Search => "Search",
            Self::Doctor => "Doctor",
        }
    }

    /// From 0.
    #[must_use]
    pub fn index(self) -> usize {
        Self::ALL
            .iter()
            .position(|page| *page == self)
            .unwrap_or_default()
    }

    /// By name, or by the beginning of one: `lag` and `dlq` are understood too.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let alias = match text.as_str() {
            "" => return None,
            "lag" | "partitions" => Some(Self::Topics),
            "dlq" | "letters" => Some(Self::Letters),
            "drift" => Some(Self::Counters),
            "runs" => Some(Self::Reconcile),
            "checks" => Some(Self::Doctor),
            _ => None,
        };
        alias.or_else(|| {
            Self::ALL
                .into_iter()
                .find(|page| page.name().starts_with(&text))
        })
    }

    /// The page so many tabs to the right, round and round.
    #[must_use]
    pub fn step(self, by: isize) -> Self {
        let count = Self::ALL.len().cast_signed();
        let at = (self.index().cast_signed() + by).rem_euclid(count);
        Self::ALL[at.unsigned_abs()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found_by_name_alias_and_beginning() {
        for page in Page::ALL {
            assert_eq!(Page::parse(page.name()), Some(page));
        }
        assert_eq!(Page::parse("DLQ"), Some(Page::Letters));
        assert_eq!(Page::parse("co"), Some(Page::Counters));
        assert_eq!(Page::parse(""), None);
        assert_eq!(Page::parse("nowhere"), None);
    }

    #[test]
    fn tabs_go_round() {
        assert_eq!(Page::Doctor.step(1), Page::Overview);
        assert_eq!(Page::Overview.step(-1), Page::Doctor);
    }
}
