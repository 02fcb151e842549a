//! The seconds of a run as CSV (RFC 4180), for spreadsheets and plots of one's own.

use std::collections::BTreeSet;
use std::io;

use crate::load::report::Report;

/// Columns before those of the groups. Times are milliseconds.
const COLUMNS: [&str; 10] = [
    "at_seconds",
    "wanted",
    "sent",
    "ok",
    "errors",
    "skipped",
    "in_flight",
    "p50_ms",
    "p99_ms",
    "p99_9_ms",
];

/// A line for each second, with a column `lag_<group>` for each group that any of them has. What
/// is not known is empty, and never zero.
///
/// # Errors
/// Only those of writing to memory.
pub(crate) fn csv(report: &Report) -> io::Result<Vec<u8>> {
    let groups: BTreeSet<&str> = report
        .series
        .iter()
        .flat_map(|second| second.lag.keys().map(String::as_str))
        .collect();
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    let lag = groups.iter().map(|group| format!("lag_{group}"));
    let head: Vec<String> = COLUMNS.map(str::to_owned).into_iter().chain(lag).collect();
    writer.write_record(&head)?;
    for second in &report.series {
        let counts = [
            second.wanted,
            second.sent,
            second.ok,
            second.errors,
            second.skipped,
            second.in_flight,
        ];
        let mut line = vec![second.at.to_string()];
        line.extend(counts.map(|count| count.to_string()));
        let times = [second.p50, second.p99, second.p99_9];
        line.extend(times.map(|time| time.map_or_else(String::new, |time| time.to_string())));
        line.extend(groups.iter().map(|group| {
            let lag = second.lag.get(*group).copied().flatten();
            lag.map_or_else(String::new, |lag| lag.to_string())
        }));
        writer.write_record(&line)?;
    }
    writer.into_inner().map_err(csv::IntoInnerError::into_error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::sample;

    #[test]
    fn a_line_a_second_and_what_is_unknown_is_empty() {
        let text = String::from_utf8(csv(&sample::overload()).unwrap()).unwrap();
        insta::assert_snapshot!(text.replace("\r\n", "\n"));
        let empty = String::from_utf8(csv(&sample::empty()).unwrap()).unwrap();
        assert_eq!(empty.matches("\r\n").count(), 1);
    }

    #[test]
    fn a_group_may_have_any_name() {
        let mut report = sample::second();
        let lag = &mut report.series[0].lag;
        lag.insert("a,\"b\"\nc".to_owned(), Some(7));
        let bytes = csv(&report).unwrap();
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        assert_eq!(reader.headers().unwrap().get(10), Some("lag_a,\"b\"\nc"));
        let line = reader.records().next().unwrap().unwrap();
        assert_eq!(line.get(10), Some("7"));
    }
}
