//! A group that is too far behind: creates are shed, and everything says so.

use chat_wire::admin::stats::Measure;
use chat_wire::problem::Code;
use serde_json::Value;

use crate::harness::{Chat, Server, eventually};
use crate::raw::Answer;

async fn create(server: &Server, chat: Chat) -> Answer {
    let request = server.post(chat.path("/messages")).json(r#"{"body":"x"}"#);
    request.send().await
}

/// Creates until one is shed; returns that answer and how many were taken.
async fn until_shed(server: &Server, chat: Chat) -> (Answer, u64) {
    let mut taken = 0;
    let shed = eventually("creates are shed", async || {
        let answer = create(server, chat).await;
        if answer.status == 503 {
            return Some(answer);
        }
        taken += 1;
        assert_eq!(answer.number(202), taken);
        None
    })
    .await;
    (shed, taken)
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_are_shed_while_a_group_is_too_far_behind() {
    let server = Server::idle(&["--lag-max=5"]).await;
    let chat = server.chat().await;
    let (shed, taken) = until_shed(&server, chat).await;
    assert!(taken > 5, "{taken}");
    shed.refused(Code::Overloaded, None, None);
    let problem = shed.problem();
    for word in ["messages-", "records behind", "limit of 5", "down to 4"] {
        assert!(problem.detail.contains(word), "{}", problem.detail);
    }
    let seconds: u64 = shed.header("retry-after").parse().unwrap();
    assert!((1..=10).contains(&seconds), "{seconds}");
    // By its head: what the body says is never looked at.
    let batch = server.post(chat.path("/messages/batch")).ndjson("no JSON");
    batch.send().await.refused(Code::Overloaded, None, None);

    // Chats are another topic, whose group is not behind; and what is there may be read.
    server.chat_of(chat.token).await;
    assert_eq!(server.get(chat.message(1)).send().await.status, 202);

    // It serves all the same; what a check asks may be slow to answer.
    let stats = eventually("it is ready", async || {
        let stats = server.admin.stats().await.unwrap();
        stats.ready.then_some(stats)
    })
    .await;
    let first = &stats.shedding[0];
    assert_eq!(
        (first.topic.as_str(), first.measure),
        ("messages", Measure::Records)
    );
    assert_eq!((first.limit, first.resume), (5, 4));
    assert!(first.lag > 5, "{first:?}");
    let ready: Value = eventually("it says so", async || {
        let answer = server.admin_get("/readyz").send().await;
        (answer.status == 200).then(|| answer.is(200))
    })
    .await;
    let checks = ready["checks"].as_array().unwrap();
    let lag = checks.iter().find(|check| check["name"] == "lag").unwrap();
    assert_eq!(lag["ok"], false);
    assert!(lag["detail"].as_str().unwrap().contains("limit of 5"));
    let page = server.admin_get("/metrics").send().await;
    for line in [
        format!(
            "chatd_log_lag_shedding_status{{group=\"{}\"}} 1",
            first.group
        ),
        "chatd_log_lag_shedding_status{group=\"chats-store\"} 0".to_owned(),
        "chatd_log_lag_limit_records 5".to_owned(),
    ] {
        let found = page.text().lines().any(|found| found == line);
        assert!(found, "{line}\n{}", page.text());
    }
    assert!(
        !page
            .text()
            .contains("chatd_http_requests_shed_total{reason=\"lag\"} 0\n")
    );

    // The group catches up, and what was shed has burned no number.
    let _working = server.work().await;
    let number = eventually("creates go on", async || {
        let answer = create(&server, chat).await;
        (answer.status == 202).then(|| answer.number(202))
    })
    .await;
    assert_eq!(number, taken + 1);
    eventually("everything is well", async || {
        let stats = server.admin.stats().await.unwrap();
        let well = stats.ready && stats.checks.iter().all(|check| check.ok);
        well.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_records_are_counted_by_their_bytes() {
    let server = Server::idle(&["--lag-max-mib=1"]).await;
    let chat = server.chat().await;
    let line = format!("{{\"body\":\"{}\"}}\n", "x".repeat(10_000));
    let shed = eventually("creates are shed", async || {
        let batch = server.post(chat.path("/messages/batch"));
        let answer = batch.ndjson(line.repeat(50)).send().await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert!(shed.problem().detail.contains("bytes behind"));
    let stats = server.admin.stats().await.unwrap();
    assert_eq!(stats.shedding[0].measure, Measure::Bytes);
    assert_eq!(stats.shedding[0].limit, 1024 * 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_limits_nothing_is_shed_for_lag() {
    let server = Server::idle(&["--lag-max=0", "--lag-max-mib=0"]).await;
    let chat = server.chat().await;
    for number in 1..=50 {
        assert_eq!(create(&server, chat).await.number(202), number);
    }
    let stats = server.admin.stats().await.unwrap();
    assert!(stats.shedding.is_empty());
}
