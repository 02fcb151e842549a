//! Signs: what a status or verdict looks like where there is no colour.

use chat_wire::admin::dlq;
use chat_wire::admin::doctor::Finding;
use chat_wire::admin::drift::Verdict;
use chat_wire::admin::lag::Status;

use crate::theme::Tone;

/// Of a group or a partition.
#[must_use]
pub const fn status(status: Status) -> (&'static str, Tone) {
    match status {
        Status::Ok => ("✓", Tone::Good),
        Status::Behind => ("▽", Tone::Warn),
        Status::Unknown => ("?", Tone::Unknown),
        Status::Growing => ("▲", Tone::Bad),
        Status::Stalled => ("■", Tone::Bad),
        Status::Stopped => ("✗", Tone::Bad),
    }
}

/// Of an application or a chat.
#[must_use]
pub const fn verdict(verdict: Verdict) -> (&'static str, Tone) {
    match verdict {
        Verdict::Ok => ("✓", Tone::Good),
        Verdict::InFlight => ("»", Tone::Accent),
        Verdict::Unknown => ("?", Tone::Unknown),
        Verdict::CountStale => ("≠", Tone::Warn),
        Verdict::Unindexed => ("∉", Tone::Warn),
        Verdict::Holes => ("○", Tone::Warn),
        Verdict::CounterBehind => ("✗", Tone::Bad),
    }
}

/// Of a check.
#[must_use]
pub const fn finding(finding: Finding) -> (&'static str, Tone) {
    match finding {
        Finding::Ok => ("✓", Tone::Good),
        Finding::Skipped => ("–", Tone::Dim),
        Finding::Warning => ("!", Tone::Warn),
        Finding::Failed => ("✗", Tone::Bad),
    }
}

/// Of a dead letter.
#[must_use]
pub const fn letter(state: dlq::State) -> (&'static str, Tone) {
    match state {
        dlq::State::Waiting => ("!", Tone::Warn),
        dlq::State::Replayed => ("✓", Tone::Good),
        dlq::State::Discarded => ("–", Tone::Dim),
    }
}

/// Of something that is well or not.
#[must_use]
pub const fn well(ok: bool) -> (&'static str, Tone) {
    if ok {
        ("✓", Tone::Good)
    } else {
        ("✗", Tone::Bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_meanings_share_a_sign() {
        let statuses: HashSet<_> = Status::ALL.map(|one| status(one).0).into();
        assert_eq!(statuses.len(), Status::ALL.len());
        let verdicts: HashSet<_> = Verdict::ALL.map(|one| verdict(one).0).into();
        assert_eq!(verdicts.len(), Verdict::ALL.len());
    }
}
