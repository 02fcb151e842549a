//! `chatctl app`: applications.

use chat_client::pages::walk;
use chat_wire::admin::limit::{NewRateLimit, RateLimit, Source};
use chat_wire::applications::{Application, NewApplication};
use chat_wire::ids::AppToken;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::commands::create::CreateArgs;
use crate::commands::limit::Limit;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Record;
use crate::output::table::{Cell, Column, left, right};
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Create(CreateApp),
    Get(Get),
    Rename(Rename),
    Ls(Ls),
    Limit(LimitOf),
}

/// Create an application and print its token
#[derive(Debug, Args)]
pub(crate) struct CreateApp {
    /// Name of the application, 1 to 255 characters
    name: Option<String>,
    #[command(flatten)]
    create: CreateArgs,
}

/// Show an application
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Token of the application [default: --app]
    token: Option<String>,
}

/// Rename an application
#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub(crate) struct Rename {
    /// Token of the application [default: --app]
    token: Option<String>,
    /// New name, 1 to 255 characters
    #[arg(required = true)]
    name: String,
}

/// List all applications, in order of token; this asks the admin listener
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Begin after this token
    #[arg(long, value_name = "TOKEN")]
    after: Option<AppToken>,
    /// Most applications to list, or all
    #[arg(long, value_name = "COUNT", default_value = "50")]
    limit: Limit,
}

/// Show how fast an application may create, or change it; this asks the admin listener
///
/// A limit counts the messages that one API process takes within a second; a change is heeded by all
/// of them within some seconds. An application without a limit of its own has that of the server,
/// CHATD_RATE_LIMIT.
#[derive(Debug, Args)]
#[command(after_help = "For example:
  chatctl app limit TOKEN
  chatctl app limit TOKEN --per-second 500
  chatctl app limit TOKEN --default")]
pub(crate) struct LimitOf {
    /// Token of the application [default: --app]
    token: Option<String>,
    /// Give it a limit of its own: messages a second
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    per_second: Option<u32>,
    /// Let it create as fast as it can
    #[arg(long, conflicts_with = "per_second")]
    unlimited: bool,
    /// Take its own limit back: the server's holds again
    #[arg(long, conflicts_with_all = ["per_second", "unlimited"])]
    default: bool,
}

/// What is printed of a limit: the API's answer, and whose it is.
#[derive(Debug, Serialize)]
struct Limited {
    token: AppToken,
    #[serde(flatten)]
    limit: RateLimit,
}

impl Record for Limited {
    const FIELDS: &'static [&'static str] = &["token", "rate_limit", "source"];
    const COLUMNS: &'static [Column] = &[left("TOKEN"), right("PER SECOND"), left("SOURCE")];

    fn cells(&self) -> Vec<Cell> {
        let source = match self.limit.source {
            Source::Default => "default",
            Source::Application => "application",
        };
        vec![
            Cell::show(self.token.reveal()),
            Cell::show(self.limit.rate_limit),
            Cell::show(source),
        ]
    }

    fn id(&self) -> String {
        self.limit.rate_limit.to_string()
    }
}

/// What a rename prints: the API answers without a body.
#[derive(Debug, Serialize)]
struct Renamed {
    token: AppToken,
    name: String,
}

impl Record for Renamed {
    const FIELDS: &'static [&'static str] = &["token", "name"];
    const COLUMNS: &'static [Column] = &[left("TOKEN"), left("NAME")];

    fn cells(&self) -> Vec<Cell> {
        vec![Cell::show(self.token.reveal()), Cell::text(&self.name)]
    }

    fn id(&self) -> String {
        self.token.reveal()
    }
}

impl Command {
    pub(crate) async fn run(self, session: &mut Session) -> Result<Exit, Error> {
        match self {
            Self::Create(command) => command.run(session).await,
            Self::Get(command) => command.run(session).await,
            Self::Rename(command) => command.run(session).await,
            Self::Ls(command) => command.run(session).await,
            Self::Limit(command) => command.run(session).await,
        }?;
        Ok(Exit::Ok)
    }
}

impl CreateApp {
    async fn run(self, session: &mut Session) -> Result<(), Error> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => session.ask("name of the application", "an argument")?,
        };
        let new = NewApplication { name };
        let created = session
            .client()?
            .create_application(&new, &self.create.options())
            .await?;
        self.create.report(session, &created);
        session.out.one(&created.value)
    }
}

impl Get {
    async fn run(self, session: &mut Session) -> Result<(), Error> {
        let token = session.app(self.token.as_deref())?;
        let application = session.client()?.application(token).await?;
        session.out.one(&application)
    }
}

impl Rename {
    async fn run(self, session: &mut Session) -> Result<(), Error> {
        let token = session.app(self.token.as_deref())?;
        let new = NewApplication { name: self.name };
        session.client()?.rename_application(token, &new).await?;
        session.out.one(&Renamed {
            token,
            name: new.name,
        })
    }
}

impl Ls {
    async fn run(self, session: &mut Session) -> Result<(), Error> {
        let admin = session.admin()?;
        let mut limit = self.limit;
        let page = limit.page();
        let mut more = false;
        let mut list = session.out.list::<Application>();
        walk(
            self.after,
            async |after| admin.applications(after, page).await,
            |page| {
                for application in &page.applications {
                    if !limit.take() {
                        more = true;
                        return Ok::<_, Error>(false);
                    }
                    list.push(application)?;
                }
                more = page.next_after.is_some();
                Ok(limit.left() > 0)
            },
        )
        .await?;
        list.finish()?;
        if more {
            session.remark("there are more: give --limit all");
        }
        Ok(())
    }
}

impl LimitOf {
    async fn run(self, session: &mut Session) -> Result<(), Error> {
        let token = session.app(self.token.as_deref())?;
        let admin = session.admin()?;
        let wanted = self.per_second.or_else(|| self.unlimited.then_some(0));
        let limit = match wanted {
            Some(rate_limit) => admin.set_limit(token, NewRateLimit { rate_limit }).await,
            None if self.default => admin.reset_limit(token).await,
            None => admin.limit(token).await,
        }?;
        session.out.one(&Limited { token, limit })?;
        if limit.rate_limit == 0 {
            session.remark("a limit of 0 is none");
        }
        Ok(())
    }
}
