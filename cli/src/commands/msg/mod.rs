//! `chatctl msg`: messages.

mod list;
mod search;
mod tail;
mod write;

use clap::Subcommand;

use crate::error::Error;
use crate::exit::Exit;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(visible_alias = "send")]
    Create(write::CreateMsg),
    Get(list::Get),
    Ls(list::Ls),
    Edit(write::Edit),
    Delete(write::Delete),
    Search(search::Search),
    Tail(tail::Tail),
}

impl Command {
    pub(crate) async fn run(self, session: &mut Session) -> Result<Exit, Error> {
        match self {
            Self::Create(command) => command.run(session).await?,
            Self::Get(command) => command.run(session).await?,
            Self::Ls(command) => command.run(session).await?,
            Self::Edit(command) => command.run(session).await?,
            Self::Delete(command) => command.run(session).await?,
            Self::Search(command) => command.run(session).await?,
            Self::Tail(command) => return command.run(session).await,
        }
        Ok(Exit::Ok)
    }
}
