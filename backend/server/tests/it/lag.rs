//! `/admin/lag`: what is told of groups that are idle, behind, or alone.

use std::time::Duration;

use chat_core::port::log::{Group, Headers, NewRecord, PartitionId, Topic};
use chat_core::port::store::Position;
use chat_server::config::Worker;
use chat_server::sampler::Sampler;
use chat_wire::admin::lag::{GroupLag, Lag, Status};
use chat_wire::problem::Code;
use serde_json::Value;

use crate::harness::{Server, eventually};
use crate::mode;

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

/// One group of an answer.
fn group<'a>(lag: &'a Lag, name: &str) -> &'a GroupLag {
    lag.groups.iter().find(|group| group.group == name).unwrap()
}

/// Waits until a group has a status.
async fn becomes(server: &Server, name: &str, status: Status) -> GroupLag {
    eventually("the status", async || {
        let lag = server.admin.lag().await.unwrap();
        let found = group(&lag, name);
        (found.status == status).then(|| found.clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_groups_are_well_and_have_a_member() {
    let server = Server::with(&["--lag-every-ms=50"]).await;
    for name in [
        "applications-store",
        "chats-store",
        "messages-store",
        "messages-index",
    ] {
        let idle = becomes(&server, name, Status::Ok).await;
        assert_eq!(idle.reason, "nothing waits");
        assert_eq!(idle.members, Some(1));
        assert_eq!(idle.figures.lag_records, Some(0));
        assert_eq!(idle.figures.oldest_age_ms, None);
    }
    let chat = server.chat().await;
    server.say_all(chat, &["x"; 10]).await;
    server.settled().await;
    let after = becomes(&server, "messages-store", Status::Ok).await;
    assert_eq!(
        after.partitions[0].committed_offset,
        after.partitions[0].end_offset
    );
    eventually("a history", async || {
        let lag = server.admin.lag().await.unwrap();
        assert_eq!(lag.interval_ms, 50);
        let history = &group(&lag, "messages-store").history;
        (history.len() > 3 && history.last() == Some(&Some(0))).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_may_be_narrowed() {
    let server = Server::start().await;
    let path = "/admin/lag?group=chats-store&partitions=0&sort=lag";
    let lag: Lag = server.admin_get(path).send().await.is(200);
    assert_eq!(lag.groups.len(), 1);
    assert_eq!(lag.groups[0].group, "chats-store");
    assert_eq!(lag.groups[0].partitions_total, 1);
    assert!(lag.groups[0].partitions.is_empty());
    let unknown = server.admin_get("/admin/lag?group=nobody").send().await;
    unknown.refused(Code::InvalidValue, Some("group"), None);
    let strange = server.admin_get("/admin/lag?sort=sideways").send().await;
    assert_eq!(strange.problem().code, Code::InvalidParameter);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_never_were_are_told_from_idle_ones() {
    if !mode::on_engines() {
        return;
    }
    let server = Server::api_alone(&["--lag-every-ms=200"]).await;
    let token = server.app().await;
    let never = becomes(&server, "applications-store", Status::Stopped).await;
    assert_eq!(never.members, Some(0));
    assert_eq!(never.figures.lag_records, Some(1));
    assert!(never.figures.oldest_age_ms.is_some());
    assert_eq!(never.partitions[0].committed_offset, None);
    assert!(
        never.reason.contains("none has ever applied anything"),
        "{}",
        never.reason
    );
    let idle = becomes(&server, "chats-store", Status::Stopped).await;
    assert_eq!(idle.figures.lag_records, Some(0));

    let worker = server.worker(Worker::Applications).await;
    let well = becomes(&server, "applications-store", Status::Ok).await;
    assert_eq!(well.members, Some(1));
    assert!(server.client.application(token).await.is_ok());
    worker.stop().await;
    let gone = becomes(&server, "applications-store", Status::Stopped).await;
    assert!(
        gone.reason.starts_with("no member has been there for"),
        "{}",
        gone.reason
    );
    let page = server.admin_get("/metrics").send().await;
    let stopped = "chatd_log_group_status{group=\"applications-store\",status=\"stopped\"} 1";
    assert!(
        page.text().lines().any(|line| line == stopped),
        "{}",
        page.text()
    );
    // On an API without workers everything waits, and says for how long.
    server.app().await;
    let waits = becomes(&server, "applications-store", Status::Stopped).await;
    assert_eq!(waits.figures.lag_records, Some(1));
    assert!(waits.reason.contains("1 record waits"), "{}", waits.reason);
}

/// A sampler over ports of its own, whose log keeps nothing that every group has applied.
#[tokio::test(flavor = "multi_thread")]
async fn what_retention_took_is_told_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let config = chat_embedded::open::Config {
        log_retention: Duration::ZERO,
        ..chat_embedded::open::Config::new(dir.path())
    };
    let ports = chat_embedded::open::open(&config).await.unwrap();
    let partition = PartitionId {
        topic: Topic::Messages,
        index: 0,
    };
    for _ in 0..3 {
        let record = NewRecord {
            key: "key".into(),
            headers: Headers::default(),
            value: "value".into(),
        };
        ports.log.append(Topic::Messages, record).await.unwrap();
    }
    let apply = async |group, next| {
        let tx = ports.store.begin(group, &[partition]).await.unwrap();
        let position = Position {
            next,
            ..Position::START
        };
        tx.commit(&[position]).await.unwrap();
    };
    apply(Group::MessagesStore, 2).await;
    apply(Group::MessagesIndex, 2).await;
    eventually("retention takes two", async || {
        ports.life.housekeep().await;
        (ports.log.range(partition).await.unwrap().0 == 2).then_some(())
    })
    .await;
    let _member = ports.log.join(Group::MessagesStore).await.unwrap();
    apply(Group::MessagesStore, 1).await;
    let sampler = Sampler::new(ports, Duration::from_secs(5));
    let lag = sampler.now().await;
    let found = group(&lag, "messages-store");
    assert_eq!(found.status, Status::Stalled);
    let gone = "partition 0 has stopped: offsets 1 to 1 are gone by retention";
    assert!(found.reason.starts_with(gone), "{}", found.reason);
    assert_eq!(found.figures.lag_records, Some(2));
    // Three looks at once are one or two, and all tell the same.
    let (one, other, third) = tokio::join!(sampler.now(), sampler.now(), sampler.now());
    for lag in [one, other, third] {
        assert_eq!(group(&lag, "messages-store").status, Status::Stalled);
    }
}
