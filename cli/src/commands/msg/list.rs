//! `msg get` and `ls`.

use chat_client::messages::Span;
use chat_client::pages::walk;
use chat_wire::ids::MessageNumber;
use chat_wire::messages::Message;
use clap::Args;

use crate::commands::limit::{Limit, PAGE_ITEMS_MAX};
use crate::error::Error;
use crate::session::Session;

/// Show a message
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Number of the message
    number: MessageNumber,
}

/// List the messages of a chat, in order of number
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Begin after this number
    #[arg(long, value_name = "NUMBER", group = "span")]
    after: Option<MessageNumber>,
    /// Show the messages just below this number
    #[arg(long, value_name = "NUMBER", group = "span")]
    before: Option<MessageNumber>,
    /// Show the messages on both sides of this number
    #[arg(long, value_name = "NUMBER", group = "span")]
    around: Option<MessageNumber>,
    /// Most messages to list, or all
    #[arg(long, value_name = "COUNT", default_value = "50")]
    limit: Limit,
}

impl Get {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Error> {
        let (token, chat) = (session.app(None)?, session.chat(None)?);
        let message = session.client()?.message(token, chat, self.number).await?;
        session.out.one(&message)
    }
}

impl Ls {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Error> {
        match (self.before, self.around) {
            (Some(number), _) => self.one_page(session, Span::Before(number)).await,
            (_, Some(number)) => self.one_page(session, Span::Around(number)).await,
            (None, None) => self.onward(session).await,
        }
    }

    async fn one_page(self, session: &mut Session, span: Span) -> Result<(), Error> {
        if self.limit.left() > u64::from(PAGE_ITEMS_MAX) {
            return Err(Error::usage(format!(
                "--before and --around show at most {PAGE_ITEMS_MAX} messages"
            ))
            .with_hint("use --after to list more"));
        }
        let (token, chat) = (session.app(None)?, session.chat(None)?);
        let client = session.client()?;
        let page = client
            .messages(token, chat, span, self.limit.page())
            .await?;
        let mut list = session.out.list::<Message>();
        for message in &page.messages {
            list.push(message)?;
        }
        list.finish()
    }

    async fn onward(self, session: &mut Session) -> Result<(), Error> {
        let (token, chat) = (session.app(None)?, session.chat(None)?);
        let client = session.client()?;
        let mut limit = self.limit;
        let page = limit.page();
        let mut last = None;
        let mut more = false;
        let mut list = session.out.list::<Message>();
        walk(
            self.after,
            async |after| {
                let span = after.map_or(Span::Start, Span::After);
                client.messages(token, chat, span, page).await
            },
            |page| {
                for message in &page.messages {
                    if !limit.take() {
                        more = true;
                        return Ok::<_, Error>(false);
                    }
                    last = Some(message.message_number);
                    list.push(message)?;
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
