//! `chatctl dlq`: dead letters, and what becomes of them.

mod decide;

use chat_client::admin::LetterQuery;
use chat_client::pages::walk;
use chat_wire::admin::dlq::{Letter, State};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use self::decide::{Discard, Replay};
use crate::commands::limit::Limit;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::text::grouped;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Ls(Ls),
    Show(Show),
    Replay(Replay),
    Discard(Discard),
}

/// List dead letters, oldest first within each topic
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Only those of this topic, for example messages.dlq
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Only those in this state
    #[arg(long, value_name = "STATE", default_value = "waiting",
        value_parser = PossibleValuesParser::new(["waiting", "replayed", "discarded", "all"]))]
    state: String,
    /// Begin after this one
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// Most letters to list, or all
    #[arg(long, value_name = "COUNT", default_value = "50")]
    limit: Limit,
}

/// Show a dead letter with its original bytes, as text and in base64
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// As `chatctl dlq ls` shows it
    id: String,
}

impl Command {
    pub(crate) async fn run(self, session: &mut Session) -> Result<Exit, Error> {
        match self {
            Self::Ls(command) => command.run(session).await,
            Self::Show(command) => {
                let letter = session.admin()?.letter(path_segment(&command.id)?).await?;
                session.out.one(&letter)?;
                Ok(Exit::Ok)
            }
            Self::Replay(command) => command.run(session).await,
            Self::Discard(command) => command.run(session).await,
        }
    }
}

/// An id has nothing in it that would lead to another path.
fn path_segment(id: &str) -> Result<&str, Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !id.is_empty() && id.chars().all(plain) && !id.starts_with('.') {
        return Ok(id);
    }
    let error = Error::new(
        Exit::NotFound,
        format!("{id:?} is the id of no dead letter"),
    );
    Err(error
        .with_code("unknown_letter")
        .with_hint("`chatctl dlq ls --state all` lists the dead letters"))
}

fn state(name: &str) -> Option<State> {
    [State::Waiting, State::Replayed, State::Discarded]
        .into_iter()
        .find(|state| state.as_str() == name)
}

impl Ls {
    async fn run(self, session: &mut Session) -> Result<Exit, Error> {
        let admin = session.admin()?;
        let mut limit = self.limit;
        let query = LetterQuery {
            topic: self.topic,
            // The name that is no state is `all`.
            state: state(&self.state),
            after: None,
            limit: limit.page(),
        };
        let (mut waiting, mut last, mut more) = (0, None, false);
        let mut list = session.out.list::<Letter>();
        walk(
            self.after,
            async |after| {
                let query = LetterQuery {
                    after,
                    ..query.clone()
                };
                admin.letters(&query).await
            },
            |page| {
                waiting = page.waiting;
                for letter in &page.letters {
                    if !limit.take() {
                        more = true;
                        return Ok::<_, Error>(false);
                    }
                    last = Some(letter.id.clone());
                    list.push(letter)?;
                }
                more = page.next_after.is_some();
                Ok(limit.left() > 0)
            },
        )
        .await?;
        list.finish()?;
        session.remark(&match waiting {
            0 => "no dead letter waits".to_owned(),
            1 => "1 dead letter waits".to_owned(),
            _ => format!("{} dead letters wait", grouped(waiting)),
        });
        if let (true, Some(last)) = (more, last) {
            session.remark(&format!("there are more: go on with --after {last}"));
        }
        Ok(Exit::Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_leads_elsewhere() {
        for id in ["messages.dlq-0-17", "prefix_a.dlq-3-0"] {
            assert_eq!(path_segment(id).unwrap(), id);
        }
        for id in ["", "..", "a/b", "a?b", "ä", "a b", "a%2fb"] {
            assert_eq!(path_segment(id).unwrap_err().exit, Exit::NotFound, "{id}");
        }
    }
}
