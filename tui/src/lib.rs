//! The terminal dashboard: what the admin listener knows on one screen, and its acts at a key press.
//!
//! Three parts that never mix. [`state`] is what is known and [`update`] the one pure function that
//! changes it; [`view`] draws it and changes nothing; [`run`] owns the terminal, the clock and the
//! network, and does what `update` asks for. Nothing on the screen ever waits for the network: each
//! source of data is asked by a task of its own, and has its own age and its own error.

pub mod api;
pub mod event;
pub mod failure;
pub mod format;
pub mod keys;
pub mod load;
pub mod once;
pub mod run;
pub mod snapshot;
pub mod state;
mod terminal;
pub mod theme;
pub mod update;
pub mod view;
