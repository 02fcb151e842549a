//! The embedded adapters as a whole: the contract of the ports, and what is theirs alone.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod contract;
mod directory;
mod examine;
mod files;
mod flips;
mod index;
mod salvage;
