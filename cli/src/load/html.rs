//! A report as one HTML page: no script, and nothing that is fetched from anywhere.

mod tables;

use std::collections::BTreeSet;

use crate::load::figures::float;
use crate::load::plot::{Line, Plot, Scale, svg};
use crate::load::report::{Latency, Operation, Report, Second};
use crate::load::verdict::{Sign, meaning, objectives, overall, verification, warnings};
use crate::output::text::visible;

const STYLE: &str = include_str!("html/style.css");

/// The page. It forbids itself to load anything, so that passing it on tells nobody.
pub(crate) fn page(report: &Report) -> String {
    let name = match report.scenario.name.as_str() {
        "" => "Load test".to_owned(),
        name => format!("Load test: {}", escape(name)),
    };
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{name}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{name}</h1>\n"
    );
    if !report.scenario.about.is_empty() {
        let about = escape(&report.scenario.about);
        text.push_str(&format!("<p class=\"dim\">{about}</p>\n"));
    }
    text.push_str(&verdict(report));
    let model = escape(meaning(report.scenario.model));
    text.push_str(&format!("<p>{model}</p>\n"));
    for (title, content) in sections(report) {
        if !content.is_empty() {
            text.push_str(&format!(
                "<section>\n<h2>{title}</h2>\n{content}</section>\n"
            ));
        }
    }
    text.push_str("</main>\n</body>\n</html>\n");
    text
}

fn sections(report: &Report) -> [(&'static str, String); 12] {
    [
        ("Objectives", tables::objectives(report)),
        ("Search for the highest rate", tables::trials(report)),
        ("Requests", tables::requests(report)),
        ("Latency", tables::operations(report)),
        ("Errors", tables::errors(report)),
        ("Plots", plots(report)),
        ("Freshness", tables::freshness(report)),
        ("Workers after the load", tables::drain(report)),
        ("Verification", tables::verification(report)),
        ("Generator", tables::generator(report)),
        ("Environment", tables::environment(report)),
        ("To repeat it", repeat(report)),
    ]
}

/// Text from anywhere as text of the page.
fn escape(text: &str) -> String {
    let text = visible(text);
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// What to know first, with signs, so that colour only repeats it.
fn verdict(report: &Report) -> String {
    let overall = overall(report);
    let mut lines = vec![(overall.sign, overall.text)];
    lines.extend(warnings(report).into_iter().map(|it| (Sign::Warn, it)));
    for statement in [objectives(report), verification(report)] {
        if statement.sign == Sign::Unknown {
            lines.push((statement.sign, statement.text));
        }
    }
    let class = |sign| match sign {
        Sign::Good => "good",
        Sign::Warn => "warn",
        Sign::Bad => "bad",
        Sign::Unknown => "unknown",
    };
    let items: String = lines
        .iter()
        .map(|(sign, line)| {
            let (class, symbol) = (class(*sign), sign.symbol());
            format!("<li class=\"{class}\">{symbol} {}</li>\n", escape(line))
        })
        .collect();
    let class = class(overall.sign);
    format!("<ul class=\"verdict {class}\">\n{items}</ul>\n")
}

fn plots(report: &Report) -> String {
    let series = &report.series;
    let rates = [
        over_time("wanted", series, |second| Some(float(second.wanted))),
        over_time("sent", series, |second| Some(float(second.sent))),
        over_time("ok", series, |second| Some(float(second.ok))),
        over_time("skipped", series, |second| Some(float(second.skipped))),
        over_time("errors", series, |second| Some(float(second.errors))),
    ];
    let latency = [
        over_time("p50", series, |second| second.p50),
        over_time("p99", series, |second| second.p99),
        over_time("p99.9", series, |second| second.p99_9),
    ];
    let groups: BTreeSet<&String> = series.iter().flat_map(|second| second.lag.keys()).collect();
    let lag = groups
        .into_iter()
        .map(|group| over_time(group, series, |second| lag_of(second, group)))
        .collect();
    let answered = report
        .operations
        .iter()
        .filter(|one| one.response.count > 0);
    let spectrum = answered.flat_map(quantiles).collect();
    let seconds = ("seconds since the measurement began", Scale::Linear);
    let drawn = [
        Plot {
            id: "rate",
            title: "Rate over time",
            about: "Requests in each second: wanted, sent, answered as wanted, skipped, failed.",
            x: seconds,
            y: ("requests a second", Scale::Linear),
            lines: rates.into(),
        },
        Plot {
            id: "latency",
            title: "Response time over time",
            about: "Median, 99th and 99.9th percentile of the response times of each second, on a logarithmic scale.",
            x: seconds,
            y: ("milliseconds", Scale::Log),
            lines: latency.into(),
        },
        Plot {
            id: "lag",
            title: "Consumer lag over time",
            about: "Unread records of each consumer group. Where a line has a gap, the lag was not known.",
            x: seconds,
            y: ("records", Scale::Linear),
            lines: lag,
        },
        Plot {
            id: "spectrum",
            title: "Latency by percentile",
            about: "For each operation, the response and the service time at each percentile; each step to the right is one more nine.",
            x: ("percentile", Scale::Nines),
            y: ("milliseconds", Scale::Log),
            lines: spectrum,
        },
    ];
    drawn.iter().map(|plot| svg(plot, escape)).collect()
}

fn over_time(name: &str, series: &[Second], of: impl Fn(&Second) -> Option<f64>) -> Line {
    Line {
        name: name.to_owned(),
        points: series
            .iter()
            .map(|second| (second.at, of(second)))
            .collect(),
    }
}

fn lag_of(second: &Second, group: &str) -> Option<f64> {
    second.lag.get(group).copied().flatten().map(float)
}

fn quantiles(operation: &Operation) -> [Line; 2] {
    let line = |kind: &str, times: &Latency| Line {
        name: format!("{} {kind}", operation.name),
        points: times
            .quantiles
            .iter()
            .map(|(quantile, value)| (*quantile, Some(*value)))
            .collect(),
    };
    [
        line("response", &operation.response),
        line("service", &operation.service),
    ]
}

/// The scenario with everything in it, line by line: line ends are the only thing that stays as it is.
fn repeat(report: &Report) -> String {
    let toml: Vec<String> = report.scenario.toml.lines().map(escape).collect();
    if toml.is_empty() {
        return String::new();
    }
    format!(
        "<p>Save this as a file and give it to <code>chatctl load run</code>:</p>\n<pre>{}\n</pre>\n",
        toml.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::sample;

    #[test]
    fn a_page_of_a_bad_run() {
        let page = page(&sample::overload());
        // The style is a file of its own, and long.
        let (head, rest) = page.split_once("<style>").unwrap();
        let (_, body) = rest.split_once("</style>").unwrap();
        insta::assert_snapshot!(format!("{head}{body}"));
    }

    #[test]
    fn every_report_makes_a_page_with_all_tags_closed() {
        for report in sample::all() {
            let page = page(&report);
            for wrong in ["NaN", "inf\"", "None", "http:", "https:", "src=", "<script"] {
                let body = page.replace("http://127.0.0.1:7700", "");
                assert!(!body.contains(wrong), "{wrong}");
            }
            for tag in [
                "section", "table", "tr", "td", "svg", "figure", "ul", "li", "p", "text", "pre",
            ] {
                let opened = page.matches(&format!("<{tag}>")).count()
                    + page.matches(&format!("<{tag} ")).count();
                let closed = page.matches(&format!("</{tag}>")).count();
                assert_eq!(opened, closed, "{tag}");
            }
            assert_eq!(page.matches("role=\"img\"").count(), 4);
            assert_eq!(page.matches("<desc").count(), 4);
        }
    }

    #[test]
    fn nothing_of_a_report_becomes_markup() {
        let evil = "</title><script>alert(1)</script>\"'&\u{1b}".to_owned();
        let mut report = sample::overload();
        report.scenario.name.clone_from(&evil);
        report.scenario.about.clone_from(&evil);
        report.scenario.toml.clone_from(&evil);
        report.environment.target.clone_from(&evil);
        report.environment.platform.clone_from(&evil);
        report.operations[0].name.clone_from(&evil);
        report.operations[0].errors.insert(evil.clone(), 7);
        report.objectives[0].text.clone_from(&evil);
        report.objectives[0].unit.clone_from(&evil);
        report.trials[1].missed.push(evil.clone());
        report.generator.limited_by = Some(evil.clone());
        report.series[0].lag.insert(evil.clone(), Some(3));
        if let Some(drain) = &mut report.drain {
            drain.lag_at_end.insert(evil.clone(), None);
        }
        if let Some(found) = &mut report.verification {
            found.findings.push(evil);
        }
        let page = page(&report);
        assert!(!page.contains("<script") && !page.contains('\u{1b}'));
        assert_eq!(page.matches("</title>").count(), 1 + 4);
    }

    #[test]
    fn an_hour_is_still_a_small_page() {
        let mut report = sample::steady();
        let second = report.series[0].clone();
        report.series = (1..=86_400)
            .map(|at| Second {
                at: f64::from(at),
                ..second.clone()
            })
            .collect();
        assert!(page(&report).len() < 400_000, "{}", page(&report).len());
    }
}
