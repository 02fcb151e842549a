//! `chatctl load`: how much does it carry, at what latency, and was anything lost?

mod compare;
mod print;
mod run;
mod schema;
mod screen;
mod show;

use clap::Subcommand;

use crate::error::Error;
use crate::exit::Exit;
use crate::session::Session;

/// Generate load, verify what became of it, and compare runs
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Box<run::Run>),
    Show(show::Show),
    Compare(compare::Compare),
    Schema(schema::Schema),
}

impl Command {
    pub(crate) fn run(self, session: &mut Session) -> Result<Exit, Error> {
        match self {
            Self::Run(command) => command.run(session),
            Self::Show(command) => command.run(session),
            Self::Compare(command) => command.run(session),
            Self::Schema(command) => command.run(session),
        }
    }
}
