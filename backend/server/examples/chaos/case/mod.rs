//! The cases: each makes a bad day and says which promises were kept.

pub(crate) mod counters;
pub(crate) mod dashboard;
pub(crate) mod drift;
pub(crate) mod kill;
pub(crate) mod lag;
pub(crate) mod letters;
pub(crate) mod numbers;
pub(crate) mod order;
pub(crate) mod outage;
pub(crate) mod overload;
pub(crate) mod partitions;
pub(crate) mod poison;
pub(crate) mod real;
pub(crate) mod rebalance;
pub(crate) mod relog;
pub(crate) mod retries;
pub(crate) mod revisions;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod tenants;
