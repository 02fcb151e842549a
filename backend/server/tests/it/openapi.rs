//! The document and the router say the same.

use std::collections::BTreeSet;

use chat_server::http::{admin, routes};
use chat_wire::problem::Code;

use crate::document::{DOCUMENT, operations};
use crate::harness::Server;

#[test]
fn every_path_is_in_the_document_and_every_documented_path_exists() {
    let routed: BTreeSet<String> = routes()
        .into_iter()
        .map(|(path, _)| path)
        .chain(
            admin::open_routes()
                .into_iter()
                .map(|(path, _)| path.into()),
        )
        .chain(
            admin::guarded_routes()
                .into_iter()
                .map(|(path, _)| path.into()),
        )
        .collect();
    let documented: BTreeSet<String> = operations().into_iter().map(|(path, _)| path).collect();
    assert_eq!(routed, documented);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_takes_the_documented_methods_and_no_other() {
    let server = Server::start().await;
    for (template, methods) in operations() {
        let path = template.replace("{token}", "x");
        let path = path.replace("{chat}", "1").replace("{message}", "1");
        let path = path.replace("{id}", "x");
        let on_admin = DOCUMENT["paths"][&template]["servers"].is_array();
        let request = |method: &str| match on_admin {
            true => server.admin_request(method, &path),
            false => server.request(method, &path),
        };
        let foreign = request("PATCH").send().await;
        foreign.refused(Code::MethodNotAllowed, None, None);
        let allowed: BTreeSet<&str> = foreign.header("allow").split(',').collect();
        let mut expected: BTreeSet<&str> = methods.iter().map(String::as_str).collect();
        if expected.contains("GET") {
            expected.insert("HEAD");
        }
        assert_eq!(allowed, expected, "{template}");
        for method in ["GET", "PUT", "POST", "DELETE"] {
            let documented = methods.iter().any(|one| one == method);
            // The head says it, where the body has no end.
            let endless = method == "GET" && template == "/admin/stats/stream";
            let status = match endless {
                true => request(method).open().await.status().as_u16(),
                false => request(method).send().await.status,
            };
            let allowed = status != 405;
            assert_eq!(allowed, documented, "{method} {template}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_and_the_page_are_served() {
    let server = Server::start().await;
    let document = server.get("/openapi.json").send().await;
    assert_eq!(document.is::<serde_json::Value>(200), *DOCUMENT);
    let page = server.get("/docs").send().await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("createApplication"));
}
