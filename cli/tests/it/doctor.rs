//! The doctor: its checks, its exit codes, and what a bundle holds.

use std::io::Read;

use serde_json::{Value, json};

use crate::fake::admin::{TOKEN, drift, lag, letter, run, stats};
use crate::fake::{Deed, Fake, problem};
use crate::run::{chatctl, run as run_command};

/// A server on which all is well.
fn healthy() -> Fake {
    let fake = Fake::start();
    let mut state = fake.state();
    let admin = &mut state.admin;
    let mut stats = stats();
    stats["checks"] = json!([]);
    admin.always("GET /admin/stats", stats);
    admin.always("GET /admin/lag", lag(("ok", Some(0)), ("ok", Some(0))));
    admin.always("GET /admin/drift", drift(&[]));
    admin.always("GET /admin/dlq", json!({"waiting": 0, "letters": []}));
    admin.always("GET /admin/reconcile", json!({}));
    let checks = json!({"checks": [{"id": "disk.free", "finding": "ok", "elapsed_ms": 3, "detail": "12 GiB free"}]});
    admin.always("GET /admin/doctor", checks);
    drop(state);
    fake
}

fn findings(report: &Value) -> Vec<(String, String)> {
    let checks = report["checks"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    checks
        .iter()
        .map(|check| (text(&check["id"]), text(&check["finding"])))
        .collect()
}

fn metrics() -> Deed {
    Deed::Answer(
        200,
        Vec::new(),
        format!("chat_requests_total{{app=\"{TOKEN}\"}} 1\n"),
    )
}

#[test]
fn all_is_well() {
    let fake = healthy();
    let ran = fake.run(&["doctor", "--strict"]).ok();
    assert_eq!(ran.stderr, "");
    let text = ran.stdout.replace(&fake.url, "URL");
    let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    // How long an answer takes is the machine's affair.
    let text: Vec<_> = text
        .lines()
        .map(|line| line.find("answers in").map_or(line, |at| &line[..at + 7]))
        .collect();
    insta::assert_snapshot!(text.join("\n"), @"
    ok       client.settings     no configuration file; API at URL
    ok       api.reach           answers
    ok       admin.reach         answers
    ok       admin.key           the admin listener answers us
    ok       client.version      all of version VERSION
    ok       client.clock        the clocks agree within two seconds
    ok       disk.free           12 GiB free
    ok       server.ready        embedded all, up 1 h 1 m
    ok       lag.messages-store  ok, 0 records behind: it is ok
    ok       lag.messages-index  ok, 0 records behind: it is ok
    ok       drift               12 compared, all ok
    ok       dead_letters        none waits
    ");
    let json = fake.run(&["doctor", "-o", "json"]).ok().json();
    assert_eq!(json["finding"], "ok");
    assert!(findings(&json).iter().all(|(_, finding)| finding == "ok"));
    assert_eq!(fake.run(&["doctor", "-q"]).ok().stdout, "");
}

#[test]
fn what_is_wrong_is_10_and_each_has_a_hint() {
    let fake = healthy();
    {
        let admin = &mut fake.state().admin;
        admin.always(
            "GET /admin/lag",
            lag(("stopped", Some(5)), ("unknown", None)),
        );
        admin.always("GET /admin/drift", drift(&["counter_behind"]));
        admin.always(
            "GET /admin/dlq",
            json!({"waiting": 1, "letters": [letter(1, "waiting")]}),
        );
        admin.always("GET /admin/doctor", json!({"checks": [
            {"id": "redis.eviction", "finding": "failed", "elapsed_ms": 3, "detail": "keys may be evicted",
                "hint": "redis-cli config set maxmemory-policy noeviction"}]}));
    }
    let ran = fake.run(&["doctor"]);
    assert_eq!(ran.code, Some(10));
    assert_eq!(
        ran.stderr,
        "error: not well: redis.eviction, lag.messages-store, drift\n"
    );
    assert!(
        ran.stdout
            .contains("hint: redis-cli config set maxmemory-policy noeviction\n")
    );
    let ran = fake.run(&["doctor", "-o", "json"]);
    assert_eq!(ran.code, Some(10));
    assert_eq!(ran.error()["code"], "unhealthy");
    let report = ran.json();
    for check in report["checks"].as_array().unwrap() {
        assert_eq!(
            check["finding"] == "ok",
            check.get("hint").is_none(),
            "{check}"
        );
    }
    let bad = fake.run(&["doctor", "-q"]);
    assert_eq!(
        bad.stdout,
        "redis.eviction\nlag.messages-store\nlag.messages-index\ndrift\ndead_letters\n"
    );
}

#[test]
fn warnings_are_10_only_when_strict() {
    let fake = healthy();
    fake.state()
        .admin
        .always("GET /admin/drift", drift(&["count_stale"]));
    assert_eq!(fake.run(&["doctor", "-q"]).code, Some(0));
    assert_eq!(fake.run(&["doctor", "-q", "--strict"]).code, Some(10));
    fake.state().admin.always("GET /admin/drift", drift(&[]));
    let other = json!({"info": {"version": "9.9.9"}});
    fake.state().admin.always("GET /openapi.json", other);
    let ran = fake.run(&["doctor", "-o", "json", "--strict"]);
    assert_eq!(ran.code, Some(10));
    assert!(findings(&ran.json()).contains(&("client.version".to_owned(), "warning".to_owned())));
}

#[test]
fn a_server_that_is_away_is_told_at_once() {
    let home = tempfile::tempdir().unwrap();
    let ran =
        run_command(chatctl("http://127.0.0.1:9", home.path()).args(["doctor", "-o", "json"]));
    assert_eq!(ran.code, Some(10));
    let found = findings(&ran.json());
    let finding = |id: &str| found.iter().find(|(name, _)| name == id).unwrap().1.clone();
    assert_eq!(
        [finding("api.reach"), finding("admin.reach")],
        ["failed", "failed"]
    );
    assert_eq!(
        [finding("client.clock"), finding("drift"), finding("lag")],
        ["skipped"; 3]
    );
}

#[test]
fn a_wrong_key_is_named_once() {
    let fake = Fake::start();
    let refused = problem(
        401,
        "unauthorized",
        "the request carries no valid admin key",
    );
    for call in ["doctor", "stats", "lag", "drift", "dlq", "reconcile"] {
        let call = format!("GET /admin/{call}");
        fake.state().admin.then(&call, 401, refused.clone());
    }
    let ran = fake.run(&["doctor", "-o", "json"]);
    assert_eq!(ran.code, Some(10));
    let found = findings(&ran.json());
    let failed: Vec<_> = found
        .iter()
        .filter(|(_, finding)| finding == "failed")
        .collect();
    assert_eq!(failed, [&("admin.key".to_owned(), "failed".to_owned())]);
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let fake = healthy();
    let path = fake.home().join("config.toml");
    std::fs::write(&path, "admin-key = \"hush\"\n").unwrap();
    let check = |mode: u32| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let args = ["doctor", "-o", "json", "--config", path.to_str().unwrap()];
        let report = fake.run(&args).ok().json();
        report["checks"][0]["finding"].as_str().unwrap().to_owned()
    };
    assert_eq!(check(0o644), "warning");
    assert_eq!(check(0o600), "ok");
}

#[test]
fn a_bundle_holds_everything_but_secrets() {
    let fake = healthy();
    {
        let admin = &mut fake.state().admin;
        let page = json!({"waiting": 2, "letters": [letter(1, "waiting"), letter(2, "waiting")]});
        admin.always("GET /admin/dlq", page);
        let steps = [json!({"result": "done"}), Value::Null];
        admin.always(
            "GET /admin/reconcile",
            json!({"last": run("cancelled", true, steps)}),
        );
    }
    let path = fake.home().join("found.tar.gz");
    let args = [
        "doctor",
        "-q",
        "--bundle",
        path.to_str().unwrap(),
        "--app",
        TOKEN,
    ];
    let mut command = fake.chatctl(&args);
    command.env("CHATCTL_ADMIN_KEY", "hush-hush");
    assert_eq!(run_command(&mut command).code, Some(0));
    let packed = std::fs::read(&path).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&packed[..]));
    let mut files = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        for secret in [TOKEN, "hush", "\"hello\"", "hello", "Acme"] {
            assert!(!text.contains(secret), "{name} holds {secret}: {text}");
        }
        files.push((name, text));
    }
    let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    insta::assert_snapshot!(names.join("\n"), @"
    chat-doctor/README.txt
    chat-doctor/doctor.json
    chat-doctor/settings.json
    chat-doctor/versions.json
    chat-doctor/stats.json
    chat-doctor/lag.json
    chat-doctor/drift.json
    chat-doctor/runs.json
    chat-doctor/dlq.json
    chat-doctor/metrics.txt
    ");
    let file = |name: &str| {
        &files
            .iter()
            .find(|(file, _)| file.ends_with(name))
            .unwrap()
            .1
    };
    let json = |name: &str| -> Value { serde_json::from_str(file(name)).unwrap() };
    assert_eq!(
        json("runs.json")["last"]["steps"][0]["token"],
        "application-1"
    );
    assert_eq!(json("dlq.json")["kinds"][0]["count"], 2);
    assert_eq!(
        json("dlq.json")["kinds"][0]["reason"],
        "invalid type: string \"…\""
    );
    assert_eq!(json("lag.json")["groups"][0]["group"], "messages-store");
    let settings = json("settings.json");
    let app = settings
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["key"] == "app");
    assert_eq!(app.unwrap()["value"], "***");
    // Nothing that is there is written over.
    let ran = run_command(&mut command);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert_eq!(std::fs::read(&path).unwrap(), packed);
}

#[test]
fn metrics_are_part_of_a_bundle_without_tokens() {
    let fake = healthy();
    let path = fake.home().join("found.tar.gz");
    // The calls come at once and in no order, so the answer is given by path.
    fake.state().texts.insert("/metrics".to_owned(), metrics());
    fake.run(&["doctor", "-q", "--bundle", path.to_str().unwrap()])
        .ok();
    let packed = std::fs::File::open(&path).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    let mut found = archive.entries().unwrap().map(Result::unwrap);
    let mut metrics = found
        .find(|entry| entry.path().unwrap().ends_with("metrics.txt"))
        .unwrap();
    let mut text = String::new();
    metrics.read_to_string(&mut text).unwrap();
    assert_eq!(text, "chat_requests_total{app=\"application-1\"} 1\n");
}
