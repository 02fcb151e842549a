//! The terminal, taken once and given back once, whatever happens in between.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use crossterm::cursor::{Hide, Show};
use crossterm::event::{
    DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
};
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

/// Whether the terminal is ours. Whoever writes to it holds this, so that nothing is drawn after
/// it was given back, from whichever thread.
static OURS: Mutex<bool> = Mutex::new(false);
/// The panic hook is set once in a process.
static HOOK: Once = Once::new();

fn ours() -> MutexGuard<'static, bool> {
    // A panic elsewhere is the very moment when the terminal has to be given back.
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives the terminal back when it is dropped.
pub(crate) struct Guard;

impl Guard {
    /// Takes the terminal. A panic in any thread gives it back before its message is printed.
    pub(crate) fn take() -> io::Result<Self> {
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                before(panic);
            }));
        });
        enable_raw_mode()?;
        let mut taken = ours();
        *taken = true;
        drop(taken);
        // From here on the guard undoes it, even where only half of it worked.
        let guard = Self;
        execute!(
            io::stderr(),
            EnterAlternateScreen,
            Hide,
            EnableBracketedPaste
        )?;
        Ok(guard)
    }

    /// Takes the mouse, or leaves it to the terminal.
    pub(crate) fn mouse(on: bool) -> io::Result<()> {
        let held = ours();
        if !*held {
            return Ok(());
        }
        if on {
            execute!(io::stderr(), EnableMouseCapture)
        } else {
            execute!(io::stderr(), DisableMouseCapture)
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back, once. Errors have nobody left to be told to.
fn give_back() {
    let mut held = ours();
    if !std::mem::take(&mut *held) {
        return;
    }
    let _ = execute!(
        io::stderr(),
        DisableMouseCapture,
        DisableBracketedPaste,
        LeaveAlternateScreen,
        Show
    );
    let _ = disable_raw_mode();
}

/// Writes to the terminal as long as it is ours. What is drawn is collected, and written in one
/// piece, so that no half of a frame is ever seen.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    collected: Vec<u8>,
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.collected.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let held = ours();
        if *held {
            let mut stderr = io::stderr().lock();
            stderr.write_all(&self.collected)?;
            stderr.flush()?;
        }
        self.collected.clear();
        Ok(())
    }
}
