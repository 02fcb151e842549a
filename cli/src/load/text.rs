//! A report as text: what to know first, the verdict, then the figures.

pub(super) mod judged;
mod paper;

use self::judged::{judged, trials};
use self::paper::Paper;
use crate::load::figures::{float, ms, percent, share, three};
use crate::load::report::{Latency, Operation, Report, Totals};
use crate::load::verdict::{Sign, Statement, meaning, overall, warnings};
use crate::output::table::{Cell, left, right};
use crate::output::text::{counted, grouped};
use crate::output::units::{NONE, count, rate, span_of_seconds};

/// The whole report, with a line end. No line is wider than `width` columns where a table can be
/// made that narrow; colour only repeats what signs and words say.
pub(crate) fn write(report: &Report, width: Option<usize>, color: bool) -> String {
    let mut paper = Paper::new(width, color);
    for warning in warnings(report) {
        paper.statement(&Statement {
            sign: Sign::Warn,
            text: warning,
        });
    }
    paper.statement(&overall(report));
    paper.heading("Run");
    run(&mut paper, report);
    paper.heading("Requests");
    requests(&mut paper, report);
    paper.heading("Latency in milliseconds");
    latencies(&mut paper, &report.operations);
    errors(&mut paper, report);
    freshness(&mut paper, report);
    paper.heading("Generator");
    generator(&mut paper, report);
    judged(&mut paper, report);
    trials(&mut paper, report);
    paper.finish()
}

fn run(paper: &mut Paper, report: &Report) {
    let (asked, here) = (&report.scenario, &report.environment);
    let name = [asked.name.as_str(), asked.about.as_str()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(": ");
    if !name.is_empty() {
        paper.pair("scenario", &name);
    }
    let server = match (&here.server_version, &here.server_mode) {
        (Some(version), Some(mode)) => format!("chatd {version}, {mode}"),
        (Some(version), None) => format!("chatd {version}"),
        (None, Some(mode)) => format!("chatd, {mode}"),
        (None, None) => "a server that told no version".to_owned(),
    };
    paper.pair("server", &format!("{server}, at {}", here.target));
    let load = here
        .load_before
        .map_or_else(|| "unknown".to_owned(), |load| format!("{load:.2}"));
    paper.pair(
        "generator",
        &format!(
            "chatctl {}, {}, {}, load {load} before the run, {} open files at most",
            here.version,
            here.platform,
            counted(here.cpus.into(), "processor"),
            here.open_files_max
                .map_or_else(|| "unknown".to_owned(), grouped),
        ),
    );
    let (took, warmup) = (report.totals.seconds, report.warmup.seconds);
    let warmed = if warmup > 0.0 {
        format!(
            " after {} of warm-up, which counts for nothing",
            span_of_seconds(warmup)
        )
    } else {
        String::new()
    };
    let took = span_of_seconds(took);
    let at = here.started_at;
    paper.pair(
        "measured",
        &format!("{took} from {at}{warmed}; seed {}", asked.seed),
    );
    paper.pair("model", meaning(asked.model));
}

fn requests(paper: &mut Paper, report: &Report) {
    let totals = &report.totals;
    let each = |number: u64| Cell::show(whole_rate(number, totals));
    let row = |name: &str, number: u64| {
        let part = percent(share(number, totals.wanted));
        vec![
            Cell::show(name),
            Cell::show(grouped(number)),
            each(number),
            Cell::show(part),
        ]
    };
    let rows = [
        row("wanted", totals.wanted),
        row("sent", totals.sent),
        row("ok", totals.ok),
        row("failed", totals.failed()),
        row("skipped", totals.skipped),
    ];
    let columns = [
        left(""),
        right("COUNT"),
        right("A SECOND"),
        right("OF WANTED"),
    ];
    paper.table(&columns, &rows);
    let messages = counted(totals.messages, "acknowledged message");
    let each = whole_rate(totals.messages, totals);
    let most = grouped(totals.in_flight_max);
    paper.prose(&format!(
        "{messages} ({each} a second); at most {most} in flight at once"
    ));
}

/// A count as a rate over the measurement.
fn whole_rate(number: u64, totals: &Totals) -> String {
    if totals.seconds > 0.0 {
        rate(float(number) / totals.seconds)
    } else {
        NONE.to_owned()
    }
}

/// A column of percentiles.
type Percentile = (&'static str, fn(&Latency) -> Option<f64>);

const PERCENTILES: [Percentile; 8] = [
    ("MEAN", |times| times.mean),
    ("P50", |times| times.p50),
    ("P90", |times| times.p90),
    ("P95", |times| times.p95),
    ("P99", |times| times.p99),
    ("P99.9", |times| times.p99_9),
    ("P99.99", |times| times.p99_99),
    ("MAX", |times| times.max),
];

/// Which of them a line has room for; what is told least often elsewhere goes first.
fn percentiles(width: usize) -> Vec<Percentile> {
    let dropped: &[&str] = match width {
        100.. => &[],
        90..100 => &["P95"],
        80..90 => &["P95", "P90"],
        66..80 => &["P95", "P90", "MEAN", "P99.99"],
        _ => &["P95", "P90", "MEAN", "P99.99", "P99.9"],
    };
    let kept = PERCENTILES
        .into_iter()
        .filter(|(name, _)| !dropped.contains(name));
    kept.collect()
}

fn latencies(paper: &mut Paper, operations: &[Operation]) {
    let mut rows = Vec::new();
    for operation in operations {
        let kinds = [
            ("response", &operation.response),
            ("service", &operation.service),
            ("refused", &operation.refused),
        ];
        for (at, (kind, times)) in kinds.into_iter().enumerate() {
            let name = if at == 0 { operation.name.as_str() } else { "" };
            if at < 2 || times.count > 0 {
                rows.push((name, kind, times));
            }
        }
    }
    if rows.is_empty() {
        return paper.prose("nothing was answered");
    }
    times(paper, &rows);
}

/// A table of distributions: to whom they belong, their kind, and their percentiles.
fn times(paper: &mut Paper, rows: &[(&str, &str, &Latency)]) {
    let shown = percentiles(paper.width());
    let mut columns = vec![left(""), left(""), right("COUNT")];
    columns.extend(shown.iter().map(|(name, _)| right(name)));
    let rows: Vec<Vec<Cell>> = rows
        .iter()
        .map(|(name, kind, times)| {
            let mut cells = vec![
                Cell::text(name),
                Cell::show(kind),
                Cell::show(grouped(times.count)),
            ];
            cells.extend(shown.iter().map(|(_, of)| Cell::show(ms(of(times)))));
            cells
        })
        .collect();
    paper.table(&columns, &rows);
}

fn errors(paper: &mut Paper, report: &Report) {
    let mut rows: Vec<(&str, &str, u64, u64)> = Vec::new();
    for operation in &report.operations {
        let failed: u64 = operation.errors.values().sum();
        let codes = operation.errors.iter();
        rows.extend(codes.map(|(code, number)| {
            let all = operation.ok.saturating_add(failed);
            (code.as_str(), operation.name.as_str(), *number, all)
        }));
    }
    if rows.is_empty() {
        return;
    }
    rows.sort_by_key(|(.., number, _)| std::cmp::Reverse(*number));
    let cells = |(code, operation, number, all): (&str, &str, u64, u64)| {
        vec![
            Cell::text(code),
            Cell::text(operation),
            Cell::show(grouped(number)),
            Cell::show(percent(share(number, all))),
        ]
    };
    let rows: Vec<_> = rows.into_iter().map(cells).collect();
    paper.heading("Errors by code");
    let columns = [
        left("CODE"),
        left("OPERATION"),
        right("COUNT"),
        right("OF ITS ANSWERS"),
    ];
    paper.table(&columns, &rows);
}

fn freshness(paper: &mut Paper, report: &Report) {
    if let Some(freshness) = &report.freshness {
        paper.heading("From an answered create, in milliseconds");
        let rows = [
            ("to its row", "stored", &freshness.stored),
            ("to its document", "searchable", &freshness.searchable),
        ];
        times(paper, &rows);
        if freshness.given_up > 0 {
            let samples = counted(freshness.given_up, "sample");
            paper.prose(&format!("{samples} given up, because it took too long"));
        }
    }
    if let Some(drain) = &report.drain {
        paper.heading("Workers");
        for (group, lag) in &drain.lag_at_end {
            let lag = count(*lag);
            paper.prose(&format!(
                "{group}: {lag} records unread when the load ended"
            ));
        }
        paper.prose(&match drain.seconds {
            Some(seconds) => format!("nothing unread after {}", span_of_seconds(seconds)),
            None => "not caught up when waiting was given up".to_owned(),
        });
    }
}

fn generator(paper: &mut Paper, report: &Report) {
    let own = &report.generator;
    let late = &own.late;
    paper.pair(
        "lateness",
        &format!(
            "p50 {}, p99 {}, p99.9 {}, at most {} ms after a request was due",
            ms(late.p50),
            ms(late.p99),
            ms(late.p99_9),
            ms(late.max)
        ),
    );
    let used = own
        .cpu_seconds
        .map_or_else(|| "unknown".to_owned(), |used| format!("{used:.1} s"));
    let each = own.cpu_us_per_request.map_or_else(String::new, |used| {
        format!(", {} µs a request", three(used))
    });
    paper.pair("processor", &format!("{used}{each}"));
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::load::sample;

    #[test]
    fn a_run_that_went_well() {
        insta::assert_snapshot!(write(&sample::steady(), None, false));
    }

    #[test]
    fn a_run_that_went_wrong() {
        insta::assert_snapshot!(write(&sample::overload(), None, false));
    }

    #[test]
    fn a_narrow_terminal_in_colour() {
        let text = write(&sample::overload(), Some(72), true);
        insta::assert_snapshot!(text.replace('\u{1b}', "ESC"));
    }

    #[test]
    fn next_to_nothing() {
        insta::assert_snapshot!(write(&sample::second(), None, false));
        insta::assert_snapshot!(write(&sample::empty(), None, false));
    }

    #[test]
    fn lines_fit_into_terminals() {
        for report in sample::all() {
            for width in 64..=120 {
                let text = write(&report, Some(width), false);
                let widest = text.lines().map(UnicodeWidthStr::width).max();
                assert!(widest <= Some(width), "{width}: {text}");
            }
            write(&report, Some(0), true);
        }
    }

    #[test]
    fn no_text_of_a_report_reaches_the_terminal_raw() {
        let mut report = sample::overload();
        let evil = "\u{1b}[2J\u{202e}".to_owned();
        report.scenario.name.clone_from(&evil);
        report.environment.target.clone_from(&evil);
        report.operations[0].name.clone_from(&evil);
        report.operations[0].errors.insert(evil.clone(), 1);
        report.objectives[0].text.clone_from(&evil);
        report.generator.limited_by = Some(evil.clone());
        report.trials[1].missed.push(evil.clone());
        if let Some(drain) = &mut report.drain {
            drain.lag_at_end.insert(evil.clone(), None);
        }
        if let Some(found) = &mut report.verification {
            found.findings.push(evil);
        }
        let text = write(&report, None, false);
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    }
}
