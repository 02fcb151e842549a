//! The dashboard from outside: pages as pictures, keys as a user presses them, and a real terminal.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails right there"
)]
#![expect(clippy::print_stdout, reason = "what was measured is told")]

mod acts;
mod draw;
mod load;
mod press;
#[cfg(unix)]
mod pty;
mod robot;
mod sample;
mod sizes;
#[cfg(unix)]
mod terminal;
