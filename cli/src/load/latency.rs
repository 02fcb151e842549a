//! Distributions of times: histograms of constant size, and what is reported of them.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::load::report::Latency;

/// Longest time that is told apart, in microseconds: an hour.
const TIME_MAX: u64 = 3_600_000_000;
/// Significant digits.
const DIGITS: u8 = 3;
/// Steps of a distribution that is written down, for each halving of what is left.
const STEPS_PER_HALF: u32 = 5;

/// An empty histogram of microseconds.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, TIME_MAX, DIGITS).expect("the bounds are constant and fit")
}

/// Microseconds as milliseconds.
pub(super) fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

/// The named quantiles.
pub(super) fn latency_of(histogram: &Histogram<u64>) -> Latency {
    if histogram.is_empty() {
        return Latency::default();
    }
    let at = |quantile| Some(millis(histogram.value_at_quantile(quantile)));
    Latency {
        count: histogram.len(),
        mean: Some(histogram.mean() / 1_000.0),
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        p99_9: at(0.999),
        p99_99: at(0.9999),
        max: Some(millis(histogram.max())),
        quantiles: Vec::new(),
    }
}

/// The same with the whole distribution.
pub(super) fn latency(histogram: &Histogram<u64>) -> Latency {
    let quantiles = histogram
        .iter_quantiles(STEPS_PER_HALF)
        .map(|step| (step.quantile(), millis(step.value_iterated_to())));
    Latency {
        quantiles: quantiles.collect(),
        ..latency_of(histogram)
    }
}

/// The distribution of a few times.
pub(super) fn latency_of_times(times: &[Duration]) -> Latency {
    let mut histogram = histogram();
    for time in times {
        histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(TIME_MAX));
    }
    latency(&histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_quantiles() {
        assert_eq!(latency(&histogram()), Latency::default());
    }

    #[test]
    fn times_have_three_digits() {
        let times: Vec<Duration> = (1..=1_000).map(Duration::from_millis).collect();
        let latency = latency_of_times(&times);
        assert_eq!(latency.count, 1_000);
        let close = |a: Option<f64>, b: f64| assert!((a.unwrap() / b - 1.0).abs() < 0.002, "{a:?}");
        close(latency.p50, 500.0);
        close(latency.p99, 990.0);
        close(latency.max, 1_000.0);
        let (quantile, time) = *latency.quantiles.last().unwrap();
        assert!(quantile >= 1.0 && time >= 1_000.0);
    }
}
