//! `chatctl` as its users see it: the real binary against a scripted server.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails right there"
)]

mod config;
mod dashboard;
mod dlq;
mod doctor;
mod exit_codes;
mod export;
mod fake;
mod help;
mod import;
mod interrupt;
mod load;
#[cfg(unix)]
mod load_screen;
mod operations;
#[cfg(unix)]
#[path = "../../../tui/tests/it/pty.rs"]
#[expect(dead_code, reason = "the dashboard's own tests measure with it")]
mod pty;
mod reconcile;
mod reports;
mod run;
// The same system that the dashboard's own tests look at.
#[path = "../../../tui/tests/it/sample/mod.rs"]
#[expect(dead_code, reason = "the dashboard's own tests wait with it")]
mod sample;
mod shapes;
mod tail;
