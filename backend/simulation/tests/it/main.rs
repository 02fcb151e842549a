//! Apply against a model, and histories that must be repeatable.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod apply;
mod histories;
