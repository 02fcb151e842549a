//! The client against a server that answers from a script.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails right there"
)]

mod calls;
mod server;
mod stream;
