//! An engine that hangs (SIGSTOP, worse than one that is gone) for a while, then goes on (invariant: engine-outage).

use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_client::client::Client;
use chat_client::error::Error;
use chat_client::search::Query;
use chat_wire::search::Sort;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::check::{self, Verdict};
use crate::load::{Habits, Load, Outcomes};
use crate::mode::Engine;
use crate::process;
use crate::system::{Shape, System};
use crate::{Failure, say};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Which engine hangs
    #[arg(long, value_enum)]
    engine: Engine,
    /// For how many seconds
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Chats that the creates are spread over
    #[arg(long, default_value_t = 50)]
    chats: u32,
    /// Connections at once
    #[arg(long, default_value_t = 64)]
    connections: u64,
    /// Pause of a connection between two creates, in milliseconds
    #[arg(long, default_value_t = 50)]
    pause_ms: u64,
}

/// Creates before and after.
const CALM: Duration = Duration::from_secs(5);
/// The create deadline and what the client, the network and a busy machine need on top.
const CREATE_BOUND: Duration = Duration::from_secs(8);
/// Longer than any engine may let a search wait.
const SEARCH_BOUND: Duration = Duration::from_secs(25);
/// A search that waits so long waits for the engine.
const FELT: Duration = Duration::from_secs(1);
/// Between two looks at a process.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// `/livez` asks nobody.
const ALIVE_WITHIN: Duration = Duration::from_secs(2);
/// What a process may come to need, in MiB.
const MEMORY_MIB: u64 = 512;

/// What the processes said meanwhile.
#[derive(Debug, Default)]
struct Seen {
    looks: usize,
    dead: usize,
    slowest: Duration,
    searches: usize,
    search_refusals: Vec<String>,
    slowest_search: Duration,
}

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    shape: Shape,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let engines = Arc::clone(on.mode.engines()?);
    let system = System::start(on, shape).await?;
    let load = Load::prepare(&system, "outage", plan.chats, Habits::MIXED).await?;
    let load = load.slowly(Duration::from_millis(plan.pause_ms))?;
    let running = load.run(usize::MAX >> 1, plan.connections, seed);
    tokio::time::sleep(CALM).await;
    verdict.figure("before", load.outcomes().text());

    say(&format!("kill -STOP {}", plan.engine.name()));
    engines.freeze(plan.engine).await?;
    let stop = CancellationToken::new();
    let watch = watch(&system, &load, stop.clone())?;
    // What was on its way when the engine stopped belongs to neither phase.
    tokio::time::sleep(Duration::from_secs(plan.seconds)).await;
    let during = load.outcomes();
    stop.cancel();
    // Whatever goes wrong here, the engine has to go on.
    let seen = watch.await;
    engines.thaw(plan.engine).await?;
    let seen = seen??;
    say(&format!("kill -CONT {}", plan.engine.name()));
    let back = Instant::now();
    tokio::time::sleep(CALM).await;
    verdict.figure("meanwhile", during.text());
    let after = load.outcomes();
    load.stop();
    running.join().await?;
    verdict.figure("after", after.text());
    judge(plan.engine, &during, &after, &seen, verdict);
    memory(&system, verdict);
    check::load(&system, &load, verdict).await?;
    verdict.figure(
        "settled after",
        format!("{:.1} s", back.elapsed().as_secs_f64()),
    );
    system.end().await
}

fn judge(engine: Engine, during: &Outcomes, after: &Outcomes, seen: &Seen, verdict: &mut Verdict) {
    let bound = during.slowest().max(after.slowest());
    verdict.must("creates answered in time", bound <= CREATE_BOUND, || {
        format!("{bound:?}")
    });
    // A repeated create is told that it is under way on any day.
    let refused = during
        .by_kind
        .iter()
        .filter(|(kind, _)| !matches!(kind.as_str(), "acknowledged" | "key_in_flight"));
    let refused: usize = refused.map(|(_, count)| count).sum();
    let slow = usize::from(seen.slowest_search > FELT);
    verdict.happened(
        "felt by creates or searches",
        refused + seen.search_refusals.len() + slow,
    );
    verdict.happened("looks at /livez", seen.looks);
    let needed = matches!(engine, Engine::Kafka | Engine::Redis);
    if !needed {
        verdict.must("creates go on", during.acknowledged() > 100, || {
            during.text()
        });
    }
    verdict.must(
        "creates are taken again",
        after.acknowledged() > 100,
        || after.text(),
    );
    let unhelpful = during.without_retry_after + after.without_retry_after;
    verdict.must("503 says when to come back", unhelpful == 0, || {
        format!("{unhelpful} without Retry-After")
    });
    for (kind, count) in &during.by_kind {
        let known = matches!(
            kind.as_str(),
            "acknowledged"
                | "not_acknowledged"
                | "unavailable"
                | "overloaded"
                | "fenced"
                | "key_in_flight"
        );
        verdict.must("only documented refusals", known, || {
            format!("{count} times {kind}")
        });
    }
    verdict.figure(
        "/livez",
        format!(
            "{} looks, slowest {} ms",
            seen.looks,
            seen.slowest.as_millis()
        ),
    );
    verdict.must("/livez 200", seen.dead == 0, || {
        format!("{} of {} looks", seen.dead, seen.looks)
    });
    verdict.figure(
        "searches meanwhile",
        format!(
            "{}, refused {}, slowest {:.1} s",
            seen.searches,
            seen.search_refusals.len(),
            seen.slowest_search.as_secs_f64()
        ),
    );
    if let Some(said) = seen.search_refusals.first() {
        verdict.figure("a search is told", said);
    }
    verdict.must(
        "searches answered in time",
        seen.slowest_search <= SEARCH_BOUND,
        || format!("{:?}", seen.slowest_search),
    );
}

fn memory(system: &System, verdict: &mut Verdict) {
    let mut most = 0;
    for process in &system.processes {
        let memory = process.memory();
        verdict.must("memory is told", memory.is_some(), || process.role.name());
        let Some((_, peak)) = memory else {
            continue;
        };
        most = most.max(peak);
        verdict.must("memory bounded", peak <= MEMORY_MIB, || {
            format!("{} came to {peak} MiB", process.role.name())
        });
    }
    verdict.figure("most memory of a process", format!("{most} MiB"));
}

/// Asks every process whether it is alive, and searches, until it is told to stop.
fn watch(
    system: &System,
    load: &Arc<Load>,
    stop: CancellationToken,
) -> Result<JoinHandle<Result<Seen, Failure>>, Failure> {
    let addresses = system
        .processes
        .iter()
        .map(|process| process.admin_address());
    let addresses: Vec<_> = addresses.collect();
    let (client, load) = (system.client()?, Arc::clone(load));
    Ok(tokio::spawn(async move {
        let mut seen = Seen::default();
        let searching = search_on(client, Arc::clone(&load), stop.clone());
        let searching = tokio::spawn(searching);
        while !stop.is_cancelled() {
            for address in &addresses {
                let started = Instant::now();
                let alive = tokio::time::timeout(ALIVE_WITHIN, crate::raw::get(*address, "/livez"));
                let alive = matches!(alive.await, Ok(Ok(200)));
                seen.looks += 1;
                seen.dead += usize::from(!alive);
                seen.slowest = seen.slowest.max(started.elapsed());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let searched = searching.await?;
        seen.searches = searched.searches;
        seen.search_refusals = searched.search_refusals;
        seen.slowest_search = searched.slowest_search;
        Ok(seen)
    }))
}

async fn search_on(client: Client, load: Arc<Load>, stop: CancellationToken) -> Seen {
    let mut seen = Seen::default();
    while !stop.is_cancelled() {
        let query = Query {
            text: crate::load::COMMON.to_owned(),
            chat: Some(load.chats[seen.searches % load.chats.len()]),
            sort: Sort::Newest,
            limit: 10,
            cursor: None,
        };
        let started = Instant::now();
        let answer = client.search(load.token, &query).await;
        seen.searches += 1;
        seen.slowest_search = seen.slowest_search.max(started.elapsed());
        if let Err(error) = answer {
            let said = match &error {
                Error::Problem {
                    status, problem, ..
                } => {
                    format!("{status} {}: {}", problem.code.as_str(), problem.detail)
                }
                other => other.to_string(),
            };
            seen.search_refusals.push(said);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    seen
}
