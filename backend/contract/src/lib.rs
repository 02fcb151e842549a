//! The promises of the five ports, as tests that an adapter runs.
//!
//! One file a port, one function a promise. An adapter crate implements [`fixture::Fixture`] and
//! calls [`contract_tests!`], which makes a test of each promise, so that one that is broken is
//! named. The promises are those that the rules in `chat-core` rely on, neither more nor less: what
//! an engine may do differently (how many partitions there are, who of two consumers gets one) is
//! left open here.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "every function here is a test, and a panic is how it fails"
)]

pub mod apply;
pub mod consumer;
pub mod counters;
pub mod fixture;
pub mod keys;
pub mod life;
pub mod list;
pub mod log;
pub mod operate;
pub mod pages;
pub mod repair;
pub mod rows;
pub mod sample;
pub mod search;
pub mod signals;
pub mod store;
