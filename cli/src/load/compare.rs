//! Two reports side by side: what changed, whether for the better, and whether they can be compared.

mod show;

use serde::Serialize;

use crate::load::figures::{float, share, three};
use crate::load::report::{Latency, Operation, Report, Verification};

/// Rates wanted further apart than this, in percent, are two different loads.
const SAME_RATE: f64 = 1.0;
/// The same for how long was measured: short runs have shorter tails.
const SAME_TIME: f64 = 10.0;
/// So many samples have to lie above a quantile before it can be called better or worse.
const ABOVE_MIN: f64 = 10.0;

/// Two runs, and what lies between them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Comparison {
    pub(crate) a: Side,
    pub(crate) b: Side,
    /// Changes up to this many percent count as none.
    pub(crate) threshold_percent: f64,
    /// Why the two should not be compared; empty where nothing speaks against it.
    pub(crate) warnings: Vec<String>,
    /// How many rows got better from A to B.
    pub(crate) better: u64,
    /// How many got worse.
    pub(crate) worse: u64,
    pub(crate) rows: Vec<Row>,
}

/// Which run it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Side {
    pub(crate) name: String,
    pub(crate) started_at: String,
    pub(crate) server_version: Option<String>,
    pub(crate) server_mode: Option<String>,
}

impl Side {
    fn of(report: &Report) -> Self {
        let here = &report.environment;
        Self {
            name: report.scenario.name.clone(),
            started_at: here.started_at.to_string(),
            server_version: here.server_version.clone(),
            server_mode: here.server_mode.clone(),
        }
    }
}

/// One figure of both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) metric: String,
    /// `ms`, `s`, `%`, `/s`, `us`, or empty.
    pub(crate) unit: &'static str,
    /// Absent where it was not measured.
    pub(crate) a: Option<f64>,
    pub(crate) b: Option<f64>,
    /// From A to B; absent where one of them is unknown, or A is zero.
    pub(crate) change_percent: Option<f64>,
    pub(crate) verdict: Verdict,
}

/// What a change comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Better,
    Worse,
    /// Within the threshold.
    Same,
    /// It changed, and that is neither good nor bad.
    Differs,
    /// It changed, and too few samples lie above this quantile to say that it is more than chance.
    TooFew,
    /// One of them does not have it.
    Unknown,
}

/// What is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Good {
    More,
    Less,
    Neither,
}

/// Compares B with A. Changes up to `threshold` percent count as none.
pub(crate) fn compare(a: &Report, b: &Report, threshold: f64) -> Comparison {
    let mut rows = Rows {
        threshold,
        rows: Vec::new(),
    };
    throughput(&mut rows, a, b);
    for name in names(a, b) {
        operation(&mut rows, &name, find(a, &name), find(b, &name));
    }
    workers(&mut rows, a, b);
    verified(&mut rows, a, b);
    let rows = rows.rows;
    let number = |verdict| rows.iter().filter(|row| row.verdict == verdict).count() as u64;
    Comparison {
        a: Side::of(a),
        b: Side::of(b),
        threshold_percent: threshold,
        warnings: warnings(a, b),
        better: number(Verdict::Better),
        worse: number(Verdict::Worse),
        rows,
    }
}

/// Its name, where it lies, and its value.
type Quantile = (&'static str, f64, fn(&Latency) -> Option<f64>);

const QUANTILES: [Quantile; 3] = [
    ("p50", 0.5, |times| times.p50),
    ("p99", 0.99, |times| times.p99),
    ("p99.9", 0.999, |times| times.p99_9),
];

/// The rows so far.
struct Rows {
    threshold: f64,
    rows: Vec<Row>,
}

impl Rows {
    fn add(
        &mut self,
        metric: impl Into<String>,
        unit: &'static str,
        good: Good,
        (a, b): (Option<f64>, Option<f64>),
    ) {
        if a.is_none() && b.is_none() {
            return;
        }
        let change_percent = match (a, b) {
            (Some(a), Some(b)) if a != 0.0 => Some((b - a) / a.abs() * 100.0),
            (Some(a), Some(b)) if a == b => Some(0.0),
            _ => None,
        };
        let verdict = match (a, b) {
            (Some(a), Some(b)) => {
                let within = change_percent.is_some_and(|change| change.abs() <= self.threshold);
                let (better, worse) = match good {
                    Good::More => (b > a, b < a),
                    Good::Less => (b < a, b > a),
                    Good::Neither => (false, false),
                };
                match () {
                    () if within => Verdict::Same,
                    () if better => Verdict::Better,
                    () if worse => Verdict::Worse,
                    () => Verdict::Differs,
                }
            }
            _ => Verdict::Unknown,
        };
        self.rows.push(Row {
            metric: metric.into(),
            unit,
            a,
            b,
            change_percent,
            verdict,
        });
    }

    /// Three quantiles of a distribution.
    fn quantiles(&mut self, name: &str, a: Option<&Latency>, b: Option<&Latency>) {
        let fewest = [a, b].into_iter().flatten().map(|times| times.count).min();
        for (label, quantile, of) in QUANTILES {
            let before = self.rows.len();
            let values = (a.and_then(of), b.and_then(of));
            self.add(format!("{name}.{label}"), "ms", Good::Less, values);
            let above = float(fewest.unwrap_or(0)) * (1.0 - quantile);
            // A little less than asked for, because 0.99 is no number of the machine.
            if above < ABOVE_MIN - 1e-6
                && let Some(row) = self.rows.get_mut(before)
                && matches!(row.verdict, Verdict::Better | Verdict::Worse)
            {
                row.verdict = Verdict::TooFew;
            }
        }
    }
}

fn both<T>(a: &Report, b: &Report, of: impl Fn(&Report) -> Option<T>) -> (Option<T>, Option<T>) {
    (of(a), of(b))
}

fn throughput(rows: &mut Rows, a: &Report, b: &Report) {
    let answered = |report: &Report| report.totals.ok.saturating_add(report.totals.failed());
    let wanted = both(a, b, |report| Some(report.totals.wanted_per_second));
    rows.add("wanted", "/s", Good::Neither, wanted);
    let sent = both(a, b, |report| Some(report.totals.sent_per_second));
    rows.add("sent", "/s", Good::Neither, sent);
    let ok = both(a, b, |report| Some(report.totals.ok_per_second));
    rows.add("ok", "/s", Good::More, ok);
    let failed = both(a, b, |report| {
        share(report.totals.failed(), answered(report))
    });
    rows.add("errors", "%", Good::Less, failed);
    let skipped = both(a, b, |report| {
        share(report.totals.skipped, report.totals.wanted)
    });
    rows.add("skipped", "%", Good::Less, skipped);
    let highest = both(a, b, |report| {
        let met = report.trials.iter().filter(|trial| trial.met);
        met.map(|trial| trial.rate).reduce(f64::max)
    });
    rows.add(
        "highest rate that met the objectives",
        "/s",
        Good::More,
        highest,
    );
    let cpu = both(a, b, |report| report.generator.cpu_us_per_request);
    rows.add("generator.cpu a request", "us", Good::Less, cpu);
}

fn operation(rows: &mut Rows, name: &str, a: Option<&Operation>, b: Option<&Operation>) {
    let response = |side: Option<&Operation>| side.map(|side| side.response.clone());
    let (times_a, times_b) = (response(a), response(b));
    rows.quantiles(name, times_a.as_ref(), times_b.as_ref());
    let errors = |side: Option<&Operation>| {
        let side = side?;
        let failed: u64 = side.errors.values().sum();
        share(failed, side.ok.saturating_add(failed))
    };
    let values = (errors(a), errors(b));
    rows.add(format!("{name}.errors"), "%", Good::Less, values);
}

fn workers(rows: &mut Rows, a: &Report, b: &Report) {
    let stored = |report: &Report| Some(report.freshness.as_ref()?.stored.clone());
    let searchable = |report: &Report| Some(report.freshness.as_ref()?.searchable.clone());
    rows.quantiles("stored", stored(a).as_ref(), stored(b).as_ref());
    rows.quantiles("searchable", searchable(a).as_ref(), searchable(b).as_ref());
    let given_up = both(a, b, |report| {
        Some(float(report.freshness.as_ref()?.given_up))
    });
    rows.add("freshness given up", "", Good::Less, given_up);
    let caught_up = both(a, b, |report| {
        let drained = report.drain.as_ref()?.seconds.is_some();
        Some(if drained { 1.0 } else { 0.0 })
    });
    rows.add("workers caught up", "", Good::More, caught_up);
    let drain = both(a, b, |report| report.drain.as_ref()?.seconds);
    rows.add("drain", "s", Good::Less, drain);
}

/// Something that a verification counts.
type Count = (&'static str, fn(&Verification) -> u64);

fn verified(rows: &mut Rows, a: &Report, b: &Report) {
    let missed = both(a, b, |report| {
        let missed = report.objectives.iter().filter(|one| !one.met).count();
        (!report.objectives.is_empty()).then(|| float(missed as u64))
    });
    rows.add("objectives missed", "", Good::Less, missed);
    let counts: [Count; 7] = [
        ("findings", |found| found.findings.len() as u64),
        ("lost", |found| found.lost),
        ("doubled", |found| found.doubled),
        ("unexpected", |found| found.unexpected),
        ("unindexed", |found| found.unindexed),
        ("numbers_twice", |found| found.numbers_twice),
        ("chats_drifted", |found| found.chats_drifted),
    ];
    for (name, of) in counts {
        let values = both(a, b, |report| {
            Some(float(of(report.verification.as_ref()?)))
        });
        rows.add(format!("verification.{name}"), "", Good::Less, values);
    }
}

/// The operations of both, each once.
fn names(a: &Report, b: &Report) -> Vec<String> {
    let mut names: Vec<String> = a
        .operations
        .iter()
        .chain(&b.operations)
        .map(|operation| operation.name.clone())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn find<'a>(report: &'a Report, name: &str) -> Option<&'a Operation> {
    report.operations.iter().find(|one| one.name == name)
}

/// Why these two should not be compared.
fn warnings(a: &Report, b: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut differ = |what: &str, a: &str, b: &str| {
        if a != b {
            warnings.push(format!("{what} differs: {a} and {b}"));
        }
    };
    let models = (a.scenario.model.as_str(), b.scenario.model.as_str());
    differ("the model", models.0, models.1);
    let (here, there) = (&a.environment, &b.environment);
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let modes = (known(&here.server_mode), known(&there.server_mode));
    differ("the mode of the server", &modes.0, &modes.1);
    differ("the platform", &here.platform, &there.platform);
    let cpus = (here.cpus.to_string(), there.cpus.to_string());
    differ("the number of processors", &cpus.0, &cpus.1);
    let kinds = |report: &Report| {
        let kinds = report.operations.iter().map(|one| one.name.as_str());
        kinds.collect::<Vec<_>>().join(", ")
    };
    differ("the mix of operations", &kinds(a), &kinds(b));
    let rates = (a.totals.wanted_per_second, b.totals.wanted_per_second);
    if apart(rates, SAME_RATE) {
        let (a, b) = (three(rates.0), three(rates.1));
        warnings.push(format!("the rate wanted differs: {a}/s and {b}/s"));
    }
    let times = (a.totals.seconds, b.totals.seconds);
    if apart(times, SAME_TIME) {
        let (a, b) = (three(times.0), three(times.1));
        warnings.push(format!("the time measured differs: {a} s and {b} s"));
    }
    for (label, report) in [("A", a), ("B", b)] {
        let own = crate::load::verdict::warnings(report);
        warnings.extend(own.into_iter().map(|warning| format!("{label}: {warning}")));
    }
    warnings
}

fn apart((a, b): (f64, f64), percent: f64) -> bool {
    (a - b).abs() > a.abs().max(b.abs()) * percent / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::sample;

    fn row<'a>(found: &'a Comparison, metric: &str) -> &'a Row {
        let row = found.rows.iter().find(|row| row.metric == metric);
        row.unwrap_or_else(|| panic!("no {metric}"))
    }

    #[test]
    fn a_run_is_the_same_as_itself() {
        for report in sample::all() {
            let found = compare(&report, &report, 0.0);
            assert_eq!((found.better, found.worse), (0, 0));
            assert!(found.rows.iter().all(|row| row.verdict == Verdict::Same));
        }
        let steady = sample::steady();
        assert_eq!(compare(&steady, &steady, 5.0).warnings, [""; 0]);
    }

    #[test]
    fn the_threshold_is_still_the_same() {
        let (a, mut b) = (sample::steady(), sample::steady());
        b.operations[1].response.p50 = Some(2.1);
        assert_eq!(
            row(&compare(&a, &b, 5.001), "send.p50").verdict,
            Verdict::Same
        );
        assert_eq!(
            row(&compare(&a, &b, 4.9), "send.p50").verdict,
            Verdict::Worse
        );
        assert_eq!(
            row(&compare(&b, &a, 4.0), "send.p50").verdict,
            Verdict::Better
        );
        // From nothing to something is no percentage, and worse all the same.
        b.totals.errors.insert("timeout".to_owned(), 1);
        let found = compare(&a, &b, 5.0);
        let errors = row(&found, "errors");
        assert_eq!(
            (errors.change_percent, errors.verdict),
            (None, Verdict::Worse)
        );
    }

    #[test]
    fn a_quantile_of_few_samples_is_no_verdict() {
        let (mut a, mut b) = (sample::steady(), sample::steady());
        a.operations[1].response = sample::latency(1_000, 2.0);
        b.operations[1].response = sample::latency(5_000, 4.0);
        let found = compare(&a, &b, 5.0);
        assert_eq!(row(&found, "send.p50").verdict, Verdict::Worse);
        assert_eq!(row(&found, "send.p99").verdict, Verdict::Worse);
        assert_eq!(row(&found, "send.p99.9").verdict, Verdict::TooFew);
    }

    #[test]
    fn what_cannot_be_compared_is_said() {
        let (a, mut b) = (sample::steady(), sample::second());
        b.environment.cpus = 64;
        b.environment.server_mode = Some("engines".to_owned());
        let found = compare(&a, &b, 5.0);
        for what in [
            "model",
            "mode",
            "processors",
            "mix",
            "rate wanted",
            "time measured",
        ] {
            let told = found.warnings.iter().any(|it| it.contains(what));
            assert!(told, "{what}: {:#?}", found.warnings);
        }
        assert_eq!(row(&found, "history.p50").verdict, Verdict::Unknown);
        assert_eq!(row(&found, "drain").b, None);
        let gave_up = compare(&a, &sample::overload(), 5.0);
        assert_eq!(row(&gave_up, "workers caught up").verdict, Verdict::Worse);
        assert_eq!(row(&found, "verification.lost").verdict, Verdict::Unknown);
    }
}
