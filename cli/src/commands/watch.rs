//! `--watch` and `--until`: looking again and again.

use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, timeout_at};

use crate::error::Error;
use crate::exit::Exit;
use crate::output::Document;
use crate::session::Session;
use crate::settings::duration;

/// Pause between two looks that only wait for a condition.
const UNTIL_EVERY: Duration = Duration::from_millis(500);

/// The flag of every command that can be watched.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Look again and again, every two seconds unless another time is given with --watch=TIME: on a
    /// terminal the table is drawn anew, elsewhere each change is printed
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true,
        default_missing_value = "2s", value_parser = duration)]
    pub(crate) watch: Option<Duration>,
}

/// A document that can be watched.
pub(crate) trait Watched: Document {
    /// What has to differ for it to count as changed: times and ages of the look do not.
    fn face(&self) -> String;
}

/// What a look shows about whether to go on.
pub(crate) enum Next {
    /// Look again.
    Again,
    /// What was waited for is there.
    Done,
}

impl WatchArgs {
    /// Looks until `judge` says that it is done or fails, or the deadline of `--until` passes. With
    /// `--watch` every change is shown, otherwise the last state.
    ///
    /// # Errors
    /// Those of `look` that another look cannot heal, those of `judge`, and the deadline's.
    pub(crate) async fn run<D: Watched>(
        &self,
        session: &mut Session,
        until: Option<&str>,
        mut look: impl AsyncFnMut() -> Result<D, Error>,
        mut judge: impl FnMut(&D) -> Result<Next, Error>,
    ) -> Result<Exit, Error> {
        let patience = session.settings.timeout;
        let deadline = until.map(|_| Instant::now() + patience);
        let every = self.watch.unwrap_or(UNTIL_EVERY);
        let mut shown = Shown::default();
        loop {
            let began = Instant::now();
            let looked = match deadline {
                None => Some(look().await),
                Some(deadline) => timeout_at(deadline, look()).await.ok(),
            };
            match looked {
                Some(Ok(document)) => {
                    let verdict = judge(&document);
                    let ends = !matches!(verdict, Ok(Next::Again));
                    if self.watch.is_some() {
                        shown.change(session, &document, every)?;
                    } else if ends {
                        session.out.document(&document)?;
                    }
                    if let Next::Done = verdict? {
                        return Ok(Exit::Ok);
                    }
                    shown.last = Some(document);
                }
                Some(Err(error)) if error.retryable => shown.trouble(session, &error),
                Some(Err(error)) => return Err(error),
                None => {}
            }
            let next = began + every;
            if let (Some(deadline), Some(until)) = (deadline, until)
                && next >= deadline
            {
                tokio::time::sleep_until(deadline).await;
                if let (None, Some(last)) = (self.watch, &shown.last) {
                    session.out.document(last)?;
                }
                return Err(late(until, patience));
            }
            tokio::time::sleep_until(next).await;
        }
    }
}

fn late(until: &str, patience: Duration) -> Error {
    let message = format!("not {until} within {:.1} s", patience.as_secs_f64());
    Error::new(Exit::Timeout, message)
        .with_hint("give it more time with --timeout, for example --timeout 5m")
}

/// What was shown so far.
struct Shown<D> {
    face: Option<String>,
    /// What is in the way of looking, told once.
    trouble: Option<String>,
    last: Option<D>,
}

impl<D> Default for Shown<D> {
    fn default() -> Self {
        Self {
            face: None,
            trouble: None,
            last: None,
        }
    }
}

impl<D: Watched> Shown<D> {
    fn change(
        &mut self,
        session: &mut Session,
        document: &D,
        every: Duration,
    ) -> Result<(), Error> {
        self.trouble = None;
        let face = document.face();
        let changed = self.face.as_ref() != Some(&face);
        if changed || session.out.redraws() {
            let now = chat_wire::time::Timestamp::now();
            let line = format!("every {:.1} s, last at {now}", every.as_secs_f64());
            session.out.frame(document, &line, self.face.is_none())?;
            self.face = Some(face);
        }
        Ok(())
    }

    fn trouble(&mut self, session: &Session, error: &Error) {
        if self.trouble.as_ref() != Some(&error.message) {
            session.remark(&format!("{}; looking again", error.message));
            self.trouble = Some(error.message.clone());
        }
    }
}
