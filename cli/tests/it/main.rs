//! `chatctl` as its users see it: the real binary against a scripted server.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails right there"
)]

mod config;
mod dlq;
mod doctor;
mod exit_codes;
mod export;
mod fake;
mod help;
mod import;
mod interrupt;
mod operations;
mod reconcile;
mod run;
mod shapes;
mod tail;
