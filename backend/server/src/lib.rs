//! `chatd` as a library, so that tests run the real server in their own process.

pub mod boot;
pub mod config;
mod handles;
pub mod http;
mod open;
pub mod pressure;
pub mod priority;
pub mod sampler;
pub mod stats;
pub mod telemetry;
pub mod traffic;
pub mod workers;
