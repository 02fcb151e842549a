//! `chatctl load compare`: two reports side by side.

use std::path::PathBuf;

use clap::Args;

use crate::error::Error;
use crate::exit::Exit;
use crate::load::compare::{Verdict, compare};
use crate::load::file;
use crate::output::text::counted;
use crate::session::Session;

/// Compare two reports: what changed from A to B, and whether for the better
///
/// Latencies are response times. A change of at most --threshold counts as none, and a quantile
/// with fewer than ten samples above it counts as chance. What speaks against comparing the two is
/// said first: another model, rate, mix, mode or machine, or a generator that was the limit.
#[derive(Debug, Args)]
#[command(after_help = "For example: chatctl load compare before.json after.json --fail-on-worse")]
pub(crate) struct Compare {
    /// Report to compare with, as `load run -o json` writes it; - is standard input
    #[arg(value_name = "A")]
    a: PathBuf,
    /// Report to judge
    #[arg(value_name = "B")]
    b: PathBuf,
    /// Largest change that counts as none
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = percent)]
    threshold: f64,
    /// Exit with 10 where something got worse
    #[arg(long = "fail-on-worse")]
    fail_on_worse: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').trim_end().parse::<f64>();
    number
        .ok()
        .filter(|number| number.is_finite() && *number >= 0.0)
        .ok_or_else(|| format!("{text:?} is no percentage like 5%"))
}

impl Compare {
    pub(crate) fn run(self, session: &mut Session) -> Result<Exit, Error> {
        let (a, b) = (file::read(&self.a)?, file::read(&self.b)?);
        let found = compare(&a, &b, self.threshold);
        session.out.document(&found)?;
        if self.fail_on_worse && found.worse > 0 {
            let worse = found
                .rows
                .iter()
                .filter(|row| row.verdict == Verdict::Worse);
            let names: Vec<&str> = worse.map(|row| row.metric.as_str()).collect();
            let figures = counted(found.worse, "figure");
            let names = names.join(", ");
            return Err(Error::unhealthy(format!("{figures} got worse: {names}")));
        }
        Ok(Exit::Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_a_sign_or_none() {
        assert_eq!(
            ["5%", "5", "0.5 %", "0"].map(|it| percent(it).ok()),
            [Some(5.0), Some(5.0), Some(0.5), Some(0.0)]
        );
        for text in ["", "%", "-1%", "NaN", "inf", "five"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }
}
