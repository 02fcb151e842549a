//! Stages: how fast a scenario sends, one after the other.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::load::report::Model;
use crate::load::scenario::Time;
use crate::load::schedule::Shape;

/// Most requests a second, and most users: a slip of the finger shall not take a machine down.
const RATE_MAX: f64 = 1_000_000.0;
const USERS_MAX: u32 = 100_000;

/// One stage: a length of time, and the rate (open model) or the users (closed model) in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Stage {
    /// How long.
    #[serde(rename = "for")]
    pub(crate) lasting: Option<Time>,
    /// Requests a second; of a ramp, those at its end; of a sine, those in its middle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<f64>,
    /// Makes it a ramp: requests a second at its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<f64>,
    /// Makes it a spike: requests a second in the middle third; `rate` before and after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spike: Option<f64>,
    /// Makes it a sine: how far above and below `rate` it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) amplitude: Option<f64>,
    /// Of the sine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) period: Option<Time>,
    /// Users, of which each waits for its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) users: Option<u32>,
}

/// The stages in the model that they are of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stages {
    /// Rates.
    Open(Vec<(Duration, Shape)>),
    /// Users.
    Closed(Vec<(Duration, u32)>),
}

impl Stages {
    pub(crate) const fn model(&self) -> Model {
        match self {
            Self::Open(_) => Model::Open,
            Self::Closed(_) => Model::Closed,
        }
    }

    /// How long all of them take.
    pub(crate) fn lasting(&self) -> Duration {
        match self {
            Self::Open(stages) => stages.iter().map(|(lasting, _)| lasting).sum(),
            Self::Closed(stages) => stages.iter().map(|(lasting, _)| lasting).sum(),
        }
    }

    /// How the load begins, for the warm-up.
    pub(crate) fn beginning(&self, lasting: Duration) -> Self {
        match self {
            Self::Open(stages) => {
                let rate = stages.first().map_or(0.0, |(_, shape)| shape.rate_at(0.0));
                // A ramp from nothing would warm nothing up.
                let most = stages.iter().map(|(_, shape)| shape.highest());
                let rate = if rate > 0.0 {
                    rate
                } else {
                    most.fold(0.0, f64::max) / 10.0
                };
                Self::Open(vec![(lasting, Shape::Constant(rate))])
            }
            Self::Closed(stages) => {
                let users = stages.first().map_or(0, |(_, users)| *users);
                Self::Closed(vec![(lasting, users)])
            }
        }
    }
}

/// The stages of a scenario.
///
/// # Errors
/// The first one that makes no sense, and why.
pub(super) fn stages(stages: &[Stage]) -> Result<Stages, String> {
    if stages.is_empty() {
        return Err("there is no stage: nothing would be sent".to_owned());
    }
    let closed = stages.iter().filter(|stage| stage.users.is_some()).count();
    if closed == 0 {
        let open = |(at, stage): (usize, &Stage)| open(stage).map_err(|e| of_stage(at, &e));
        let open = stages.iter().enumerate().map(open);
        return open.collect::<Result<_, _>>().map(Stages::Open);
    }
    if closed < stages.len() {
        return Err("stages with users and stages with a rate cannot be mixed: the one model waits for answers, the other does not".to_owned());
    }
    let closed = |(at, stage): (usize, &Stage)| closed_of(stage).map_err(|e| of_stage(at, &e));
    let closed = stages.iter().enumerate().map(closed);
    closed.collect::<Result<_, _>>().map(Stages::Closed)
}

fn of_stage(at: usize, error: &str) -> String {
    format!("stage {}: {error}", at + 1)
}

fn lasting(stage: &Stage) -> Result<Duration, String> {
    match stage.lasting {
        Some(time) if !time.0.is_zero() => Ok(time.0),
        _ => Err("`for` is missing, for example for = \"30s\"".to_owned()),
    }
}

fn closed_of(stage: &Stage) -> Result<(Duration, u32), String> {
    let only_users = stage.rate.is_none()
        && stage.from.is_none()
        && stage.spike.is_none()
        && stage.amplitude.is_none()
        && stage.period.is_none();
    let users = stage.users.unwrap_or(0);
    if !only_users || !(1..=USERS_MAX).contains(&users) {
        return Err(format!(
            "give users from 1 to {USERS_MAX}, and nothing else"
        ));
    }
    Ok((lasting(stage)?, users))
}

fn open(stage: &Stage) -> Result<(Duration, Shape), String> {
    let lasting = lasting(stage)?;
    let rate = stage
        .rate
        .ok_or("`rate` is missing, in requests a second")?;
    let shape = match (stage.from, stage.spike, stage.amplitude, stage.period) {
        (None, None, None, None) => Shape::Constant(rate),
        (Some(from), None, None, None) => Shape::Ramp { from, to: rate },
        (None, Some(spike), None, None) => Shape::Spike { rate, spike },
        (None, None, Some(amplitude), Some(Time(period))) if !period.is_zero() => Shape::Sine {
            rate,
            amplitude,
            period: period.as_secs_f64() / lasting.as_secs_f64(),
        },
        _ => {
            return Err("a stage has a rate; or also `from` (a ramp), `spike`, or `amplitude` and `period` (a sine)".to_owned());
        }
    };
    let (low, high) = (shape.lowest(), shape.highest());
    if !(low >= 0.0 && high > 0.0 && high <= RATE_MAX) {
        return Err(format!(
            "rates go from {low} to {high} a second; they must be from 0 to {RATE_MAX}, and not only 0"
        ));
    }
    Ok((lasting, shape))
}

/// Reads a stage: `30s:100` (a rate), `30s:100-500` (a ramp), `30s:8u` (users).
pub(crate) fn stage(text: &str) -> Result<Stage, String> {
    let wrong = || format!("{text:?} is no stage like 30s:100, 30s:100-500 or 30s:8u");
    let (lasting, what) = text.split_once(':').ok_or_else(wrong)?;
    let lasting = Some(Time::parse(lasting)?);
    let number = |text: &str| text.parse::<f64>().map_err(|_| wrong());
    if let Some(users) = what.strip_suffix('u') {
        return Ok(Stage {
            lasting,
            users: Some(users.parse().map_err(|_| wrong())?),
            ..Stage::default()
        });
    }
    Ok(match what.split_once('-') {
        None => Stage {
            lasting,
            rate: Some(number(what)?),
            ..Stage::default()
        },
        Some((from, to)) => Stage {
            lasting,
            from: Some(number(from)?),
            rate: Some(number(to)?),
            ..Stage::default()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_like_files() {
        assert_eq!(stage("30s:100").unwrap().rate, Some(100.0));
        let ramp = stage("30s:100-500").unwrap();
        assert_eq!((ramp.from, ramp.rate), (Some(100.0), Some(500.0)));
        assert_eq!(stage("2m:8u").unwrap().users, Some(8));
        assert!(stage("100").is_err() && stage("1s:x").is_err() && stage("1s:u").is_err());
    }

    #[test]
    fn a_warm_up_is_like_the_beginning() {
        let open = Stages::Open(vec![
            (
                Duration::from_secs(1),
                Shape::Ramp {
                    from: 0.0,
                    to: 50.0,
                },
            ),
            (Duration::from_secs(1), Shape::Constant(100.0)),
        ]);
        let warmup = open.beginning(Duration::from_secs(3));
        let expected = vec![(Duration::from_secs(3), Shape::Constant(10.0))];
        assert_eq!(warmup, Stages::Open(expected));
    }
}
