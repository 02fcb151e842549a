//! The black-box harness: promises of the backend, proved through HTTP alone.
//!
//! Every case prints its seed and its figures, and ends with a verdict; a broken promise is exit 1.

mod check;
mod exact;
mod kill;
mod ledger;
mod numbers;
mod process;
mod real;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

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
    #[arg(long, global = true, default_value = "target/release/chatd")]
    chatd: PathBuf,
    /// Where data, logs and the ledger go; a temporary directory if absent
    #[arg(long, global = true)]
    work: Option<PathBuf>,
    /// Repeats a run's choices
    #[arg(long, global = true)]
    seed: Option<u64>,
}

#[derive(Debug, Subcommand)]
enum Case {
    /// kill -9 at random moments of many creates; every acknowledged message is there exactly once
    Kill(kill::Plan),
    /// Many connections on one chat; no number twice, none left out
    Numbers(numbers::Plan),
    /// The real messages: numbers, bodies, counts and search, against the file
    Real(real::Plan),
}

/// Anything that ends a case before its verdict.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let seed = cli.common.seed.unwrap_or_else(rand::random);
    let mut verdict = check::Verdict::new(seed);
    let outcome = match work_dir(cli.common.work) {
        Err(error) => Err(error.into()),
        Ok((work, _guard)) => {
            let server = process::Plan {
                chatd: cli.common.chatd,
                work,
            };
            let done = match cli.case {
                Case::Kill(plan) => kill::run(&plan, server, seed, &mut verdict).await,
                Case::Numbers(plan) => numbers::run(&plan, server, &mut verdict).await,
                Case::Real(plan) => real::run(&plan, server, seed, &mut verdict).await,
            };
            drop(_guard);
            done
        }
    };
    match outcome {
        Ok(()) if verdict.kept() => {
            say(&format!("{verdict}"));
            ExitCode::SUCCESS
        }
        Ok(()) => {
            say(&format!("{verdict}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            say(&format!(
                "{verdict}\nthe case could not be finished: {error}"
            ));
            ExitCode::FAILURE
        }
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
