//! `/admin/stats`: everything at a glance, once and as a stream.

use bytes::Bytes;
use chat_core::port::log::{Headers, NewRecord, Topic};
use chat_wire::admin::dlq;
use chat_wire::admin::reconcile::Order;
use chat_wire::admin::stats::Stats;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::drift::{falsify_count, key};
use crate::harness::{PATIENCE, Server, eventually};
use crate::mode;

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_shows_everything() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server.say_all(chat, &["x"; 7]).await;
    server.say(chat, "y").await;
    server.settled().await;
    let stats = async || -> Stats { server.admin_get("/admin/stats").send().await.is(200) };
    eventually("the totals", async || {
        (stats().await.totals.messages == Some(8)).then_some(())
    })
    .await;
    // Traffic is that of the last seconds, and what was said first may be older by now.
    let stats = eventually("the traffic", async || {
        server.say(chat, "z").await;
        let stats = stats().await;
        let well = stats.ready && stats.checks.iter().all(|check| check.ok);
        let whole = well && stats.dead_letters.is_some();
        (whole && stats.traffic.creates_per_second > 0.0).then_some(stats)
    })
    .await;
    assert_eq!(stats.totals.applications, Some(1));
    assert_eq!(stats.totals.chats, Some(1));
    let mode = if mode::on_engines() {
        "engines"
    } else {
        "embedded"
    };
    assert_eq!((stats.mode.as_str(), stats.role.as_str()), (mode, "all"));
    assert!(stats.traffic.requests_per_second > 0.0);
    assert!(stats.traffic.create_p50_ms.is_some_and(|ms| ms > 0.0));
    // This one asks the admin listener, which is no traffic.
    assert_eq!(stats.traffic.in_flight, 0);
    let lag = stats.lag.unwrap();
    assert_eq!(lag.groups.len(), 4);
    assert!(lag.groups.iter().all(|group| group.partitions.is_empty()));
    assert_eq!(stats.drift, None);
    assert_eq!(
        (stats.dead_letters, stats.oldest_dead_letter_ms),
        (Some(0), None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_find_out_is_shown() {
    let server = Server::with(&["--reconcile-every=0"]).await;
    let chat = server.chat().await;
    server.say_all(chat, &["x"; 3]).await;
    server.settled().await;
    falsify_count(server.backend(), key(chat)).await;
    let garbage = NewRecord {
        key: Bytes::from_static(b"k"),
        headers: Headers::default(),
        value: Bytes::from_static(b"garbage"),
    };
    let log = &server.backend().ports().log;
    log.append(Topic::Messages, garbage).await.unwrap();
    server.admin.reconcile(&Order::default()).await.unwrap();
    let stats = eventually("drift and a dead letter", async || {
        let stats = server.admin.stats().await.unwrap();
        let letter = stats.dead_letters == Some(1) && stats.oldest_dead_letter_ms.is_some();
        (stats.drift.is_some() && letter).then_some(stats)
    })
    .await;
    let summary = stats.drift.unwrap().summary;
    assert_eq!((summary.drifted(), summary.count_stale), (1, 1));
    // A letter is there before its record is passed, and is counted when it was.
    server
        .shows(&[
            "chatd_dead_letters_waiting 1",
            "chatd_dead_letters_total{group=\"messages-store\"} 1",
        ])
        .await;
    let order = dlq::Order {
        all: true,
        reason: Some("a test".into()),
        execute: true,
        ..dlq::Order::default()
    };
    assert_eq!(server.admin.discard(&order).await.unwrap().done, 1);
    eventually("no dead letter", async || {
        let stats = server.admin.stats().await.unwrap();
        let shown = (stats.dead_letters, stats.oldest_dead_letter_ms);
        (shown == (Some(0), None)).then_some(())
    })
    .await;
}

/// The data of the next event.
async fn event(stream: &mut Incoming, text: &mut String) -> Option<Stats> {
    loop {
        if let Some((event, rest)) = text.split_once("\n\n") {
            let data = event.strip_prefix("event: stats\ndata: ").unwrap();
            let stats = serde_json::from_str(data).unwrap();
            *text = rest.to_owned();
            return Some(stats);
        }
        let frame = timeout(PATIENCE, stream.frame()).await.expect("an event")?;
        let data = frame.unwrap().into_data().unwrap();
        text.push_str(std::str::from_utf8(&data).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_again_and_ends_with_the_server() {
    let server = Server::start().await;
    let response = server.admin_get("/admin/stats/stream").open().await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (mut stream, mut text) = (response.into_body(), String::new());
    let first = event(&mut stream, &mut text).await.unwrap();
    let second = event(&mut stream, &mut text).await.unwrap();
    assert!(second.at > first.at);
    let stopping = tokio::spawn(server.stop());
    while event(&mut stream, &mut text).await.is_some() {}
    stopping.await.unwrap();
}
