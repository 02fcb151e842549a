//! What the server finds out about what it stands on, over HTTP.

use std::collections::BTreeSet;

use chat_wire::admin::doctor::{Diagnosis, Finding};
use chat_wire::problem::Code;

use crate::harness::Server;
use crate::mode;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_stands_on_is_examined() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server.say_all(chat, &["a body"]).await;
    let raw: Diagnosis = server.admin_get("/admin/doctor").send().await.is(200);
    let diagnosis = server.admin.doctor().await.unwrap();
    let ids = |diagnosis: &Diagnosis| -> Vec<String> {
        let checks = diagnosis.checks.iter();
        checks.map(|check| check.id.clone()).collect()
    };
    assert_eq!(ids(&raw), ids(&diagnosis));
    let own: &[&str] = match mode::on_engines() {
        true => &[
            "mysql.reach",
            "redis.eviction",
            "kafka.topics",
            "elasticsearch.mapping",
        ],
        false => &[
            "disk.free",
            "store.integrity",
            "log.journal",
            "index.present",
        ],
    };
    for id in own {
        let found = diagnosis.checks.iter().find(|check| check.id == *id);
        let found = found.unwrap_or_else(|| panic!("{id} is not among {:?}", ids(&diagnosis)));
        assert_ne!(found.finding, Finding::Failed, "{found:?}");
    }
    let distinct: BTreeSet<_> = ids(&diagnosis).into_iter().collect();
    assert_eq!(distinct.len(), diagnosis.checks.len());
    // Nothing of what clients sent is in it.
    let text = format!("{diagnosis:?}");
    assert!(!text.contains(&chat.token.reveal()) && !text.contains("a body"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_diagnosis_wants_the_key() {
    let server = Server::with(&["--admin-key=hush"]).await;
    let without = server.admin_get("/admin/doctor").send().await;
    without.refused(Code::Unauthorized, None, None);
    let request = server.admin_get("/admin/doctor");
    let with = request.header("authorization", "Bearer hush").send().await;
    let diagnosis: Diagnosis = with.is(200);
    assert!(!diagnosis.checks.is_empty());
    assert!(!format!("{diagnosis:?}").contains("hush"));
}
