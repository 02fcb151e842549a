//! Workers come and go every two seconds (invariant: rebalance-safe).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chat_wire::admin::lag::Lag;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::check::{self, Verdict};
use crate::load::{Habits, Load};
use crate::process::{self, Role};
use crate::system::{Shape, System};
use crate::{Failure, say};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Seconds in all
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Seconds between two changes
    #[arg(long, default_value_t = 2)]
    every: u64,
    /// Chats that the creates are spread over
    #[arg(long, default_value_t = 100)]
    chats: u32,
    /// Connections at once
    #[arg(long, default_value_t = 32)]
    connections: u64,
    /// Pause of a connection between two creates, in milliseconds
    #[arg(long, default_value_t = 50)]
    pause_ms: u64,
}

/// Workers of one kind, at most.
const MOST: usize = 4;
/// How long one of them may take to end.
const END_WITHIN: Duration = Duration::from_secs(20);
/// A partition with something to read moves at least so often.
const STANDSTILL: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Where a partition of a group stood, and since when.
type Stands = BTreeMap<(String, u32), (u64, Instant)>;

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    shape: Shape,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    on.mode.engines()?;
    let mut system = System::start(on, shape).await?;
    let load = Load::prepare(&system, "rebalance", plan.chats, Habits::MIXED).await?;
    let load = load.slowly(Duration::from_millis(plan.pause_ms))?;
    let running = load.run(usize::MAX >> 1, plan.connections, seed);
    let stop = CancellationToken::new();
    let watch = watch(&system, stop.clone())?;
    let changes = storm(&mut system, plan, seed).await?;
    stop.cancel();
    let (longest, moved) = watch.await??;
    load.stop();
    running.join().await?;

    verdict.happened("changes", changes);
    verdict.figure("answers", load.outcomes().text());
    verdict.figure(
        "partitions that moved",
        moved.values().filter(|moved| **moved).count(),
    );
    verdict.figure(
        "longest standstill",
        format!("{:.1} s", longest.as_secs_f64()),
    );
    verdict.must("every partition advances", longest <= STANDSTILL, || {
        format!("{longest:?}")
    });
    for ((group, partition), moved) in &moved {
        verdict.must("every partition advances", *moved, || {
            format!("{group} {partition}")
        });
    }
    system.ready().await?;
    check::load(&system, &load, verdict).await?;
    system.end().await
}

/// Adds and removes workers of random kinds; there is always one left of each.
async fn storm(system: &mut System, plan: &Plan, seed: u64) -> Result<usize, Failure> {
    let mut rng = StdRng::seed_from_u64(seed);
    let end = Instant::now() + Duration::from_secs(plan.seconds);
    let mut changes = 0;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(plan.every)).await;
        let role = Role::Worker(Role::WORKERS[rng.random_range(0..Role::WORKERS.len())]);
        let count = system.of(role).count();
        if count >= MOST || (count > 1 && rng.random_bool(0.5)) {
            let at = system.processes.iter().position(|one| one.role == role);
            let mut gone = system.processes.remove(at.ok_or("a worker is missing")?);
            say(&format!("{count} of {}: one goes", role.name()));
            // In the background: the next change does not wait for it.
            tokio::spawn(async move { gone.terminate(END_WITHIN).await });
        } else {
            say(&format!("{count} of {}: one comes", role.name()));
            system.add(role)?;
        }
        changes += 1;
    }
    Ok(changes)
}

/// Looks how long a partition with something to read stands still, and which have moved.
#[expect(
    clippy::type_complexity,
    reason = "named by the two figures that it is"
)]
fn watch(
    system: &System,
    stop: CancellationToken,
) -> Result<JoinHandle<Result<(Duration, BTreeMap<(String, u32), bool>), Failure>>, Failure> {
    let admin = system.admin()?;
    Ok(tokio::spawn(async move {
        let (mut stands, mut moved) = (Stands::new(), BTreeMap::new());
        let mut longest = Duration::ZERO;
        while !stop.is_cancelled() {
            longest = longest.max(look(&admin.lag().await?, &mut stands, &mut moved));
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok((longest, moved))
    }))
}

fn look(lag: &Lag, stands: &mut Stands, moved: &mut BTreeMap<(String, u32), bool>) -> Duration {
    let mut longest = Duration::ZERO;
    for group in lag.groups.iter().filter(|group| group.topic == "messages") {
        for partition in &group.partitions {
            let key = (group.group.clone(), partition.partition);
            let at = partition.committed_offset.unwrap_or(0);
            let (stood, since) = stands.entry(key.clone()).or_insert((at, Instant::now()));
            let nothing_to_read = partition.figures.lag_records == Some(0);
            *moved.entry(key).or_insert(false) |= at > *stood;
            if at > *stood || nothing_to_read {
                (*stood, *since) = (at, Instant::now());
            }
            longest = longest.max(since.elapsed());
        }
    }
    longest
}
