//! A typed client of the HTTP API: the same nouns as the server, over `chat-wire`.
//!
//! [`client::Client`] speaks to the API, [`admin::Admin`] to the admin listener. Every call
//! has a deadline and is repeated only where repeating is safe: reads, edits, and creates,
//! which always carry an idempotency key.

pub mod admin;
mod applications;
mod chats;
pub mod client;
pub mod error;
mod http;
pub mod key;
pub mod messages;
pub mod observer;
pub mod pages;
pub mod probe;
pub mod retries;
pub mod search;
mod sse;
pub mod stream;
