//! The dashboard from outside: pages as pictures, keys as a user presses them, and a real terminal.

mod draw;
mod press;
mod robot;
mod sample;
mod sizes;
#[cfg(unix)]
mod terminal;
