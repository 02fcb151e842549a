//! Lag, drift and the snapshot: what is printed, and when it is not well.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::fake::admin::{TOKEN, drift, lag, stats};
use crate::fake::{Deed, Fake, problem};

fn with_lag(store: (&str, Option<u64>), index: (&str, Option<u64>)) -> Fake {
    let fake = Fake::start();
    let answer = lag(store, index);
    fake.state().admin.always("GET /admin/lag", answer);
    fake
}

#[test]
fn lag_in_every_format() {
    let fake = with_lag(("behind", Some(12)), ("ok", Some(0)));
    let table = fake.run(&["lag"]).ok();
    assert_eq!(table.stderr, "");
    insta::assert_snapshot!(table.stdout, @"
    GROUP           STATUS  LAG      AGE  IN/S  OUT/S  DRAINS IN  MEMBERS  REASON
    messages-store  behind   12  1 m 1 s    13  1,234      3.2 s        1  it is behind
    messages-index  ok        0        -    13  1,234          -        1  it is ok
    ");
    insta::assert_snapshot!(fake.run(&["lag", "--partitions"]).ok().stdout, @"
    GROUP           PARTITION  STATUS  COMMITTED  END  LAG  AGE  IN/S  OUT/S  DRAINS IN
    messages-store          0  behind         88  100   12    ?     ?      ?          ?
    messages-index          0  ok            100  100    0    -     ?      ?          -
    ");
    let json = fake.run(&["lag", "-o", "json"]).ok();
    assert_eq!(json.json()["groups"][0]["lag_records"], 12);
    assert_eq!(json.json()["groups"][0]["history"], json!([null, 3]));
    assert_eq!(fake.run(&["lag", "-o", "ndjson"]).ok().lines().len(), 1);
    insta::assert_snapshot!(fake.run(&["lag", "-o", "csv"]).ok().stdout, @"
    group,topic,status,members,lag_records,oldest_age_ms,in_per_second,out_per_second,drain_seconds,partitions_total,reason
    messages-store,messages,behind,1,12,61500,12.5,1234.0,3.2,1,it is behind
    messages-index,messages,ok,1,0,,12.5,1234.0,,1,it is ok
    ");
    let yaml = fake.run(&["lag", "-o", "yaml"]).ok().stdout;
    assert!(yaml.contains("\nstatus: behind\n"), "{yaml}");
    assert_eq!(fake.run(&["lag", "-q"]).ok().stdout, "behind\n");
}

#[test]
fn only_what_is_shown_of_the_lag_is_asked_for() {
    let fake = with_lag(("ok", Some(0)), ("ok", Some(0)));
    for args in [
        &["lag"][..],
        &["lag", "messages-index"],
        &["lag", "--partitions"],
        &["lag", "--partitions=20", "messages-store"],
    ] {
        fake.run(args).ok();
    }
    let paths: Vec<String> = fake
        .state()
        .seen
        .iter()
        .map(|one| one.path.clone())
        .collect();
    assert_eq!(
        paths,
        [
            "/admin/lag?partitions=0",
            "/admin/lag?group=messages-index&partitions=0",
            "/admin/lag",
            "/admin/lag?group=messages-store&partitions=20&sort=lag",
        ]
    );
    let fake = Fake::start();
    let detail = "group: must be messages-store or messages-index";
    let refusal = problem(422, "invalid_value", detail);
    fake.state().admin.then("GET /admin/lag", 422, refusal);
    let unknown = fake.run(&["lag", "messages-stor"]);
    assert_eq!(unknown.code, Some(3));
    assert!(unknown.stderr.contains(detail), "{}", unknown.stderr);
}

#[test]
fn lag_that_is_not_well_is_10() {
    let fake = with_lag(("stopped", Some(12)), ("ok", Some(0)));
    let ran = fake.run(&["lag", "-o", "json"]);
    assert_eq!(ran.code, Some(10));
    assert_eq!(ran.json()["status"], "stopped");
    let error = ran.error();
    assert_eq!(error["code"], "unhealthy");
    assert_eq!(
        error["message"],
        "messages-store is stopped (it is stopped)"
    );
    assert_eq!(error["hint"], "`chatctl doctor` looks for the cause");
}

#[test]
fn who_says_what_is_not_well() {
    let code = |status: &str, records: Option<u64>, flags: &[&str]| {
        let fake = with_lag((status, records), ("ok", Some(0)));
        fake.run(&[&["lag", "-q"], flags].concat()).code
    };
    for (status, expected) in [
        ("ok", 0),
        ("behind", 0),
        ("unknown", 10),
        ("growing", 10),
        ("stalled", 10),
        ("stopped", 10),
    ] {
        assert_eq!(code(status, Some(1), &[]), Some(expected), "{status}");
    }
    assert_eq!(code("stopped", Some(1), &["--fail-on", "never"]), Some(0));
    assert_eq!(code("behind", Some(1), &["--fail-on", "behind"]), Some(10));
    assert_eq!(code("growing", Some(1), &["--fail-on", "stalled"]), Some(0));
    assert_eq!(code("ok", Some(11), &["--max-lag", "10"]), Some(10));
    assert_eq!(code("ok", Some(10), &["--max-lag", "10"]), Some(0));
    assert_eq!(code("ok", Some(10), &["--max-age", "1m"]), Some(10));
    assert_eq!(code("ok", Some(10), &["--max-age", "62s"]), Some(0));
    assert_eq!(code("ok", Some(0), &["--max-age", "1ms"]), Some(0));
    // What nobody knows is within no limit.
    let never = ["--fail-on", "never"];
    assert_eq!(
        code("ok", None, &[&never[..], &["--max-lag", "10"]].concat()),
        Some(10)
    );
    assert_eq!(
        code("ok", None, &[&never[..], &["--max-age", "1h"]].concat()),
        Some(10)
    );
}

#[test]
fn until_the_lag_is_gone() {
    let fake = Fake::start();
    for answer in [
        lag(("growing", Some(12)), ("ok", Some(0))),
        lag(("behind", Some(3)), ("ok", Some(0))),
        lag(("ok", Some(0)), ("ok", Some(0))),
    ] {
        fake.state().admin.then("GET /admin/lag", 200, answer);
    }
    // A server that is away for a moment is looked for again.
    fake.state().script.push_back(Deed::Break);
    let until = [
        "lag",
        "--until",
        "ok",
        "--watch=20ms",
        "-o",
        "ndjson",
        "--retries",
        "0",
    ];
    let ran = fake.run(&until).ok();
    let statuses: Vec<_> = ran
        .lines()
        .iter()
        .map(|line| line["status"].clone())
        .collect();
    assert_eq!(statuses, ["growing", "behind", "ok"]);
    assert!(ran.stderr.contains("looking again"), "{}", ran.stderr);
    assert_eq!(
        fake.run(&["lag", "--until", "lag=0", "-q"]).ok().stdout,
        "ok\n"
    );
}

#[test]
fn a_condition_that_does_not_come_is_7() {
    let fake = with_lag(("stalled", Some(12)), ("ok", Some(0)));
    let ran = fake.run(&["lag", "--until", "ok", "--timeout", "200ms", "-q"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(7), "stalled\n"));
    assert!(ran.stderr.contains("not ok within 0.2 s"), "{}", ran.stderr);
    for wrong in ["lag=", "lag=x", "well"] {
        assert_eq!(fake.run(&["lag", "--until", wrong]).code, Some(2));
    }
}

#[test]
fn watching_prints_changes_and_no_escape_codes() {
    let fake = Fake::start();
    for records in [5, 5, 4] {
        let answer = lag(("behind", Some(records)), ("ok", Some(0)));
        fake.state().admin.then("GET /admin/lag", 200, answer);
    }
    let mut child = fake
        .chatctl(&["lag", "--watch=10ms", "-o", "json"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["groups"][0]["lag_records"], 5);
    assert_eq!(next()["groups"][0]["lag_records"], 4);
    child.kill().unwrap();
    child.wait().unwrap();
    // As a table it ends with what is not well, where that was asked for.
    for status in ["ok", "ok", "stopped"] {
        let answer = lag((status, Some(1)), ("ok", Some(0)));
        fake.state().admin.then("GET /admin/lag", 200, answer);
    }
    let ran = fake.run(&[
        "lag",
        "--watch=10ms",
        "--fail-on",
        "stalled",
        "--color",
        "never",
    ]);
    assert_eq!(ran.code, Some(10), "{ran:?}");
    assert!(!ran.stdout.contains('\x1b'));
    assert_eq!(ran.stdout.matches("GROUP").count(), 3, "{}", ran.stdout);
}

#[test]
fn drift_in_every_format() {
    let fake = Fake::start();
    let answer = drift(&["counter_behind", "holes", "unknown", "ok"]);
    fake.state().admin.always("GET /admin/drift", answer);
    let ran = fake.run(&["drift"]);
    assert_eq!(ran.code, Some(10));
    let (head, table) = ran.stdout.split_once('\n').unwrap();
    assert!(
        head.starts_with("12 compared, 1 unknown, 1 holes, 1 counter_behind ("),
        "{head}"
    );
    insta::assert_snapshot!(table, @"
    APPLICATION                       CHAT  COUNTER  HIGHEST   LIVE  COUNT  INDEX  IN LOG  VERDICT         DETAILS
    00000000000000000000000000000abc     1        -    1,200  1,190  1,190  1,190       0  counter_behind  it is counter_behind
    00000000000000000000000000000abc     2    1,200    1,200  1,190  1,190  1,190       0  holes           it is holes
    00000000000000000000000000000abc     3    1,200    1,200  1,190  1,190      ?       0  unknown         it is unknown
    00000000000000000000000000000abc     4    1,200    1,200  1,190  1,190  1,190       0  ok              it is ok
    ");
    insta::assert_snapshot!(ran.stderr, @"
    error: of 12 compared: 1 unknown, 1 holes, 1 counter_behind
    hint: `chatctl reconcile` shows what it would do about it, with --execute it does it
    ");
    let json = fake
        .run(&["drift", "-o", "json", "--fail-on", "never"])
        .ok();
    assert_eq!(json.json()["rows"][0]["counter"], Value::Null);
    assert_eq!(json.json()["summary"]["holes"], 1);
    let csv = fake.run(&["drift", "-o", "csv", "--fail-on", "never"]).ok();
    assert_eq!(csv.stdout.lines().count(), 5);
    let ids = fake.run(&["drift", "-q", "--fail-on", "never"]).ok();
    assert_eq!(
        ids.stdout.lines().next(),
        Some(format!("{TOKEN}/1").as_str())
    );
    let yaml = fake
        .run(&["drift", "-o", "yaml", "--fail-on", "never"])
        .ok();
    assert!(yaml.stdout.starts_with("compared_at: "), "{}", yaml.stdout);
}

#[test]
fn drift_asks_for_what_was_asked() {
    let fake = Fake::start();
    fake.state().admin.always("GET /admin/drift", drift(&[]));
    let asked = |args: &[&str]| {
        fake.run(&[&["drift"], args].concat()).ok();
        let path = fake.state().seen.last().unwrap().path.clone();
        path.split_once('?').unwrap().1.to_owned()
    };
    assert_eq!(asked(&[]), "drifted=true&limit=1000");
    assert_eq!(asked(&["--all"]), "limit=1000");
    assert_eq!(asked(&["--verdict", "holes"]), "verdict=holes&limit=1000");
    let app = ["--app", TOKEN];
    assert_eq!(
        asked(&app),
        format!("token={TOKEN}&drifted=true&limit=1000")
    );
    let chat = [&app[..], &["--chat", "3"]].concat();
    assert_eq!(asked(&chat), format!("token={TOKEN}&chat=3&limit=1000"));
    assert_eq!(fake.run(&["drift", "--chat", "3"]).code, Some(2));
}

#[test]
fn everything_is_compared_and_the_worst_is_shown() {
    let fake = Fake::start();
    let mut first = drift(&["count_stale", "count_stale"]);
    first["next_after"] = json!("here");
    // A page may have no row and still not be the last.
    let mut second = drift(&[]);
    second["next_after"] = json!("there");
    for page in [first, second, drift(&["holes"])] {
        fake.state().admin.then("GET /admin/drift", 200, page);
    }
    let ran = fake.run(&["drift", "--limit", "2", "-o", "json"]);
    assert_eq!(ran.code, Some(10));
    assert!(fake.state().seen[2].path.contains("after=there"));
    let shown = ran.json();
    assert_eq!(shown["summary"]["compared"], 36);
    assert_eq!(shown["summary"]["count_stale"], 2);
    let verdicts: Vec<_> = shown["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["verdict"].clone())
        .collect();
    assert_eq!(verdicts, ["holes", "count_stale"]);
    assert_eq!(shown["more"], true);
    assert!(
        ran.stderr.starts_with("{\"note\":\"there are more"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_has_drifted_is_10_and_what_is_in_flight_is_not() {
    let code = |verdicts: &[&str], flags: &[&str]| {
        let fake = Fake::start();
        fake.state()
            .admin
            .always("GET /admin/drift", drift(verdicts));
        fake.run(&[&["drift", "-q"], flags].concat()).code
    };
    for verdict in [
        "unknown",
        "count_stale",
        "unindexed",
        "holes",
        "counter_behind",
    ] {
        assert_eq!(code(&[verdict], &[]), Some(10), "{verdict}");
    }
    assert_eq!(code(&["ok", "in_flight"], &[]), Some(0));
    assert_eq!(code(&["unknown"], &["--fail-on", "drift"]), Some(0));
    assert_eq!(code(&["count_stale"], &["--fail-on", "drift"]), Some(10));
    assert_eq!(code(&["in_flight"], &["--fail-on", "in_flight"]), Some(10));
    assert_eq!(code(&["in_flight"], &["--until", "ok"]), Some(0));
    assert_eq!(
        code(&["holes"], &["--until", "ok", "--timeout", "100ms"]),
        Some(7)
    );
}

#[test]
fn one_snapshot() {
    let fake = Fake::start();
    fake.state().admin.always("GET /admin/stats", stats());
    let table = fake.run(&["stats"]).ok().stdout;
    let table = table.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    insta::assert_snapshot!(table, @"
    chatd VERSION (embedded, all), up 1 h 1 m, ready
    search: it is closed
    FIGURE                              VALUE
    requests/s                             12
    messages accepted/s                10,000
    errors/s                              0.0
    shed/s                                0.0
    create p50                         1.2 ms
    create p99                              -
    requests at work                        3
    applications                            2
    chats                               1,000
    messages                                ?
    lag messages-store                   0 ok
    lag messages-index              ? unknown
    drift                12 compared, 1 holes
    dead letters                            0
    oldest dead letter                      -
    ");
    let json = fake.run(&["stats", "-o", "json"]).ok().json();
    assert_eq!(json["totals"]["messages"], Value::Null);
    assert_eq!(fake.run(&["stats", "-q"]).ok().stdout, "ready\n");
    assert!(
        fake.run(&["stats", "-o", "yaml"])
            .ok()
            .stdout
            .starts_with("at: ")
    );
}
