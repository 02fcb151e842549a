//! Objectives: `send.p99<50ms`, `errors<0.1%`, `skipped==0`, `lost==0`.

use crate::load::mix::Kind;
use crate::load::report::{
    self, Drain, Freshness, Latency, Operation, Report, Totals, Verification,
};

/// The figures that objectives are judged by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures<'a> {
    pub(crate) totals: &'a Totals,
    pub(crate) operations: &'a [Operation],
    pub(crate) freshness: Option<&'a Freshness>,
    pub(crate) drain: Option<&'a Drain>,
    pub(crate) verification: Option<&'a Verification>,
}

impl<'a> From<&'a Report> for Figures<'a> {
    fn from(report: &'a Report) -> Self {
        Self {
            totals: &report.totals,
            operations: &report.operations,
            freshness: report.freshness.as_ref(),
            drain: report.drain.as_ref(),
            verification: report.verification.as_ref(),
        }
    }
}

/// What is expected of one figure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Objective {
    text: String,
    metric: Metric,
    comparison: Comparison,
    bound: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    /// Response time of an operation.
    Response(Kind, Quantile),
    /// Its service time.
    Service(Kind, Quantile),
    /// Answers as wanted of an operation, a second.
    OperationRate(Kind),
    /// Requests that were answered otherwise or not, in percent of those that were sent.
    Errors,
    /// Requests that were not sent.
    Skipped,
    /// Answers as wanted, a second.
    Rate,
    /// From an answered create to its row.
    Stored(Quantile),
    /// From an answered create to its document.
    Searchable(Quantile),
    /// Seconds until nothing was unread.
    Drain,
    /// Unread records of the group that had most of them, when the load ended.
    Lag,
    /// Acknowledged messages that are not there.
    Lost,
    /// Messages that are there twice.
    Doubled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantile {
    Mean,
    P50,
    P90,
    P95,
    P99,
    P99_9,
    P99_99,
    Max,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
    Equal,
}

impl Comparison {
    /// Longest first, because `<` begins `<=`.
    const ALL: [(&'static str, Self); 5] = [
        ("<=", Self::LessOrEqual),
        (">=", Self::MoreOrEqual),
        ("==", Self::Equal),
        ("<", Self::Less),
        (">", Self::More),
    ];

    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Less => value < bound,
            Self::LessOrEqual => value <= bound,
            Self::More => value > bound,
            Self::MoreOrEqual => value >= bound,
            Self::Equal => (value - bound).abs() < 1e-9,
        }
    }
}

impl Quantile {
    const NAMES: [&'static str; 8] = ["mean", "p50", "p90", "p95", "p99", "p99.9", "p99.99", "max"];

    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "mean" => Self::Mean,
            "p50" => Self::P50,
            "p90" => Self::P90,
            "p95" => Self::P95,
            "p99" => Self::P99,
            "p99.9" => Self::P99_9,
            "p99.99" => Self::P99_99,
            "max" => Self::Max,
            _ => return None,
        })
    }

    const fn of(self, latency: &Latency) -> Option<f64> {
        match self {
            Self::Mean => latency.mean,
            Self::P50 => latency.p50,
            Self::P90 => latency.p90,
            Self::P95 => latency.p95,
            Self::P99 => latency.p99,
            Self::P99_9 => latency.p99_9,
            Self::P99_99 => latency.p99_99,
            Self::Max => latency.max,
        }
    }
}

impl Metric {
    const HELP: &'static str = "there are OPERATION.p50 (p90, p95, p99, p99.9, p99.99, mean, max), OPERATION.service.p99, OPERATION.rate, rate, errors, skipped, stored.p99, searchable.p99, drain, lag, lost and doubled";

    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "errors" => Self::Errors,
            "skipped" => Self::Skipped,
            "rate" => Self::Rate,
            "drain" => Self::Drain,
            "lag" => Self::Lag,
            "lost" => Self::Lost,
            "doubled" => Self::Doubled,
            _ => {
                let (what, rest) = name.split_once('.')?;
                match what {
                    "stored" => Self::Stored(Quantile::parse(rest)?),
                    "searchable" => Self::Searchable(Quantile::parse(rest)?),
                    _ => Self::of_operation(Kind::parse(what).ok()?, rest)?,
                }
            }
        })
    }

    fn of_operation(kind: Kind, rest: &str) -> Option<Self> {
        if rest == "rate" {
            return Some(Self::OperationRate(kind));
        }
        if let Some(quantile) = rest.strip_prefix("service.") {
            return Some(Self::Service(kind, Quantile::parse(quantile)?));
        }
        Quantile::parse(rest).map(|quantile| Self::Response(kind, quantile))
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Response(..) | Self::Service(..) | Self::Stored(_) | Self::Searchable(_) => "ms",
            Self::OperationRate(_) | Self::Rate => "/s",
            Self::Errors => "%",
            Self::Drain => "s",
            Self::Skipped | Self::Lag | Self::Lost | Self::Doubled => "",
        }
    }

    /// The bound in the unit of the metric.
    fn bound(self, text: &str) -> Option<f64> {
        let text = text.trim();
        let number = |text: &str| text.trim().parse().ok().filter(|n: &f64| n.is_finite());
        match self.unit() {
            "ms" => match text.strip_suffix("ms") {
                Some(text) => number(text),
                None => number(text.strip_suffix('s')?).map(|seconds: f64| seconds * 1_000.0),
            },
            "" => number(text),
            unit => number(text.strip_suffix(unit).unwrap_or(text)),
        }
    }

    /// The figure, unless there is none to compare.
    fn of(self, figures: Figures<'_>) -> Option<f64> {
        let operation = |kind: Kind| figures.operations.iter().find(|op| op.name == kind.name());
        let count = |count: u64| count as f64;
        let totals = figures.totals;
        let (fresh, verified) = (figures.freshness, figures.verification);
        match self {
            Self::Response(kind, quantile) => quantile.of(&operation(kind)?.response),
            Self::Service(kind, quantile) => quantile.of(&operation(kind)?.service),
            Self::OperationRate(kind) => Some(count(operation(kind)?.ok) / totals.seconds),
            Self::Errors if totals.sent == 0 => None,
            Self::Errors => Some(100.0 * count(totals.failed()) / count(totals.sent)),
            Self::Skipped => Some(count(totals.skipped)),
            Self::Rate => Some(totals.ok_per_second),
            Self::Stored(quantile) => quantile.of(&fresh?.stored),
            Self::Searchable(quantile) => quantile.of(&fresh?.searchable),
            Self::Drain => figures.drain?.seconds,
            Self::Lag => {
                let lags = figures.drain?.lag_at_end.values();
                // A group of which nothing is known is no group without lag.
                let known: Option<Vec<u64>> = lags.copied().collect();
                known?.into_iter().max().map(count)
            }
            Self::Lost => Some(count(verified?.lost + verified?.unindexed)),
            Self::Doubled => Some(count(verified?.doubled + verified?.numbers_twice)),
        }
    }
}

/// Every figure that an objective can be about, by name, with its unit; those that are unknown are
/// left out.
pub(crate) fn metrics(figures: Figures<'_>) -> Vec<(String, f64, &'static str)> {
    let mut metrics = Vec::new();
    let mut add = |name: String| {
        let metric = Metric::parse(&name);
        if let Some((metric, value)) = metric.and_then(|one| Some((one, one.of(figures)?))) {
            metrics.push((name, value, metric.unit()));
        }
    };
    for name in [
        "rate", "errors", "skipped", "drain", "lag", "lost", "doubled",
    ] {
        add(name.to_owned());
    }
    let operations = figures
        .operations
        .iter()
        .map(|operation| operation.name.as_str());
    let all = operations.clone().chain(["stored", "searchable"]);
    for name in operations {
        add(format!("{name}.rate"));
        for quantile in Quantile::NAMES {
            add(format!("{name}.service.{quantile}"));
        }
    }
    for name in all {
        for quantile in Quantile::NAMES {
            add(format!("{name}.{quantile}"));
        }
    }
    metrics
}

impl Objective {
    /// Reads `METRIC < BOUND`.
    ///
    /// # Errors
    /// What is wrong, and what there is.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let found = Comparison::ALL
            .iter()
            .filter_map(|(sign, comparison)| Some((text.find(sign)?, *sign, *comparison)))
            .min_by_key(|(at, sign, _)| (*at, usize::MAX - sign.len()));
        let Some((at, sign, comparison)) = found else {
            return Err(format!(
                "objective {text:?}: there is no <, <=, >, >= or == in it"
            ));
        };
        let name = text[..at].trim();
        let metric = Metric::parse(name).ok_or_else(|| {
            format!(
                "objective {text:?}: {name:?} is no metric; {}",
                Metric::HELP
            )
        })?;
        let bound = &text[at + sign.len()..];
        let bound = metric.bound(bound).ok_or_else(|| {
            let example = match metric.unit() {
                "ms" => "50ms or 2s",
                "%" => "0.1%",
                "s" => "10s",
                _ => "100",
            };
            format!("objective {text:?}: {bound:?} is no bound like {example}")
        })?;
        Ok(Self {
            text: text.split_whitespace().collect(),
            metric,
            comparison,
            bound,
        })
    }

    /// What was found.
    ///
    /// # Errors
    /// Where there is no figure: an objective on nothing is neither met nor missed.
    pub(crate) fn judge(&self, figures: Figures<'_>) -> Result<report::Objective, String> {
        let value = self.metric.of(figures).ok_or_else(|| {
            format!(
                "objective {}: there is nothing to judge it by: no such operation was answered, or the figure is unknown",
                self.text
            )
        })?;
        Ok(report::Objective {
            text: self.text.clone(),
            value,
            unit: self.metric.unit().to_owned(),
            met: self.comparison.holds(value, self.bound),
        })
    }

    /// The operation that it needs.
    pub(crate) const fn operation(&self) -> Option<Kind> {
        match self.metric {
            Metric::Response(kind, _) | Metric::Service(kind, _) | Metric::OperationRate(kind) => {
                Some(kind)
            }
            Metric::Stored(_) | Metric::Searchable(_) => Some(Kind::Send),
            _ => None,
        }
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it can be judged after a trial of `--find-max`, without waiting for the workers.
    pub(crate) const fn is_of_load(&self) -> bool {
        !matches!(
            self.metric,
            Metric::Drain
                | Metric::Lost
                | Metric::Doubled
                | Metric::Stored(_)
                | Metric::Searchable(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_have_units() {
        for (text, bound) in [
            ("send.p99<50ms", 50.0),
            ("send.service.p99.9 <= 2s", 2_000.0),
            ("errors<0.1%", 0.1),
            ("skipped==0", 0.0),
            ("rate>=1000/s", 1_000.0),
            ("drain<10s", 10.0),
            ("lag<1000", 1_000.0),
        ] {
            let objective = Objective::parse(text).unwrap();
            assert!((objective.bound - bound).abs() < 1e-9, "{text}");
        }
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for (text, why) in [
            ("send.p99", "there is no <"),
            ("sent.p99<1ms", "no metric"),
            ("send.p98<1ms", "no metric"),
            ("send.p99<1", "no bound"),
            ("send.p99<1h", "no bound"),
            ("errors<nan%", "no bound"),
        ] {
            let error = Objective::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn every_figure_has_its_name() {
        let totals = Totals {
            seconds: 2.0,
            sent: 10,
            ok_per_second: 4.0,
            ..Totals::default()
        };
        let latency = Latency {
            p99: Some(3.0),
            ..Latency::default()
        };
        let operation = Operation {
            name: "send".to_owned(),
            ok: 8,
            errors: [("timeout".to_owned(), 2)].into(),
            response: latency.clone(),
            service: latency,
            refused: Latency::default(),
        };
        let figures = Figures {
            totals: &totals,
            operations: &[operation],
            freshness: None,
            drain: None,
            verification: None,
        };
        let names: Vec<String> = metrics(figures)
            .into_iter()
            .map(|(name, ..)| name)
            .collect();
        let expected = [
            "rate",
            "errors",
            "skipped",
            "send.rate",
            "send.service.p99",
            "send.p99",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn comparisons() {
        let holds = |text: &str, value| {
            let objective = Objective::parse(text).unwrap();
            objective.comparison.holds(value, objective.bound)
        };
        assert!(holds("skipped==0", 0.0) && !holds("skipped==0", 1.0));
        assert!(holds("skipped<=1", 1.0) && !holds("skipped<1", 1.0));
        assert!(holds("rate>=1", 1.0) && !holds("rate>1", 1.0));
    }
}
