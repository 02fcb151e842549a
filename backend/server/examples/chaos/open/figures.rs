//! What was measured of a span of creates.

use std::collections::BTreeMap;
use std::time::Duration;

/// An arrival that was sent later than this was not sent on time, in microseconds.
const ON_TIME_US: u32 = 10_000;

/// Times of creates, from when each was due, and how the generator did.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Microseconds of those that were accepted.
    pub(crate) accepted_us: Vec<u32>,
    /// Of those that were refused or failed, by code.
    pub(crate) refused_us: BTreeMap<String, Vec<u32>>,
    /// Arrivals without a free connection.
    pub(crate) skipped: u64,
    /// How late the generator itself was with each of the others.
    pub(crate) late_us: Vec<u32>,
    /// Most connections that were open.
    pub(crate) connections: usize,
    /// How long the span was.
    pub(crate) seconds: f64,
    /// Processor time that the generator's thread used, where the system tells.
    pub(crate) busy: Option<Duration>,
}

impl Figures {
    /// Accepted a second.
    pub(crate) fn rate(&self) -> f64 {
        number(self.accepted_us.len()) / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// Answers that were neither accepted nor failed, a second.
    pub(crate) fn shed_rate(&self) -> f64 {
        number(self.shed().count()) / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// Milliseconds that this share of the accepted did not exceed, in percent.
    pub(crate) fn accepted_ms(&self, percent: usize) -> f64 {
        at(&self.accepted_us, percent)
    }

    /// The same of all that were refused as they should be.
    pub(crate) fn shed_ms(&self, percent: usize) -> f64 {
        at(&self.shed().collect::<Vec<_>>(), percent)
    }

    /// Answers that are neither an acknowledgement nor a refusal as it should be.
    pub(crate) fn failed(&self) -> usize {
        let failed = self.refused_us.iter().filter(|(code, _)| !is_shed(code));
        failed.map(|(_, times)| times.len()).sum()
    }

    fn shed(&self) -> impl Iterator<Item = u32> {
        let shed = self.refused_us.iter().filter(|(code, _)| is_shed(code));
        shed.flat_map(|(_, times)| times).copied()
    }

    /// The share of all arrivals that were sent when they were due.
    pub(crate) fn on_time(&self) -> f64 {
        let sent = self.late_us.iter().filter(|late| **late <= ON_TIME_US);
        let all = self.late_us.len() + usize::try_from(self.skipped).unwrap_or(usize::MAX);
        number(sent.count()) / number(all).max(1.0)
    }

    /// Of what was sent, the share that was accepted.
    pub(crate) fn accepted_share(&self) -> f64 {
        let refused: usize = self.refused_us.values().map(Vec::len).sum();
        let accepted = number(self.accepted_us.len());
        accepted / (accepted + number(refused)).max(1.0)
    }

    /// How the generator did, for people.
    pub(crate) fn generator_text(&self) -> String {
        let busy = self.busy.map_or_else(
            || "an unknown part".to_owned(),
            |busy| format!("{:.0} %", busy.as_secs_f64() / self.seconds * 100.0),
        );
        format!(
            "{:.2} % sent within {} ms, p99.9 {:.1} ms late, {} without a connection; at most {} \
             connections; {busy} of a processor",
            self.on_time() * 100.0,
            ON_TIME_US / 1_000,
            per_mille(&self.late_us, 999),
            self.skipped,
            self.connections,
        )
    }

    /// What was accepted and what not, for people.
    pub(crate) fn span_text(&self) -> String {
        let (p50, p99) = (self.accepted_ms(50), self.accepted_ms(99));
        let refused = self.refused_text();
        format!(
            "{:.0}/s, p50 {p50:.1} ms, p99 {p99:.1} ms, refused {refused}",
            self.rate()
        )
    }

    /// What was refused, for people.
    pub(crate) fn refused_text(&self) -> String {
        let each = self.refused_us.iter().map(|(code, times)| {
            let (p50, p99) = (at(times, 50), at(times, 99));
            format!("{code} {} (p50 {p50:.1} ms, p99 {p99:.1} ms)", times.len())
        });
        let text = each.collect::<Vec<_>>().join(", ");
        if text.is_empty() {
            "none".to_owned()
        } else {
            text
        }
    }
}

/// Codes of refusals that are fast, say when to come back, and take nothing.
pub(crate) fn is_shed(code: &str) -> bool {
    matches!(code, "overloaded" | "too_many_requests")
}

/// Milliseconds at this share of times in microseconds.
fn at(times: &[u32], percent: usize) -> f64 {
    per_mille(times, percent * 10)
}

fn per_mille(times: &[u32], share: usize) -> f64 {
    let mut times = times.to_vec();
    let place = times.len().saturating_sub(1) * share / 1_000;
    if times.is_empty() {
        return 0.0;
    }
    f64::from(*times.select_nth_unstable(place).1) / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(crate) fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_and_late_arrivals_are_not_on_time() {
        let figures = Figures {
            late_us: vec![0, 10_000, 10_001],
            skipped: 1,
            ..Figures::default()
        };
        assert!((figures.on_time() - 0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let figures = Figures {
            accepted_us: (1..=101).rev().map(|ms| ms * 1_000).collect(),
            ..Figures::default()
        };
        assert!((figures.accepted_ms(50) - 51.0).abs() < f64::EPSILON);
        assert!((figures.accepted_ms(99) - 100.0).abs() < f64::EPSILON);
        assert!((figures.shed_ms(99)).abs() < f64::EPSILON);
    }
}
