//! The live view beside a run.

use std::io::{IsTerminal, stderr, stdin};
use std::pin::pin;

use chat_tui::load::Live;
use chat_tui::load::show::{End, show};
use chat_tui::run::End as Cause;
use chat_tui::theme::Theme;
use tokio::sync::{mpsc, watch};

use crate::exit::Exit;
use crate::note;
use crate::output::Color;
use crate::session::Session;

/// What became of a run that was shown.
pub(super) enum Shown<T> {
    /// It came to its end.
    Done(T),
    /// Somebody did not want to wait for that.
    Left(Exit),
}

/// Whether there is a terminal to show a run on. Standard output may go elsewhere: it is for the report.
pub(super) fn wanted(session: &Session) -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    stdin().is_terminal() && stderr().is_terminal() && !dumb && !session.settings.quiet
}

/// The colours for it.
pub(super) fn theme(session: &Session) -> Theme {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match session.settings.color {
        Color::Never => Theme::Mono,
        Color::Auto if unwanted => Theme::Mono,
        Color::Auto | Color::Always => Theme::Dark,
    }
}

/// Shows the work while it is done. The first key or signal that wants the end is told to `end`, which
/// leaves the rest to the work; the second one leaves it. The view watches for signals itself, because it
/// has a terminal to give back first; remarks wait until it is given back.
pub(super) async fn beside<T>(
    work: impl Future<Output = T>,
    live: watch::Receiver<Live>,
    theme: Theme,
    end: impl Fn(Exit),
) -> Shown<T> {
    let kept = note::keep();
    let (asks, mut asked) = mpsc::channel(1);
    let mut work = pin!(work);
    let mut view = Box::pin(show(live, theme, asks));
    let broken = loop {
        tokio::select! {
            biased;
            // The view is dropped with what it holds, and so gives the terminal back.
            done = &mut work => return Shown::Done(done),
            ended = &mut view => match ended {
                Ok(End::Finished) => break None,
                Ok(End::AtOnce(cause)) => return Shown::Left(exit(cause)),
                Err(error) => break Some(error),
            },
            Some(cause) = asked.recv() => end(exit(cause)),
        }
    };
    // A view that cannot be shown is no reason to lose what was measured.
    drop(view);
    drop(kept);
    if let Some(error) = broken {
        note::line(&format!(
            "the terminal fails, so the run goes on unseen: {error}"
        ));
    }
    Shown::Done(work.await)
}

const fn exit(cause: Cause) -> Exit {
    match cause {
        Cause::Quit | Cause::Interrupted => Exit::Interrupted,
        Cause::Terminated => Exit::Terminated,
        Cause::HungUp => Exit::HungUp,
    }
}
