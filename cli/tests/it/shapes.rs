//! What is printed, in every format.

use serde_json::json;

use crate::fake::{Fake, problem};
use crate::run::run;

/// An application with two chats and some messages.
fn talk() -> (Fake, String) {
    let fake = Fake::start();
    let app = fake.app(2);
    fake.state()
        .say(1, &["hello world", "tab\tand \x1b[31mred", "日本語 world"]);
    (fake, app)
}

#[test]
fn creates_print_the_names_of_the_api() {
    let fake = Fake::start();
    let json = ["-o", "json"];
    let created = fake
        .run(&[&["app", "create", "Acme"], json.as_slice()].concat())
        .ok();
    let app = created.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(created.json(), json!({"token": app}));
    let at = ["--app", &app, "-o", "json"];
    let chat = fake
        .run(&[&["chat", "create"], at.as_slice()].concat())
        .ok();
    assert_eq!(chat.stdout, "{\"chat_number\":1}\n");
    let sent = [
        "msg",
        "create",
        "hi",
        "--chat",
        "1",
        "--sender",
        "ann",
        "--sent-at",
        "2004-12-25T10:14:00+01:00",
    ];
    let sent = fake.run(&[&sent, at.as_slice()].concat()).ok();
    assert_eq!(sent.stdout, "{\"message_number\":1}\n");
    assert!(
        [&created, &chat, &sent]
            .iter()
            .all(|ran| ran.stderr.is_empty())
    );
    let message = fake
        .run(&[&["msg", "get", "1", "--chat", "1"], at.as_slice()].concat())
        .ok();
    assert_eq!(
        message.json(),
        json!({"chat_number": 1, "message_number": 1, "sender": "ann", "body": "hi", "sent_at": "2004-12-25T09:14:00Z",
            "created_at": "2026-01-31T12:00:00Z", "updated_at": null, "revision": 1})
    );
    let edited = ["msg", "edit", "1", "hello", "--chat", "1"];
    let edited = fake.run(&[&edited, at.as_slice()].concat()).ok();
    assert_eq!(
        edited.json(),
        json!({"chat_number": 1, "message_number": 1})
    );
    let renamed = fake
        .run(&[&["app", "rename", "Other"], at.as_slice()].concat())
        .ok();
    assert_eq!(renamed.json(), json!({"token": app, "name": "Other"}));
    let renamed = fake.run(&["app", "rename", &app, "Third", "-q"]).ok();
    assert_eq!(renamed.stdout, format!("{app}\n"));
    assert_eq!(fake.state().bodies(), [["hello"]]);
    let shown = fake.run(&["app", "get", &app]).ok();
    insta::assert_snapshot!(shown.stdout, @"
    token        0000000000000000000000000000abc0
    name         Third
    chats_count  1
    created_at   2026-01-31T12:00:00Z
    updated_at   2026-01-31T12:00:00Z
    ");
}

#[test]
fn a_list_in_every_format() {
    let (fake, app) = talk();
    let ls = |format: &str| {
        let args = ["msg", "ls", "--app", &app, "--chat", "1", "-o", format];
        fake.run(&args).ok().stdout
    };
    insta::assert_snapshot!("messages_table", ls("table"));
    insta::assert_snapshot!("messages_json", ls("json"));
    insta::assert_snapshot!("messages_ndjson", ls("ndjson"));
    insta::assert_snapshot!("messages_yaml", ls("yaml"));
    // Into a pipe it is raw, and the file of the snapshot shall not be.
    insta::assert_snapshot!("messages_csv", ls("csv").replace('\x1b', "ESC"));
    let array: serde_json::Value = serde_json::from_str(&ls("json")).unwrap();
    assert_eq!(array[1]["body"], "tab\tand \x1b[31mred");
}

#[test]
fn an_empty_list_is_still_a_document() {
    let (fake, app) = talk();
    let ls = |format: &str| {
        let args = ["msg", "ls", "--app", &app, "--chat", "2", "-o", format];
        fake.run(&args).ok().stdout
    };
    assert_eq!(ls("table"), "");
    assert_eq!(ls("json"), "[]\n");
    assert_eq!(ls("ndjson"), "");
    assert_eq!(ls("yaml"), "[]\n");
    assert_eq!(
        ls("csv"),
        "chat_number,message_number,sender,body,sent_at,created_at,updated_at,revision\n"
    );
}

#[test]
fn limits_and_pages() {
    let (fake, app) = talk();
    let ls = |args: &[&str]| {
        let all = [&["msg", "ls", "--app", &app, "--chat", "1", "-q"], args].concat();
        fake.run(&all).ok().stdout
    };
    assert_eq!(ls(&[]), "1\n2\n3\n");
    assert_eq!(ls(&["--limit", "2"]), "1\n2\n");
    assert_eq!(ls(&["--limit", "all", "--after", "1"]), "2\n3\n");
    assert_eq!(ls(&["--before", "3", "--limit", "1"]), "2\n");
    let remarked = fake
        .run(&["msg", "ls", "--app", &app, "--chat", "1", "--limit", "2"])
        .ok();
    assert_eq!(remarked.stderr, "there are more: go on with --after 2\n");
    let chats = fake.run(&["chat", "ls", "--app", &app]).ok();
    insta::assert_snapshot!(chats.stdout, @"
    CHAT  MESSAGES  CREATED
       1         3  2026-01-31T12:00:00Z
       2         0  2026-01-31T12:00:00Z
    ");
    let apps = fake.run(&["app", "ls"]).ok();
    insta::assert_snapshot!(apps.stdout, @"
    TOKEN                             CHATS  CREATED               NAME
    0000000000000000000000000000abc0      2  2026-01-31T12:00:00Z  made by the test
    ");
}

#[test]
fn hits_have_their_highlights() {
    let (fake, app) = talk();
    let search = ["msg", "search", "--app", &app, "--chat", "1", "world"];
    let hits = fake
        .run(&[&search, ["-o", "ndjson"].as_slice()].concat())
        .ok();
    assert!(hits.stderr.is_empty());
    let highlights: Vec<_> = hits
        .lines()
        .iter()
        .map(|hit| hit["highlights"].clone())
        .collect();
    assert_eq!(highlights, [json!([[6, 11]]), json!([[4, 9]])]);
    let coloured = fake
        .run(&[&search, ["--color", "always"].as_slice()].concat())
        .ok();
    assert!(
        coloured.stdout.contains("hello \x1b[1;31mworld\x1b[0m"),
        "{}",
        coloured.stdout
    );
    let piped = fake.run(&search).ok();
    assert!(!piped.stdout.contains('\x1b'));
}

#[test]
fn a_search_without_a_chat_is_wider_and_tells_what_is_missing() {
    let (fake, app) = talk();
    let hits = fake
        .run(&[
            "msg", "search", "--app", &app, "lo wo", "--sort", "number", "--limit", "all", "-o",
            "json",
        ])
        .ok();
    assert_eq!(hits.json()[0]["message_number"], 1);
    assert!(
        hits.stderr
            .starts_with("{\"note\":\"not searchable yet: 12,345 log record"),
        "{}",
        hits.stderr
    );
    let path = fake.state().seen[0].path.clone();
    assert_eq!(
        path,
        format!("/search?application_token={app}&body=lo+wo&sort=number&limit=1000")
    );
}

#[test]
fn colour_follows_the_environment() {
    let (fake, app) = talk();
    let mut command = fake.chatctl(&["msg", "search", "--app", &app, "--chat", "1", "world"]);
    assert!(
        run(command.env("CLICOLOR_FORCE", "1"))
            .stdout
            .contains('\x1b')
    );
    assert!(!run(command.env("NO_COLOR", "1")).stdout.contains('\x1b'));
}

#[test]
fn verbose_tells_of_requests_without_tokens() {
    let (fake, app) = talk();
    let ran = fake.run(&["app", "get", &app, "-v", "-q"]).ok();
    assert!(
        ran.stderr.starts_with("GET /applications/…: 200 in "),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains(&app));
}

#[test]
fn the_limit_of_an_application_is_shown_set_and_taken_back() {
    let fake = Fake::start();
    let app = fake.app(0);
    let path = format!("/admin/applications/{app}/limit");
    let answer =
        |rate_limit: u32, source: &str| json!({"rate_limit": rate_limit, "source": source});
    let prepare = |method: &str, answer| {
        fake.state()
            .admin
            .always(&format!("{method} {path}"), answer);
    };
    prepare("GET", answer(900, "default"));
    let shown = fake.run(&["app", "limit", &app]).ok();
    assert_eq!(shown.stderr, "");
    insta::assert_snapshot!(shown.stdout, @"
    token       0000000000000000000000000000abc0
    rate_limit  900
    source      default
    ");
    // The setting names it as well as the argument.
    let json = fake
        .run(&["app", "limit", "--app", &app, "-o", "json"])
        .ok();
    let told = json!({"token": app, "rate_limit": 900, "source": "default"});
    assert_eq!(json.json(), told);
    let csv = fake.run(&["app", "limit", &app, "-o", "csv"]).ok();
    assert_eq!(
        csv.stdout,
        format!("token,rate_limit,source\n{app},900,default\n")
    );
    assert_eq!(fake.run(&["app", "limit", &app, "-q"]).ok().stdout, "900\n");

    prepare("PUT", answer(2, "application"));
    let set = fake
        .run(&["app", "limit", &app, "--per-second", "2", "-o", "yaml"])
        .ok();
    assert_eq!(
        set.stdout,
        format!("token: {app:?}\nrate_limit: 2\nsource: application\n")
    );
    prepare("PUT", answer(0, "application"));
    let unlimited = fake.run(&["app", "limit", &app, "--unlimited"]).ok();
    assert!(
        unlimited.stderr.contains("a limit of 0 is none"),
        "{}",
        unlimited.stderr
    );
    prepare("DELETE", answer(900, "default"));
    fake.run(&["app", "limit", &app, "--default"]).ok();
    let calls: Vec<(String, String)> = fake
        .state()
        .seen
        .drain(..)
        .skip(4)
        .map(|seen| (seen.method, seen.body))
        .collect();
    let call = |method: &str, body: &str| (method.to_owned(), body.to_owned());
    assert_eq!(
        calls,
        [
            call("PUT", "{\"rate_limit\":2}"),
            call("PUT", "{\"rate_limit\":0}"),
            call("DELETE", ""),
        ]
    );
}

#[test]
fn a_limit_is_one_thing_of_an_application_that_is_there() {
    let fake = Fake::start();
    let app = fake.app(0);
    for wrong in [
        &["--per-second", "0"][..],
        &["--per-second", "-1"],
        &["--per-second", "1", "--unlimited"],
        &["--unlimited", "--default"],
        &["--per-second", "1", "--default"],
    ] {
        let args = [&["app", "limit", &app], wrong].concat();
        assert_eq!(fake.run(&args).code, Some(2), "{wrong:?}");
    }
    assert!(fake.state().seen.is_empty());
    let unknown = problem(404, "unknown_application", "no application has this token");
    let call = format!("GET /admin/applications/{app}/limit");
    fake.state().admin.then(&call, 404, unknown);
    let ran = fake.run(&["app", "limit", &app]);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(!ran.stderr.contains('\x1b'), "{}", ran.stderr);
}
