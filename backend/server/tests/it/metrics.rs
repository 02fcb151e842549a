//! `/metrics`, as Prometheus reads it.

use std::collections::BTreeSet;

use crate::harness::{Server, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_names_that_are_conventional() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server.say_all(chat, &["x"; 3]).await;
    server.settled().await;
    assert_eq!(server.get("/nothing").send().await.status, 404);
    // A batch is counted when it has been committed.
    let created = "chatd_events_applied_total{group=\"messages-store\",outcome=\"created\"} 3";
    let no_lag =
        "chatd_log_lag_records{group=\"messages-index\",topic=\"messages\",partition=\"0\"} 0";
    server.shows(&[created, no_lag]).await;
    let metrics = server.admin_get("/metrics").send().await;
    let text = metrics.text();
    for line in [
        "# TYPE chatd_http_requests counter",
        "# TYPE chatd_http_request_duration_seconds histogram",
        "# UNIT chatd_http_request_duration_seconds seconds",
        "# TYPE chatd_http_requests_in_flight gauge",
        "# TYPE chatd_events_applied counter",
        "# TYPE chatd_batch_duration_seconds histogram",
        "# TYPE chatd_log_lag_records gauge",
        "# TYPE chatd_numbers_voided counter",
        "# TYPE chatd_dead_letters counter",
        "# TYPE chatd_dead_letters_waiting gauge",
        "# TYPE chatd_dead_letters_oldest_age_seconds gauge",
        "# TYPE chatd_log_oldest_age_seconds gauge",
        "# TYPE chatd_log_group_members gauge",
        "# TYPE chatd_log_group_status gauge",
        "# TYPE chatd_counter_fences counter",
        "# TYPE chatd_counter_recoveries counter",
        "# TYPE chatd_counter_recovery_failures counter",
        "# TYPE chatd_worker_retries counter",
        "# TYPE chatd_http_requests_shed counter",
        "# TYPE chatd_log_lag_shedding_status gauge",
        "# TYPE chatd_log_lag_limit_records gauge",
        "# TYPE chatd_log_lag_limit_bytes gauge",
        "# TYPE chatd_build info",
        "# TYPE process_start_time_seconds gauge",
        #[cfg(target_os = "linux")]
        "# TYPE process_resident_memory_bytes gauge",
        #[cfg(target_os = "linux")]
        "# TYPE process_open_fds gauge",
        #[cfg(target_os = "linux")]
        "# TYPE process_cpu_seconds counter",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let route = "route=\"/applications/{token}/chats/{chat}/messages/batch\"";
    assert!(text.contains(route));
    assert!(text.contains("route=\"(none)\",method=\"GET\",status=\"404\""));
    // A token is a credential.
    assert!(!text.contains(&chat.token.reveal()));
}

/// What a name may end with, so that whoever reads it knows what is counted: the unit, or the suffix
/// that the type has.
const UNITS: [&str; 11] = [
    "_circuits",
    "_seconds",
    "_bytes",
    "_records",
    "_members",
    "_waiting",
    "_in_flight",
    "_status",
    "_info",
    "_threads",
    "_fds",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_explained_and_says_what_it_counts() {
    let server = Server::start().await;
    // What never happened is not on the page.
    let chat = server.chat().await;
    server.say_all(chat, &["x"]).await;
    server.settled().await;
    let page = server.admin_get("/metrics").send().await;
    let mut types = BTreeSet::new();
    for line in page.text().lines() {
        let Some(rest) = line.strip_prefix("# TYPE ") else {
            continue;
        };
        let (name, kind) = rest.split_once(' ').unwrap();
        assert!(types.insert(name.to_owned()), "{name} is there twice");
        let help = format!("# HELP {name} ");
        let help = page
            .text()
            .lines()
            .find_map(|line| line.strip_prefix(&help));
        let help = help.unwrap_or_default();
        assert!(help.len() > 10 && help.ends_with('.'), "{name}: {help:?}");
        let full = match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        };
        let counted = kind == "counter" || UNITS.iter().any(|unit| full.ends_with(unit));
        assert!(counted, "{full} does not say what it counts");
        let ours = name.starts_with("chatd_") || name.starts_with("process_");
        assert!(ours, "{name}");
    }
    assert!(types.len() >= 20, "{types:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_has_one_status_at_a_time() {
    let server = Server::start().await;
    let well = "chatd_log_group_status{group=\"messages-store\",status=\"ok\"} 1";
    eventually("the group is well", async || {
        let page = server.admin_get("/metrics").send().await;
        let ones = page
            .text()
            .lines()
            .filter(|line| line.starts_with("chatd_log_group_status{") && line.ends_with(" 1"))
            .count();
        assert_eq!(ones, 4, "{}", page.text());
        page.text().lines().any(|line| line == well).then_some(())
    })
    .await;
    let lines = [
        "chatd_log_group_members{group=\"messages-index\"} 1",
        "chatd_log_oldest_age_seconds{group=\"messages-store\"} 0.0",
        "chatd_dead_letters_waiting 0",
    ];
    // Each group has its member in its own time.
    server.shows(&lines).await;
}
