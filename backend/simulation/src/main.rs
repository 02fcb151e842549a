//! `simulate`: runs histories until time is over, or one history by its seed.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use chat_simulation::history::{self, Outcome};
use chat_simulation::minimize::minimize;
use chat_simulation::plan::{FAMILIES, Family, Plan};
use clap::Parser;

/// Run deterministic histories of the backend under faults
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Cli {
    /// Run this history alone, and show what happened in it
    #[arg(long)]
    seed: Option<u64>,
    /// The first seed of many; random if absent
    #[arg(long)]
    from: Option<u64>,
    /// Stop after so many seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Stop after so many histories
    #[arg(long)]
    histories: Option<u64>,
    /// Only these families of faults, all of them in each history
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Go on after a failure, and count
    #[arg(long)]
    keep_going: bool,
    /// Show the whole history, not a smaller one that fails as well
    #[arg(long)]
    whole: bool,
    /// Run every history twice, and compare
    #[arg(long)]
    twice: bool,
    /// Seeds to run before any other, one a line; lines that begin with # are passed over
    #[arg(long)]
    seeds: Option<std::path::PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let only = match families(&cli.only) {
        Ok(only) => only,
        Err(error) => {
            say(&error);
            return ExitCode::from(2);
        }
    };
    match cli.seed {
        Some(seed) => one(seed, only.as_ref(), &cli),
        None => many(only.as_ref(), &cli),
    }
}

fn families(names: &[String]) -> Result<Option<BTreeSet<Family>>, String> {
    if names.is_empty() {
        return Ok(None);
    }
    let mut only = BTreeSet::new();
    for name in names {
        let found = FAMILIES
            .into_iter()
            .find(|family| format!("{family:?}").eq_ignore_ascii_case(name));
        match found {
            Some(family) => only.insert(family),
            None => {
                let all: Vec<String> = FAMILIES
                    .iter()
                    .map(|family| format!("{family:?}"))
                    .collect();
                return Err(format!(
                    "there is no family '{name}'; there are {}",
                    all.join(", ")
                ));
            }
        };
    }
    Ok(Some(only))
}

fn one(seed: u64, only: Option<&BTreeSet<Family>>, cli: &Cli) -> ExitCode {
    let plan = Plan::new(seed, only);
    let outcome = history::run(&plan, cli.whole);
    if outcome.breaches.is_empty() && !cli.whole {
        say(&format!(
            "seed {seed}: every promise kept, digest {:016x}",
            outcome.digest
        ));
        return ExitCode::SUCCESS;
    }
    show(&plan, &outcome, cli.whole);
    match outcome.breaches.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Shows a failure: the promises that are broken, and what happened.
fn show(plan: &Plan, outcome: &Outcome, whole: bool) {
    let seed = plan.seed;
    for breach in &outcome.breaches {
        say(&format!("seed {seed}: BROKEN {breach}"));
    }
    let small = if whole { plan.clone() } else { minimize(plan) };
    let told = history::run(&small, true);
    say(&format!(
        "seed {seed}: {} operations, {} faults, {} API processes, {} workers, {:?}",
        small.ops.len(),
        small.faults.len(),
        small.apis,
        small.workers,
        small.noise
    ));
    for line in &told.trace {
        say(line);
    }
    for line in &told.reports {
        say(&format!("reported: {line}"));
    }
    for breach in &told.breaches {
        say(&format!("BROKEN {breach}"));
    }
    say(&format!("repeat it: scripts/simulate --seed {seed}"));
}

fn many(only: Option<&BTreeSet<Family>>, cli: &Cli) -> ExitCode {
    let began = Instant::now();
    let limit = Duration::from_secs(cli.seconds);
    let first = cli.from.unwrap_or_else(rand::random::<u32>().into_seed());
    let known = match known(cli) {
        Ok(known) => known,
        Err(error) => {
            say(&error);
            return ExitCode::from(2);
        }
    };
    let (mut ran, mut failed) = (0_u64, 0_u64);
    for seed in known.into_iter().chain(first..) {
        let enough = cli.histories.is_some_and(|most| ran >= most);
        if enough || (cli.histories.is_none() && began.elapsed() >= limit) {
            break;
        }
        let plan = Plan::new(seed, only);
        let outcome = history::run(&plan, false);
        ran += 1;
        if cli.twice && history::run(&plan, false).digest != outcome.digest {
            say(&format!("seed {seed}: two runs differ"));
            differ(&plan);
            return ExitCode::FAILURE;
        }
        if outcome.breaches.is_empty() {
            continue;
        }
        failed += 1;
        if cli.keep_going {
            say(&format!("seed {seed}: BROKEN {}", outcome.breaches[0]));
        } else {
            show(&plan, &outcome, cli.whole);
            break;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let rate = f64::from(u32::try_from(ran).unwrap_or(u32::MAX)) / seconds * 60.0;
    say(&format!(
        "{ran} histories from seed {first} in {seconds:.1} s ({rate:.0} a minute), {failed} failed"
    ));
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Shows where two runs of one plan part.
fn differ(plan: &Plan) {
    let first = history::run(plan, true).trace;
    for _ in 0..20 {
        let second = history::run(plan, true).trace;
        let parts = first
            .iter()
            .zip(&second)
            .position(|(one, other)| one != other);
        if let Some(at) = parts {
            for line in &first[at.saturating_sub(5)..(at + 2).min(first.len())] {
                say(&format!("one:   {line}"));
            }
            for line in &second[at..(at + 2).min(second.len())] {
                say(&format!("other: {line}"));
            }
            return;
        }
    }
}

fn known(cli: &Cli) -> Result<Vec<u64>, String> {
    let Some(path) = &cli.seeds else {
        return Ok(Vec::new());
    };
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let word = line.split_whitespace().next().unwrap_or_default();
            word.parse()
                .map_err(|_| format!("{}: '{line}' is no seed", path.display()))
        })
        .collect()
}

trait IntoSeed {
    fn into_seed(self) -> impl FnOnce() -> u64;
}

impl IntoSeed for u32 {
    fn into_seed(self) -> impl FnOnce() -> u64 {
        move || u64::from(self)
    }
}

/// One line for whoever watches.
fn say(line: &str) {
    // A reader that went away is no reason to stop.
    let _ = writeln!(std::io::stdout(), "{line}");
}
