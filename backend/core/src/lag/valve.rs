//! When creates have to wait for a group that has fallen too far behind, and when they may go on.

/// Part of a limit, in percent, that a lag must come down to before creates go on: a lag that
/// stands at the limit would open and shut the valve with every look.
const RESUME_PERCENT: u64 = 80;
/// How long what was seen last counts, where a look finds out nothing, in milliseconds.
const HELD_MS: u64 = 10_000;

/// How far a group may be behind; 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Records.
    pub records: u64,
    /// Bytes, by the mean size of the records that came in lately.
    pub bytes: u64,
}

/// What a lag is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Records.
    Records,
    /// Bytes, estimated.
    Bytes,
}

/// A lag beyond what is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    /// In what the next three are counted.
    pub measure: Measure,
    /// When it was looked at last.
    pub lag: u64,
    /// What is allowed.
    pub limit: u64,
    /// Creates go on at this lag.
    pub resume: u64,
}

/// One group's valve.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Valve {
    shut: Option<Excess>,
    known_at_ms: u64,
}

impl Valve {
    /// What a look means: the excess for which creates have to wait, if they have to.
    ///
    /// `lag` is in records, `record_bytes` the mean size of one, `at_ms` of a clock that never goes back.
    /// What is unknown shuts nothing, and after a while opens again what was shut.
    pub fn look(
        &mut self,
        limits: Limits,
        lag: Option<u64>,
        record_bytes: Option<u64>,
        at_ms: u64,
    ) -> Option<Excess> {
        let Some(lag) = lag else {
            if at_ms.saturating_sub(self.known_at_ms) > HELD_MS {
                self.shut = None;
            }
            return self.shut;
        };
        self.known_at_ms = at_ms;
        let bytes = record_bytes.map(|bytes| lag.saturating_mul(bytes));
        let seen = [
            (Measure::Records, Some(lag), limits.records),
            (Measure::Bytes, bytes, limits.bytes),
        ];
        let shut = self.shut.is_some();
        let excess = seen.into_iter().find_map(|(measure, lag, limit)| {
            let resume = resume(limit);
            let bound = if shut { resume } else { limit };
            let lag = lag.filter(|lag| limit > 0 && *lag > bound)?;
            Some(Excess {
                measure,
                lag,
                limit,
                resume,
            })
        });
        self.shut = excess;
        excess
    }
}

const fn resume(limit: u64) -> u64 {
    // Dividing first would lose what a small limit has.
    match limit.checked_mul(RESUME_PERCENT) {
        Some(part) => part / 100,
        None => limit / 100 * RESUME_PERCENT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        records: 100,
        bytes: 1_000,
    };

    fn look(valve: &mut Valve, lag: Option<u64>, at_ms: u64) -> bool {
        valve.look(LIMITS, lag, None, at_ms).is_some()
    }

    #[test]
    fn it_opens_well_below_where_it_shuts() {
        let mut valve = Valve::default();
        let looks = [100, 101, 100, 81, 80, 100, 101].map(Some);
        let shut = looks.map(|lag| look(&mut valve, lag, 0));
        assert_eq!(shut, [false, true, true, true, false, false, true]);
    }

    #[test]
    fn what_is_unknown_shuts_nothing_and_holds_for_a_while_only() {
        let mut valve = Valve::default();
        assert!(!look(&mut valve, None, 0));
        assert!(look(&mut valve, Some(500), 1_000));
        assert!(look(&mut valve, None, 1_000 + HELD_MS));
        assert!(!look(&mut valve, None, 1_001 + HELD_MS));
        assert!(!look(&mut valve, Some(90), 2_000 + HELD_MS));
    }

    #[test]
    fn large_records_are_counted_by_their_bytes() {
        let mut valve = Valve::default();
        assert_eq!(valve.look(LIMITS, Some(10), Some(100), 0), None);
        let excess = valve.look(LIMITS, Some(11), Some(100), 0).unwrap();
        assert_eq!((excess.measure, excess.lag), (Measure::Bytes, 1_100));
        assert_eq!((excess.limit, excess.resume), (1_000, 800));
        // Both have to be below where creates go on.
        assert!(valve.look(LIMITS, Some(90), Some(1), 0).is_some());
        assert_eq!(valve.look(LIMITS, Some(8), Some(100), 0), None);
    }

    #[test]
    fn no_limit_shuts_nothing() {
        let mut valve = Valve::default();
        let most = Some(u64::MAX);
        assert_eq!(valve.look(Limits::default(), most, most, 0), None);
    }
}
