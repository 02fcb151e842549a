//! `chatctl dashboard`: frames for scripts, and the screen in a real terminal.

use std::path::Path;

use crate::run::{Ran, chatctl, run};
use crate::sample::data::token;
use crate::sample::server::Server;

fn once(server: &Server, args: &[&str]) -> Ran {
    let mut command = chatctl(&server.url, Path::new("/nonexistent"));
    run(command.arg("dashboard").args(args))
}

/// What each page has that no other page has.
const PAGES: [(&str, &str); 7] = [
    ("overview", "messages-index is stopped"),
    ("topics", "chatd worker search"),
    ("counters", "counter behind"),
    ("reconcile", "5 steps planned"),
    ("dead-letters", "103 waiting"),
    ("search", "any part of a message"),
    ("doctor", "redis-cli config set"),
];

#[test]
fn one_frame_of_every_page_as_plain_text() {
    let server = Server::start();
    for (page, text) in PAGES {
        let app = token(1).reveal();
        let mut args = vec!["--once", "--page", page, "--size", "120x40"];
        if page == "search" {
            args.extend(["--app", &app]);
        }
        if page == "topics" {
            args.extend(["--filter", "index"]);
        }
        if page == "doctor" {
            args.extend(["--filter", "redis"]);
        }
        let ran = once(&server, &args).ok();
        assert!(ran.stdout.contains(text), "{page}\n{}", ran.stdout);
        assert!(
            !ran.stdout.contains('\u{1b}') && ran.stderr.is_empty(),
            "{page}"
        );
        assert_eq!(ran.stdout.lines().count(), 40);
    }
}

#[test]
fn a_pipe_gets_one_frame_without_being_asked() {
    let server = Server::start();
    let ran = once(&server, &["--color", "always"]).ok();
    assert!(ran.stdout.contains("messages-index is stopped"));
    assert!(!ran.stdout.contains('\u{1b}'));
}

#[test]
fn a_frame_as_json_has_the_data_of_the_page() {
    let server = Server::start();
    let ran = once(&server, &["--once", "--page", "counters", "-o", "json"]).ok();
    let frame = ran.json();
    let rows = frame["sources"]["drift"]["data"]["rows"]
        .as_array()
        .unwrap();
    assert_eq!(rows.len(), 8);
    assert_eq!(rows[0]["verdict"], "counter_behind");
    assert!(
        rows[0]["counter"].is_null(),
        "a missing counter is not zero"
    );
    assert!(frame["sources"]["stats"]["age_ms"].is_u64());
    assert_eq!(once(&server, &["--once", "-o", "csv"]).code, Some(2));
}

#[test]
fn a_frame_starts_inside_a_chat_or_a_search() {
    let server = Server::start();
    let app = token(1).reveal();
    let inside = ["--once", "--page", "counters", "--app", &app];
    let ran = once(&server, &inside).ok();
    assert!(ran.stdout.contains("Counters › Corner shop"));
    let ran = once(&server, &[&inside[..], &["--chat", "17"]].concat()).ok();
    assert!(ran.stdout.contains("where is my parcel?"));
    let search = [
        "--once", "--page", "search", "--app", &app, "--filter", "parcel",
    ];
    let ran = once(&server, &search).ok();
    assert!(ran.stdout.contains("your PARCEL is late"), "{}", ran.stdout);
    let asked = server.manner().seen.clone();
    assert!(
        asked.iter().any(|call| call.contains("body=parcel")),
        "{asked:?}"
    );
}

#[test]
fn a_frame_of_a_server_that_is_not_there_says_so_and_is_5() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut command = chatctl(&url, Path::new("/nonexistent"));
    let ran = run(command.args(["dashboard", "--once"]));
    assert_eq!(ran.code, Some(5));
    assert!(ran.stdout.contains("✗ unreachable"));
    assert!(ran.stderr.contains("cannot reach"), "{}", ran.stderr);
}

#[test]
fn a_frame_of_an_older_server_says_what_it_does_not_offer() {
    let server = Server::start();
    server.manner().lacks = Some("/admin/drift");
    let ran = once(&server, &["--once", "--page", "counters"]);
    assert_eq!(ran.code, Some(1));
    let text = "this server does not offer /admin/drift";
    assert!(ran.stdout.contains(text) && ran.stderr.contains(text));
}

#[test]
fn a_frame_of_a_server_that_hangs_is_7() {
    let server = Server::start();
    server.manner().hangs = true;
    let ran = once(&server, &["--once", "--timeout", "300ms"]);
    assert_eq!(ran.code, Some(7));
    assert!(ran.stdout.contains("What needs you"));
}

#[test]
fn wrong_flags_are_refused() {
    let server = Server::start();
    for args in [
        ["--page", "nowhere"],
        ["--size", "9"],
        ["--interval", "1ms"],
        ["--theme", "pink"],
        ["--chat", "3"],
    ] {
        assert_eq!(once(&server, &args).code, Some(2), "{args:?}");
    }
}

#[cfg(unix)]
mod terminal {
    use portable_pty::CommandBuilder;

    use super::*;
    use crate::pty::Pty;

    fn show(server: &Server, args: &[&str], env: &[(&str, &str)]) -> Pty {
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_chatctl"));
        command.env_clear();
        command.env("HOME", "/nonexistent");
        command.cwd("/");
        command.env("TERM", "xterm-256color");
        command.env("CHATCTL_SERVER", &server.url);
        command.env("CHATCTL_ADMIN", &server.url);
        for (name, value) in env {
            command.env(name, value);
        }
        command.arg("dashboard");
        command.args(args);
        Pty::start(command, (100, 30))
    }

    #[test]
    fn pages_keys_and_sizes_until_somebody_quits() {
        let server = Server::start();
        let mut pty = show(&server, &[], &[]);
        pty.wait_for("messages-index is stopped");
        pty.press("3");
        pty.wait_for("Newsroom");
        pty.press("\r");
        pty.wait_for("Counters › Corner shop");
        pty.press("h/unindexed");
        pty.wait_for("1 of 8 rows");
        pty.resize((60, 12));
        pty.wait_for("1 of 8 rows");
        pty.resize((120, 40));
        pty.wait_for("Hotline 24/7");
        pty.press("\r5");
        pty.wait_for("schema 9");
        pty.press("R");
        pty.wait_for("Replay all 103 that wait");
        pty.press("\t\r");
        pty.wait_for("1 letter replayed");
        let posted = server.manner().posted.clone();
        assert_eq!(
            posted,
            [r#"{"ids":["messages.dlq-0-0"],"all":false,"execute":true}"#]
        );
        pty.press("q");
        assert_eq!(pty.end(), 0);
        pty.assert_given_back();
    }

    #[test]
    fn a_key_in_the_same_moment_as_a_resize_is_not_lost() {
        let server = Server::start();
        let mut pty = show(&server, &[], &[]);
        pty.wait_for("messages-index is stopped");
        for round in 0..100 {
            pty.resize((100 + round % 20, 30));
            pty.press("3");
            pty.wait_for("Newsroom");
            pty.resize((100, 30 + round % 10));
            pty.press("1");
            pty.wait_for("messages-index is stopped");
        }
        pty.press("q");
        assert_eq!(pty.end(), 0);
    }

    #[test]
    fn sigterm_is_143_and_the_terminal_is_as_before() {
        let server = Server::start();
        let mut pty = show(&server, &["--page", "doctor"], &[]);
        pty.wait_for("redis.eviction");
        pty.press("m");
        pty.wait_for("MOUSE");
        pty.signal("TERM");
        assert_eq!(pty.end(), 143);
        pty.assert_given_back();
    }

    #[test]
    fn sighup_is_129_and_ctrl_c_quits() {
        let server = Server::start();
        let mut pty = show(&server, &[], &[]);
        pty.wait_for("messages-index is stopped");
        pty.signal("HUP");
        assert_eq!(pty.end(), 129);
        let mut pty = show(&server, &[], &[]);
        pty.wait_for("messages-index is stopped");
        pty.press("\u{3}");
        assert_eq!(pty.end(), 0);
        pty.assert_given_back();
    }

    #[test]
    fn no_color_means_none() {
        let server = Server::start();
        let colours = |pty: &Pty| {
            let screen = pty.screen();
            let cells = (0..30).flat_map(|row| (0..100).map(move |column| (row, column)));
            let default = vt100::Color::Default;
            cells
                .filter_map(|(row, column)| screen.cell(row, column))
                .filter(|cell| cell.fgcolor() != default || cell.bgcolor() != default)
                .count()
        };
        let mut pty = show(&server, &[], &[("NO_COLOR", "1")]);
        pty.wait_for("messages-index is stopped");
        assert_eq!(colours(&pty), 0);
        pty.press("q");
        assert_eq!(pty.end(), 0);
        let mut pty = show(&server, &[], &[]);
        pty.wait_for("messages-index is stopped");
        assert!(colours(&pty) > 0);
        pty.press("q");
        assert_eq!(pty.end(), 0);
    }

    #[test]
    fn read_only_does_not_act() {
        let server = Server::start();
        let mut pty = show(&server, &["--read-only", "--page", "dead-letters"], &[]);
        pty.wait_for("READ ONLY");
        pty.wait_for("schema 9");
        pty.press("RDq");
        assert_eq!(pty.end(), 0);
        assert_eq!(server.manner().posted, [""; 0]);
    }
}
