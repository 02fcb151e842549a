//! A system with one of everything: what the pages show in snapshots, and what the sample server says.

pub(crate) mod chats;
pub(crate) mod data;
pub(crate) mod server;
