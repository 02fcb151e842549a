//! The highest rate that meets the objectives: trials at rising rates, then halving in between.

use std::time::Duration;

use chat_client::admin::Admin;
use chat_tui::load::Phase;

use crate::error::Error;
use crate::load::drive::Driver;
use crate::load::objective::Figures;
use crate::load::record::Measured;
use crate::load::report::{Drain, Latency, Trial};
use crate::load::run::drained;
use crate::load::scenario::Plan;
use crate::load::schedule::Shape;
use crate::load::stages::Stages;

/// Before each trial, so that connections are there and caches warm.
const WARMUP: Duration = Duration::from_secs(1);
/// A rate counts as reached where all but this part of what was due was answered in time, and a few
/// more: what was due in the last moments may be answered after the end.
const LEFT_MAX: f64 = 0.01;
const FEW: f64 = 3.0;
/// The search ends where the highest rate that held and the lowest that did not are this close.
const CLOSE: f64 = 1.04;
/// Most trials, whatever they find.
const TRIALS_MAX: u32 = 32;
/// Highest rate that is tried.
const RATE_MAX: f64 = 200_000.0;

/// How to search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FindMax {
    /// The first rate.
    pub(crate) from: f64,
    /// Length of each trial.
    pub(crate) trial: Duration,
    /// Longest wait for the workers between two trials.
    pub(crate) drain_max: Duration,
}

/// Searches; gives what was measured at the highest rate that held, and every trial.
///
/// # Errors
/// Where not even the first rate holds, or objectives have nothing to be judged by.
pub(crate) async fn search(
    driver: &Driver,
    plan: &Plan,
    find: FindMax,
    admin: &Admin,
) -> Result<(Measured, Vec<Trial>), Error> {
    let mut trials = Vec::new();
    let mut best: Option<Measured> = None;
    let (mut held, mut failed) = (0.0_f64, f64::INFINITY);
    let mut rate = find.from;
    let mut again = false;
    for salt in 0..TRIALS_MAX {
        if driver.stop.load(std::sync::atomic::Ordering::Relaxed) {
            break;
        }
        drained(admin, find.drain_max, &driver.stop).await;
        let (measured, trial) = attempt(driver, plan, rate, find.trial, salt.into()).await?;
        // Half a trial says nothing of its rate.
        if driver.stop.load(std::sync::atomic::Ordering::Relaxed) {
            break;
        }
        let met = trial.met;
        let told = line(&trial);
        crate::note::line(&told);
        driver.shown.live.send_modify(|live| live.note = Some(told));
        trials.push(trial);
        if met {
            held = rate;
            best = Some(measured);
        } else if !again {
            // One pause of a collector or a merge is no limit: a rate fails when it fails twice.
            again = true;
            continue;
        } else {
            failed = rate;
        }
        again = false;
        if failed / held <= CLOSE || held >= RATE_MAX {
            break;
        }
        rate = if failed.is_finite() {
            f64::midpoint(held, failed)
        } else {
            held * 2.0
        };
        if rate < 1.0 {
            break;
        }
    }
    let best = best.ok_or_else(|| {
        let missed = trials.last().map(|trial| trial.missed.join(", "));
        Error::failure(format!(
            "no rate holds: {}",
            missed.unwrap_or_else(|| "it was ended before the first trial".to_owned())
        ))
        .with_hint("begin lower with --from, or ask for less with --slo")
    })?;
    Ok((best, trials))
}

async fn attempt(
    driver: &Driver,
    plan: &Plan,
    rate: f64,
    lasting: Duration,
    salt: u64,
) -> Result<(Measured, Trial), Error> {
    let stages = |lasting| Stages::Open(vec![(lasting, Shape::Constant(rate))]);
    driver
        .run(Phase::WarmUp, stages(WARMUP), 1_000 + salt, None)
        .await;
    let measured = driver
        .run(Phase::Running, stages(lasting), 2_000 + salt, None)
        .await;
    let drain = Drain {
        lag_at_end: driver.lags.records(),
        seconds: None,
    };
    let missed = missed(&measured, &drain, plan)?;
    let busiest = plan.mix.busiest().name();
    let busiest = measured.operations.iter().find(|op| op.name == busiest);
    let response = busiest.map_or_else(Latency::default, |op| op.response.clone());
    let trial = Trial {
        rate,
        ok_per_second: measured.totals.ok_per_second,
        p50: response.p50,
        p99: response.p99,
        met: missed.is_empty(),
        missed,
    };
    Ok((measured, trial))
}

/// What a trial missed: an objective of the plan, or the rate itself.
fn missed(measured: &Measured, drain: &Drain, plan: &Plan) -> Result<Vec<String>, Error> {
    let totals = &measured.totals;
    let mut missed = Vec::new();
    if totals.skipped > 0 {
        missed.push(format!("skipped {}", totals.skipped));
    }
    let slow = measured.operations.iter().filter_map(|op| op.response.p99);
    let slow = slow.fold(0.0, f64::max) / 1_000.0;
    let left = (totals.wanted_per_second - totals.ok_per_second) * totals.seconds;
    if left > LEFT_MAX * totals.wanted as f64 + slow * totals.wanted_per_second + FEW {
        missed.push(format!("reached {:.0}/s", totals.ok_per_second));
    }
    let figures = Figures {
        totals,
        operations: &measured.operations,
        freshness: None,
        drain: Some(drain),
        verification: None,
    };
    for objective in plan.objectives.iter().filter(|one| one.is_of_load()) {
        match objective.judge(figures) {
            Ok(judged) if judged.met => {}
            Ok(judged) => missed.push(format!(
                "{} ({:.1} {})",
                judged.text, judged.value, judged.unit
            )),
            // Where nothing was answered the rate is missed anyway.
            Err(_) if totals.ok == 0 => {}
            Err(error) => return Err(Error::failure(error)),
        }
    }
    Ok(missed)
}

fn line(trial: &Trial) -> String {
    let time = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
    let verdict = if trial.met {
        "holds".to_owned()
    } else {
        format!("does not hold: {}", trial.missed.join(", "))
    };
    format!(
        "trial at {:.0}/s: {:.0}/s answered, p50 {}, p99 {}: {verdict}",
        trial.rate,
        trial.ok_per_second,
        time(trial.p50),
        time(trial.p99),
    )
}
