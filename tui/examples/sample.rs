//! A server that says what the tests' sample system has, to look at the dashboard without a backend:
//!
//! ```text
//! cargo run -p chat-tui --example sample -- 127.0.0.1:7799
//! chatctl dashboard --admin http://127.0.0.1:7799 --server http://127.0.0.1:7799
//! ```

#![expect(clippy::unwrap_used, reason = "shared with the tests")]
#![expect(clippy::print_stderr, reason = "it says where it listens")]
#![allow(dead_code, reason = "tests use more of it than this does")]

#[path = "../tests/it/sample/mod.rs"]
mod sample;

fn main() {
    let address = std::env::args().nth(1);
    let server = sample::server::Server::start_at(address.as_deref().unwrap_or("127.0.0.1:0"));
    eprintln!("listening on {}", server.url);
    loop {
        std::thread::park();
    }
}
