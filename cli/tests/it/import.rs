//! Imports: every line once, in order, whatever happens in between.

use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::fake::Fake;
use crate::run::{Ran, run, run_with_input};

/// Lines of several chats, each body its place in the file.
fn lines(count: usize, chats: usize) -> String {
    let line = |at: usize| json!({"chat": format!("c{}", at % chats), "sender": "ann", "sent_at": "2004-12-25T09:14:00Z", "body": at.to_string()});
    (0..count).map(|at| format!("{}\n", line(at))).collect()
}

fn file(fake: &Fake, name: &str, content: &[u8]) -> PathBuf {
    let path = fake.home().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn gzip(content: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn import(fake: &Fake, path: &PathBuf, more: &[&str]) -> Ran {
    run(fake
        .chatctl(&["import", "-o", "json", "--new-app", "Imported"])
        .arg(path)
        .args(more))
}

/// The last line of standard output, which is the summary.
fn summary(ran: &Ran) -> Value {
    serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap()
}

#[track_caller]
fn assert_complete(fake: &Fake, count: usize, chats: usize) {
    let bodies = fake.state().bodies();
    assert_eq!(bodies.len(), chats);
    for (chat, bodies) in bodies.iter().enumerate() {
        let expected: Vec<_> = (chat..count)
            .step_by(chats)
            .map(|at| at.to_string())
            .collect();
        assert_eq!(*bodies, expected, "chat {chat}");
    }
}

#[test]
fn plain_and_gzip_and_standard_input() {
    let content = lines(5_000, 3);
    for (name, bytes) in [
        ("plain", content.clone().into_bytes()),
        ("gzip", gzip(&content)),
    ] {
        let fake = Fake::start();
        let path = file(&fake, name, &bytes);
        let ran = import(&fake, &path, &[]).ok();
        assert_complete(&fake, 5_000, 3);
        let summary = summary(&ran);
        let token = fake.state().apps.keys().next().unwrap().clone();
        assert_eq!(summary["token"], json!(token));
        assert_eq!(
            (
                &summary["chats"],
                &summary["messages"],
                &summary["rejected"]
            ),
            (&json!(3), &json!(5_000), &json!(0))
        );
        assert!(summary["seconds"].is_f64() && summary["searchable_seconds"].is_null());

        let fake = Fake::start();
        let app = fake.app(0);
        run_with_input(&mut fake.chatctl(&["import", "-", "--app", &app]), &bytes).ok();
        assert_complete(&fake, 5_000, 3);
    }
}

#[test]
fn running_it_again_makes_nothing_twice() {
    let fake = Fake::start();
    let path = file(&fake, "messages", lines(3_000, 2).as_bytes());
    let first = summary(&import(&fake, &path, &[]).ok());
    let second = summary(&import(&fake, &path, &["--concurrency", "1"]).ok());
    assert_complete(&fake, 3_000, 2);
    assert_eq!(first["token"], second["token"]);
    assert_eq!(second["messages"], 3_000);
    // Unless it is asked for.
    import(&fake, &path, &["--again"]).ok();
    assert_eq!(fake.state().apps.len(), 2);
    import(&fake, &path, &["--import-id", "third"]).ok();
    import(&fake, &path, &["--import-id", "third"]).ok();
    assert_eq!(fake.state().apps.len(), 3);
}

#[test]
fn a_server_that_dies_is_survived_by_a_second_run() {
    for dies_after in 0..5 {
        let fake = Fake::start();
        let path = file(&fake, "messages", lines(7_000, 4).as_bytes());
        fake.state().die_after_batches = Some(dies_after);
        let ran = import(&fake, &path, &["--retries", "0"]);
        assert_eq!(ran.code, Some(5), "{ran:?}");
        assert!(
            ran.stderr.contains("run the same command again"),
            "{}",
            ran.stderr
        );
        fake.state().die_after_batches = None;
        import(&fake, &path, &[]).ok();
        assert_complete(&fake, 7_000, 4);
    }
}

#[test]
fn refused_lines_are_kept_with_their_reasons() {
    let fake = Fake::start();
    let content = concat!(
        "{\"chat\":1,\"body\":\"one\"}\n",
        "not json\n",
        "\n",
        "{\"chat\":1,\"body\":\"\"}\n",
        "{\"chat\":1,\"body\":\"two, which the SERVER refuses\"}\n",
        "{\"chat\":1,\"body\":\"three\"}\n",
        "{\"chat\":1}\n",
    );
    let path = file(&fake, "messages", content.as_bytes());
    let rejects = fake.home().join("rejects");
    fake.state().refuse = Some("SERVER".to_owned());
    let with_rejects = ["--rejects", rejects.to_str().unwrap()];
    for _ in 0..2 {
        let ran = import(&fake, &path, &with_rejects);
        assert_eq!(ran.code, Some(8), "{ran:?}");
        assert_eq!(ran.error()["code"], "partial");
        let summary = summary(&ran);
        assert_eq!(
            (&summary["messages"], &summary["rejected"]),
            (&json!(2), &json!(4))
        );
        assert_eq!(fake.state().bodies(), [["one", "three"]]);
        let kept = std::fs::read_to_string(&rejects).unwrap();
        let mut kept: Vec<_> = kept.lines().collect();
        kept.sort_unstable_by_key(|line| {
            serde_json::from_str::<Value>(line).unwrap()["line"].as_u64()
        });
        insta::allow_duplicates! {
            insta::assert_snapshot!(kept.join("\n"), @r#"
            {"line":2,"error":"not a JSON object","content":"not json"}
            {"line":4,"error":"body must have at least one character","content":"{\"chat\":1,\"body\":\"\"}"}
            {"line":5,"error":"the server does not like it","content":"{\"chat\":1,\"body\":\"two, which the SERVER refuses\"}"}
            {"line":7,"error":"body is missing","content":"{\"chat\":1}"}
            "#);
        }
    }
}

#[test]
fn without_a_file_for_them_refused_lines_are_shown() {
    let fake = Fake::start();
    let path = file(&fake, "messages", "nothing\n".repeat(20).as_bytes());
    let ran = run(fake.chatctl(&["import", "--new-app", "x"]).arg(&path));
    assert_eq!(ran.code, Some(8));
    assert_eq!(ran.stderr.matches("not a JSON object").count(), 10);
    insta::assert_snapshot!(ran.stderr, @"
    line 1: not a JSON object
    line 2: not a JSON object
    line 3: not a JSON object
    line 4: not a JSON object
    line 5: not a JSON object
    line 6: not a JSON object
    line 7: not a JSON object
    line 8: not a JSON object
    line 9: not a JSON object
    line 10: not a JSON object
    further refused lines are not shown; --rejects FILE keeps them all
    error: 20 lines were refused; 0 messages are imported
    hint: --rejects FILE keeps refused lines with their reasons
    ");
}

#[test]
fn a_truncated_gzip_is_said_after_what_was_good() {
    let fake = Fake::start();
    let mut bytes = gzip(&lines(4_000, 1));
    bytes.truncate(bytes.len() / 2);
    let path = file(&fake, "cut.gz", &bytes);
    let ran = import(&fake, &path, &[]);
    assert_eq!(ran.code, Some(8));
    let error = ran.error();
    assert_eq!(error["code"], "input_cut_short");
    assert!(
        error["message"].as_str().unwrap().contains("cut short"),
        "{error}"
    );
    let imported = fake.state().bodies()[0].len();
    assert!(imported > 1_000, "{imported}");
    assert_complete(&fake, imported, 1);
    assert_eq!(summary(&ran)["messages"], json!(imported));
}

#[test]
fn a_file_that_cannot_be_read() {
    let fake = Fake::start();
    let ran = import(&fake, &fake.home().join("nowhere"), &[]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("nowhere"));
    let path = file(&fake, "messages", b"{}");
    let ran = import(&fake, &path, &["--rejects", path.to_str().unwrap()]);
    assert_eq!(ran.code, Some(2));
    assert_eq!(std::fs::read(&path).unwrap(), b"{}");
    let ran = import(&fake, &path, &["--app", &"a".repeat(32)]);
    assert_eq!(ran.code, Some(2));
    assert!(fake.state().seen.is_empty());
}

#[test]
fn an_unknown_application_is_told_at_once() {
    let fake = Fake::start();
    let path = file(&fake, "messages", lines(10, 1).as_bytes());
    let unknown = "a".repeat(32);
    let ran = run(fake.chatctl(&["import", "--app", &unknown]).arg(&path));
    assert_eq!(ran.code, Some(3), "{ran:?}");
}

#[test]
fn waiting_until_everything_can_be_found() {
    let fake = Fake::start();
    let path = file(&fake, "messages", lines(10, 1).as_bytes());
    fake.state().lag = 8;
    let ran = import(&fake, &path, &["--wait", "indexed"]).ok();
    assert!(summary(&ran)["searchable_seconds"].is_f64());
    assert_eq!(fake.state().lag, 0);
    let looks = |fake: &Fake| {
        fake.state()
            .seen
            .iter()
            .filter(|seen| seen.path == "/admin/lag")
            .count()
    };
    assert_eq!(looks(&fake), 9);
}

#[test]
fn workers_that_do_not_move_are_7() {
    let fake = Fake::start();
    let path = file(&fake, "messages", lines(10, 1).as_bytes());
    let stuck = json!({
        "sampled_at": "2026-01-01T00:00:00Z", "interval_ms": 1_000, "status": "stalled",
        "groups": [{"group": "messages-store", "topic": "messages", "status": "stalled", "reason": "",
            "partitions_total": 1, "partitions": [{"partition": 0, "status": "stalled",
                "end_offset": 5, "committed_offset": 1, "lag_records": 4}]}],
    });
    fake.state().lag_override = Some(stuck);
    let ran = import(&fake, &path, &["--wait", "stored", "--timeout", "300ms"]);
    assert_eq!(ran.code, Some(7), "{ran:?}");
    assert!(ran.stderr.contains("4 records to go"), "{}", ran.stderr);
    assert_eq!(summary(&ran)["messages"], 10);
}

#[test]
fn many_small_chats_keep_their_order() {
    let fake = Fake::start();
    let path = file(&fake, "messages", lines(2_000, 500).as_bytes());
    import(&fake, &path, &["--concurrency", "16"]).ok();
    assert_complete(&fake, 2_000, 500);
}
