//! When requests are due in the open model. The schedule knows nothing of answers.

use std::f64::consts::TAU;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use crate::load::scenario::Arrivals;

/// Rates are integrated in steps of this many seconds; within one a rate is taken as constant.
const STEP: f64 = 0.001;

/// The rate within a stage, in requests a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    /// Always the same.
    Constant(f64),
    /// From one rate to another, in a straight line.
    Ramp { from: f64, to: f64 },
    /// `spike` in the middle third, `rate` before and after.
    Spike { rate: f64, spike: f64 },
    /// Up and down around `rate`; `period` is a part of the stage.
    Sine {
        rate: f64,
        amplitude: f64,
        period: f64,
    },
}

impl Shape {
    /// The rate where this part of the stage, from 0 to 1, is over.
    pub(crate) fn rate_at(self, part: f64) -> f64 {
        match self {
            Self::Constant(rate) => rate,
            Self::Ramp { from, to } => from + (to - from) * part,
            Self::Spike { rate, spike } => {
                if (1.0 / 3.0..2.0 / 3.0).contains(&part) {
                    spike
                } else {
                    rate
                }
            }
            Self::Sine {
                rate,
                amplitude,
                period,
            } => rate + amplitude * (TAU * part / period).sin(),
        }
    }

    pub(crate) fn lowest(self) -> f64 {
        match self {
            Self::Constant(rate) => rate,
            Self::Ramp { from, to } => from.min(to),
            Self::Spike { rate, spike } => rate.min(spike),
            Self::Sine {
                rate, amplitude, ..
            } => rate - amplitude.abs(),
        }
    }

    pub(crate) fn highest(self) -> f64 {
        match self {
            Self::Constant(rate) => rate,
            Self::Ramp { from, to } => from.max(to),
            Self::Spike { rate, spike } => rate.max(spike),
            Self::Sine {
                rate, amplitude, ..
            } => rate + amplitude.abs(),
        }
    }
}

/// The moments at which requests are due, in order, counted from the start.
#[derive(Debug)]
pub(crate) struct Schedule {
    stages: Vec<(Duration, Shape)>,
    arrivals: Arrivals,
    random: StdRng,
    /// The stage that is under way, and the seconds that those before it took.
    stage: usize,
    before: f64,
    /// Seconds into the stage.
    at: f64,
    /// How much of a request has to accrue until the next one is due.
    missing: f64,
}

impl Schedule {
    pub(crate) fn new(stages: Vec<(Duration, Shape)>, arrivals: Arrivals, random: StdRng) -> Self {
        let mut schedule = Self {
            stages,
            arrivals,
            random,
            stage: 0,
            before: 0.0,
            at: 0.0,
            missing: 0.0,
        };
        schedule.missing = schedule.gap();
        schedule
    }

    /// The area under the rate between two requests: 1 on average.
    fn gap(&mut self) -> f64 {
        match self.arrivals {
            Arrivals::Even => 1.0,
            // Inverse of the exponential distribution; the argument is above 0.
            Arrivals::Poisson => -(1.0 - self.random.random::<f64>()).ln(),
        }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        loop {
            let (lasting, shape) = *self.stages.get(self.stage)?;
            let lasting = lasting.as_secs_f64();
            let left = lasting - self.at;
            if left <= 0.0 {
                self.before += lasting;
                self.at = 0.0;
                self.stage += 1;
                continue;
            }
            let step = STEP.min(left);
            let rate = shape.rate_at((self.at + step / 2.0) / lasting);
            if rate * step < self.missing {
                self.missing -= rate * step;
                self.at += step;
                continue;
            }
            self.at += self.missing / rate;
            self.missing = self.gap();
            return Some(Duration::from_secs_f64(self.before + self.at));
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn schedule(shape: Shape, seconds: u64, arrivals: Arrivals) -> Vec<f64> {
        let stages = vec![(Duration::from_secs(seconds), shape)];
        Schedule::new(stages, arrivals, StdRng::seed_from_u64(1))
            .map(|due| due.as_secs_f64())
            .collect()
    }

    fn within(due: &[f64], from: f64, to: f64) -> usize {
        due.iter().filter(|at| (from..to).contains(*at)).count()
    }

    #[test]
    fn even_arrivals_are_even() {
        let due = schedule(Shape::Constant(100.0), 2, Arrivals::Even);
        assert_eq!(due.len(), 200);
        for (at, due) in due.iter().enumerate() {
            let expected = (f64::from(u32::try_from(at).unwrap()) + 1.0) / 100.0;
            assert!((due - expected).abs() < 1e-6, "{at}: {due}");
        }
    }

    #[test]
    fn random_arrivals_have_the_rate_and_the_spread_of_independent_users() {
        let due = schedule(Shape::Constant(1_000.0), 20, Arrivals::Poisson);
        // The deviation of a Poisson count of 20,000 is 141.
        assert!((19_300..20_700).contains(&due.len()), "{}", due.len());
        let gaps: Vec<f64> = due.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let long = gaps.iter().filter(|gap| **gap > 0.001).count();
        let part = f64::from(u32::try_from(long).unwrap()) / 20_000.0;
        assert!((part - 0.368).abs() < 0.02, "{part} of the gaps are long");
        let again = schedule(Shape::Constant(1_000.0), 20, Arrivals::Poisson);
        assert_eq!(due, again, "the same seed gives the same arrivals");
    }

    #[test]
    fn a_ramp_has_the_area_under_it() {
        let due = schedule(
            Shape::Ramp {
                from: 0.0,
                to: 100.0,
            },
            10,
            Arrivals::Even,
        );
        assert!((499..=500).contains(&due.len()), "{}", due.len());
        assert!((122..=126).contains(&within(&due, 0.0, 5.0)));
    }

    #[test]
    fn a_spike_is_the_middle_third() {
        let shape = Shape::Spike {
            rate: 10.0,
            spike: 100.0,
        };
        let due = schedule(shape, 9, Arrivals::Even);
        assert!((29..=31).contains(&within(&due, 0.0, 3.0)));
        assert!((299..=301).contains(&within(&due, 3.0, 6.0)));
        assert!((29..=31).contains(&within(&due, 6.0, 9.1)));
    }

    #[test]
    fn a_sine_goes_up_and_down_and_keeps_its_mean() {
        let shape = Shape::Sine {
            rate: 100.0,
            amplitude: 100.0,
            period: 0.5,
        };
        let due = schedule(shape, 20, Arrivals::Even);
        assert!((1_999..=2_001).contains(&due.len()), "{}", due.len());
        assert!(within(&due, 0.0, 5.0) > 2 * within(&due, 5.0, 10.0));
    }

    #[test]
    fn stages_follow_each_other() {
        let second = Duration::from_secs(1);
        let stages = vec![
            (second, Shape::Constant(10.0)),
            (second, Shape::Constant(0.0)),
            (second, Shape::Constant(20.0)),
        ];
        let due: Vec<f64> = Schedule::new(stages, Arrivals::Even, StdRng::seed_from_u64(1))
            .map(|due| due.as_secs_f64())
            .collect();
        assert_eq!(within(&due, 1.001, 2.0), 0);
        assert!((19..=20).contains(&within(&due, 2.0, 3.1)), "{due:?}");
    }
}
