//! `chatctl load`: load tests, and their reports.

mod compare;
mod schema;
mod show;

use clap::Subcommand;

use self::compare::Compare;
use self::schema::Schema;
use self::show::Show;
use crate::error::Error;
use crate::exit::Exit;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Show(Show),
    Compare(Compare),
    Schema(Schema),
}

impl Command {
    pub(crate) fn run(self, session: &mut Session) -> Result<Exit, Error> {
        match self {
            Self::Show(command) => command.run(session),
            Self::Compare(command) => command.run(session),
            Self::Schema(command) => command.run(session),
        }
    }
}
