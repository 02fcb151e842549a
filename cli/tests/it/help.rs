//! Help, completions and manual pages.

use crate::fake::Fake;

#[test]
fn the_help_texts() {
    let fake = Fake::start();
    let help = |args: &[&str]| {
        let text = fake.run(&[&["help"], args].concat()).ok().stdout;
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        lines.join("\n")
    };
    let own = |args: &[&str]| {
        let text = help(args);
        let (own, common) = text.split_once("Common options:").unwrap();
        assert!(common.contains("--timeout"));
        own.trim_end().to_owned()
    };
    insta::assert_snapshot!("help", help(&[]));
    insta::assert_snapshot!("help_dashboard", own(&["dashboard"]));
    insta::assert_snapshot!("help_exit_codes", help(&["exit-codes"]));
    insta::assert_snapshot!("help_app_limit", own(&["app", "limit"]));
    insta::assert_snapshot!("help_import", own(&["import"]));
    insta::assert_snapshot!("help_export", own(&["export"]));
    insta::assert_snapshot!("help_msg_search", own(&["msg", "search"]));
    insta::assert_snapshot!("help_msg_tail", own(&["msg", "tail"]));
    insta::assert_snapshot!("help_lag", own(&["lag"]));
    insta::assert_snapshot!("help_drift", own(&["drift"]));
    insta::assert_snapshot!("help_reconcile", own(&["reconcile"]));
    insta::assert_snapshot!("help_dlq_replay", own(&["dlq", "replay"]));
    insta::assert_snapshot!("help_dlq_discard", own(&["dlq", "discard"]));
    insta::assert_snapshot!("help_doctor", own(&["doctor"]));
    insta::assert_snapshot!("help_load_run", own(&["load", "run"]));
    insta::assert_snapshot!("help_load_show", own(&["load", "show"]));
    insta::assert_snapshot!("help_load_compare", own(&["load", "compare"]));
    insta::assert_snapshot!("help_load_schema", own(&["load", "schema"]));
    assert_eq!(help(&["msg", "send"]), help(&["msg", "create"]));
    assert_eq!(fake.run(&["help", "frobnicate"]).code, Some(2));
}

#[test]
fn completions_for_every_shell() {
    let fake = Fake::start();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = fake.run(&["completions", shell]).ok().stdout;
        assert!(
            script.contains("chatctl") && script.contains("idempotency-key"),
            "{shell}"
        );
    }
}

#[test]
fn a_manual_page_for_every_command() {
    let fake = Fake::start();
    let out = fake.home().join("man");
    fake.run(&["man", "--out", out.to_str().unwrap()]).ok();
    for page in [
        "chatctl.1",
        "chatctl-app-limit.1",
        "chatctl-msg.1",
        "chatctl-msg-search.1",
        "chatctl-import.1",
        "chatctl-lag.1",
        "chatctl-reconcile-status.1",
        "chatctl-dlq-replay.1",
        "chatctl-doctor.1",
    ] {
        let text = std::fs::read_to_string(out.join(page)).unwrap();
        assert!(text.starts_with(".ie") || text.contains(".TH"), "{page}");
    }
    assert!(fake.run(&["man"]).ok().stdout.contains(".TH"));
}

#[test]
fn the_version() {
    let fake = Fake::start();
    let ran = fake.run(&["--version"]).ok();
    assert_eq!(
        ran.stdout,
        concat!("chatctl ", env!("CARGO_PKG_VERSION"), "\n")
    );
}
