//! Lag: how far a group is behind, judged over a window of time.
//!
//! What is judged comes from outside: ends and positions that are asked afresh at every look, never a
//! consumer's own opinion, because a worker that is dead or frozen has none. The rules are pure: a
//! [`watch::Watch`] is given looks, and tells what they mean.

pub mod look;
mod track;
pub mod valve;
pub mod watch;
mod words;

#[cfg(test)]
mod tests;
