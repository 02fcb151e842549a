//! Signals. The names of the tests say what the user sees.
#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command};

use serde_json::json;

use crate::fake::{Deed, Fake};
use crate::run::{finish, run};

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    let sent = Command::new("kill")
        .args(["-s", name, &id])
        .status()
        .unwrap();
    assert!(sent.success());
}

fn interrupt_import(signal_name: &str, code: i32) {
    let fake = Fake::start();
    let path = fake.home().join("messages");
    let line = |at: usize| json!({"chat": at % 3, "body": at.to_string()});
    let content: String = (0..20_000).map(|at| format!("{}\n", line(at))).collect();
    std::fs::write(&path, content).unwrap();
    let mut command = fake.chatctl(&["import", "--new-app", "x", "-o", "json"]);
    command.arg(&path);

    fake.state().gate_is_closed = true;
    let mut child = command.spawn().unwrap();
    fake.wait_until(|state| state.at_gate == 3);
    signal(&child, signal_name);
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut next = || stderr.next().unwrap().unwrap();
    assert!(next().starts_with("{\"note\":\"stopping"));
    // What is under way may finish; nothing new is begun.
    fake.open_gate();
    let error = next();
    assert!(error.contains("run the same command again"), "{error}");
    assert_eq!(finish(child).code, Some(code));
    assert!(fake.state().batches < 20);

    run(&mut command).ok();
    let bodies = fake.state().bodies();
    for (chat, bodies) in bodies.iter().enumerate() {
        let expected: Vec<_> = (chat..20_000).step_by(3).map(|at| at.to_string()).collect();
        assert_eq!(*bodies, expected);
    }
}

#[test]
fn ctrl_c_during_an_import_is_130_and_a_second_run_completes_it() {
    interrupt_import("INT", 130);
}

#[test]
fn sigterm_during_an_import_is_143_and_a_second_run_completes_it() {
    interrupt_import("TERM", 143);
}

#[test]
fn ctrl_c_elsewhere_is_130_at_once() {
    let fake = Fake::start();
    fake.state().script.push_back(Deed::Hang);
    let child = fake.chatctl(&["app", "create", "x"]).spawn().unwrap();
    fake.wait_until(|state| !state.seen.is_empty());
    signal(&child, "INT");
    let ran = finish(child);
    assert_eq!(ran.code, Some(130));
}
