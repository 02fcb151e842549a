//! What a report comes to: what to know before reading its figures, and whether it went well.

use crate::load::figures::{percent, share, three};
use crate::load::report::{Model, Report};
use crate::output::text::{counted, grouped};

/// Below this share of what was wanted, the rate of the scenario was not reached.
const REACHED: f64 = 0.95;
/// A load before the run above this share of the processors leaves too little to measure with.
const BUSY: f64 = 0.5;

/// How something is. It never stands for itself: words say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// Well.
    Good,
    /// Well, with a reservation.
    Warn,
    /// Not well.
    Bad,
    /// Nobody looked.
    Unknown,
}

impl Sign {
    /// One character.
    pub(crate) const fn symbol(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Warn => "!",
            Self::Bad => "✗",
            Self::Unknown => "?",
        }
    }

    /// What it says of a whole run.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Good => "passed",
            Self::Warn => "passed with reservations",
            Self::Bad => "failed",
            Self::Unknown => "measured",
        }
    }
}

/// A sentence with its sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) sign: Sign,
    pub(crate) text: String,
}

fn say(sign: Sign, text: impl Into<String>) -> Statement {
    Statement {
        sign,
        text: text.into(),
    }
}

/// The whole run in one sentence.
pub(crate) fn overall(report: &Report) -> Statement {
    let statements = [objectives(report), verification(report)];
    let any = |sign| statements.iter().any(|statement| statement.sign == sign);
    let parts: Vec<&str> = statements
        .iter()
        .filter(|statement| statement.sign != Sign::Unknown)
        .map(|statement| statement.text.as_str())
        .collect();
    let told = parts.join("; ");
    if any(Sign::Bad) {
        say(Sign::Bad, format!("FAILED: {told}"))
    } else if parts.is_empty() {
        say(
            Sign::Unknown,
            "MEASURED: nothing was judged, because no objective was set and nothing was verified",
        )
    } else if report.generator.limited_by.is_some() || report.interrupted {
        let text = format!("PASSED, with reservations: {told}");
        say(Sign::Warn, text)
    } else {
        say(Sign::Good, format!("PASSED: {told}"))
    }
}

/// How many objectives were met.
pub(crate) fn objectives(report: &Report) -> Statement {
    let all = report.objectives.len() as u64;
    let missed = report.objectives.iter().filter(|one| !one.met).count() as u64;
    if all == 0 {
        say(Sign::Unknown, "no objective was set")
    } else if missed > 0 {
        let text = format!(
            "{} of {} missed",
            grouped(missed),
            counted(all, "objective")
        );
        say(Sign::Bad, text)
    } else {
        say(Sign::Good, format!("{} met", counted(all, "objective")))
    }
}

/// Whether everything that was acknowledged is there.
pub(crate) fn verification(report: &Report) -> Statement {
    let Some(found) = &report.verification else {
        return say(Sign::Unknown, "nothing was verified");
    };
    if !found.kept() {
        let findings = counted(found.findings.len() as u64, "finding");
        return say(Sign::Bad, format!("verification broken, {findings}"));
    }
    let messages = counted(found.acknowledged, "acknowledged message");
    let index = if found.index_complete {
        "in the store and the index"
    } else {
        "in the store; the index was looked at in samples"
    };
    say(
        Sign::Good,
        format!("verification kept, {messages} once each {index}"),
    )
}

/// What changes how the figures are to be read, the gravest first.
pub(crate) fn warnings(report: &Report) -> Vec<String> {
    let totals = &report.totals;
    let mut warnings = Vec::new();
    if let Some(cause) = &report.generator.limited_by {
        warnings.push(format!(
            "the generator was the limit, so the figures tell of it rather than of the server: {cause}"
        ));
    }
    if report.interrupted {
        let (took, planned) = (three(totals.seconds), three(report.scenario.seconds));
        warnings.push(format!(
            "interrupted: {took} s of {planned} s were measured, and everything below is of them"
        ));
    }
    if totals.sent == 0 {
        warnings.push("nothing was sent, so there is nothing to judge by".to_owned());
    }
    if totals.skipped > 0 {
        let part = percent(share(totals.skipped, totals.wanted));
        warnings.push(format!(
            "{} ({part}) were due and not sent, because too many others were in flight; no latency below knows of them",
            counted(totals.skipped, "request")
        ));
    }
    let wanted = totals.wanted_per_second;
    if report.scenario.model == Model::Open
        && totals.skipped == 0
        && totals.sent_per_second < wanted * REACHED
    {
        let (sent, wanted) = (three(totals.sent_per_second), three(wanted));
        warnings.push(format!(
            "sent {sent} requests a second where {wanted} were wanted"
        ));
    }
    if let Some(drain) = &report.drain
        && drain.seconds.is_none()
    {
        warnings
            .push("the workers had not caught up when waiting for them was given up".to_owned());
    }
    if let Some(freshness) = &report.freshness
        && freshness.given_up > 0
    {
        warnings.push(format!(
            "freshness: {} were given up, which the percentiles do not contain",
            counted(freshness.given_up, "sample")
        ));
    }
    let environment = &report.environment;
    if let Some(load) = environment.load_before
        && load > f64::from(environment.cpus) * BUSY
    {
        warnings.push(format!(
            "the machine was busy before the run: a load of {load:.2} on {}",
            counted(environment.cpus.into(), "processor")
        ));
    }
    warnings
}

/// What the times mean, in one sentence for each model.
pub(crate) const fn meaning(model: Model) -> &'static str {
    match model {
        Model::Open => {
            "open model: requests are sent when they are due, whether or not earlier ones are answered. \
             Response times are measured from the intended start, service times from the moment of \
             sending, so a server that stalls shows in the response times of everything that was due."
        }
        Model::Closed => {
            "closed model: each user waits for its answer before it sends again, so a server that \
             stalls is asked less often. Response times are measured from the intended start, which \
             here is the moment of sending: they are the service times."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::sample;

    #[test]
    fn one_sentence_says_it() {
        let told = |report: &Report| {
            let overall = overall(report);
            format!("{} {}", overall.sign.symbol(), overall.text)
        };
        let mut report = sample::steady();
        assert_eq!(
            told(&report),
            "✓ PASSED: 3 objectives met; verification kept, 54,031 acknowledged messages once each in the store and the index"
        );
        report.interrupted = true;
        assert!(told(&report).starts_with("! PASSED, with reservations: "));
        assert!(
            told(&sample::overload())
                .starts_with("✗ FAILED: 2 of 3 objectives missed; verification broken, 2 findings")
        );
        assert!(told(&sample::empty()).starts_with("? MEASURED"));
    }

    #[test]
    fn a_run_without_reservations_has_no_warnings() {
        assert_eq!(warnings(&sample::steady()), [""; 0]);
        let warned = warnings(&sample::overload());
        assert_eq!(warned.len(), 6, "{warned:#?}");
        assert!(warned[0].starts_with("the generator was the limit"));
        assert_eq!(warnings(&sample::empty()).len(), 1);
    }
}
