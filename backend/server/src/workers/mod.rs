//! The workers: one loop, two jobs, four groups.

pub mod batch;
pub mod overload;
pub(crate) mod rates;
pub mod reconcile;
pub mod run;
pub mod search;
pub mod store;
pub mod upkeep;
