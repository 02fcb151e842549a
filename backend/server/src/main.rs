//! `chatd`: the HTTP API and the workers behind it.

fn main() {}
