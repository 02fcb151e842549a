//! The migrations are compiled in; cargo has to know that they are read.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations/mysql");
}
