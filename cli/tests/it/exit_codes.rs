//! Every way to end, and what is said about it on standard error.

use serde_json::json;

use crate::fake::{Deed, Fake, json_answer, problem};
use crate::run::{chatctl, run, run_with_input};

/// A port on which nobody listens.
const NOBODY: &str = "http://127.0.0.1:9";

#[test]
fn a_server_that_is_down_is_5_and_says_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let ran = run(chatctl(NOBODY, home.path()).args(["app", "create", "x", "--retries", "0"]));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(5), ""));
    insta::assert_snapshot!(ran.stderr.replace(" (os error 111)", ""), @"
    error: cannot reach http://127.0.0.1:9: Connection refused
    hint: start the backend with `chatd`, or give its address with --server, or with --admin that of the admin listener
    ");
}

#[test]
fn the_same_as_json() {
    let home = tempfile::tempdir().unwrap();
    let ran =
        run(chatctl(NOBODY, home.path()).args(["app", "create", "x", "--retries=0", "-o", "json"]));
    assert_eq!(ran.code, Some(5));
    let error = ran.error();
    assert_eq!(error["code"], "unreachable");
    assert_eq!(error["retryable"], true);
    assert!(error["message"].as_str().unwrap().contains(NOBODY));
    assert!(error["hint"].as_str().unwrap().contains("chatd"));
}

#[test]
fn what_is_unknown_is_3() {
    let fake = Fake::start();
    let unknown = "f".repeat(32);
    let app = fake.app(1);
    let runs: [&[&str]; 5] = [
        &["app", "get", &unknown],
        &["app", "get", "no-token-at-all"],
        &["chat", "get", "2", "--app", &app],
        &["msg", "get", "1", "--app", &app, "--chat", "1"],
        &["export", "--app", &unknown],
    ];
    for args in runs {
        let ran = fake.run(args);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (Some(3), ""),
            "{args:?}: {}",
            ran.stderr
        );
        assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    }
}

#[test]
fn what_is_gone_is_3() {
    let fake = Fake::start();
    let app = fake.app(1);
    fake.state().say(1, &["hello"]);
    let at = ["--app", &app, "--chat", "1", "-o", "json"];
    let deleted = fake
        .run(&[&["msg", "delete", "1"], at.as_slice()].concat())
        .ok();
    assert_eq!(
        deleted.json(),
        json!({"chat_number": 1, "message_number": 1})
    );
    let ran = fake.run(&[&["msg", "get", "1"], at.as_slice()].concat());
    assert_eq!(ran.code, Some(3));
    assert_eq!(ran.error()["code"], "gone");
}

#[test]
fn wrong_usage_is_2() {
    let fake = Fake::start();
    let runs: [&[&str]; 8] = [
        &["app", "create", "x", "--frobnicate"],
        &["frobnicate"],
        &["app", "ls", "-o", "xml"],
        &["msg", "get", "0", "--app", "x"],
        &["app", "ls", "--timeout", "soon"],
        &["msg", "create", "hello"],
        &["app", "create", "x", "--server", "localhost:7700"],
        &["msg", "ls", "--limit", "0"],
    ];
    for args in runs {
        let ran = fake.run(args);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (Some(2), ""),
            "{args:?}: {}",
            ran.stderr
        );
        assert!(!ran.stderr.is_empty());
    }
    assert!(fake.state().seen.is_empty());
    let ran = fake.run(&["app", "create", "x", "--frobnicate", "-o", "json"]);
    assert_eq!(ran.error()["code"], "usage");
}

#[test]
fn a_wrong_admin_key_is_4() {
    let fake = Fake::start();
    let unauthorized = problem(401, "unauthorized", "the admin key is missing or wrong");
    fake.state()
        .script
        .push_back(json_answer(401, &unauthorized));
    let ran = run(fake
        .chatctl(&["app", "ls"])
        .env("CHATCTL_ADMIN_KEY", "secret"));
    assert_eq!(ran.code, Some(4));
    assert!(ran.stderr.contains("--admin-key-file"));
    let bearer = ("authorization".to_owned(), "Bearer secret".to_owned());
    assert!(fake.state().seen[0].header.contains(&bearer));
}

#[test]
fn contradictions_are_6() {
    let fake = Fake::start();
    let app = fake.app(1);
    let send = |body: &str| {
        fake.run(&[
            "msg",
            "send",
            body,
            "--app",
            &app,
            "--chat",
            "1",
            "--idempotency-key",
            "one",
            "-q",
        ])
    };
    assert_eq!(send("hello").ok().stdout, "1\n");
    assert_eq!(send("hello").ok().stdout, "1\n");
    let ran = send("something else");
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert_eq!(fake.state().bodies(), [["hello"]]);
}

#[test]
fn silence_is_7() {
    let fake = Fake::start();
    fake.state().script.push_back(Deed::Hang);
    let ran = fake.run(&["app", "create", "x", "--timeout", "200ms"]);
    assert_eq!(ran.code, Some(7));
    assert!(ran.stderr.contains("--timeout"), "{}", ran.stderr);
}

#[test]
fn what_never_gets_stored_is_7() {
    let fake = Fake::start();
    let app = fake.app(1);
    fake.state().pending = usize::MAX;
    let ran = fake.run(&["app", "get", &app, "--timeout", "200ms", "-o", "json"]);
    assert_eq!(ran.code, Some(7));
    assert_eq!(ran.error()["code"], "pending");
}

#[test]
fn what_is_stored_late_is_waited_for() {
    let fake = Fake::start();
    let app = fake.app(1);
    fake.state().pending = 3;
    assert_eq!(
        fake.run(&["app", "get", &app, "-q"]).ok().stdout,
        format!("{app}\n")
    );
}

#[test]
fn refused_input_is_1_and_overload_is_5() {
    let fake = Fake::start();
    let answers = [
        (422, "invalid_value", 1),
        (413, "too_large", 1),
        (400, "invalid_json", 1),
        (500, "internal", 1),
        (503, "overloaded", 5),
    ];
    for (status, code, exit) in answers {
        let refused = problem(status, code, "it is refused");
        fake.state().script.push_back(json_answer(status, &refused));
        let ran = fake.run(&["app", "create", "x", "-o", "json", "--retries", "0"]);
        assert_eq!(ran.code, Some(exit), "{code}");
        let error = ran.error();
        assert_eq!(
            (&error["code"], &error["message"]),
            (&json!(code), &json!("it is refused"))
        );
    }
}

#[test]
fn another_server_is_named() {
    let fake = Fake::start();
    let page = Deed::Answer(404, Vec::new(), "<html>\x1b[31mnot here</html>".to_owned());
    fake.state().script.push_back(page);
    let ran = fake.run(&["app", "create", "x"]);
    assert_eq!(ran.code, Some(3));
    assert!(
        ran.stderr.contains(&fake.url) && !ran.stderr.contains('\x1b'),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_create_is_repeated_with_its_key() {
    let fake = Fake::start();
    let overloaded = json_answer(503, &problem(503, "overloaded", "come back later"));
    fake.state().script.extend([Deed::Break, overloaded]);
    let ran = fake.run(&["app", "create", "x", "-q"]).ok();
    assert!(ran.stderr.is_empty());
    let state = fake.state();
    let keys: Vec<_> = state
        .seen
        .iter()
        .map(|seen| seen.key.clone().unwrap())
        .collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0]));
}

#[test]
fn a_body_on_standard_input_is_kept_byte_for_byte() {
    let fake = Fake::start();
    let app = fake.app(1);
    let mut command = fake.chatctl(&["msg", "create", "-", "--app", &app, "--chat", "1", "-q"]);
    assert_eq!(
        run_with_input(&mut command, "héllo\n".as_bytes())
            .ok()
            .stdout,
        "1\n"
    );
    assert_eq!(fake.state().bodies(), [["héllo\n"]]);
    let ran = run_with_input(&mut command, &[b'x'; 65_537]);
    assert_eq!(ran.code, Some(1));
    let ran = run_with_input(&mut command, b"\xff");
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let fake = Fake::start();
    let app = fake.app(1);
    let body = "x".repeat(10_000);
    fake.state().say(1, &vec![body.as_str(); 100]);
    let mut child = fake.chatctl(&["export", "--app", &app]).spawn().unwrap();
    drop(child.stdout.take());
    let ran = crate::run::finish(child);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}
