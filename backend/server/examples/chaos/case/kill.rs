//! `kill -9` of a random process at random moments of many creates (invariant: no-acknowledged-loss,
//! invariant: dense-numbers, invariant: stored-as-acknowledged, invariant: key-repeats-create).

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::check::{self, Verdict};
use crate::load::{Habits, Load};
use crate::mode::Mode;
use crate::process;
use crate::system::{Shape, System};
use crate::{Failure, say};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Creates in all
    #[arg(long, default_value_t = 100_000)]
    creates: usize,
    /// Chats that they are spread over
    #[arg(long, default_value_t = 200)]
    chats: u32,
    /// Connections at once
    #[arg(long, default_value_t = 64)]
    connections: u64,
    /// Pause of a connection between two creates, in milliseconds, so that there is time for kills
    #[arg(long, default_value_t = 40)]
    pause_ms: u64,
    /// Shortest and longest time between two kills, in milliseconds
    #[arg(long, num_args = 2, default_values_t = [500, 3_000])]
    every_ms: Vec<u64>,
}

/// Without progress for so long something is wrong.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    shape: Shape,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let mut system = System::start(on, shape).await?;
    let load = Load::prepare(&system, "kill -9", plan.chats, Habits::MIXED).await?;
    let load = load.slowly(Duration::from_millis(plan.pause_ms))?;
    let started = Instant::now();
    let running = load.run(plan.creates, plan.connections, seed);
    let kills = kill_along(&mut system, &load, plan, seed).await?;
    running.join().await?;
    verdict.figure("processes", system.processes.len());
    verdict.happened("kills", kills);
    verdict.figure("seconds", format!("{:.1}", started.elapsed().as_secs_f64()));
    verdict.figure("answers", load.outcomes().text());
    system.ready().await?;
    check::load(&system, &load, verdict).await?;
    system.end().await
}

async fn kill_along(
    system: &mut System,
    load: &Load,
    plan: &Plan,
    seed: u64,
) -> Result<usize, Failure> {
    let mut rng = StdRng::seed_from_u64(seed);
    let (shortest, longest) = (plan.every_ms[0], plan.every_ms[1].max(plan.every_ms[0]));
    let (mut kills, mut progress) = (0, (0, Instant::now()));
    loop {
        let pause = Duration::from_millis(rng.random_range(shortest..=longest));
        tokio::time::sleep(pause).await;
        let begun = load.begun();
        if begun >= plan.creates {
            return Ok(kills);
        }
        if begun > progress.0 {
            progress = (begun, Instant::now());
        } else if progress.1.elapsed() > PATIENCE {
            return Err("the creates do not go on".into());
        }
        let victim = system.any(&mut rng);
        say(&format!("create {begun}: kill -9 {}", victim.role.name()));
        victim.kill_and_respawn().await?;
        kills += 1;
        // Alone, a process that is killed before it is ready would never serve anybody.
        if matches!(system.plan.mode, Mode::Embedded) {
            system.ready().await?;
        }
    }
}
