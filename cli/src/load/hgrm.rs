//! Distributions in the percentile format of HdrHistogram (`.hgrm`), which its plotters read.

use std::io;
use std::path::{Path, PathBuf};

use crate::load::figures::float;
use crate::load::report::{Latency, Report};

/// A distribution as text: milliseconds, quantile, how many are at or below it, and one over what
/// is above it. The last line of HdrHistogram's own output has two figures that a report does not
/// keep (standard deviation and buckets); they are left out, and no plotter reads them.
pub(crate) fn text(times: &Latency) -> String {
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    for &(quantile, value) in &times.quantiles {
        let quantile = quantile.clamp(0.0, 1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count is a count"
        )]
        let below = (quantile * float(times.count)).round() as u64;
        text.push_str(&format!("{value:12.3} {quantile:1.12} {below:10}"));
        if quantile < 1.0 {
            text.push_str(&format!(" {:14.2}", 1.0 / (1.0 - quantile)));
        }
        text.push('\n');
    }
    if let Some(mean) = times.mean {
        text.push_str(&format!("#[Mean    = {mean:12.3}]\n"));
    }
    if let Some(max) = times.max {
        let count = times.count;
        text.push_str(&format!(
            "#[Max     = {max:12.3}, Total count    = {count:12}]\n"
        ));
    }
    text
}

/// Writes two files for each operation, `<operation>.response.hgrm` and `<operation>.service.hgrm`,
/// and makes the directory where it is missing.
///
/// # Errors
/// Where the directory or a file cannot be written.
pub(crate) fn write_all(report: &Report, directory: &Path) -> io::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(directory)?;
    let mut written = Vec::new();
    for operation in &report.operations {
        let kinds = [
            ("response", &operation.response),
            ("service", &operation.service),
        ];
        for (kind, times) in kinds {
            let name = format!("{}.{kind}.hgrm", file_name(&operation.name));
            let path = directory.join(name);
            std::fs::write(&path, text(times))?;
            written.push(path);
        }
    }
    Ok(written)
}

/// A report may come from anywhere: its names stay inside the directory.
fn file_name(operation: &str) -> String {
    let safe = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => c,
        _ => '_',
    };
    operation.chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::sample;

    #[test]
    fn as_the_plotters_read_it() {
        insta::assert_snapshot!(text(&sample::latency(1_000, 2.0)));
        assert_eq!(text(&Latency::default()).lines().count(), 2);
    }

    #[test]
    fn files_stay_in_their_directory() {
        let home = tempfile::tempdir().unwrap();
        let inside = home.path().join("a/b");
        let mut report = sample::steady();
        report.operations[0].name = "../../etc/x".to_owned();
        let written = write_all(&report, &inside).unwrap();
        assert_eq!(written.len(), 4);
        assert!(written[0].ends_with("______etc_x.response.hgrm"));
        for path in written {
            assert_eq!(path.parent(), Some(inside.as_path()));
            assert!(path.is_file());
        }
    }
}
