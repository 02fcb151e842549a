//! Following a chat.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::fake::Fake;

#[test]
fn the_end_of_a_chat() {
    let fake = Fake::start();
    let app = fake.app(1);
    fake.state().say(1, &["one", "two", "three", "four"]);
    let tail = |args: &[&str]| {
        let all = [&["msg", "tail", "--app", &app, "--chat", "1", "-q"], args].concat();
        fake.run(&all).ok().stdout
    };
    assert_eq!(tail(&[]), "1\n2\n3\n4\n");
    assert_eq!(tail(&["-n", "2"]), "3\n4\n");
    assert_eq!(tail(&["-n", "0"]), "");
    assert_eq!(tail(&["--from", "2"]), "2\n3\n4\n");
    assert_eq!(tail(&["--from", "9"]), "");
}

#[test]
fn each_message_once_however_often_the_connection_ends() {
    let fake = Fake::start();
    let app = fake.app(1);
    fake.state().say(1, &["1", "2", "3"]);
    let args = [
        "msg", "tail", "--app", &app, "--chat", "1", "-n", "1", "--follow", "-o", "json",
    ];
    let mut child = fake.chatctl(&args).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["message_number"], 3);
    // The server ends the stream after each answer, so each of these needs a new connection.
    for number in 4..=8 {
        fake.state().say(1, &["more"]);
        assert_eq!(next()["message_number"], number);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let state = fake.state();
    let streams: Vec<_> = state
        .seen
        .iter()
        .filter(|seen| seen.path.ends_with("/stream"))
        .collect();
    assert!(streams.len() >= 5);
}

#[test]
fn an_unknown_chat_is_not_waited_for() {
    let fake = Fake::start();
    let app = fake.app(1);
    let ran = fake.run(&["msg", "tail", "--app", &app, "--chat", "2", "--follow"]);
    assert_eq!(ran.code, Some(3));
}
