//! The verdict: what figures say of an application or a chat. Pure, so that each case is one test.

use chat_wire::admin::drift::{Drift, Verdict};
use chat_wire::admin::reconcile::Act;
use chat_wire::ids::{AppToken, ChatNumber};

use crate::port::store::Tally;

/// What could be found out about one figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked<T> {
    /// The answer.
    Is(T),
    /// There is none: a counter that is missing.
    Missing,
    /// It could not be asked, and why.
    Unknown(String),
}

impl<T: Copy> Asked<T> {
    pub(super) const fn known(&self) -> Option<T> {
        match self {
            Self::Is(value) => Some(*value),
            _ => None,
        }
    }
}

/// Numbers that were handed out and have no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gaps {
    /// Every number has one.
    None,
    /// Some have none yet, and may still get one.
    MayCome,
    /// Some up to this number have none, and no record was found that could bring one.
    Void {
        /// The counter as it was noted when the waiting began.
        through: u32,
    },
}

/// What documents say beside the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Documents {
    /// They are those of the live rows.
    Agree(u64),
    /// They differ, and the index has not read everything yet, or rows changed meanwhile.
    MayCome(u64),
    /// What differed at first does not any more, and something else does: it is on its way.
    Moving(u64),
    /// They differ, and the index has read everything.
    Differ {
        /// How many there are.
        found: u64,
        /// Live messages without their document, where it was looked at each.
        missing: Option<u64>,
        /// Documents without a live message, where it was looked at each.
        orphans: Option<u64>,
    },
    /// They could not be asked, and why.
    Unknown(String),
    /// Nobody asked: an application has none of its own.
    None,
}

/// Everything that is known of an application or a chat.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) token: AppToken,
    pub(super) name: String,
    pub(super) chat: Option<ChatNumber>,
    pub(super) counter: Asked<u32>,
    /// The rows, and the columns that say the same, of one moment.
    pub(super) tally: Tally,
    pub(super) count: u32,
    /// The column of the highest number; an application has none.
    pub(super) highest_column: Option<u32>,
    pub(super) in_log: Option<u64>,
    pub(super) gaps: Gaps,
    pub(super) documents: Documents,
    /// Made so short a time ago that its counter may still be on its way.
    pub(super) young: bool,
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) act: Act,
    pub(super) from: Option<u64>,
    pub(super) to: u64,
}

/// The comparison of one application or chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compared {
    pub(super) drift: Drift,
    pub(super) findings: Vec<Finding>,
    /// Whether waiting will tell if numbers are lost.
    pub(super) may_be_void: bool,
    /// Whether the index may lack documents of its rows, for all that is known.
    pub(super) may_lack_documents: bool,
}

struct Case {
    verdict: Verdict,
    details: Vec<String>,
    findings: Vec<Finding>,
}

impl Case {
    fn say(&mut self, verdict: Verdict, detail: String) {
        self.verdict = self.verdict.max(verdict);
        self.details.push(detail);
    }

    fn find(&mut self, act: Act, from: Option<u64>, to: u64) {
        self.findings.push(Finding { act, from, to });
    }
}

/// Judges.
pub(super) fn judge(facts: Facts) -> Compared {
    let mut case = Case {
        verdict: Verdict::Ok,
        details: Vec::new(),
        findings: Vec::new(),
    };
    counter(&facts, &mut case);
    gaps(&facts, &mut case);
    index(&facts, &mut case);
    count(&facts, &mut case);
    let may_lack_documents = matches!(
        facts.documents,
        Documents::Unknown(_) | Documents::MayCome(_)
    );
    let documents = match facts.documents {
        Documents::Agree(found)
        | Documents::MayCome(found)
        | Documents::Moving(found)
        | Documents::Differ { found, .. } => Some(found),
        Documents::Unknown(_) | Documents::None => None,
    };
    Compared {
        may_lack_documents,
        may_be_void: facts.gaps == Gaps::MayCome && facts.chat.is_some(),
        drift: Drift {
            token: facts.token,
            name: facts.name,
            chat: facts.chat,
            counter: facts.counter.known(),
            highest: facts.tally.highest,
            rows: facts.tally.rows,
            live: facts.tally.live,
            count: u64::from(facts.count),
            in_log: facts.in_log,
            documents,
            verdict: case.verdict,
            details: case.details,
            chats_drifted: 0,
        },
        findings: case.findings,
    }
}

fn counter(facts: &Facts, case: &mut Case) {
    let highest = facts.tally.highest;
    match &facts.counter {
        Asked::Is(counter) if *counter < highest => {
            case.say(
                Verdict::CounterBehind,
                format!("the counter stands at {counter}, below the highest number {highest}"),
            );
            let from = Some(u64::from(*counter));
            case.find(Act::RaiseCounter, from, u64::from(highest));
        }
        Asked::Is(_) => {}
        Asked::Missing if facts.young => {
            case.say(Verdict::InFlight, "the counter is being made".to_owned());
        }
        Asked::Missing => {
            case.say(
                Verdict::CounterBehind,
                "the counter is missing, or cannot be believed".to_owned(),
            );
            case.find(Act::RaiseCounter, None, u64::from(highest));
        }
        Asked::Unknown(why) => case.say(Verdict::Unknown, why.clone()),
    }
}

fn gaps(facts: &Facts, case: &mut Case) {
    let known = facts.counter.known().unwrap_or(0).max(facts.tally.highest);
    let missing = u64::from(known).saturating_sub(facts.tally.rows);
    match (facts.gaps, facts.chat) {
        (Gaps::None, _) => {}
        (Gaps::MayCome, _) => {
            let waiting = facts.in_log.map_or_else(
                || "an unknown number of records waits in the log".to_owned(),
                |records| format!("{records} records wait in the log"),
            );
            case.say(
                Verdict::InFlight,
                format!("{missing} numbers have no row yet; {waiting}"),
            );
        }
        (Gaps::Void { through }, Some(_)) => {
            case.say(
                Verdict::Holes,
                format!(
                    "{missing} numbers have no row; no record was found for those up to {through}"
                ),
            );
            case.find(Act::VoidHoles, Some(facts.tally.rows), u64::from(through));
        }
        // A chat number that was never used takes nothing from anybody: there is no void chat.
        (Gaps::Void { .. }, None) => case.details.push(format!(
            "{missing} chat numbers were handed out and never used; nothing needs to be done"
        )),
    }
}

fn index(facts: &Facts, case: &mut Case) {
    let live = facts.tally.live;
    match &facts.documents {
        Documents::Agree(_) | Documents::None => {}
        Documents::MayCome(found) | Documents::Moving(found) => case.say(
            Verdict::InFlight,
            format!("{found} documents for {live} live messages; the index still reads"),
        ),
        Documents::Differ {
            found,
            missing,
            orphans,
        } => {
            let words = match (missing, orphans) {
                (Some(missing), Some(orphans)) => format!(
                    "{missing} live messages are not in the index as they are, {orphans} documents \
                     have no live message"
                ),
                _ => format!("{found} documents for {live} live messages"),
            };
            case.say(Verdict::Unindexed, words);
            case.find(Act::Reindex, Some(*found), live);
        }
        Documents::Unknown(why) => case.say(Verdict::Unknown, why.clone()),
    }
}

fn count(facts: &Facts, case: &mut Case) {
    let Tally { live, highest, .. } = facts.tally;
    let stale = u64::from(facts.count) != live;
    if stale {
        let count = facts.count;
        case.say(
            Verdict::CountStale,
            format!("the count is {count}, and {live} rows are live"),
        );
    }
    // Applying trusts this column: above it no row is looked for.
    let low = facts.highest_column.filter(|column| *column < highest);
    if let Some(column) = low {
        case.say(
            Verdict::CountStale,
            format!("the column of the highest number is {column}, and {highest} has a row"),
        );
    }
    if stale || low.is_some() {
        case.find(Act::SetCount, Some(u64::from(facts.count)), live);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Facts {
        Facts {
            token: AppToken::from_bytes([1; 16]),
            name: "one".into(),
            chat: Some(ChatNumber::FIRST),
            counter: Asked::Is(10),
            tally: Tally {
                rows: 10,
                live: 8,
                highest: 10,
            },
            count: 8,
            highest_column: Some(10),
            in_log: Some(0),
            gaps: Gaps::None,
            documents: Documents::Agree(8),
            young: false,
        }
    }

    fn verdict(change: impl FnOnce(&mut Facts)) -> (Verdict, Vec<Act>) {
        let mut facts = well();
        change(&mut facts);
        let compared = judge(facts);
        assert_eq!(
            compared.drift.details.is_empty(),
            compared.drift.verdict == Verdict::Ok
        );
        let acts = compared.findings.iter().map(|finding| finding.act);
        (compared.drift.verdict, acts.collect())
    }

    #[test]
    fn each_verdict_has_its_cause() {
        assert_eq!(verdict(|_| {}), (Verdict::Ok, vec![]));
        let behind = (Verdict::CounterBehind, vec![Act::RaiseCounter]);
        assert_eq!(verdict(|facts| facts.counter = Asked::Is(9)), behind);
        assert_eq!(verdict(|facts| facts.counter = Asked::Missing), behind);
        let stale = (Verdict::CountStale, vec![Act::SetCount]);
        assert_eq!(verdict(|facts| facts.count = 7), stale);
        assert_eq!(verdict(|facts| facts.highest_column = Some(9)), stale);
        let holes = |facts: &mut Facts| {
            facts.counter = Asked::Is(11);
            facts.gaps = Gaps::Void { through: 11 };
        };
        assert_eq!(verdict(holes), (Verdict::Holes, vec![Act::VoidHoles]));
        let differ = |facts: &mut Facts| {
            facts.documents = Documents::Differ {
                found: 7,
                missing: None,
                orphans: None,
            };
        };
        assert_eq!(verdict(differ), (Verdict::Unindexed, vec![Act::Reindex]));
    }

    #[test]
    fn what_may_come_is_no_drift() {
        let flight = (Verdict::InFlight, vec![]);
        assert_eq!(verdict(|facts| facts.gaps = Gaps::MayCome), flight);
        assert_eq!(
            verdict(|facts| facts.documents = Documents::MayCome(3)),
            flight
        );
        let young = |facts: &mut Facts| {
            facts.counter = Asked::Missing;
            facts.young = true;
        };
        assert_eq!(verdict(young), flight);
    }

    #[test]
    fn what_cannot_be_asked_is_unknown_and_hides_nothing() {
        let unknown = |facts: &mut Facts| facts.counter = Asked::Unknown("why".into());
        assert_eq!(verdict(unknown), (Verdict::Unknown, vec![]));
        let both = |facts: &mut Facts| {
            facts.documents = Documents::Unknown("why".into());
            facts.count = 7;
        };
        assert_eq!(verdict(both), (Verdict::CountStale, vec![Act::SetCount]));
    }

    #[test]
    fn the_worst_is_the_verdict_and_everything_is_done() {
        let all = |facts: &mut Facts| {
            facts.counter = Asked::Is(9);
            facts.count = 7;
            facts.documents = Documents::Differ {
                found: 7,
                missing: Some(1),
                orphans: Some(0),
            };
        };
        let acts = vec![Act::RaiseCounter, Act::Reindex, Act::SetCount];
        assert_eq!(verdict(all), (Verdict::CounterBehind, acts));
    }

    #[test]
    fn a_chat_number_that_was_never_used_is_well() {
        let mut facts = well();
        facts.chat = None;
        facts.highest_column = None;
        facts.counter = Asked::Is(11);
        facts.gaps = Gaps::Void { through: 11 };
        let compared = judge(facts);
        assert_eq!(compared.drift.verdict, Verdict::Ok);
        assert_eq!(compared.drift.details.len(), 1);
        assert_eq!(compared.findings, []);
    }
}
