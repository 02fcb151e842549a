//! The load generator: open and closed load, measured without coordinated omission, and verified.

mod act;
mod alarm;
mod bodies;
pub(crate) mod compare;
mod drive;
mod environment;
pub(crate) mod figures;
pub(crate) mod file;
pub(crate) mod hgrm;
pub(crate) mod html;
mod lane;
mod latency;
mod ledger;
pub(crate) mod maximum;
mod mix;
pub(crate) mod objective;
mod plot;
pub(crate) mod record;
pub(crate) mod report;
pub(crate) mod run;
#[cfg(test)]
mod sample;
pub(crate) mod scenario;
mod schedule;
pub(crate) mod schema;
pub(crate) mod series;
pub(crate) mod stages;
pub(crate) mod text;
pub(crate) mod verdict;
pub(crate) mod verify;
mod watch;
mod world;
