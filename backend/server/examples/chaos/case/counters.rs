//! Counters that are lost or went back, with records in the log that no worker has read (invariant: recovery-reads-log,
//! invariant: counter-identity, invariant: counters-only-rise).

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::process::Command;

use crate::Failure;
use crate::check::{self, Verdict};
use crate::load::{Habits, Load};
use crate::mode::{Engine, Engines};
use crate::process;
use crate::system::{SETTLING, Shape, System};

/// How the counters are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
    /// FLUSHALL
    Emptied,
    /// FLUSHALL three times while creates are under way
    Busy,
    /// kill -9, and a server that knows nothing
    Restarted,
    /// kill -9, and a server that knows what was true some thousand creates ago
    Rolledback,
    /// A lower number set by hand in every counter
    Lowered,
    /// Every second counter removed by hand
    Removed,
}

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// What happens to the counters
    #[arg(long, value_enum, default_value = "emptied")]
    way: Way,
    /// Creates of each of the three phases
    #[arg(long, default_value_t = 1_000)]
    creates: usize,
    /// Chats that they are spread over
    #[arg(long, default_value_t = 20)]
    chats: u32,
    /// Connections at once
    #[arg(long, default_value_t = 32)]
    connections: u64,
}

/// Everybody keeps at it: what is acknowledged is what counts here.
const STUBBORN: Habits = Habits {
    stubborn: 1.0,
    aborted: 0.0,
    repeated: 0.05,
};
/// Within this time every chat takes messages again.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    shape: Shape,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let engines = std::sync::Arc::clone(on.mode.engines()?);
    let mut system = System::start(on, shape).await?;
    let load = Load::prepare(&system, "counters", plan.chats, STUBBORN).await?;
    let run = |nth: u64| load.run(plan.creates, plan.connections, seed ^ nth);
    run(1).join().await?;
    system.drained(SETTLING).await?;
    if plan.way == Way::Rolledback {
        engines.tool(Engine::Redis, &["SAVE"]).await?;
    }

    for worker in system.workers() {
        worker.kill().await?;
    }
    run(2).join().await?;
    let unread = system.admin()?.lag().await?;
    verdict.figure("unread before", crate::system::backlog(&unread));
    let unread = crate::system::lag_of(&unread, "messages-store")?;
    verdict.happened("unread messages", usize::try_from(unread)?);
    load.outcomes();

    let running = run(3);
    if plan.way == Way::Busy {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            lose(plan, &engines, &load, seed).await?;
        }
    } else {
        lose(plan, &engines, &load, seed).await?;
    }
    let back = load.probe().await?;
    verdict.figure(
        "all chats back after",
        format!("{:.1} s, no worker at work", back.as_secs_f64()),
    );
    verdict.must("back within 10 s", back <= BACK_WITHIN, || {
        format!("{back:?}")
    });
    for worker in system.workers() {
        worker.respawn()?;
    }
    running.join().await?;
    let outcomes = load.outcomes();
    verdict.figure("answers", outcomes.text());
    check_refusals(plan.way, &outcomes, verdict);
    system.ready().await?;
    check::load(&system, &load, verdict).await?;
    if plan.way == Way::Rolledback {
        forget_dump(&engines).await?;
    }
    system.end().await
}

/// While a counter is being recovered there is one refusal; a server that is away has another.
fn check_refusals(way: Way, outcomes: &crate::load::Outcomes, verdict: &mut Verdict) {
    for (kind, count) in &outcomes.by_kind {
        let away = matches!(way, Way::Restarted | Way::Rolledback) && kind == "unavailable";
        let known = matches!(kind.as_str(), "acknowledged" | "fenced" | "key_in_flight");
        verdict.must("while fenced only 503", known || away, || {
            format!("{count} times {kind}")
        });
    }
    verdict.must(
        "503 says when to come back",
        outcomes.without_retry_after == 0,
        || format!("{} without Retry-After", outcomes.without_retry_after),
    );
}

async fn lose(plan: &Plan, engines: &Engines, load: &Load, seed: u64) -> Result<(), Failure> {
    load.ledger
        .note(serde_json::json!({ "counters": format!("{:?}", plan.way) }))?;
    match plan.way {
        Way::Emptied | Way::Busy => {
            engines.tool(Engine::Redis, &["FLUSHALL"]).await?;
        }
        Way::Restarted => {
            // What a case before this one may have saved would be loaded.
            forget_dump(engines).await?;
            restart(engines).await?;
        }
        Way::Rolledback => restart(engines).await?,
        Way::Lowered => {
            let mut rng = StdRng::seed_from_u64(seed);
            for key in counters(engines, load) {
                let lower = rng.random_range(0..5).to_string();
                let args = ["HSET", key.as_str(), "l", lower.as_str()];
                engines.tool(Engine::Redis, &args).await?;
            }
        }
        Way::Removed => {
            for key in counters(engines, load).iter().step_by(2) {
                engines.tool(Engine::Redis, &["DEL", key]).await?;
            }
        }
    }
    Ok(())
}

/// The keys of the application's counters.
fn counters(engines: &Engines, load: &Load) -> Vec<String> {
    let token = load.token.reveal();
    let application = engines.key(&format!("application:{{{token}}}"));
    let chats = load
        .chats
        .iter()
        .map(|chat| engines.key(&format!("chat:{{{token}}}|{chat}")));
    std::iter::once(application).chain(chats).collect()
}

async fn restart(engines: &Engines) -> Result<(), Failure> {
    engines.kill(Engine::Redis).await?;
    engines.up(Engine::Redis).await
}

/// Removes what SAVE has left, so that the next start is of an empty server again.
async fn forget_dump(engines: &Engines) -> Result<(), Failure> {
    let told = engines
        .tool(Engine::Redis, &["CONFIG", "GET", "dir"])
        .await?;
    let dir = told
        .lines()
        .nth(1)
        .ok_or("Redis does not say where its data lie")?;
    let status = Command::new("rm")
        .args(["-f", &format!("{dir}/dump.rdb")])
        .status()
        .await?;
    match status.success() {
        true => Ok(()),
        false => Err("the dump of Redis cannot be removed".into()),
    }
}
