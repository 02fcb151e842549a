//! Deterministic simulation: the real accept path, recovery, worker loop, apply, indexing, gap settling,
//! reconciliation and dead letters over five simulated ports, on one thread, with paused time.
//!
//! One seed decides everything: what clients ask for, how long each call takes, which fault strikes
//! when, and what the clocks say. A history that breaks a promise is repeated by its seed.

pub mod check;
pub mod clients;
pub mod counters;
pub mod history;
pub mod index;
pub mod ledger;
pub mod log;
pub mod minimize;
pub mod plan;
pub mod process;
pub mod reports;
pub mod rows;
pub mod store;
pub mod world;
