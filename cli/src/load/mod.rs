//! Load tests: what is sent, what was measured, and how it is told.

pub(crate) mod compare;
pub(crate) mod figures;
pub(crate) mod file;
pub(crate) mod hgrm;
pub(crate) mod html;
mod plot;
pub(crate) mod report;
#[cfg(test)]
mod sample;
pub(crate) mod schema;
pub(crate) mod series;
pub(crate) mod text;
pub(crate) mod verdict;
