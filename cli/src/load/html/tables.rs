//! The tables of the page.

use super::escape;
use crate::load::figures::{float, ms, percent, share, three, whole};
use crate::load::report::{Latency, Report};
use crate::load::text::judged::checked;
use crate::load::verdict::Sign;
use crate::output::text::{counted, grouped};
use crate::output::units::{NONE, count, rate, span_of_seconds};

/// A table with its caption. Cells are texts; the first of each row is its heading.
fn table(caption: &str, head: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    // Figures lean to the right, words to the left.
    let lean: Vec<&str> = (0..head.len())
        .map(|at| {
            let words = rows
                .iter()
                .all(|row| row.get(at).is_some_and(|cell| is_word(cell)));
            if words { " class=\"left\"" } else { "" }
        })
        .collect();
    let columns: String = head
        .iter()
        .zip(&lean)
        .map(|(name, lean)| format!("<th scope=\"col\"{lean}>{}</th>", escape(name)))
        .collect();
    let mut text = format!(
        "<div class=\"scroll\"><table>\n<caption>{}</caption>\n<thead><tr>{columns}</tr></thead>\n<tbody>\n",
        escape(caption)
    );
    for row in rows {
        let cells: String = row
            .iter()
            .zip(&lean)
            .enumerate()
            .map(|(at, (cell, lean))| match at {
                0 => format!("<th scope=\"row\">{}</th>", escape(cell)),
                _ => format!("<td{lean}>{}</td>", escape(cell)),
            })
            .collect();
        text.push_str(&format!("<tr>{cells}</tr>\n"));
    }
    text.push_str("</tbody></table></div>\n");
    text
}

/// Whether a cell is no figure, nor the sign of one that is missing.
fn is_word(cell: &str) -> bool {
    !cell.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '<' | '>' | '-' | '?'))
}

/// Names and what they are; both sides are text that may be long.
fn pairs(caption: &str, rows: &[(&str, String)]) -> String {
    let mut text = format!(
        "<div class=\"scroll\"><table>\n<caption>{}</caption>\n<tbody>\n",
        escape(caption)
    );
    for (name, value) in rows {
        text.push_str(&format!(
            "<tr><th scope=\"row\">{}</th><td class=\"left wide\">{}</td></tr>\n",
            escape(name),
            escape(value)
        ));
    }
    text.push_str("</tbody></table></div>\n");
    text
}

pub(super) fn requests(report: &Report) -> String {
    let columns = [&report.totals, &report.warmup];
    let [measured, warmed] = columns.map(|totals| {
        let each = |number: u64| {
            if totals.seconds > 0.0 {
                rate(float(number) / totals.seconds)
            } else {
                NONE.to_owned()
            }
        };
        [
            totals.wanted,
            totals.sent,
            totals.ok,
            totals.failed(),
            totals.skipped,
            totals.messages,
        ]
        .map(|number| (grouped(number), each(number)))
    });
    let names = [
        "wanted",
        "sent",
        "ok",
        "failed",
        "skipped",
        "acknowledged messages",
    ];
    let rows: Vec<Vec<String>> = names
        .iter()
        .zip(measured)
        .zip(warmed)
        .map(|((name, (number, each)), (warmed, warmed_each))| {
            vec![(*name).to_owned(), number, each, warmed, warmed_each]
        })
        .collect();
    let head = ["", "count", "a second", "warm-up", "a second"];
    let caption = format!(
        "{} measured, at most {} in flight; the warm-up ({}) counts for nothing else",
        span_of_seconds(report.totals.seconds),
        grouped(report.totals.in_flight_max),
        span_of_seconds(report.warmup.seconds)
    );
    table(&caption, &head, &rows)
}

fn percentiles(times: &Latency) -> [String; 9] {
    [
        grouped(times.count),
        ms(times.mean),
        ms(times.p50),
        ms(times.p90),
        ms(times.p95),
        ms(times.p99),
        ms(times.p99_9),
        ms(times.p99_99),
        ms(times.max),
    ]
}

const PERCENTILES: [&str; 10] = [
    "", "count", "mean", "p50", "p90", "p95", "p99", "p99.9", "p99.99", "max",
];

fn times<'a>(caption: &str, all: impl Iterator<Item = (String, &'a Latency)>) -> String {
    let rows: Vec<Vec<String>> = all
        .map(|(name, times)| std::iter::once(name).chain(percentiles(times)).collect())
        .collect();
    table(caption, &PERCENTILES, &rows)
}

pub(super) fn operations(report: &Report) -> String {
    let all = report.operations.iter().flat_map(|operation| {
        let kinds = [
            ("response", &operation.response),
            ("service", &operation.service),
            ("refused", &operation.refused),
        ];
        kinds
            .into_iter()
            .filter(|(kind, times)| *kind != "refused" || times.count > 0)
            .map(|(kind, times)| (format!("{} {kind}", operation.name), times))
    });
    times("milliseconds", all)
}

pub(super) fn errors(report: &Report) -> String {
    let mut rows = Vec::new();
    for operation in &report.operations {
        let failed: u64 = operation.errors.values().sum();
        let all = operation.ok.saturating_add(failed);
        for (code, number) in &operation.errors {
            let part = percent(share(*number, all));
            rows.push((
                *number,
                vec![code.clone(), operation.name.clone(), grouped(*number), part],
            ));
        }
    }
    rows.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    let head = ["code", "operation", "count", "of its answers"];
    table(
        "answers of another kind than wanted, and none at all",
        &head,
        &rows,
    )
}

pub(super) fn freshness(report: &Report) -> String {
    let Some(freshness) = &report.freshness else {
        return String::new();
    };
    let both = [
        ("stored", &freshness.stored),
        ("searchable", &freshness.searchable),
    ];
    let given_up = counted(freshness.given_up, "sample");
    let caption = format!("milliseconds from an answered create; {given_up} given up");
    let all = both
        .into_iter()
        .map(|(name, times)| (name.to_owned(), times));
    times(&caption, all)
}

pub(super) fn drain(report: &Report) -> String {
    let Some(drain) = &report.drain else {
        return String::new();
    };
    let rows: Vec<Vec<String>> = drain
        .lag_at_end
        .iter()
        .map(|(group, lag)| vec![group.clone(), count(*lag)])
        .collect();
    let told = match drain.seconds {
        Some(seconds) => format!("nothing unread after {}", span_of_seconds(seconds)),
        None => "not caught up when waiting was given up".to_owned(),
    };
    if rows.is_empty() {
        return format!("<p>{}</p>\n", escape(&told));
    }
    table(&told, &["group", "unread when the load ended"], &rows)
}

pub(super) fn objectives(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .objectives
        .iter()
        .map(|objective| {
            let told = if objective.met {
                format!("{} met", Sign::Good.symbol())
            } else {
                format!("{} missed", Sign::Bad.symbol())
            };
            let value = format!("{} {}", three(objective.value), objective.unit);
            vec![objective.text.clone(), value.trim_end().to_owned(), told]
        })
        .collect();
    table(
        "what was asked for",
        &["objective", "figure", "verdict"],
        &rows,
    )
}

pub(super) fn verification(report: &Report) -> String {
    let Some(found) = &report.verification else {
        return String::new();
    };
    let mut text = String::new();
    for finding in &found.findings {
        let (sign, finding) = (Sign::Bad.symbol(), escape(finding));
        text.push_str(&format!("<p class=\"bad\">{sign} {finding}</p>\n"));
    }
    let rows: Vec<Vec<String>> = checked(found)
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    let took = format!("looked at in {}", span_of_seconds(found.seconds));
    text.push_str(&table(&took, &["", "count"], &rows));
    text
}

pub(super) fn trials(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .trials
        .iter()
        .map(|trial| {
            let told = if trial.met {
                format!("{} met", Sign::Good.symbol())
            } else {
                format!("{} missed {}", Sign::Bad.symbol(), trial.missed.join(", "))
            };
            vec![
                rate(trial.rate),
                rate(trial.ok_per_second),
                ms(trial.p50),
                ms(trial.p99),
                told,
            ]
        })
        .collect();
    let best = report.trials.iter().filter(|trial| trial.met);
    let best = best.map(|trial| trial.rate).reduce(f64::max);
    let caption = match best {
        Some(best) => format!(
            "highest rate that met the objectives: {} a second",
            whole(best)
        ),
        None => "no rate met the objectives".to_owned(),
    };
    let head = [
        "wanted a second",
        "ok a second",
        "p50 ms",
        "p99 ms",
        "objectives",
    ];
    table(&caption, &head, &rows)
}

pub(super) fn generator(report: &Report) -> String {
    let own = &report.generator;
    let late = std::iter::once(("sent late by".to_owned(), &own.late));
    let mut text = times("milliseconds after requests were due", late);
    let cpu = |used: Option<f64>, unit: &str| {
        used.map_or_else(
            || "unknown".to_owned(),
            |used| format!("{} {unit}", three(used)),
        )
    };
    text.push_str(&pairs(
        "its processor time",
        &[
            ("in all", cpu(own.cpu_seconds, "s")),
            ("a request", cpu(own.cpu_us_per_request, "µs")),
        ],
    ));
    text
}

pub(super) fn environment(report: &Report) -> String {
    let here = &report.environment;
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let load = here
        .load_before
        .map_or_else(|| "unknown".to_owned(), |load| format!("{load:.2}"));
    let files = here
        .open_files_max
        .map_or_else(|| "unknown".to_owned(), grouped);
    pairs(
        "where and when",
        &[
            ("began", here.started_at.to_string()),
            ("target", here.target.clone()),
            ("chatd", known(&here.server_version)),
            ("mode", known(&here.server_mode)),
            ("chatctl", here.version.clone()),
            ("platform of the generator", here.platform.clone()),
            ("its processors", here.cpus.to_string()),
            ("its load before the run", load),
            ("its open files at most", files),
            ("model", report.scenario.model.as_str().to_owned()),
            ("seed", report.scenario.seed.to_string()),
        ],
    )
}
