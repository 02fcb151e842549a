//! The load generator: open and closed load, measured without coordinated omission, and verified.

mod act;
mod bodies;
mod drive;
mod environment;
mod ledger;
pub(crate) mod maximum;
mod mix;
mod objective;
pub(crate) mod record;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod scenario;
mod schedule;
pub(crate) mod verify;
mod watch;
mod world;
