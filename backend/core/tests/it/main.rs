//! What holds for the repository as a whole.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod invariants;
