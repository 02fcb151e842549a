//! `chatctl chat`: chats.

use chat_client::pages::walk;
use chat_wire::chats::Chat;
use chat_wire::ids::ChatNumber;
use clap::{Args, Subcommand};

use crate::commands::create::CreateArgs;
use crate::commands::limit::Limit;
use crate::error::Error;
use crate::exit::Exit;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Create(CreateChat),
    Get(Get),
    Ls(Ls),
}

/// Create a chat and print its number
#[derive(Debug, Args)]
pub(crate) struct CreateChat {
    #[command(flatten)]
    create: CreateArgs,
}

/// Show a chat
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Number of the chat [default: --chat]
    number: Option<ChatNumber>,
}

/// List the chats of an application, in order of number
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Begin after this number
    #[arg(long, value_name = "NUMBER")]
    after: Option<ChatNumber>,
    /// Most chats to list, or all
    #[arg(long, value_name = "COUNT", default_value = "50")]
    limit: Limit,
}

impl Command {
    pub(crate) async fn run(self, session: &mut Session) -> Result<Exit, Error> {
        match self {
            Self::Create(command) => command.run(session).await,
            Self::Get(command) => command.run(session).await,
            Self::Ls(command) => command.run(session).await,
        }?;
        Ok(Exit::Ok)
    }
}

impl CreateChat {
    async fn run(self, session: &mut Session) -> Result<(), Error> {
        let token = session.app(None)?;
        let created = session
            .client()?
            .create_chat(token, &self.create.options())
            .await?;
        self.create.report(session, &created);
        session.out.one(&created.value)
    }
}

impl Get {
    async fn run(self, session: &mut Session) -> Result<(), Error> {
        let token = session.app(None)?;
        let number = session.chat(self.number)?;
        let chat = session.client()?.chat(token, number).await?;
        session.out.one(&chat)
    }
}

impl Ls {
    async fn run(self, session: &mut Session) -> Result<(), Error> {
        let token = session.app(None)?;
        let client = session.client()?;
        let mut limit = self.limit;
        let page = limit.page();
        let mut last = None;
        let mut more = false;
        let mut list = session.out.list::<Chat>();
        walk(
            self.after,
            async |after| client.chats(token, after, page).await,
            |page| {
                for chat in &page.chats {
                    if !limit.take() {
                        more = true;
                        return Ok::<_, Error>(false);
                    }
                    last = Some(chat.chat_number);
                    list.push(chat)?;
                }
                more = page.next_after.is_some();
                Ok(limit.left() > 0)
            },
        )
        .await?;
        list.finish()?;
        if let (true, Some(last)) = (more, last) {
            session.remark(&format!("there are more: go on with --after {last}"));
        }
        Ok(())
    }
}
