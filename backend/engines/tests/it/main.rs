//! The engine adapters as a whole, on real engines: `scripts/engines up`, then
//! `source <(scripts/engines env)`. Without the four URLs nothing is tested, and that is said; where
//! `CI` is set it is a failure.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod contract;
mod counters;
mod errors;
mod examine;
mod failover;
mod gone;
mod group;
mod index;
mod mariadb;
mod model;
mod namespace;
mod ports;
mod reconcile;
mod redis_server;
