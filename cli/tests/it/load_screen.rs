//! `chatctl load run` on a terminal: it is watched, ended, and leaves the terminal as it was.

use portable_pty::CommandBuilder;

use crate::fake::{Fake, admin};
use crate::pty::Pty;

fn server() -> Fake {
    let fake = Fake::start();
    let mut state = fake.state();
    state.admin.always("GET /admin/stats", admin::stats());
    state.admin.always("GET /admin/drift", admin::drift(&[]));
    drop(state);
    fake
}

fn load(fake: &Fake, args: &[&str]) -> Pty {
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_chatctl"));
    command.env_clear();
    command.env("HOME", fake.home());
    command.cwd(fake.home());
    command.env("TERM", "xterm-256color");
    command.env("CHATCTL_SERVER", &fake.url);
    command.env("CHATCTL_ADMIN", &fake.url);
    command.args(["load", "run", "--chats", "3", "--warmup", "0"]);
    command.args(args);
    Pty::start(command, (100, 30))
}

#[test]
fn a_run_is_shown_and_then_reported() {
    let fake = server();
    let mut pty = load(&fake, &["--rate", "50", "--for", "2s"]);
    pty.wait_for("Consumer lag, records");
    pty.wait_for("running");
    assert_eq!(pty.end(), 0);
    pty.assert_given_back();
    let text = pty.screen().contents();
    assert!(text.contains("✓ verification kept"), "{text}");
}

#[test]
fn a_key_ends_the_load_and_the_rest_still_happens() {
    let fake = server();
    let mut pty = load(&fake, &["--rate", "50", "--for", "10m"]);
    pty.wait_for("running");
    fake.wait_until(|state| state.seen.len() > 20);
    pty.press("q");
    assert_eq!(pty.end(), 130);
    pty.assert_given_back();
    let text = pty.screen().contents();
    assert!(text.contains("✓ verification kept"), "{text}");
}

#[test]
fn sigterm_ends_the_load_and_the_rest_still_happens() {
    let fake = server();
    let mut pty = load(&fake, &["--rate", "50", "--for", "10m"]);
    pty.wait_for("running");
    fake.wait_until(|state| state.seen.len() > 20);
    pty.signal("TERM");
    assert_eq!(pty.end(), 143);
    pty.assert_given_back();
    let text = pty.screen().contents();
    assert!(text.contains("✓ verification kept"), "{text}");
}

#[test]
fn a_second_key_does_not_wait_for_the_workers() {
    let fake = server();
    // They never catch up.
    fake.state().lag = u64::MAX;
    let mut pty = load(&fake, &["--rate", "50", "--for", "10m"]);
    pty.wait_for("running");
    pty.press("\u{3}");
    pty.wait_for("draining");
    pty.wait_for("ENDING");
    pty.press("\u{3}");
    assert_eq!(pty.end(), 130);
    pty.assert_given_back();
    let text = pty.screen().contents();
    assert!(!text.contains("Requests"), "{text}");
}
