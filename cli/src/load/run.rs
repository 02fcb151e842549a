//! A run from its beginning to its report.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chat_client::admin::Admin;
use chat_client::client::{Client, Config};
use chat_tui::load::Phase;
use chat_wire::admin::stats::Stats;
use chat_wire::time::Timestamp;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::error::Error;
use crate::load::bodies::Bodies;
use crate::load::drive::Driver;
use crate::load::environment;
use crate::load::lane::Lane;
use crate::load::maximum::{self, FindMax};
use crate::load::record::{Measured, Shown};
use crate::load::report::{
    Asked, Drain, Environment, Generator, Report, SCHEMA, Totals, Verification,
};
use crate::load::scenario::Plan;
use crate::load::verify::{Finding, verify};
use crate::load::watch::{Follower, Lags};
use crate::load::world::World;

/// Between two looks at the lag while the workers are waited for.
const DRAIN_EVERY: Duration = Duration::from_millis(100);
/// Requests that are sent this late at the 99th percentile tell of the generator.
const LATE_MAX_MS: f64 = 20.0;
/// Part of all processors from which on the generator has no more to give.
const CPU_MAX: f64 = 0.9;

/// How a run is made, beside its plan.
#[derive(Debug)]
pub(crate) struct Options {
    /// Whether everything is looked for afterwards.
    pub(crate) verify: bool,
    /// Longest wait for the workers.
    pub(crate) drain_max: Duration,
    /// Search for the highest rate instead of running the stages.
    pub(crate) find_max: Option<FindMax>,
    pub(crate) shown: Shown,
    /// Set from outside once it shall end early.
    pub(crate) stop: Arc<AtomicBool>,
}

/// What a run leaves behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) report: Report,
    /// What is wrong, message by message.
    pub(crate) findings: Vec<Finding>,
}

/// Both listeners of the server.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: String,
    /// For load: it repeats nothing.
    pub(crate) config: Config,
    /// For single looks beside it.
    pub(crate) client: Client,
    /// For what comes before and after: it is patient.
    pub(crate) patient: Client,
    pub(crate) admin: Admin,
}

/// Runs a plan.
///
/// # Errors
/// What keeps it from beginning or from being judged; refused requests are no errors but figures.
pub(crate) async fn run(target: &Target, plan: Plan, options: Options) -> Result<Ran, Error> {
    let load_before = environment::load_average();
    let stats = before(target, &options).await?;
    let phase = |phase| {
        options.shown.live.send_modify(|live| {
            // Nothing is sent in any phase that begins here.
            live.wanted_per_second = 0.0;
            live.sent_per_second = 0.0;
            live.ok_per_second = 0.0;
            live.in_flight = 0;
            live.planned = None;
            live.elapsed = 0.0;
            live.phase = phase;
        });
    };
    phase(Phase::Preparing);
    let world = make_world(target, &plan).await?;
    if plan.scenario.world.prefill > 0 {
        drained(&target.admin, options.drain_max, &options.stop).await;
    }
    let lags = Arc::new(Lags::default());
    let watching =
        tokio::spawn(Arc::clone(&lags).watch(target.admin.clone(), options.shown.live.clone()));
    let driver = Driver {
        lanes: Lane::start(plan.scenario.threads, &target.config)?,
        world: Arc::clone(&world),
        mix: Arc::new(plan.mix.clone()),
        arrivals: plan.scenario.arrivals,
        max_in_flight: plan.scenario.max_in_flight,
        connections: plan.scenario.connections,
        timeout: plan.scenario.timeout.0,
        seed: plan.seed,
        lags: Arc::clone(&lags),
        shown: options.shown.clone(),
        stop: Arc::clone(&options.stop),
    };
    let warmup = warm_up(&driver, &plan).await;
    let started_at = Timestamp::now();
    let cpu = environment::cpu_time();
    let follow = plan.scenario.follow;
    let follower = (follow > 0 && options.find_max.is_none())
        .then(|| Follower::start(target.client.clone(), Arc::clone(&world), follow));
    let (measured, trials) = match options.find_max {
        Some(find) => maximum::search(&driver, &plan, find, &target.admin).await?,
        None => {
            let samples = follower.as_ref().map(Follower::sender);
            let stages = plan.stages.clone();
            (
                driver.run(Phase::Running, stages, 1, samples).await,
                Vec::new(),
            )
        }
    };
    let cpu = environment::cpu_time()
        .zip(cpu)
        .map(|(now, then)| now - then);
    let interrupted = options.stop.load(Ordering::Relaxed);
    phase(Phase::Draining);
    let drain = tokio::spawn(drain(target.admin.clone(), options.drain_max));
    let freshness = match follower {
        Some(follower) => Some(follower.finish().await),
        None => None,
    };
    let drain = drain.await.unwrap_or_default();
    phase(Phase::Verifying);
    let (verification, findings) = match drain.seconds {
        _ if !options.verify => (None, Vec::new()),
        Some(_) => {
            let verified =
                verify(&target.patient, &target.admin, &world, stats.dead_letters).await?;
            (Some(verified.report), verified.findings)
        }
        // What was measured is shown all the same.
        None => (Some(unverified(options.drain_max)), Vec::new()),
    };
    watching.abort();
    let measured_for = trials.is_empty();
    let mut report = Report {
        schema: SCHEMA,
        scenario: asked(&plan),
        environment: environment(target, &stats, started_at, load_before),
        generator: generator(
            &measured,
            cpu.filter(|_| measured_for),
            plan.scenario.connections > 0,
        ),
        warmup,
        totals: measured.totals,
        operations: measured.operations,
        freshness: freshness.filter(|fresh| fresh.stored.count + fresh.given_up > 0),
        drain: Some(drain),
        verification,
        objectives: Vec::new(),
        trials,
        series: measured.series,
        interrupted,
    };
    let judged = plan
        .objectives
        .iter()
        .map(|objective| objective.judge((&report).into()));
    report.objectives = judged.collect::<Result<_, _>>().map_err(Error::failure)?;
    Ok(Ran { report, findings })
}

/// Looks at the server before anything is done to it.
async fn before(target: &Target, options: &Options) -> Result<Stats, Error> {
    let stats = target.admin.stats().await.map_err(|error| {
        let error = Error::from(error);
        let hint = "the load generator asks the admin listener for lag and for the comparison afterwards; give its address with --admin";
        error.with_hint(hint)
    })?;
    options
        .shown
        .live
        .send_modify(|live| live.target.clone_from(&target.address));
    Ok(stats)
}

async fn make_world(target: &Target, plan: &Plan) -> Result<Arc<World>, Error> {
    // The name of the run must differ from that of every other one, whatever the seed.
    let run = rand::random_range(0..0x100_0000);
    let mut random = StdRng::seed_from_u64(plan.seed);
    let asked = &plan.scenario.world;
    let bodies = Bodies::new(asked.bodies.as_deref(), run, &mut random)?;
    World::make(&target.patient, asked, bodies, &plan.scenario.name).await
}

async fn warm_up(driver: &Driver, plan: &Plan) -> Totals {
    let lasting = plan.scenario.warmup.0;
    if lasting.is_zero() {
        return Totals::default();
    }
    // Every answer is awaited, so that no backlog of the warm-up is measured.
    let stages = plan.stages.beginning(lasting);
    driver.run(Phase::WarmUp, stages, 0, None).await.totals
}

/// Waits until nothing is unread; the seconds that it took, unless it took too long.
pub(crate) async fn drained(admin: &Admin, most: Duration, stop: &AtomicBool) -> Option<f64> {
    let began = Instant::now();
    while began.elapsed() < most {
        if let Ok(lag) = admin.lag().await {
            let records = |group: &chat_wire::admin::lag::GroupLag| group.figures.lag_records;
            if lag.groups.iter().all(|group| records(group) == Some(0)) {
                return Some(began.elapsed().as_secs_f64());
            }
        }
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        tokio::time::sleep(DRAIN_EVERY).await;
    }
    None
}

async fn drain(admin: Admin, most: Duration) -> Drain {
    let lag = admin.lag().await;
    let lag_at_end: BTreeMap<_, _> = lag.map_or_else(
        |_| BTreeMap::new(),
        |lag| {
            let groups = lag.groups.into_iter();
            groups
                .map(|group| (group.group, group.figures.lag_records))
                .collect()
        },
    );
    // Somebody who ended the load early still wants to know whether anything was lost.
    let never = AtomicBool::new(false);
    Drain {
        lag_at_end,
        seconds: drained(&admin, most, &never).await,
    }
}

/// Nothing can be looked for while the workers are still at it.
fn unverified(patience: Duration) -> Verification {
    let finding = format!(
        "nothing could be verified: the workers have not caught up within {} s (`chatctl lag` shows which; --drain gives them more time)",
        patience.as_secs()
    );
    Verification {
        findings: vec![finding],
        ..Verification::default()
    }
}

fn asked(plan: &Plan) -> Asked {
    Asked {
        name: plan.scenario.name.clone(),
        about: plan.scenario.about.clone(),
        model: plan.stages.model(),
        seed: plan.seed,
        warmup_seconds: plan.scenario.warmup.0.as_secs_f64(),
        seconds: plan.stages.lasting().as_secs_f64(),
        toml: plan.scenario.to_toml(),
    }
}

fn environment(
    target: &Target,
    stats: &Stats,
    started_at: Timestamp,
    load_before: Option<f64>,
) -> Environment {
    Environment {
        started_at,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        target: target.address.clone(),
        server_version: Some(stats.version.clone()),
        server_mode: Some(stats.mode.clone()),
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        cpus: environment::cpus(),
        load_before,
        open_files_max: environment::open_files_max(),
    }
}

/// How the generator did, and whether it was the limit.
fn generator(measured: &Measured, cpu: Option<Duration>, queued: bool) -> Generator {
    let totals = &measured.totals;
    let cpu_seconds = cpu.map(|cpu| cpu.as_secs_f64());
    // Where connections were limited, requests wait for them, and that is as it was asked.
    let late = measured
        .late
        .p99
        .filter(|late| !queued && *late > LATE_MAX_MS);
    let all = f64::from(environment::cpus()) * totals.seconds;
    let busy = cpu_seconds.filter(|cpu| *cpu > CPU_MAX * all);
    let limited_by = match (late, busy) {
        (_, Some(cpu)) => Some(format!(
            "it used {cpu:.1} s of CPU in {:.1} s on {} processors: the server may carry more than was sent",
            totals.seconds,
            environment::cpus()
        )),
        (Some(late), None) => Some(format!(
            "a hundredth of the requests was sent more than {late:.0} ms late: the processors of this machine are taken, and response times count that delay"
        )),
        (None, None) => None,
    };
    Generator {
        late: measured.late.clone(),
        cpu_seconds,
        cpu_us_per_request: cpu_seconds
            .filter(|_| totals.sent > 0)
            .map(|cpu| cpu * 1e6 / totals.sent as f64),
        limited_by,
    }
}

/// Whether everything that was to be proved is proved.
pub(crate) fn kept(verification: Option<&Verification>) -> bool {
    verification.is_none_or(Verification::kept)
}
