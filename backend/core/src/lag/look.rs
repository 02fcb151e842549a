//! What one look at a group finds. What could not be asked is unknown, and never zero.

/// Where a group stands in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// It could not be asked.
    Unknown,
    /// It has never applied anything of it.
    Nowhere,
    /// Offset of the first record that it has not applied.
    At(u64),
}

/// One partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// First offset that exists, and the next one that will be given.
    pub range: Option<(u64, u64)>,
    /// The group's position.
    pub stand: Stand,
    /// Age of the first record that it has not applied, in milliseconds, read from the record itself;
    /// `None` also where nothing waits.
    pub oldest_age_ms: Option<u64>,
}

impl Seen {
    /// A partition of which nothing is known.
    pub const UNKNOWN: Self = Self {
        range: None,
        stand: Stand::Unknown,
        oldest_age_ms: None,
    };

    /// Offset of the record that is applied next. A worker without a position begins at offset 0.
    #[must_use]
    pub const fn next(&self) -> Option<u64> {
        match self.stand {
            Stand::Unknown => None,
            Stand::Nowhere => Some(0),
            Stand::At(next) => Some(next),
        }
    }

    /// The next offset that will be given.
    #[must_use]
    pub const fn end(&self) -> Option<u64> {
        match self.range {
            Some((_, end)) => Some(end),
            None => None,
        }
    }

    /// Records between the position and the end.
    #[must_use]
    pub const fn lag(&self) -> Option<u64> {
        match (self.range, self.stand) {
            (Some((_, end)), Stand::At(next)) => Some(end.saturating_sub(next)),
            (Some((start, end)), Stand::Nowhere) => Some(end.saturating_sub(start)),
            _ => None,
        }
    }

    /// The offsets, first and last, that retention removed before they were applied.
    #[must_use]
    pub const fn gone(&self) -> Option<(u64, u64)> {
        match (self.range, self.next()) {
            (Some((start, _)), Some(next)) if next < start => Some((next, start - 1)),
            _ => None,
        }
    }
}

/// One group at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// When the offsets were asked for, in milliseconds of a clock that never goes back.
    pub at_ms: u64,
    /// Members of the group.
    pub members: Option<u32>,
    /// Every partition of its topic, in order.
    pub partitions: Vec<Seen>,
    /// Why something is unknown, in words.
    pub problem: Option<String>,
}

impl Look {
    /// Records that wait in all partitions; unknown when it is in one.
    #[must_use]
    pub fn lag(&self) -> Option<u64> {
        // Every topic has partitions; where none is known, the sum is not known either.
        let lags = self.partitions.iter().map(Seen::lag);
        lags.reduce(|sum, lag| Some(sum? + lag?)).flatten()
    }
}
