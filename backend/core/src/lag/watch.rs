//! One group, watched: a window of looks, and what they mean.

use std::collections::VecDeque;

use chat_wire::admin::lag::{Figures, Status};

use super::look::{Look, Seen};
use super::track::{Past, Rules, Track};
use super::words;

/// Looks that are kept.
pub const LOOKS: usize = 60;

/// The kept looks at one group.
#[derive(Debug, Clone)]
pub struct Watch {
    rules: Rules,
    looks: VecDeque<Kept>,
    tracks: Vec<Track>,
    /// Since when no look has found a member.
    absent_since_ms: Option<u64>,
}

/// What is kept of a look.
#[derive(Debug, Clone)]
struct Kept {
    at_ms: u64,
    /// End and position of each partition.
    partitions: Vec<(Option<u64>, Option<u64>)>,
    lag: Option<u64>,
}

/// What a look means, after those that were kept before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The worst of the partitions, unless nobody is there.
    pub status: Status,
    /// Why.
    pub reason: String,
    /// Over all partitions; what is unknown in one is unknown in the sum.
    pub figures: Figures,
    /// Lag at the kept looks, oldest first.
    pub history: Vec<Option<u64>>,
    /// Each partition.
    pub partitions: Vec<(Status, Figures)>,
}

impl Watch {
    /// For looks that are kept every so many milliseconds.
    #[must_use]
    pub fn new(every_ms: u64) -> Self {
        Self {
            rules: Rules {
                every_ms: every_ms.max(2),
            },
            looks: VecDeque::with_capacity(LOOKS),
            tracks: Vec::new(),
            absent_since_ms: None,
        }
    }

    /// Keeps a look, for those that come after it.
    pub fn keep(&mut self, look: &Look) {
        self.tracks = self.tracks_after(look);
        self.absent_since_ms = self.absent_since(look);
        if self.looks.len() == LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back(Kept {
            at_ms: look.at_ms,
            partitions: look
                .partitions
                .iter()
                .map(|seen| (seen.end(), seen.next()))
                .collect(),
            lag: look.lag(),
        });
    }

    /// Takes from a look that is not kept what would be forgotten by the next one that is: that nobody
    /// is there, and who has caught up. Without it a group that is well again would be called so at one
    /// look and not at the next, until looks are kept that say the same.
    pub fn note(&mut self, look: &Look) {
        self.absent_since_ms = self.absent_since(look);
        for (track, seen) in self.tracks.iter_mut().zip(&look.partitions) {
            if seen.lag() == Some(0) && seen.gone().is_none() {
                *track = Track::CAUGHT_UP;
            }
        }
    }

    /// Says what a look means; changes nothing.
    #[must_use]
    pub fn judge(&self, look: &Look) -> Judged {
        let tracks = self.tracks_after(look);
        let absent_ms = self
            .absent_since(look)
            .map(|since| look.at_ms.saturating_sub(since));
        let stopped = absent_ms.is_some_and(|absent| absent >= self.rules.absent_ms());
        let status_of = |track: &Track| match track.status {
            _ if stopped => Status::Stopped,
            Some(status) => status,
            None => Status::Unknown,
        };
        let partitions: Vec<(Status, Figures)> = look
            .partitions
            .iter()
            .enumerate()
            .map(|(index, seen)| {
                let status = tracks.get(index).map_or(Status::Unknown, status_of);
                (status, self.figures(index, seen, look.at_ms))
            })
            .collect();
        let figures = total(look, partitions.iter().map(|(_, figures)| figures));
        let worst =
            (0..partitions.len()).max_by_key(|index| (partitions[*index].0, usize::MAX - index));
        let worst_status = worst.map_or(Status::Unknown, |index| partitions[index].0);
        // Nobody knows whether there is somebody, or nobody has been for a moment only.
        let unsure = look.members.is_none_or(|members| members == 0);
        let status = match worst_status {
            status if unsure => status.max(Status::Unknown),
            status => status,
        };
        let case = words::Case {
            look,
            figures: &figures,
            absent_ms,
            watched_ms: self
                .looks
                .front()
                .map_or(0, |kept| look.at_ms.saturating_sub(kept.at_ms)),
            every_ms: self.rules.every_ms,
            worst: worst.map(|index| words::Worst {
                index,
                seen: &look.partitions[index],
                stands_ms: tracks[index]
                    .stands
                    .map(|(_, since)| look.at_ms.saturating_sub(since)),
            }),
        };
        Judged {
            status,
            reason: words::reason(status, &case),
            figures,
            history: self.looks.iter().map(|kept| kept.lag).collect(),
            partitions,
        }
    }

    /// How long the record at an offset has been in the log at least, as the looks saw it.
    #[must_use]
    pub fn waited_ms(&self, index: usize, next: u64, now_ms: u64) -> u64 {
        self.of(index)
            .newest_first()
            .take_while(|(_, end, _)| end.is_none_or(|end| end > next))
            .filter(|(_, end, _)| end.is_some())
            .last()
            .map_or(0, |(at_ms, ..)| now_ms.saturating_sub(at_ms))
    }

    fn tracks_after(&self, look: &Look) -> Vec<Track> {
        let stepped = look.partitions.iter().enumerate().map(|(index, seen)| {
            let track = self.tracks.get(index).copied().unwrap_or_default();
            track.step(seen, look.at_ms, self.rules, &self.of(index))
        });
        stepped.collect()
    }

    fn absent_since(&self, look: &Look) -> Option<u64> {
        match look.members {
            Some(0) => self.absent_since_ms.or(Some(look.at_ms)),
            Some(_) => None,
            // Not knowing ends no absence, and begins none.
            None => self.absent_since_ms,
        }
    }

    /// How fast an offset moves.
    fn rate(
        &self,
        index: usize,
        at_ms: u64,
        now: Option<u64>,
        offset: fn(Moment) -> Option<u64>,
    ) -> Option<f64> {
        let from = at_ms.saturating_sub(self.rules.trend_ms());
        let past = self.of(index);
        let (then_ms, then) = past
            .newest_first()
            .take_while(|(at_ms, ..)| *at_ms >= from)
            .filter_map(|kept| Some((kept.0, offset(kept)?)))
            .last()?;
        let passed = at_ms.saturating_sub(then_ms);
        // Over a moment, a batch would look like a flood. An offset that went back is a log that
        // began anew, and no rate.
        let moved = now?.checked_sub(then)?;
        (passed >= self.rules.every_ms / 2).then(|| float(moved) * 1_000.0 / float(passed))
    }

    const fn of(&self, index: usize) -> Partition<'_> {
        Partition {
            looks: &self.looks,
            index,
        }
    }

    fn figures(&self, index: usize, seen: &Seen, at_ms: u64) -> Figures {
        let lag = seen.lag();
        let in_per_second = self.rate(index, at_ms, seen.end(), |(_, end, _)| end);
        let out_per_second = self.rate(index, at_ms, seen.next(), |(_, _, next)| next);
        Figures {
            lag_records: lag,
            oldest_age_ms: seen.oldest_age_ms,
            in_per_second,
            out_per_second,
            drain_seconds: drain(lag, in_per_second, out_per_second),
        }
    }
}

/// A kept look at one partition: when, the end, the position.
type Moment = (u64, Option<u64>, Option<u64>);

/// The kept looks at one partition.
struct Partition<'a> {
    looks: &'a VecDeque<Kept>,
    index: usize,
}

impl Past for Partition<'_> {
    fn newest_first(&self) -> impl Iterator<Item = (u64, Option<u64>, Option<u64>)> {
        self.looks.iter().rev().map(|kept| {
            let (end, next) = kept.partitions.get(self.index).copied().unwrap_or_default();
            (kept.at_ms, end, next)
        })
    }
}

fn total<'a>(look: &Look, parts: impl Iterator<Item = &'a Figures> + Clone) -> Figures {
    let lag = look.lag();
    let sum = |one: Option<f64>, other: Option<f64>| Some(one? + other?);
    let in_per_second = parts.clone().map(|one| one.in_per_second);
    let in_per_second = in_per_second.reduce(sum).flatten();
    let out_per_second = parts.map(|one| one.out_per_second);
    let out_per_second = out_per_second.reduce(sum).flatten();
    Figures {
        lag_records: lag,
        oldest_age_ms: oldest(look),
        in_per_second,
        out_per_second,
        drain_seconds: drain(lag, in_per_second, out_per_second),
    }
}

/// The highest age; unknown when that of one partition is, in which something waits.
fn oldest(look: &Look) -> Option<u64> {
    let mut oldest = None;
    for seen in &look.partitions {
        if seen.lag()? > 0 {
            oldest = oldest.max(Some(seen.oldest_age_ms?));
        }
    }
    oldest
}

/// Seconds until nothing waits; never, where no less comes in than is applied.
fn drain(lag: Option<u64>, incoming: Option<f64>, outgoing: Option<f64>) -> Option<f64> {
    let lag = lag.filter(|lag| *lag > 0)?;
    let net = outgoing? - incoming?;
    (net > 0.0).then(|| float(lag) / net)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "rates are shown to three digits, and 2^53 records are never there"
)]
const fn float(number: u64) -> f64 {
    number as f64
}
