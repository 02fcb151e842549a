//! `chatctl completions` and `chatctl man`: generated from the command line itself.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::error::Error;
use crate::exit::Exit;
use crate::session::Session;

/// Print the completion script of a shell
#[derive(Debug, Args)]
#[command(
    after_help = "For example: chatctl completions bash > ~/.local/share/bash-completion/completions/chatctl"
)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

/// Print the manual page, or write one for every command
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Directory to write the pages of all commands to
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Completions {
    pub(crate) fn run(self, session: &mut Session) -> Result<Exit, Error> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "chatctl", &mut script);
        session.out.raw(&script)?;
        Ok(Exit::Ok)
    }
}

impl Man {
    pub(crate) fn run(self, session: &mut Session) -> Result<Exit, Error> {
        let mut command = Cli::command();
        command.build();
        match &self.out {
            None => session.out.raw(&page(&command)?)?,
            Some(directory) => {
                std::fs::create_dir_all(directory)
                    .map_err(|error| Error::file(&directory.display().to_string(), &error))?;
                clap_mangen::generate_to(command, directory)
                    .map_err(|error| Error::file(&directory.display().to_string(), &error))?;
            }
        }
        Ok(Exit::Ok)
    }
}

fn page(command: &clap::Command) -> Result<Vec<u8>, Error> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    Ok(page)
}
