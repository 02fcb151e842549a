//! Exports, and that importing them gives the same again.

use serde_json::json;

use crate::fake::Fake;
use crate::run::run_with_input;

#[test]
fn an_export_is_in_order_and_names_every_chat() {
    let fake = Fake::start();
    let app = fake.app(4);
    fake.state().say(2, &["one", "two\n\"2\""]);
    fake.state().say(4, &["four"]);
    let ran = fake.run(&["export", "--app", &app]).ok();
    insta::assert_snapshot!(ran.stdout, @r#"
    {"chat":1,"empty":true}
    {"chat":2,"message_number":1,"sender":"ann","body":"one"}
    {"chat":2,"message_number":2,"sender":"ann","body":"two\n\"2\""}
    {"chat":3,"empty":true}
    {"chat":4,"message_number":1,"sender":"ann","body":"four"}
    "#);
    assert_eq!(ran.stderr, "");
    let one = fake.run(&["export", "--app", &app, "--chat", "4"]).ok();
    assert_eq!(
        one.lines(),
        [json!({"chat": 4, "message_number": 1, "sender": "ann", "body": "four"})]
    );
}

#[test]
fn importing_an_export_gives_the_same() {
    let fake = Fake::start();
    let app = fake.app(3);
    let many: Vec<String> = (0..1_700)
        .map(|at| format!("message \u{1f600} {at}"))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    fake.state().say(1, &many);
    fake.state()
        .say(3, &["\u{0}\u{7f}\u{202e}\r\n", "e\u{301}"]);
    let exported = fake.run(&["export", "--app", &app]).ok().stdout;
    assert_eq!(exported.lines().count(), 1_703);

    let other = Fake::start();
    let copy = other.app(0);
    run_with_input(
        &mut other.chatctl(&["import", "-", "--app", &copy]),
        exported.as_bytes(),
    )
    .ok();
    assert_eq!(other.state().bodies(), fake.state().bodies());
    assert_eq!(other.run(&["export", "--app", &copy]).ok().stdout, exported);
}

#[test]
fn what_is_missing_is_said() {
    let fake = Fake::start();
    let app = fake.app(1);
    fake.state().say(1, &["one", "two", "three", "four"]);
    for number in ["2", "4"] {
        fake.run(&["msg", "delete", number, "--app", &app, "--chat", "1"])
            .ok();
    }
    let ran = fake.run(&["export", "--app", &app]).ok();
    let numbers: Vec<_> = ran
        .lines()
        .iter()
        .map(|line| line["message_number"].clone())
        .collect();
    assert_eq!(numbers, [1, 3]);
    assert!(
        ran.stderr.starts_with("2 deleted or unused numbers"),
        "{}",
        ran.stderr
    );
}

#[test]
fn an_export_is_nothing_but_ndjson() {
    let fake = Fake::start();
    let app = fake.app(1);
    assert_eq!(
        fake.run(&["export", "--app", &app, "-o", "csv"]).code,
        Some(2)
    );
    assert_eq!(
        fake.run(&["export", "--app", &app, "-o", "ndjson"])
            .ok()
            .stdout,
        "{\"chat\":1,\"empty\":true}\n"
    );
}
