//! `chatd` as a library, so that tests run the real server in their own process.

#![cfg_attr(
    not(feature = "embedded"),
    expect(dead_code, reason = "the simulation runs the workers alone")
)]

#[cfg(feature = "embedded")]
pub mod boot;
pub mod config;
mod handles;
pub mod http;
#[cfg(feature = "embedded")]
mod listen;
#[cfg(feature = "embedded")]
mod open;
pub mod pressure;
pub mod priority;
pub mod sampler;
pub mod stats;
pub mod supervise;
pub mod telemetry;
pub mod traffic;
pub mod workers;
