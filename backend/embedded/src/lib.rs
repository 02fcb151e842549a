//! The five ports on SQLite and tantivy: one machine, one process, one data directory.
//!
//! [`open::open`] takes the directory and answers the ports. What the directory holds:
//!
//! - `log.db`: the events, synced before an append is answered, many appends in one commit.
//! - `store.db`: the rows, and the log positions that they contain; a file of its own, so that
//!   applying never holds up appending.
//! - `index/`: the search index, a projection of the rows, which records how far it has read the
//!   log. One that does not fit the log and the store is made again; a damaged one stays for a while
//!   as `index.damaged-…`.
//! - `chatd.lock`: who has the directory.
//!
//! Counters and signals live in memory. The counters are rebuilt from what the log holds beyond the
//! store when the directory is opened, and from the store when they are first asked for.

mod checksum;
mod counters;
mod damage;
mod examine;
mod life;
mod lock;
mod log;
pub mod offline;
pub mod open;
mod progress;
pub mod rebuild;
pub mod search;
mod signals;
mod sqlite;
mod store;
