//! The rules of the chat backend, over five ports: accept, apply, search, recover, settle.
//!
//! What runs periodically is scheduled by `chat-server`. Nothing in this crate knows HTTP or an engine.

pub mod accept;
pub mod appends;
pub mod applications;
pub mod apply;
pub mod backend;
pub mod breaker;
pub mod chats;
pub mod clock;
mod deadline;
pub mod epochs;
pub mod error;
pub mod event;
pub mod examine;
pub mod failpoint;
pub mod follow;
pub mod index;
pub mod key;
pub mod lag;
pub mod letters;
pub mod limits;
pub mod messages;
pub mod port;
pub mod rates;
pub mod reconcile;
pub mod recover;
pub mod search;
pub mod settle;
mod tail;
pub mod text;
mod voids;
