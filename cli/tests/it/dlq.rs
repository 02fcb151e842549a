//! Dead letters: listed, shown, replayed and discarded.

use serde_json::{Value, json};

use crate::fake::admin::letter;
use crate::fake::{Fake, problem};

fn with_letters() -> Fake {
    let fake = Fake::start();
    let page = json!({"waiting": 1_002, "letters": [letter(3, "waiting"), letter(4, "waiting")], "next_after": "messages.dlq-0-4"});
    fake.state().admin.always("GET /admin/dlq", page);
    fake
}

fn orders(fake: &Fake) -> Vec<Value> {
    let state = fake.state();
    let posts = state.seen.iter().filter(|seen| seen.method == "POST");
    posts
        .map(|seen| serde_json::from_str(&seen.body).unwrap())
        .collect()
}

#[test]
fn letters_are_listed() {
    let fake = with_letters();
    let ran = fake
        .run(&["dlq", "ls", "--limit", "2", "--topic", "messages.dlq"])
        .ok();
    let columns: Vec<_> = ran
        .stdout
        .lines()
        .map(|line| line.split_whitespace().take(3).collect::<Vec<_>>())
        .collect();
    assert_eq!(columns[0], ["ID", "EVENT", "BYTES"]);
    assert_eq!(columns[2], ["messages.dlq-0-4", "message.created", "1,234"]);
    assert_eq!(
        ran.stderr,
        "1,002 dead letters wait\nthere are more: go on with --after messages.dlq-0-4\n"
    );
    assert_eq!(
        fake.state().seen[0].path,
        "/admin/dlq?topic=messages.dlq&state=waiting&limit=2"
    );
    let ids = fake
        .run(&["dlq", "ls", "--limit", "1", "-q", "--state", "all"])
        .ok();
    assert_eq!(
        (ids.stdout.as_str(), ids.stderr.as_str()),
        ("messages.dlq-0-3\n", "")
    );
    assert_eq!(fake.state().seen[1].path, "/admin/dlq?limit=1");
    let json = fake.run(&["dlq", "ls", "--limit", "1", "-o", "json"]).ok();
    assert_eq!(json.json()[0]["origin"]["offset"], 17);
}

#[test]
fn a_letter_is_shown_with_its_bytes() {
    let fake = Fake::start();
    let mut shown = letter(3, "discarded");
    shown["key"] = json!("k");
    shown["text"] = json!("{\"body\": \u{1b}[31m");
    shown["base64"] = json!("eyJib2R5IjogG1szMW0=");
    shown["discard_reason"] = json!("of a test");
    fake.state()
        .admin
        .always("GET /admin/dlq/messages.dlq-0-3", shown);
    let ran = fake.run(&["dlq", "show", "messages.dlq-0-3"]).ok();
    insta::assert_snapshot!(ran.stdout, @r#"
    id              messages.dlq-0-3
    origin          {"offset":17,"partition":0,"topic":"messages"}
    event           message.created
    reason          invalid type: string "hello"
    buried_at       2026-01-31T12:00:00Z
    bytes           1234
    state           discarded
    decided_at      -
    discard_reason  of a test
    key             k
    text            {"body": \x1b[31m
    base64          eyJib2R5IjogG1szMW0=
    "#);
    let unknown = problem(404, "unknown_letter", "there is no such dead letter");
    fake.state()
        .admin
        .then("GET /admin/dlq/messages.dlq-0-9", 404, unknown);
    for id in ["messages.dlq-0-9", "../metrics", "a/b"] {
        let ran = fake.run(&["dlq", "show", id, "-o", "json"]);
        assert_eq!(ran.code, Some(3), "{id}");
        assert_eq!(ran.error()["code"], "unknown_letter");
        assert!(ran.error()["hint"].as_str().unwrap().contains("dlq ls"));
    }
}

#[test]
fn a_plan_is_only_told() {
    let fake = Fake::start();
    fake.state()
        .admin
        .always("POST /admin/dlq/replay", json!({"done": 2, "before": 1}));
    let ran = fake.run(&["dlq", "replay", "a-0-1", "a-0-2", "a-0-3"]).ok();
    assert_eq!(
        ran.stdout,
        "2 would be replayed, 1 had been decided about before\n"
    );
    assert_eq!(ran.stderr, "nothing was done: give --execute to do it\n");
    assert_eq!(
        orders(&fake),
        [json!({"ids": ["a-0-1", "a-0-2", "a-0-3"], "all": false, "execute": false})]
    );
    let json = fake.run(&["dlq", "replay", "--all", "-o", "json"]).ok();
    assert_eq!(
        json.json(),
        json!({"act": "replay", "executed": false, "done": 2, "before": 1, "failed": []})
    );
}

#[test]
fn letters_are_replayed_and_discarded() {
    let fake = Fake::start();
    fake.state()
        .admin
        .always("POST /admin/dlq/replay", json!({"done": 2, "before": 0}));
    fake.state().admin.always(
        "POST /admin/dlq/discard",
        json!({"done": 1_000, "before": 0}),
    );
    let ran = fake
        .run(&[
            "dlq",
            "replay",
            "--all",
            "--topic",
            "messages.dlq",
            "--execute",
            "--yes",
        ])
        .ok();
    assert_eq!(ran.stdout, "2 replayed\n");
    let ran = fake
        .run(&[
            "dlq",
            "discard",
            "a-0-1",
            "--reason",
            "of a test",
            "--execute",
            "-y",
            "-q",
        ])
        .ok();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("1000\n", ""));
    let expected = [
        json!({"all": true, "topic": "messages.dlq", "execute": true}),
        json!({"ids": ["a-0-1"], "all": false, "reason": "of a test", "execute": true}),
    ];
    assert_eq!(orders(&fake), expected);
}

#[test]
fn a_letter_that_failed_is_8() {
    let fake = Fake::start();
    let failed =
        json!({"done": 2, "before": 0, "failed": [{"id": "a-0-1", "detail": "it has no origin"}]});
    fake.state().admin.always("POST /admin/dlq/replay", failed);
    let ran = fake.run(&["dlq", "replay", "--all", "--execute", "--yes"]);
    assert_eq!(ran.code, Some(8));
    insta::assert_snapshot!(ran.stdout + &ran.stderr, @"
    2 replayed
    FAILED  WHY
    a-0-1   it has no origin
    error: 1 failed, 2 did not
    hint: run it again: what was done is not done twice
    ");
}

#[test]
fn what_is_to_be_decided_has_to_be_said() {
    let fake = Fake::start();
    for args in [
        &["dlq", "replay"][..],
        &["dlq", "replay", "a-0-1", "--all"],
        &["dlq", "replay", "a-0-1", "--topic", "messages.dlq"],
        &["dlq", "replay", "--all", "--yes"],
        &["dlq", "discard", "a-0-1"],
        &["dlq", "discard", "a-0-1", "--reason", ""],
    ] {
        assert_eq!(fake.run(args).code, Some(2), "{args:?}");
    }
    assert!(fake.state().seen.is_empty());
}
