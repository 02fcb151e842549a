//! The operations, and how often each of them is chosen.

use std::collections::BTreeMap;

use rand::Rng;
use rand::rngs::StdRng;

/// One kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Create a message.
    Send,
    /// Create ten messages in one request.
    Batch,
    /// Give an acknowledged message another body.
    Edit,
    /// Delete an acknowledged message.
    Delete,
    /// Read one message by its number.
    Read,
    /// Read a page of fifty around a number.
    Page,
    /// Search a part of a body in one chat.
    Search,
    /// The same in a whole application.
    SearchApp,
    /// Follow a chat until its newest acknowledged message arrives.
    Tail,
    /// Create a chat.
    CreateChat,
    /// Create an application.
    CreateApp,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 11] = [
        Self::Send,
        Self::Batch,
        Self::Edit,
        Self::Delete,
        Self::Read,
        Self::Page,
        Self::Search,
        Self::SearchApp,
        Self::Tail,
        Self::CreateChat,
        Self::CreateApp,
    ];

    /// The name in scenarios, objectives and reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Batch => "batch",
            Self::Edit => "edit",
            Self::Delete => "delete",
            Self::Read => "read",
            Self::Page => "page",
            Self::Search => "search",
            Self::SearchApp => "search_app",
            Self::Tail => "tail",
            Self::CreateChat => "create_chat",
            Self::CreateApp => "create_app",
        }
    }

    /// By name.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("mix: {name:?} is no operation; there are {names}")
        })
    }

    /// Its place in [`Kind::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// Weights of the operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mix {
    /// Each kind with the sum of the weights up to it.
    sums: Vec<(Kind, u32)>,
}

impl Mix {
    /// Of weights by name.
    ///
    /// # Errors
    /// Unknown names, and weights that choose nothing.
    pub(crate) fn new(weights: &BTreeMap<String, u32>) -> Result<Self, String> {
        let mut sums = Vec::new();
        let mut sum = 0_u32;
        for (name, weight) in weights {
            let kind = Kind::parse(name)?;
            if *weight == 0 {
                continue;
            }
            sum = sum
                .checked_add(*weight)
                .ok_or("mix: the weights are too large")?;
            sums.push((kind, sum));
        }
        if sum == 0 {
            return Err("mix: no operation has a weight above 0".to_owned());
        }
        Ok(Self { sums })
    }

    /// Whether a kind can be chosen.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.sums.iter().any(|(other, _)| *other == kind)
    }

    /// The kind with the largest weight.
    pub(crate) fn busiest(&self) -> Kind {
        let mut before = 0;
        let mut busiest = (0, Kind::Send);
        for (kind, sum) in &self.sums {
            let weight = sum - before;
            before = *sum;
            if weight > busiest.0 {
                busiest = (weight, *kind);
            }
        }
        busiest.1
    }

    /// Chooses.
    pub(crate) fn choose(&self, random: &mut StdRng) -> Kind {
        let sum = self.sums.last().map_or(1, |(_, sum)| *sum);
        let at = random.random_range(0..sum);
        let found = self.sums.iter().find(|(_, sum)| at < *sum);
        found.map_or(Kind::Send, |(kind, _)| *kind)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn choices_follow_the_weights() {
        let weights = BTreeMap::from([
            ("send".to_owned(), 90),
            ("search".to_owned(), 10),
            ("tail".to_owned(), 0),
        ]);
        let mix = Mix::new(&weights).unwrap();
        let mut random = StdRng::seed_from_u64(3);
        let sends = (0..10_000)
            .filter(|_| mix.choose(&mut random) == Kind::Send)
            .count();
        assert!((8_800..9_200).contains(&sends), "{sends}");
        assert!(mix.has(Kind::Search) && !mix.has(Kind::Tail));
        assert_eq!(mix.busiest(), Kind::Send);
    }

    #[test]
    fn places_are_those_of_the_list() {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), at);
            assert_eq!(Kind::parse(kind.name()), Ok(kind));
        }
    }
}
