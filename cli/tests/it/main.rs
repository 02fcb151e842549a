//! `chatctl` as its users see it: the real binary against a scripted server.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails right there"
)]

mod config;
mod exit_codes;
mod export;
mod fake;
mod help;
mod import;
mod interrupt;
mod run;
mod shapes;
mod tail;
