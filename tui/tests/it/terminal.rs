//! The dashboard in a real terminal: it comes up, takes keys and sizes, and gives the terminal
//! back, whatever ends it.
//!
//! The dashboard runs in a process of its own, which is this test binary once more: `child` below
//! is what it does there.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use chat_client::admin::Admin;
use chat_client::client::{Client, Config};
use chat_client::observer::Observer;
use chat_tui::api::Api;
use chat_tui::run::{End, run};
use chat_tui::state::dashboard::Setup;
use portable_pty::CommandBuilder;

use crate::pty::{PATIENCE, Pty};
use crate::sample::server::Server;

/// Where the dashboard of a child looks, and whether its first answer makes a task panic.
const SERVER: &str = "CHAT_TUI_TEST_SERVER";
const PANIC: &str = "CHAT_TUI_TEST_PANIC";
/// Within this a key has to be answered.
const SOON: Duration = Duration::from_millis(50);

#[test]
#[ignore = "it is what the other tests run in a process of its own"]
fn child() {
    let Ok(url) = std::env::var(SERVER) else {
        return;
    };
    let mut config = Config::new(url);
    config.timeout = Duration::from_secs(10);
    config.retries.most = 0;
    if std::env::var_os(PANIC).is_some() {
        config.observer = Observer::new(|_| panic!("a task has panicked"));
    }
    let api = Api {
        admin: Admin::new(config.clone()).unwrap(),
        client: Client::new(config).unwrap(),
    };
    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let ran = runtime.block_on(run(api, Setup::default()));
        runtime.shutdown_background();
        ran
    }));
    std::process::exit(match ran {
        Ok(Ok(End::Quit)) => 0,
        Ok(Ok(End::Terminated)) => 143,
        Ok(Ok(End::HungUp)) => 129,
        Ok(Ok(End::Interrupted)) => 130,
        Ok(Err(_)) => 1,
        // What the standard library makes of a panic in `main`.
        Err(_) => 101,
    });
}

fn dashboard(server: &Server, panics: bool) -> Pty {
    let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "terminal::child",
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]);
    command.env(SERVER, &server.url);
    command.env("TERM", "xterm-256color");
    // The message has to fit on the screen.
    command.env("RUST_BACKTRACE", "0");
    if panics {
        command.env(PANIC, "1");
    }
    Pty::start(command, (100, 30))
}

#[test]
fn quitting_gives_the_terminal_back() {
    let server = Server::start();
    let mut pty = dashboard(&server, false);
    pty.wait_for("messages-index is stopped");
    assert!(pty.screen().alternate_screen());
    pty.press("q");
    assert_eq!(pty.end(), 0);
    pty.assert_given_back();
}

#[test]
fn a_panic_in_a_task_gives_the_terminal_back_and_is_told() {
    let server = Server::start();
    let mut pty = dashboard(&server, true);
    assert_eq!(pty.end(), 101);
    pty.assert_given_back();
    let text = pty.screen().contents();
    assert!(text.contains("a task has panicked"), "{text}");
}

#[test]
fn sigterm_sighup_and_sigint_give_the_terminal_back() {
    let server = Server::start();
    for (signal, code) in [("TERM", 143), ("HUP", 129), ("INT", 130)] {
        let mut pty = dashboard(&server, false);
        pty.wait_for("Overview");
        pty.signal(signal);
        assert_eq!(pty.end(), code, "{signal}");
        pty.assert_given_back();
    }
}

#[test]
fn keys_answer_within_50_ms_while_the_server_hangs() {
    let server = Server::start();
    server.manner().hangs = true;
    let mut pty = dashboard(&server, false);
    pty.wait_for("connecting");
    server.wait_until(|manner| !manner.seen.is_empty());
    let mut round = || {
        let keys = [
            ("2", "Lag by group"),
            ("3", "Applications: counter"),
            ("4", "what changed since"),
            ("5", "Dead letters: waiting"),
            ("7", "Checks, in the order"),
            ("1", "What needs you"),
        ];
        let times = keys.map(|(key, text)| pty.latency(key, text));
        times.into_iter().max().unwrap_or_default()
    };
    // A machine that is busy with other tests may hold up many rounds, but not each of them; a key
    // that waited for the server would wait in all.
    let deadline = Instant::now() + PATIENCE;
    let mut slowest = Vec::new();
    while slowest.iter().all(|slowest| *slowest >= SOON) {
        assert!(Instant::now() < deadline, "{slowest:?}");
        slowest.push(round());
    }
    println!("slowest key of each round: {slowest:.1?}");
    pty.press("q");
    assert_eq!(pty.end(), 0);
}

#[test]
fn another_size_is_drawn_at_once() {
    let server = Server::start();
    let mut pty = dashboard(&server, false);
    pty.wait_for("messages-index is stopped");
    pty.resize((39, 8));
    pty.wait_for("too small: 39×8");
    pty.resize((120, 40));
    pty.wait_for("messages-index is stopped");
    pty.press("q");
    assert_eq!(pty.end(), 0);
    pty.assert_given_back();
}

#[test]
fn the_mouse_is_taken_only_when_wanted_and_given_back() {
    let server = Server::start();
    let mut pty = dashboard(&server, false);
    pty.wait_for("Overview");
    let none = vt100::MouseProtocolMode::None;
    assert_eq!(pty.screen().mouse_protocol_mode(), none);
    pty.press("m");
    pty.wait_for("MOUSE");
    pty.wait_until("the mouse is taken", |screen| {
        screen.mouse_protocol_mode() != none
    });
    pty.signal("TERM");
    assert_eq!(pty.end(), 143);
    pty.assert_given_back();
}

/// Prints what an idle dashboard costs:
/// `cargo test -p chat-tui --test it -- terminal::idle --nocapture --ignored`.
#[test]
#[cfg(target_os = "linux")]
#[ignore = "measures for 20 s; run it alone"]
fn idle_costs_little() {
    let server = Server::start();
    let mut pty = dashboard(&server, false);
    pty.wait_for("messages-index is stopped");
    let before = pty.cpu_ticks();
    let asked = server.manner().seen.len();
    server.wait_until(|manner| manner.seen.len() >= asked + 10);
    let ticks = pty.cpu_ticks() - before;
    // The kernel counts in hundredths of a second, and 10 looks are 20 s.
    println!("idle: {:.2} % of a core", f64::from(ticks) / 20.0);
    pty.press("q");
    assert_eq!(pty.end(), 0);
}
