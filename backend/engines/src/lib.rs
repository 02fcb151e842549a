//! The five ports on MySQL, Kafka, Redis and Elasticsearch.

pub mod config;
pub mod error;
mod examine;
pub mod open;

mod counters;
mod lanes;
mod log;
mod search;
mod signals;
mod store;
