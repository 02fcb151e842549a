//! The black-box harness: promises of the backend, proved through HTTP alone.
//!
//! Every case prints its seed and its figures, and ends with a verdict; a broken promise is exit 1.

mod case;
mod chatctl;
mod check;
mod cores;
mod damage;
mod exact;
mod ledger;
mod letters;
mod load;
mod mode;
mod open;
mod oracle;
mod process;
mod proxy;
mod raw;
mod reconciled;
mod stream;
mod system;
mod terminal;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::mode::{Engines, Mode};

/// Prove promises of the chat backend from outside
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    case: Case,
}

#[derive(Debug, Args)]
struct Common {
    /// The program to prove
    #[arg(
        long,
        global = true,
        default_value = "target/release/chatd",
        overrides_with = "chatd"
    )]
    chatd: PathBuf,
    /// Where data, logs and the ledger go; a temporary directory if absent
    #[arg(long, global = true)]
    work: Option<PathBuf>,
    /// Repeats a run's choices
    #[arg(long, global = true)]
    seed: Option<u64>,
    /// On the engines that the four URLs name, which scripts/engines has started; they are frozen and emptied
    #[arg(long, global = true)]
    engines: bool,
    /// What stops engines and runs their clients
    #[arg(long, global = true, default_value = "scripts/engines")]
    engines_script: PathBuf,
    #[command(flatten)]
    shape: system::Shape,
}

#[derive(Debug, Subcommand)]
enum Case {
    /// kill -9 of random processes during many creates; every acknowledged message is there exactly once
    Kill(case::kill::Plan),
    /// Many connections on one chat; no number twice, none left out
    Numbers(case::numbers::Plan),
    /// The same create again: at once, after a restart, on the engines after Redis was emptied
    Retries(case::retries::Plan),
    /// Storms of edits and deletes; the highest revision wins, what was deleted never comes back
    Revisions(case::revisions::Plan),
    /// SIGTERM of every process under load; nobody in flight is cut off, nothing is read again
    Stop(case::stop::Plan),
    /// Counters lost or rolled back with unread records in the log (engines)
    Counters(case::counters::Plan),
    /// An engine that hangs for half a minute under load (engines)
    Outage(case::outage::Plan),
    /// Workers that come and go every two seconds (engines)
    Rebalance(case::rebalance::Plan),
    /// Messages of a chat whose own worker hangs (engines)
    Order(case::order::Plan),
    /// Records that can never apply among good ones (engines)
    Poison(case::poison::Plan),
    /// Messages that the store refuses for a while: listed, shown, replayed twice, stored once
    Letters(case::letters::Plan),
    /// A log that is re-created under running processes (engines)
    Relog(case::relog::Plan),
    /// An engine that goes back in time while everything runs on (engines)
    Failover(case::failover::Plan),
    /// Log, store and index put back from an older copy, alone and in pairs, and -wal files removed (embedded)
    Restore(case::restore::Plan),
    /// What was created is read by another API process
    Visible(case::visible::Plan),
    /// Walks through a chat in every direction while writers append and delete
    Pages(case::pages::Plan),
    /// Readers that follow chats, come and go, and some that stop reading
    Tail(case::tail::Plan),
    /// Index and rows dropped and made again while clients write on
    Rebuild(case::rebuild::Plan),
    /// A crash at every failpoint, once each (a chatd with --features failpoints)
    Crash(case::crash::Plan),
    /// Starts that cannot succeed, or not yet, and what they say (engines)
    Start(case::start::Plan),
    /// What lag and metrics say of workers that are idle, loaded, frozen, killed or missing, and when (engines)
    Lag(case::lag::Plan),
    /// Damage by hand to counters, counts and index, found and mended; one run at a time, killed and gone on with
    Drift(case::drift::Plan),
    /// The dashboard in a terminal, with a worker, the server and the engines frozen, and given back whatever ends it
    Dashboard(case::dashboard::Plan),
    /// What a look at the lag of very many partitions costs, and how large its answers are (engines)
    Partitions(case::partitions::Plan),
    /// Three times as much as the backend can do; most of what it can do is done, and the rest refused fast
    Overload(case::overload::Plan),
    /// An application far above its limit beside a quiet one, which stays as fast as it was
    Tenants(case::tenants::Plan),
    /// The real messages: numbers, bodies, counts and search, against the file
    Real(case::real::Plan),
}

/// Anything that ends a case before its verdict.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let seed = cli.common.seed.unwrap_or_else(rand::random);
    let mut verdict = check::Verdict::new(seed);
    let outcome = run(cli, seed, &mut verdict).await;
    if outcome.is_ok() {
        verdict.close();
    }
    say(&format!("{verdict}"));
    match outcome {
        Ok(()) if verdict.kept() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("the case could not be finished: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli, seed: u64, verdict: &mut check::Verdict) -> Result<(), Failure> {
    let (work, _guard) = work_dir(cli.common.work)?;
    let mode = match cli.common.engines {
        false => Mode::Embedded,
        true => {
            // Not of the seed: a run that is repeated finds nothing of the one before.
            let name = format!("chaos{:08x}", rand::random::<u32>());
            let script = std::path::absolute(cli.common.engines_script)?;
            Mode::Engines(Arc::new(Engines::from_environment(script, name)?))
        }
    };
    verdict.figure(
        "mode",
        if cli.common.engines {
            "engines"
        } else {
            "embedded"
        },
    );
    let on = process::Plan {
        chatd: cli.common.chatd,
        work,
        mode,
        // What only reconciliation repairs is broken until it runs, and would not be seen after it.
        flags: vec!["--reconcile-every=0"],
        split: None,
    };
    let shape = cli.common.shape;
    let done = dispatch(cli.case, on, shape, seed, verdict).await;
    if let Ok(load) = std::fs::read_to_string("/proc/loadavg") {
        verdict.figure("load of the machine", load.trim());
    }
    done
}

async fn dispatch(
    case: Case,
    on: process::Plan,
    shape: system::Shape,
    seed: u64,
    verdict: &mut check::Verdict,
) -> Result<(), Failure> {
    match case {
        Case::Kill(plan) => case::kill::run(&plan, on, shape, seed, verdict).await,
        Case::Numbers(plan) => case::numbers::run(&plan, on, shape, verdict).await,
        Case::Retries(plan) => case::retries::run(&plan, on, shape, seed, verdict).await,
        Case::Revisions(plan) => case::revisions::run(&plan, on, shape, seed, verdict).await,
        Case::Stop(plan) => case::stop::run(&plan, on, shape, verdict).await,
        Case::Counters(plan) => case::counters::run(&plan, on, shape, seed, verdict).await,
        Case::Outage(plan) => case::outage::run(&plan, on, shape, seed, verdict).await,
        Case::Rebalance(plan) => case::rebalance::run(&plan, on, shape, seed, verdict).await,
        Case::Order(plan) => case::order::run(&plan, on, shape, seed, verdict).await,
        Case::Poison(plan) => case::poison::run(&plan, on, shape, seed, verdict).await,
        Case::Letters(plan) => case::letters::run(&plan, on, shape, seed, verdict).await,
        Case::Relog(plan) => case::relog::run(&plan, on, shape, seed, verdict).await,
        Case::Failover(plan) => case::failover::run(&plan, on, shape, seed, verdict).await,
        Case::Restore(plan) => case::restore::run(&plan, &on, seed, verdict).await,
        Case::Visible(plan) => case::visible::run(&plan, on, shape, seed, verdict).await,
        Case::Pages(plan) => case::pages::run(&plan, on, shape, seed, verdict).await,
        Case::Tail(plan) => case::tail::run(&plan, on, shape, seed, verdict).await,
        Case::Rebuild(plan) => case::rebuild::run(&plan, on, shape, seed, verdict).await,
        Case::Crash(plan) => case::crash::run(&plan, on, shape, seed, verdict).await,
        Case::Start(plan) => case::start::run(&plan, on, verdict).await,
        Case::Lag(plan) => case::lag::run(&plan, on, seed, verdict).await,
        Case::Drift(plan) => case::drift::run(&plan, on, shape, seed, verdict).await,
        Case::Dashboard(plan) => case::dashboard::run(&plan, on, seed, verdict).await,
        Case::Partitions(plan) => case::partitions::run(&plan, on, verdict).await,
        Case::Overload(plan) => case::overload::run(&plan, on, shape, verdict).await,
        Case::Tenants(plan) => case::tenants::run(&plan, on, shape, verdict).await,
        Case::Real(plan) => case::real::run(&plan, on, shape, seed, verdict).await,
    }
}

fn work_dir(given: Option<PathBuf>) -> std::io::Result<(PathBuf, Option<tempfile::TempDir>)> {
    match given {
        Some(dir) => {
            std::fs::create_dir_all(&dir)?;
            Ok((dir, None))
        }
        None => {
            let dir = tempfile::tempdir()?;
            Ok((dir.path().to_owned(), Some(dir)))
        }
    }
}

/// One line for whoever watches.
fn say(line: &str) {
    // A reader that went away is no reason to stop the case.
    let _ = writeln!(std::io::stdout(), "{line}");
}
