//! The sides of a plot: where values lie, and where the labels are.

use super::Scale;
use crate::load::figures::{three, whole};

/// Where a value lies before it is fitted into the picture.
pub(super) fn place(scale: Scale, value: f64) -> Option<f64> {
    let placed = match scale {
        Scale::Linear => value,
        Scale::Log => value.log10(),
        Scale::Nines => -(1.0 - value).log10(),
    };
    placed.is_finite().then_some(placed)
}

/// One side of the picture.
pub(super) struct Axis {
    low: f64,
    high: f64,
    /// Places with their labels.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Long enough for all of these places.
    pub(super) fn of(scale: Scale, places: impl Iterator<Item = f64>) -> Self {
        let (low, high) = places.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), place| {
            (low.min(place), high.max(place))
        });
        match scale {
            Scale::Linear => Self::linear(high),
            Scale::Log => Self::log(low, high),
            Scale::Nines => Self::nines(high),
        }
    }

    /// From zero to a round number.
    fn linear(high: f64) -> Self {
        let high = if high > 0.0 { high } else { 1.0 };
        let rough = high / 5.0;
        let ten = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * ten)
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        let steps = (high / step - 1e-9).ceil();
        let label = |value: f64| {
            if step < 1.0 {
                three(value)
            } else {
                whole(value)
            }
        };
        let values = std::iter::successors(Some(0.0), |count| Some(count + 1.0));
        let ticks = values
            .take_while(|count| *count <= steps)
            .map(|count| (count * step, label(count * step)))
            .collect();
        Self {
            low: 0.0,
            high: steps * step,
            ticks,
        }
    }

    /// Whole decades, with steps between them where there are few.
    fn log(low: f64, high: f64) -> Self {
        let (low, mut high) = (low.floor(), high.ceil());
        if high <= low {
            high = low + 1.0;
        }
        let between: &[f64] = if high - low <= 2.0 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let decades = std::iter::successors(Some(low), |decade| Some(decade + 1.0));
        let ticks = decades
            .take_while(|decade| *decade <= high)
            .flat_map(|decade| between.iter().map(move |factor| decade + factor.log10()))
            .filter(|place| *place <= high + 1e-9)
            .map(|place| (place, short(10_f64.powf(place))))
            .collect();
        Self { low, high, ticks }
    }

    /// 0, 90, 99, 99.9 per cent and so on.
    fn nines(high: f64) -> Self {
        let high = high.ceil().clamp(1.0, 12.0);
        let ticks = std::iter::successors(Some(0.0), |nines: &f64| Some(nines + 1.0))
            .take_while(|nines| *nines <= high)
            .map(|nines| (nines, nines_label(nines)))
            .collect();
        Self {
            low: 0.0,
            high,
            ticks,
        }
    }

    /// Between 0 and 1, the same for every scale.
    pub(super) fn part(&self, place: f64) -> f64 {
        ((place - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

/// `99.9 %` is three nines.
fn nines_label(nines: f64) -> String {
    match nines {
        0.0 => "0 %".to_owned(),
        1.0 => "90 %".to_owned(),
        2.0 => "99 %".to_owned(),
        _ => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "at most twelve"
            )]
            let more = nines as usize - 2;
            format!("99.{} %", "9".repeat(more))
        }
    }
}

/// A tick without digits that say nothing.
fn short(value: f64) -> String {
    if value >= 0.995 {
        return whole(value);
    }
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(
            labels(&Axis::linear(1_870.0)),
            ["0", "500", "1,000", "1,500", "2,000"]
        );
        assert_eq!(
            labels(&Axis::linear(0.0)),
            ["0", "0.200", "0.400", "0.600", "0.800", "1.00"]
        );
        assert_eq!(labels(&Axis::log(-1.2, 0.9)), ["0.01", "0.1", "1", "10"]);
        assert_eq!(labels(&Axis::log(0.3, 0.3)), ["1", "2", "5", "10"]);
        assert_eq!(
            labels(&Axis::nines(3.2)),
            ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]
        );
    }
}
