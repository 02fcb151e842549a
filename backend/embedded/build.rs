//! The migrations are compiled in; cargo has to know that they are read.
#![expect(
    clippy::print_stdout,
    reason = "this is how a build script speaks to cargo"
)]

fn main() {
    println!("cargo:rerun-if-changed=../../migrations/sqlite");
}
