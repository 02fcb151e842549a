//! `chatctl`: the chat backend from the command line.

mod args;
mod commands;
mod config_file;
mod error;
mod exit;
mod load;
mod note;
mod output;
mod session;
mod settings;
mod signals;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use tikv_jemallocator::Jemalloc;

use crate::args::Cli;
use crate::error::Error;
use crate::exit::Exit;
use crate::session::Session;
use crate::settings::Settings;

/// A load allocates for every request, on the processors that it shares with what it measures.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let matches = match Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return refuse(&error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let settings = match Settings::resolve(&matches) {
        Ok(settings) => settings,
        Err(error) => return fail(&error, wants_json()),
    };
    let json = settings.format.is_json();
    match commands::run(cli.command, Session::new(settings)) {
        Ok(exit) => exit.into(),
        Err(error) => fail(&error, json),
    }
}

/// Help and version are answers; anything else that clap stops at is wrong usage.
fn refuse(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && wants_json() {
        return fail(&Error::usage(error.render().to_string().trim()), true);
    }
    // Nobody is left to tell when this cannot be written.
    let _ = error.print();
    if error.use_stderr() {
        Exit::Usage.into()
    } else {
        Exit::Ok.into()
    }
}

fn fail(error: &Error, json: bool) -> ExitCode {
    if error.exit != Exit::Ok {
        note::error(error, json);
    }
    error.exit.into()
}

/// Whether errors shall be JSON, judged from raw arguments because they could not be parsed.
fn wants_json() -> bool {
    let is_json = |text: &str| matches!(text, "json" | "ndjson");
    let args: Vec<String> = std::env::args().collect();
    let flagged = args.iter().enumerate().find_map(|(at, arg)| {
        let joined = arg.strip_prefix("--output=");
        let joined = joined.or_else(|| arg.strip_prefix("-o").filter(|rest| !rest.is_empty()));
        let separate = matches!(arg.as_str(), "-o" | "--output").then(|| args.get(at + 1));
        joined.or_else(|| separate.flatten().map(String::as_str))
    });
    match flagged {
        Some(format) => is_json(format),
        None => std::env::var("CHATCTL_OUTPUT").is_ok_and(|format| is_json(&format)),
    }
}
