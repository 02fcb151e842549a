//! What is known: plain data, a file for each page, and no drawing, clock or network.

pub mod counters;
pub mod dashboard;
pub mod dialog;
pub mod doctor;
pub mod filter;
pub mod grid;
pub mod input;
pub mod letters;
pub mod overview;
pub mod page;
pub mod pager;
pub mod picker;
pub mod poll;
pub mod reader;
pub mod reconcile;
pub mod search;
pub mod signs;
mod sources;
pub mod topics;
