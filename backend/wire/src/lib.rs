//! The JSON types and ids of the HTTP API, shared by the server and everything that speaks to it.
//!
//! This crate knows serde and the calendar, and nothing of HTTP, an engine or a rule.

pub mod admin;
pub mod applications;
pub mod chats;
pub mod ids;
pub mod messages;
pub mod problem;
pub mod search;
pub mod time;
