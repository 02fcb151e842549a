//! Waiting for a run to end, and telling how far it is.

use std::time::Duration;

use chat_client::admin::Admin;
use chat_wire::admin::reconcile::Run;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use crate::commands::reconcile::show::progress;
use crate::error::Error;
use crate::exit::Exit;
use crate::note;
use crate::session::Session;
use crate::signals;

/// First pause between two looks; it grows up to [`POLL_MAX`].
const POLL_MIN: Duration = Duration::from_millis(20);
/// Longest pause between two looks.
const POLL_MAX: Duration = Duration::from_millis(500);
/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How following ended.
pub(super) enum Followed {
    /// The run has ended.
    Ended(Box<Run>),
    /// A signal ended the waiting, and not the run.
    Left(Exit),
}

/// Looks at the run until it has ended.
///
/// # Errors
/// Those of every look; the run goes on without us.
pub(super) async fn follow(session: &Session, admin: &Admin, run: Run) -> Result<Followed, Error> {
    let mut asked = signals::ask_first();
    let progress = Progress::new(session.settings.quiet);
    tokio::select! {
        ended = until_ended(admin, run, &progress) => ended.map(|run| Followed::Ended(Box::new(run))),
        exit = asked.wait() => {
            drop(progress);
            session.remark(
                "the run goes on: `chatctl reconcile status` shows it, `chatctl reconcile cancel` ends it",
            );
            Ok(Followed::Left(exit))
        }
    }
}

async fn until_ended(admin: &Admin, mut run: Run, progress: &Progress) -> Result<Run, Error> {
    let mut pause = POLL_MIN;
    let mut told = Instant::now();
    while run.ended_at.is_none() {
        told = progress.tell(&run, told);
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(POLL_MAX);
        let runs = admin.runs().await?;
        let ours = [runs.current, runs.last].into_iter().flatten();
        run = ours
            .into_iter()
            .find(|one| one.id == run.id)
            .ok_or_else(|| lost(&run.id))?;
    }
    Ok(run)
}

fn lost(id: &str) -> Error {
    let message = format!("the server does not tell of run {id} any more: others came after it");
    Error::failure(message).with_hint("`chatctl drift` shows what is left to do")
}

struct Progress {
    bar: ProgressBar,
    quiet: bool,
}

impl Progress {
    fn new(quiet: bool) -> Self {
        let bar = if quiet {
            ProgressBar::hidden()
        } else {
            let style = ProgressStyle::with_template("{spinner} {msg}");
            let bar = ProgressBar::new_spinner();
            bar.set_style(style.expect("the template is a constant"));
            // Indicatif hides it where standard error is no terminal.
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar
        };
        Self { bar, quiet }
    }

    /// Tells, and returns when a line was last written.
    fn tell(&self, run: &Run, told: Instant) -> Instant {
        if !self.bar.is_hidden() {
            self.bar.set_message(progress(run));
            self.bar.tick();
        } else if !self.quiet && told.elapsed() >= LINE_EVERY {
            note::line(&format!("reconcile: {}", progress(run)));
            return Instant::now();
        }
        told
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
