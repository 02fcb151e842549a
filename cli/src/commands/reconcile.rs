//! `chatctl reconcile`: what has drifted is found, shown, and mended.

mod follow;
mod show;

use chat_client::admin::Admin;
use chat_wire::admin::reconcile::{Order, Phase, Run, Runs};
use clap::{Args, Subcommand};

use self::follow::{Followed, follow};
use crate::commands::confirm::Asks;
use crate::commands::watch::{Next, WatchArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::output::text::{counted, grouped};
use crate::session::Session;

/// Find what has drifted, and with --execute mend it
///
/// Counters are raised and never lowered, counts are set from the rows, numbers that will never
/// get a row become void, missing documents are indexed and wrong ones removed. Every step may be
/// done twice and under live traffic. Without --execute the steps are only shown. One run is at
/// work at a time, whoever asks; it goes on in the server when this command ends.
///
/// Before it acts, the steps are shown and a yes is asked for; where nobody can be asked (no
/// terminal, -o json or ndjson, --no-input), --yes has to be given. The exit code is 8 where a
/// step failed, and 6 where another run is at work.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Reconcile {
    #[command(flatten)]
    begin: Begin,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct Begin {
    /// Compare everything, and not only what changed since the last run
    #[arg(long)]
    full: bool,
    /// Act
    #[arg(long)]
    execute: bool,
    /// Act without asking
    #[arg(short, long, requires = "execute")]
    yes: bool,
    /// Return once the run has begun; `chatctl reconcile status` shows how far it is
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Status(Status),
    /// Ask the run at work to end after its step
    Cancel,
}

/// Show the run at work, and the last one that ended
#[derive(Debug, Args)]
struct Status {
    #[command(flatten)]
    watch: WatchArgs,
}

impl Reconcile {
    pub(crate) async fn run(self, session: &mut Session) -> Result<Exit, Error> {
        let admin = session.admin()?;
        match self.command {
            None => self.begin.run(session, &admin).await,
            Some(Command::Status(command)) => command.run(session, &admin).await,
            Some(Command::Cancel) => {
                let runs = admin.cancel_reconcile().await?;
                if runs.current.is_none() {
                    session.remark("no run is at work");
                }
                session.out.document(&runs)?;
                Ok(Exit::Ok)
            }
        }
    }
}

impl Status {
    async fn run(&self, session: &mut Session, admin: &Admin) -> Result<Exit, Error> {
        let look = async || Ok(admin.runs().await?);
        if self.watch.watch.is_none() {
            session.out.document(&look().await?)?;
            return Ok(Exit::Ok);
        }
        let judge = |_: &Runs| Ok(Next::Again);
        self.watch.run(session, None, look, judge).await
    }
}

impl Begin {
    async fn run(&self, session: &mut Session, admin: &Admin) -> Result<Exit, Error> {
        let scope = session.scope()?;
        let plan = Order {
            token: scope.token,
            chat: scope.chat,
            full: self.full,
            execute: false,
        };
        if !self.execute {
            return self.once(session, admin, &plan).await;
        }
        session.leave_is_possible(self.yes)?;
        if !self.yes {
            let planned = match follow(session, admin, admin.reconcile(&plan).await?).await? {
                Followed::Ended(run) => run,
                Followed::Left(exit) => return Ok(exit),
            };
            session.out.document(planned.as_ref())?;
            ended_well(&planned)?;
            if planned.planned == 0 {
                return Ok(Exit::Ok);
            }
            let what = format!("Do {}", counted(planned.planned, "step"));
            session.leave(&what, &Asks::Yes)?;
        }
        let order = Order {
            execute: true,
            ..plan
        };
        self.once(session, admin, &order).await
    }

    async fn once(
        &self,
        session: &mut Session,
        admin: &Admin,
        order: &Order,
    ) -> Result<Exit, Error> {
        let run = admin.reconcile(order).await?;
        if self.no_wait {
            session.out.document(&run)?;
            session.remark("the run has begun: `chatctl reconcile status` shows how far it is");
            return Ok(Exit::Ok);
        }
        let run = match follow(session, admin, run).await? {
            Followed::Ended(run) => run,
            Followed::Left(exit) => return Ok(exit),
        };
        session.out.document(run.as_ref())?;
        ended_well(&run)?;
        if !run.order.execute && run.planned > 0 {
            session.remark("nothing was done: give --execute to do it");
        }
        if run.waits > 0 {
            let waits = counted(run.waits, "step");
            session.remark(&format!(
                "waiting for what is still on its way: {waits}; the next run looks again"
            ));
        }
        Ok(Exit::Ok)
    }
}

/// Whether everything was done that the run was asked for.
fn ended_well(run: &Run) -> Result<(), Error> {
    let exit = if run.done > 0 {
        Exit::Partial
    } else {
        Exit::Failure
    };
    let detail = match &run.detail {
        Some(detail) => format!(": {detail}"),
        None => String::new(),
    };
    let done = counted(run.done, "step");
    match run.phase {
        Phase::Failed => {
            let message = format!("the run ended in the middle after {done}{detail}");
            Err(Error::new(exit, message).with_hint("run it again: it goes on from there"))
        }
        Phase::Cancelled => {
            let message = format!("the run was cancelled after {done}{detail}");
            Err(Error::new(exit, message).with_hint("run it again: it goes on from there"))
        }
        Phase::Finished if run.failed > 0 => {
            let (failed, planned) = (grouped(run.failed), counted(run.planned, "step"));
            let message = format!("{failed} of {planned} failed{detail}");
            Err(Error::new(Exit::Partial, message)
                .with_hint("run it again; `chatctl doctor` looks for the cause"))
        }
        Phase::Finished | Phase::Comparing | Phase::Acting => Ok(()),
    }
}
