//! The second listener: health, metrics, and what only operators see.

use chat_wire::problem::Code;
use serde_json::Value;

use crate::harness::Server;

#[tokio::test(flavor = "multi_thread")]
async fn health_is_open_and_the_rest_wants_the_key() {
    let server = Server::with(&["--admin-key=hush"]).await;
    assert_eq!(server.admin_get("/livez").send().await.text(), "alive\n");
    let ready: Value = server.admin_get("/readyz").send().await.is(200);
    assert_eq!(ready["ready"], true);
    let names: Vec<&Value> = ready["checks"]
        .as_array()
        .unwrap()
        .iter()
        .inspect(|check| assert_eq!(check["ok"], true))
        .map(|check| &check["name"])
        .collect();
    assert_eq!(names, ["store", "log", "counters", "search"]);

    for path in ["/metrics", "/admin/applications", "/admin/lag"] {
        for wrong in [
            "",
            "hush",
            "Bearer",
            "Bearer ",
            "Bearer hus",
            "Bearer hushh",
            "Basic hush",
        ] {
            let request = server.admin_get(path).header("authorization", wrong);
            let answer = request.send().await;
            answer.refused(Code::Unauthorized, None, None);
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
        let without = server.admin_get(path).send().await;
        without.refused(Code::Unauthorized, None, None);
        // Schemes have no case (RFC 9110, section 11.1).
        for right in ["Bearer hush", "bearer hush"] {
            let request = server.admin_get(path).header("authorization", right);
            assert_eq!(request.send().await.status, 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_names_that_are_conventional() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server.say_all(chat, &["x"; 3]).await;
    server.settled().await;
    assert_eq!(server.get("/nothing").send().await.status, 404);
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
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let created = "chatd_events_applied_total{group=\"messages-store\",outcome=\"created\"} 3";
    let no_lag =
        "chatd_log_lag_records{group=\"messages-index\",topic=\"messages\",partition=\"0\"} 0";
    for sample in [created, no_lag] {
        assert!(text.lines().any(|line| line == sample), "{sample}\n{text}");
    }
    let route = "route=\"/applications/{token}/chats/{chat}/messages/batch\"";
    assert!(text.contains(route));
    assert!(text.contains("route=\"(none)\",method=\"GET\",status=\"404\""));
    // A token is a credential.
    assert!(!text.contains(&chat.token.reveal()));
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_knows_every_group() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server.say_all(chat, &["x"]).await;
    server.settled().await;
    let lag: Value = server.admin_get("/admin/lag").send().await.is(200);
    let groups = lag["groups"].as_array().unwrap();
    let ends: Vec<(&str, &Value)> = groups
        .iter()
        .inspect(|group| {
            assert_eq!(group["lag_records"], 0);
            let partition = &group["partitions"][0];
            assert_eq!(partition["end_offset"], partition["committed_offset"]);
        })
        .map(|group| {
            let end = &group["partitions"][0]["end_offset"];
            (group["group"].as_str().unwrap(), end)
        })
        .collect();
    assert!(
        ends.iter().all(|(_, end)| end.as_u64() == Some(1)),
        "{ends:?}"
    );
    for group in [
        "applications-store",
        "chats-store",
        "messages-store",
        "messages-index",
    ] {
        assert!(ends.iter().any(|(name, _)| *name == group), "{group}");
    }
}
