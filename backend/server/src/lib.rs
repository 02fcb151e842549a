//! `chatd` as a library, so that tests run the real server in their own process.

pub mod boot;
pub mod config;
pub mod http;
pub mod telemetry;
pub mod workers;
