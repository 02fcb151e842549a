//! The real server in this process, asked as a client would ask it. Every raw answer is also held
//! against the OpenAPI document; see `document.rs`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod admin;
mod batch;
mod bodies;
mod breaker;
mod burial;
mod doctor;
mod document;
mod drift;
#[cfg(feature = "failpoints")]
mod failpoints;
mod full_disk;
mod gate;
mod harness;
mod interpose;
mod keys;
mod lag;
mod letters;
mod life;
mod limits;
mod metrics;
mod mode;
mod names;
mod numbers;
mod openapi;
mod overload;
mod pages;
mod paths;
mod pressure;
mod raw;
mod reads;
mod reconcile;
mod roundtrip;
mod search;
mod stats;
mod stream;
mod wire;
mod workers;
