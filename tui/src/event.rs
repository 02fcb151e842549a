//! What can happen to the dashboard, and what it asks for in turn.

use chat_wire::time::Timestamp;
use crossterm::event::KeyEvent;

use crate::api::{Act, Answer, Outcome, Request, Slot};
use crate::failure::Failure;
use crate::state::page::Page;

/// The two clocks, read once for each event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the dashboard began; never goes back.
    pub ms: u64,
    /// The system's clock, for the ages of what the server dates.
    pub wall: Timestamp,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A key was pressed.
    Key(KeyEvent),
    /// Text was pasted.
    Paste(String),
    /// The terminal has another size: columns and rows.
    Resize(u16, u16),
    /// The wheel was turned by so many rows; up is negative.
    Wheel(i32),
    /// Something on the screen was clicked.
    Click(Target),
    /// Time has passed.
    Tick,
    /// A source answered.
    Answered {
        /// Which one.
        slot: Slot,
        /// Which of its requests.
        seq: u64,
        /// What it said.
        result: Result<Answer, Failure>,
    },
    /// An act came to its end.
    Acted(Result<Outcome, Failure>),
    /// A snapshot was written to these files, or not.
    Saved(Result<String, String>),
}

/// What the mouse can hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A tab.
    Page(Page),
    /// A row of the table, from the first that is shown by the filter.
    Row(usize),
}

/// What `update` wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Ask the server, and end an older request of the same source.
    Fetch {
        /// For which source.
        slot: Slot,
        /// Comes back with the answer.
        seq: u64,
        /// What.
        request: Request,
    },
    /// Act on the server.
    Act(Act),
    /// Put this text into the clipboard of the terminal.
    Copy(String),
    /// Write a snapshot of the screen and its data.
    Save,
    /// Take the mouse, or let the terminal have it.
    Mouse(bool),
    /// Draw everything anew.
    Clear,
    /// End.
    Quit,
}
