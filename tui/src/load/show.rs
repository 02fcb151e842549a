//! The terminal while a load test runs: it shows what the runner tells, and passes on who wants it
//! to end.

use std::io;
use std::time::Duration;

use crossterm::event::{Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Live, Phase, draw};
use crate::run::{End as Cause, Signals};
use crate::terminal::{Guard, Screen};
use crate::theme::Theme;

/// Shortest time between two frames that no key asked for: eight a second.
const FRAME: Duration = Duration::from_millis(125);
/// Longest time between two frames.
const TICK: Duration = Duration::from_secs(1);
/// How often the reader of keys looks whether anybody still wants them.
const KEYS: Duration = Duration::from_millis(100);
/// Most keys that wait.
const KEYS_MAX: usize = 16;

/// Why the view ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The runner has nothing more to show.
    Finished,
    /// Somebody does not want to wait for the end: a second key or signal, or the terminal went away.
    AtOnce(Cause),
}

/// Shows the test until its sender is dropped. It draws on standard error, which must be a terminal,
/// and has given it back when it returns, also where a task panics.
///
/// The first q, Ctrl-C, SIGINT or SIGTERM is sent to `asked`, and the view goes on: the runner stops
/// sending, waits for what is on its way and reports, and all of that can be watched. The second one
/// ends the view with [`End::AtOnce`], and whoever called it should end too. SIGHUP does so at once,
/// for nobody is left to watch. A `q` tells [`Cause::Quit`], Ctrl-C [`Cause::Interrupted`], as the
/// signal does.
///
/// # Errors
/// Those of the terminal.
pub async fn show(
    mut live: watch::Receiver<Live>,
    theme: Theme,
    asked: mpsc::Sender<Cause>,
) -> io::Result<End> {
    let mut signals = Signals::new()?;
    let guard = Guard::take()?;
    let mut terminal = Terminal::new(CrosstermBackend::new(Screen::default()))?;
    let mut keys = read_keys();
    let mut stopping = false;
    let (mut phase, mut since) = (Phase::default(), Instant::now());
    loop {
        let mut state = live.borrow_and_update().clone();
        if state.phase != phase {
            (phase, since) = (state.phase, Instant::now());
        }
        if !matches!(phase, Phase::WarmUp | Phase::Running) {
            state.elapsed = since.elapsed().as_secs_f64();
        }
        terminal.draw(|frame| draw(&state, stopping, frame.area(), frame.buffer_mut(), theme))?;
        let cause = tokio::select! {
            biased;
            cause = signals.next() => Some(cause),
            input = keys.recv() => match input {
                Some(input) => cause(&input?),
                None => return Err(io::Error::other("the keyboard cannot be read any more")),
            },
            goes_on = news(&mut live, Instant::now() + FRAME) => {
                if !goes_on {
                    drop(guard);
                    return Ok(End::Finished);
                }
                None
            }
            // The clock goes on where the runner has nothing new.
            () = tokio::time::sleep(TICK) => None,
        };
        let Some(cause) = cause else { continue };
        // A runner that does not listen any more has ended by itself.
        let told = !stopping && cause != Cause::HungUp && asked.try_send(cause).is_ok();
        if !told {
            drop(guard);
            return Ok(End::AtOnce(cause));
        }
        stopping = true;
    }
}

/// Waits for something new and for the next frame; `false` once nothing will come any more.
async fn news(live: &mut watch::Receiver<Live>, frame: Instant) -> bool {
    if live.changed().await.is_err() {
        return false;
    }
    tokio::time::sleep_until(frame).await;
    true
}

/// Who wants the end, if it is such a key.
fn cause(input: &Input) -> Option<Cause> {
    let Input::Key(KeyEvent {
        code,
        modifiers,
        kind: KeyEventKind::Press,
        ..
    }) = input
    else {
        return None;
    };
    let control = modifiers.contains(KeyModifiers::CONTROL);
    match code {
        KeyCode::Char('c') if control => Some(Cause::Interrupted),
        KeyCode::Char('q') if !control => Some(Cause::Quit),
        _ => None,
    }
}

/// A thread that reads keys, because reading blocks. It ends soon after nobody wants them any more,
/// so that what is typed later is left to whoever reads next.
fn read_keys() -> mpsc::Receiver<io::Result<Input>> {
    let (sender, receiver) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            let input = match crossterm::event::poll(KEYS) {
                Ok(false) => continue,
                Ok(true) => crossterm::event::read(),
                Err(error) => Err(error),
            };
            let failed = input.is_err();
            if sender.blocking_send(input).is_err() || failed {
                return;
            }
        }
    });
    receiver
}
