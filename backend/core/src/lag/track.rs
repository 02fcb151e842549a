//! How one partition does: the rules, and what they have to remember between two looks.
//!
//! All times are counted in the pause between two kept looks, so that a shorter pause judges faster.

use chat_wire::admin::lag::Status;

use super::look::Seen;

/// What is known of a partition from earlier looks, told by whoever keeps them.
pub(super) trait Past {
    /// The kept looks from the newest to the oldest: when, the end, the position.
    fn newest_first(&self) -> impl Iterator<Item = (u64, Option<u64>, Option<u64>)>;
}

/// The times that the rules go by, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Between two kept looks; also how long a record may wait and count as young.
    pub(super) every_ms: u64,
}

impl Rules {
    /// How long a position may stand still while something waits.
    pub(super) const fn stall_ms(self) -> u64 {
        self.every_ms * 3 / 2
    }

    /// How long there must be no member before it is no restart any more.
    pub(super) const fn absent_ms(self) -> u64 {
        self.every_ms / 2
    }

    /// Over how long rates and trends are looked at.
    pub(super) const fn trend_ms(self) -> u64 {
        self.every_ms * 6
    }
}

/// How much the mean of the newer half may differ from the older one's and count as the same.
const LEVEL: f64 = 0.05;
/// Kept looks in a row that it takes to be believed well again.
const BELIEVED: u8 = 2;

/// One partition's state, as the last kept look left it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Track {
    /// `None` before the first look.
    pub(super) status: Option<Status>,
    /// The position that something waits at, and since when it has stood there.
    pub(super) stands: Option<(u64, u64)>,
    /// Looks in a row at which the position had moved.
    moves: u8,
    /// Looks in a row at which nothing had waited long.
    clean: u8,
}

impl Track {
    /// Nothing waits.
    pub(super) const CAUGHT_UP: Self = Self {
        status: Some(Status::Ok),
        stands: None,
        moves: 0,
        clean: BELIEVED,
    };

    /// What it is after another look.
    pub(super) fn step(self, seen: &Seen, at_ms: u64, rules: Rules, past: &impl Past) -> Self {
        let (Some(lag), Some(next)) = (seen.lag(), seen.next()) else {
            // The memory stays: an outage of what we ask says nothing about the worker.
            return Self {
                status: Some(Status::Unknown),
                ..self
            };
        };
        if seen.gone().is_some() {
            return Self {
                status: Some(Status::Stalled),
                ..Self::default()
            };
        }
        if lag == 0 {
            return Self::CAUGHT_UP;
        }
        let since = match self.stands {
            Some((stood, since)) if stood == next => since,
            _ => at_ms,
        };
        let moved = self.stands.is_some_and(|(stood, _)| stood != next);
        let young = Waited::at(next, at_ms, past).is_young(seen, rules);
        let after = Self {
            status: None,
            stands: Some((next, since)),
            moves: if moved {
                self.moves.saturating_add(1)
            } else {
                0
            },
            clean: match young {
                Some(true) => self.clean.saturating_add(1),
                Some(false) => 0,
                None => self.clean,
            },
        };
        let stands_still = at_ms.saturating_sub(since) >= rules.stall_ms();
        let hardly_moves = self.status == Some(Status::Stalled) && after.moves < BELIEVED;
        let status = match young {
            _ if stands_still => Status::Stalled,
            Some(true) => after.while_young(self.status),
            _ if hardly_moves => Status::Stalled,
            Some(false) => self.while_old(lag, at_ms, rules, past),
            None => self.while_unclear(),
        };
        Self {
            status: Some(status),
            ..after
        }
    }

    /// It cannot be said whether something has waited long: it is what it was.
    const fn while_unclear(self) -> Status {
        match self.status {
            Some(Status::Ok) => Status::Ok,
            Some(Status::Growing) => Status::Growing,
            Some(Status::Behind | Status::Stalled) => Status::Behind,
            _ => Status::Unknown,
        }
    }

    /// Nothing has waited long: well, unless it was otherwise a moment ago.
    const fn while_young(self, before: Option<Status>) -> Status {
        match before {
            Some(Status::Behind | Status::Growing | Status::Stalled) if self.clean < BELIEVED => {
                Status::Behind
            }
            _ => Status::Ok,
        }
    }

    /// Something has waited long, and is being read: does it get more or less?
    fn while_old(self, lag: u64, at_ms: u64, rules: Rules, past: &impl Past) -> Status {
        let was_growing = self.status == Some(Status::Growing);
        match trend(lag, at_ms, rules, past) {
            Some(change) if change > LEVEL => Status::Growing,
            Some(change) if change < -LEVEL => Status::Behind,
            _ if was_growing => Status::Growing,
            _ => Status::Behind,
        }
    }
}

/// How long the record at the position has been in the log, as the looks saw it: free of any clock
/// but ours.
#[derive(Debug, Clone, Copy)]
struct Waited {
    /// It was there so long ago.
    at_least_ms: u64,
    /// It was not there yet so long ago; `None` where the looks do not go back so far.
    at_most_ms: Option<u64>,
}

impl Waited {
    fn at(next: u64, now_ms: u64, past: &impl Past) -> Self {
        let mut waited = Self {
            at_least_ms: 0,
            at_most_ms: None,
        };
        for (at_ms, end, _) in past.newest_first() {
            let ago = now_ms.saturating_sub(at_ms);
            match end {
                None => {}
                Some(end) if end > next => waited.at_least_ms = ago,
                Some(_) => {
                    waited.at_most_ms = Some(ago);
                    break;
                }
            }
        }
        waited
    }

    /// Whether that is shorter than a pause between two looks; `None` where it cannot be said.
    fn is_young(self, seen: &Seen, rules: Rules) -> Option<bool> {
        if self.at_least_ms >= rules.every_ms {
            return Some(false);
        }
        if self.at_most_ms.is_some_and(|most| most <= rules.every_ms) {
            return Some(true);
        }
        seen.oldest_age_ms.map(|age| age < rules.every_ms)
    }
}

/// By which part the newer half of the last looks is above the older half; `None` where there are
/// too few.
fn trend(lag: u64, at_ms: u64, rules: Rules, past: &impl Past) -> Option<f64> {
    let from = at_ms.saturating_sub(rules.trend_ms());
    let mut lags = vec![(at_ms, lag)];
    let earlier = past
        .newest_first()
        .take_while(|(at_ms, ..)| *at_ms >= from)
        .filter_map(|(at_ms, end, next)| Some((at_ms, end?.saturating_sub(next?))));
    lags.extend(earlier);
    let span = at_ms.saturating_sub(lags.last()?.0);
    if lags.len() < 3 || span < rules.every_ms * 2 {
        return None;
    }
    let (newer, older) = lags.split_at(lags.len() / 2);
    let (newer, older) = (mean(newer), mean(older));
    Some((newer - older) / older.max(1.0))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a mean that is off by one in 2^53 is the same trend"
)]
fn mean(lags: &[(u64, u64)]) -> f64 {
    let sum: f64 = lags.iter().map(|(_, lag)| *lag as f64).sum();
    sum / lags.len().max(1) as f64
}
