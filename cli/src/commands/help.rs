//! `chatctl help`: a command, or a topic.

use clap::{Args, CommandFactory};

use crate::args::Cli;
use crate::error::Error;
use crate::exit::Exit;
use crate::session::Session;

/// Explain a command, or the exit codes
#[derive(Debug, Args)]
pub(crate) struct Help {
    /// A command like `msg search`, or `exit-codes`
    #[arg(value_name = "COMMAND")]
    topic: Vec<String>,
}

impl Help {
    pub(crate) fn run(self, session: &mut Session) -> Result<Exit, Error> {
        let text = if self.topic == ["exit-codes"] {
            exit_codes()
        } else {
            self.command()?
        };
        session.out.raw(text.as_bytes())?;
        Ok(Exit::Ok)
    }

    fn command(&self) -> Result<String, Error> {
        let mut command = Cli::command();
        // Only a built command shows the common options below its subcommands.
        command.build();
        let mut found = &mut command;
        for name in &self.topic {
            found = found.find_subcommand_mut(name).ok_or_else(|| {
                Error::usage(format!("there is no command {:?}", self.topic.join(" ")))
                    .with_hint("`chatctl help` lists the commands")
            })?;
        }
        Ok(found.render_long_help().to_string())
    }
}

fn exit_codes() -> String {
    let mut text = String::from("CODE  NAME         MEANING\n");
    for exit in Exit::ALL {
        let (code, name, meaning) = (exit.code(), exit.name(), exit.meaning());
        text.push_str(&format!("{code:>4}  {name:<11}  {meaning}\n"));
    }
    text.push_str(
        "\nWith -o json or ndjson every line on standard error is a JSON object: {\"note\": ...} for a\n\
         remark, and at the end code (the API's own, or the name above), message, hint and\n\
         retryable for an error.\n",
    );
    text
}
