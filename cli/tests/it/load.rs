//! `chatctl load run` against a server that keeps, loses, doubles, refuses and stalls as it is told.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fake::{Fake, Mischief, State, admin};
use crate::run::Ran;

fn server() -> Fake {
    let fake = Fake::start();
    let mut state = fake.state();
    state.admin.always("GET /admin/stats", admin::stats());
    state.admin.always("GET /admin/drift", admin::drift(&[]));
    drop(state);
    fake
}

fn load(fake: &Fake, args: &[&str]) -> Ran {
    let mut all = vec!["load", "run", "--chats", "3", "--warmup", "0", "-o", "json"];
    all.extend(args);
    fake.run(&all)
}

fn report(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stderr))
}

#[test]
fn everything_that_was_acknowledged_is_found() {
    let fake = server();
    let ran = load(
        &fake,
        &[
            "--rate",
            "200",
            "--for",
            "1s",
            "--seed",
            "7",
            "--mix",
            "send=10,batch=1,edit=2,delete=2,read=2,page=1,search=2,search_app=1,tail=1,create_chat=1,create_app=1",
            "--slo",
            "errors==0%",
            "--slo",
            "skipped==0",
            "--slo",
            "lost==0",
            "--slo",
            "send.rate>1/s",
        ],
    );
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let report = report(&ran);
    let found = &report["verification"];
    assert_eq!(found["findings"], json!([]));
    let (acknowledged, rows) = (found["acknowledged"].as_u64(), found["rows"].as_u64());
    assert_eq!(acknowledged, rows);
    assert_eq!(found["documents"].as_u64(), rows);
    assert_eq!(report["operations"].as_array().unwrap().len(), 11);
    assert_eq!(report["scenario"]["seed"], 7);
    assert!(
        report["objectives"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["met"] == true)
    );
    let totals = &report["totals"];
    assert_eq!(totals["wanted"], totals["sent"]);
    assert_eq!(totals["ok"], totals["sent"]);
}

#[test]
fn the_number_of_threads_changes_nothing_of_what_is_sent() {
    let sent = |threads: &str| {
        let fake = server();
        let ran = load(
            &fake,
            &[
                "--rate",
                "300",
                "--for",
                "500ms",
                "--seed",
                "5",
                "--mix",
                "send=3,read=1,page=1",
                "--threads",
                threads,
            ],
        );
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let report = report(&ran);
        let operations = report["operations"].as_array().unwrap().iter();
        let counts = operations.map(|one| (one["name"].clone(), one["ok"].clone()));
        (
            report["totals"]["wanted"].clone(),
            counts.collect::<Vec<_>>(),
        )
    };
    let one = sent("1");
    assert_eq!(one.1.len(), 3);
    assert_eq!(one, sent("3"));
}

#[test]
fn what_is_lost_or_doubled_is_found_and_written_down() {
    for (number, what) in [
        // A number for nothing.
        (1_000_000, "lost"),
        // A number that another message has.
        (1, "number_twice"),
    ] {
        let fake = server();
        fake.state().mischief = Some((20, Mischief::Lose(number)));
        let file = fake.home().join("findings.ndjson");
        let path = file.to_str().unwrap();
        let ran = load(
            &fake,
            &[
                "--rate",
                "100",
                "--for",
                "500ms",
                "--seed",
                "1",
                "--findings",
                path,
            ],
        );
        assert_eq!(ran.code, Some(8), "{what}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("\"code\":\"verification\""),
            "{}",
            ran.stderr
        );
        let findings = std::fs::read_to_string(file).unwrap();
        assert!(
            findings.contains(&format!("\"what\":\"{what}\"")),
            "{findings}"
        );
        let report = report(&ran);
        assert_ne!(report["verification"]["findings"], json!([]));
    }
}

#[test]
fn an_unanswered_create_may_be_there_once() {
    let fake = server();
    fake.state().mischief = Some((5, Mischief::Break));
    let ran = load(&fake, &["--rate", "100", "--for", "500ms"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let report = report(&ran);
    assert_eq!(report["totals"]["errors"]["unreachable"], 1);
    let found = &report["verification"];
    assert_eq!(found["unanswered"], 1);
    assert_eq!(
        found["rows"].as_u64().unwrap(),
        found["acknowledged"].as_u64().unwrap() + 1
    );
}

#[test]
fn a_stall_counts_for_everybody_who_had_to_wait() {
    let fake = server();
    let child = fake
        .chatctl(&[
            "load",
            "run",
            "--chats",
            "3",
            "--warmup",
            "0",
            "-o",
            "json",
            "--rate",
            "100",
            "--for",
            "10s",
            "--connections",
            "1",
            "--follow",
            "0",
            "--seed",
            "3",
        ])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let sent = |state: &State| {
        let sends = state
            .seen
            .iter()
            .filter(|seen| seen.path.ends_with("/messages"));
        sends.count() >= 300
    };
    fake.wait_until(sent);
    let state = fake.state();
    // Whoever holds the state stalls the server.
    let until = Instant::now() + Duration::from_secs(1);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
    drop(state);
    let output = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let send = &report["operations"][0];
    let ms = |which: &str, what: &str| send[which][what].as_f64().unwrap();
    // A hundred of a thousand arrivals fall into the stall and wait for 0 to 1 s each, and for longer
    // where the machine is busy.
    let response = ms("response", "p99");
    assert!(response >= 700.0, "response p99 {response}");
    let service = ms("service", "p99");
    assert!(
        service < response / 2.0,
        "service p99 {service}, response p99 {response}"
    );
    assert!(
        ms("service", "max") >= 900.0,
        "one request was in the stall"
    );
}

#[test]
fn what_is_due_beyond_the_places_is_skipped_and_an_objective_misses() {
    let fake = server();
    fake.state().mischief = Some((1, Mischief::Hang));
    let ran = load(
        &fake,
        &[
            "--rate",
            "100",
            "--for",
            "500ms",
            "--max-in-flight",
            "5",
            "--answer-timeout",
            "4s",
            "--no-verify",
            "--slo",
            "skipped==0",
            "--follow",
            "0",
        ],
    );
    assert_eq!(ran.code, Some(99), "{}", ran.stderr);
    assert!(ran.stderr.contains("skipped==0 is"), "{}", ran.stderr);
    let report = report(&ran);
    assert_eq!(report["totals"]["errors"]["timeout"], 5);
    assert_eq!(report["totals"]["in_flight_max"], 5);
    let totals = |name: &str| report["totals"][name].as_u64().unwrap();
    assert_eq!(totals("skipped") + totals("sent"), totals("wanted"));
}

#[test]
fn an_objective_on_nothing_is_an_error() {
    let fake = server();
    fake.state().mischief = Some((1, Mischief::Hang));
    let ran = load(
        &fake,
        &[
            "--users",
            "2",
            "--for",
            "300ms",
            "--answer-timeout",
            "300ms",
            "--no-verify",
            "--slo",
            "send.p99<50ms",
            "--follow",
            "0",
        ],
    );
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("nothing to judge it by"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_server_elsewhere_is_refused() {
    let fake = server();
    let ran = load(&fake, &["--rate", "1", "--server", "http://192.0.2.1:7700"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("--i-own-this-target"), "{}", ran.stderr);
}

#[test]
fn wrong_scenarios_are_refused_before_anything_is_sent() {
    let fake = server();
    for args in [
        &["--rate", "-1"][..],
        &["--mix", "nothing=1", "--rate", "1"],
        &["--rate", "1", "--slo", "sned.p99<1ms"],
        &["--rate", "1", "--slo", "edit.p99<1ms"],
        &[],
        &["no-such.toml"],
        &["--rate", "1", "--report", "x.pdf"],
    ] {
        let ran = load(&fake, args);
        assert!(matches!(ran.code, Some(1 | 2)), "{args:?}: {:?}", ran.code);
    }
    assert!(fake.state().seen.is_empty(), "{:?}", fake.state().seen);
}

#[test]
fn the_highest_rate_is_found() {
    let fake = server();
    // The server takes one message in 5 ms and one at a time, so 200 a second and no more. In a second
    // a hundred more find a place to wait in: what else the machine does holds up fewer than that.
    fake.state().message_takes = Duration::from_millis(5);
    let ran = load(
        &fake,
        &[
            "--find-max",
            "--from",
            "20",
            "--trial",
            "1s",
            "--max-in-flight",
            "100",
            "--slo",
            "skipped==0",
            "--follow",
            "0",
        ],
    );
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let report = report(&ran);
    let trials = report["trials"].as_array().unwrap();
    let held = trials.iter().filter(|trial| trial["met"] == true);
    let best = held
        .map(|trial| trial["rate"].as_f64().unwrap())
        .fold(0.0, f64::max);
    assert!((20.0..=310.0).contains(&best), "{trials:?}");
    assert!(trials.iter().any(|trial| trial["met"] == false));
    assert!((report["totals"]["wanted_per_second"].as_f64().unwrap() / best - 1.0).abs() < 0.5);
}

/// Ten minutes of load, ended by a signal; everything else still happens.
fn ended_by(signal: &str, code: i32) {
    let fake = server();
    let child = fake
        .chatctl(&[
            "load", "run", "--chats", "3", "--warmup", "0", "-o", "json", "--rate", "50", "--for",
            "10m",
        ])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    fake.wait_until(|state| state.seen.len() > 20);
    let killed = std::process::Command::new("kill")
        .args(["-s", signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(code));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["interrupted"], true);
    // Ten minutes were planned, and rates are of the seconds that there were.
    let totals = &report["totals"];
    let seconds = totals["seconds"].as_f64().unwrap();
    assert!(seconds > 0.0 && seconds < 120.0, "{seconds}");
    let sent = totals["sent"].as_f64().unwrap() / seconds;
    assert!((totals["sent_per_second"].as_f64().unwrap() - sent).abs() < 0.001);
    assert_eq!(report["verification"]["findings"], json!([]));
    assert_eq!(
        report["verification"]["acknowledged"],
        report["totals"]["ok"]
    );
}

#[test]
fn ctrl_c_ends_the_load_with_130_and_everything_else_still_happens() {
    ended_by("INT", 130);
}

#[test]
fn sigterm_ends_the_load_with_143_and_everything_else_still_happens() {
    ended_by("TERM", 143);
}

#[test]
fn workers_that_do_not_catch_up_leave_nothing_verified() {
    let fake = server();
    let lag = admin::lag(("behind", Some(7)), ("ok", Some(0)));
    fake.state().lag_override = Some(lag);
    let ran = load(
        &fake,
        &["--rate", "50", "--for", "300ms", "--drain", "300ms"],
    );
    assert_eq!(ran.code, Some(8), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("nothing could be verified"),
        "{}",
        ran.stderr
    );
    let report = report(&ran);
    assert_eq!(report["drain"]["seconds"], Value::Null);
    assert_eq!(report["drain"]["lag_at_end"]["messages-store"], 7);
    assert_ne!(report["totals"]["ok"], 0);
}
