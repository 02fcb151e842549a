//! A run of reconciliation: planned, executed, followed, and refused.

use serde_json::{Value, json};

use crate::fake::admin::{TOKEN, run};
use crate::fake::{Fake, problem};

const BEGIN: &str = "POST /admin/reconcile";
const LOOK: &str = "GET /admin/reconcile";

fn done() -> Value {
    json!({"result": "done"})
}

fn orders(fake: &Fake) -> Vec<Value> {
    let state = fake.state();
    let posts = state.seen.iter().filter(|seen| seen.method == "POST");
    posts
        .map(|seen| serde_json::from_str(&seen.body).unwrap())
        .collect()
}

#[test]
fn a_plan_shows_its_steps_and_does_nothing() {
    let fake = Fake::start();
    let none = [Value::Null, Value::Null];
    fake.state()
        .admin
        .then(BEGIN, 202, run("comparing", false, none.clone()));
    let ended = json!({"current": null, "last": run("finished", false, none)});
    fake.state().admin.then(
        LOOK,
        200,
        json!({"current": run("comparing", false, [Value::Null, Value::Null])}),
    );
    fake.state().admin.then(LOOK, 200, ended);
    let ran = fake
        .run(&["reconcile", "--app", TOKEN, "--chat", "7", "--full"])
        .ok();
    insta::assert_snapshot!(ran.stdout, @"
    plan 0190a7c2-0000-7000-8000-000000000001 of host/42/all, 3.0 s
    finished, 12 compared, 1 count_stale, 1 holes; steps: 2 planned, 0 done, 0 waiting, 0 failed
    ACT         APPLICATION                       CHAT  FROM  TO  OUTCOME
    void_holes  00000000000000000000000000000abc     7     3   7  planned
    set_count   00000000000000000000000000000abc     -     3   7  planned
    ");
    assert_eq!(ran.stderr, "nothing was done: give --execute to do it\n");
    assert_eq!(
        orders(&fake),
        [json!({"token": TOKEN, "chat": 7, "full": true, "execute": false})]
    );
}

#[test]
fn executing_needs_a_yes() {
    let fake = Fake::start();
    // Standard input is no terminal here, so nobody can be asked.
    for args in [
        &["reconcile", "--execute"][..],
        &["reconcile", "--execute", "-o", "json"],
        &["dlq", "replay", "--all", "--execute"],
        &[
            "dlq",
            "discard",
            "--all",
            "--reason",
            "old",
            "--execute",
            "--no-input",
        ],
    ] {
        let ran = fake.run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(ran.stderr.contains("--yes"), "{}", ran.stderr);
    }
    assert!(fake.state().seen.is_empty());
}

#[test]
fn executing_tells_what_was_done() {
    let fake = Fake::start();
    let waits = json!({"result": "waits", "detail": "its deadline is not over"});
    let ended = run("finished", true, [waits, done()]);
    fake.state().admin.then(BEGIN, 202, ended);
    let ran = fake.run(&["reconcile", "--execute", "--yes"]).ok();
    insta::assert_snapshot!(ran.stdout, @"
    run 0190a7c2-0000-7000-8000-000000000001 of host/42/all, 3.0 s
    finished, 12 compared, 1 count_stale, 1 holes; steps: 2 planned, 1 done, 1 waiting, 0 failed
    ACT         APPLICATION                       CHAT  FROM  TO  OUTCOME
    void_holes  00000000000000000000000000000abc     7     3   7  waits: its deadline is not over
    set_count   00000000000000000000000000000abc     -     3   7  done
    ");
    assert!(ran.stderr.contains("on its way: 1 step;"), "{}", ran.stderr);
    assert_eq!(orders(&fake), [json!({"full": false, "execute": true})]);
    let json = fake
        .run(&["reconcile", "--execute", "--yes", "-o", "json"])
        .ok();
    assert_eq!(json.json()["steps"][0]["outcome"]["result"], "waits");
    let id = fake.run(&["reconcile", "--execute", "-yq"]).ok();
    assert_eq!(id.stdout, "0190a7c2-0000-7000-8000-000000000001\n");
}

#[test]
fn a_step_that_failed_is_8() {
    let fake = Fake::start();
    let failed = json!({"result": "failed", "detail": "the index is away"});
    fake.state()
        .admin
        .always(BEGIN, run("finished", true, [done(), failed]));
    let ran = fake.run(&["reconcile", "--execute", "--yes", "-o", "json"]);
    assert_eq!(ran.code, Some(8));
    assert_eq!(ran.error()["code"], "partial");
    assert_eq!(ran.error()["message"], "1 of 2 steps failed");
    assert_eq!(ran.json()["failed"], 1);
    let half = run("cancelled", true, [done(), Value::Null]);
    fake.state().admin.always(BEGIN, half);
    assert_eq!(fake.run(&["reconcile", "--execute", "--yes"]).code, Some(8));
    let nothing = run("failed", true, [Value::Null, Value::Null]);
    fake.state().admin.always(BEGIN, nothing);
    assert_eq!(fake.run(&["reconcile", "--execute", "--yes"]).code, Some(1));
}

#[test]
fn another_run_is_6_and_named() {
    let fake = Fake::start();
    let busy = problem(409, "busy", "a run of host/42/all is at work since 12:00");
    fake.state().admin.then(BEGIN, 409, busy);
    let ran = fake.run(&["reconcile"]);
    assert_eq!(ran.code, Some(6));
    insta::assert_snapshot!(ran.stderr, @"
    error: a run of host/42/all is at work since 12:00
    hint: `chatctl reconcile status` shows the other run, `chatctl reconcile cancel` ends it
    ");
}

#[test]
fn a_run_that_others_came_after_is_told() {
    let fake = Fake::start();
    let none = [Value::Null, Value::Null];
    fake.state()
        .admin
        .then(BEGIN, 202, run("comparing", false, none.clone()));
    let mut other = run("finished", false, none);
    other["id"] = json!("another");
    fake.state().admin.then(LOOK, 200, json!({"last": other}));
    let ran = fake.run(&["reconcile"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr.contains("others came after it"),
        "{}",
        ran.stderr
    );
}

#[test]
fn without_waiting_the_run_goes_on() {
    let fake = Fake::start();
    let began = run("comparing", true, [Value::Null, Value::Null]);
    fake.state().admin.then(BEGIN, 202, began);
    let ran = fake
        .run(&["reconcile", "--execute", "--yes", "--no-wait", "-o", "json"])
        .ok();
    assert_eq!(ran.json()["phase"], "comparing");
    assert!(ran.stderr.contains("reconcile status"), "{}", ran.stderr);
}

#[test]
fn status_and_cancel() {
    let fake = Fake::start();
    fake.state().admin.then(LOOK, 200, json!({}));
    let none = fake.run(&["reconcile", "status"]).ok();
    assert_eq!(none.stdout, "no run is at work, and there was none yet\n");
    let last = json!({"last": run("finished", true, [done(), done()])});
    fake.state().admin.always(LOOK, last.clone());
    let shown = fake.run(&["reconcile", "status"]).ok();
    assert!(
        shown
            .stdout
            .starts_with("no run is at work; the last one:\nrun 0190a7c2"),
        "{}",
        shown.stdout
    );
    let json = fake.run(&["reconcile", "status", "-o", "json"]).ok();
    assert_eq!(json.json()["current"], Value::Null);
    assert_eq!(json.json()["last"]["phase"], "finished");
    fake.state().admin.always("DELETE /admin/reconcile", last);
    let cancelled = fake.run(&["reconcile", "cancel"]).ok();
    assert_eq!(cancelled.stderr, "no run is at work\n");
}
