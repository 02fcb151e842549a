//! The commands: a file for each noun.

pub(crate) mod app;
pub(crate) mod chat;
pub(crate) mod config;
mod confirm;
mod create;
pub(crate) mod dashboard;
pub(crate) mod dlq;
pub(crate) mod doctor;
pub(crate) mod drift;
pub(crate) mod export;
pub(crate) mod generate;
pub(crate) mod help;
pub(crate) mod import;
pub(crate) mod lag;
mod limit;
pub(crate) mod load;
pub(crate) mod msg;
pub(crate) mod reconcile;
pub(crate) mod stats;
mod watch;

use crate::args::Command;
use crate::error::Error;
use crate::exit::Exit;
use crate::session::Session;
use crate::signals;

/// Runs one command to its end.
pub(crate) fn run(command: Command, mut session: Session) -> Result<Exit, Error> {
    match command {
        Command::Config(command) => command.run(&mut session),
        Command::Completions(command) => command.run(&mut session),
        Command::Man(command) => command.run(&mut session),
        Command::Help(command) => command.run(&mut session),
        Command::App(command) => on_one_thread(command.run(&mut session)),
        Command::Chat(command) => on_one_thread(command.run(&mut session)),
        Command::Msg(command) => on_one_thread(command.run(&mut session)),
        Command::Export(command) => on_one_thread(command.run(&mut session)),
        Command::Import(command) => command.run(&mut session),
        Command::Lag(command) => on_one_thread(command.run(&mut session)),
        Command::Drift(command) => on_one_thread(command.run(&mut session)),
        Command::Reconcile(command) => on_one_thread(command.run(&mut session)),
        Command::Dlq(command) => on_one_thread(command.run(&mut session)),
        Command::Stats(command) => on_one_thread(command.run(&mut session)),
        Command::Doctor(command) => on_one_thread(command.run(&mut session)),
        // It needs every processor, and stops by itself.
        Command::Load(command) => command.run(&mut session),
        // It has a terminal to give back, and watches for signals itself.
        Command::Dashboard(command) => command.run(&mut session),
    }
}

/// Most commands wait for one answer at a time, and a second thread would only cost start-up time.
fn on_one_thread<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    signals::watch();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::failure(format!("cannot start: {error}")))?;
    let result = runtime.block_on(work);
    // A thread may still be waiting for standard input; the process does not wait for it.
    runtime.shutdown_background();
    result
}
