//! The second listener: health, metrics, and what only operators see.

use chat_wire::problem::Code;
use serde_json::Value;

use crate::harness::{Server, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn health_is_open_and_the_rest_wants_the_key() {
    let server = Server::with(&["--admin-key=hush"]).await;
    assert_eq!(server.admin_get("/livez").send().await.text(), "alive\n");
    // What a check asks may be slow to answer.
    let ready: Value = eventually("it is ready", async || {
        let answer = server.admin_get("/readyz").send().await;
        (answer.status == 200).then(|| answer.is(200))
    })
    .await;
    assert_eq!(ready["ready"], true);
    let names: Vec<&Value> = ready["checks"]
        .as_array()
        .unwrap()
        .iter()
        .inspect(|check| assert_eq!(check["ok"], true))
        .map(|check| &check["name"])
        .collect();
    assert_eq!(names, ["store", "log", "counters", "search"]);

    let paths = [
        "/metrics",
        "/admin/applications",
        "/admin/lag",
        "/admin/stats",
    ];
    for path in paths {
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
