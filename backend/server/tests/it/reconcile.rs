//! Damage that somebody does by hand, mended by one run; one run at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chat_client::client::Create;
use chat_client::error::Error as ClientError;
use chat_core::error::Error;
use chat_core::port::counters::Counter;
use chat_core::port::store::{MessageKey, State};
use chat_wire::admin::drift::Verdict;
use chat_wire::admin::reconcile::{Act, Order, Outcome, Phase, Run};
use chat_wire::problem::Code;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::drift::{
    QUIET, burn, drift, falsify_chats_count, falsify_count, judged, key, number, orphan, row,
    smuggle, unindex,
};
use crate::harness::{Chat, PATIENCE, Server, eventually, message};

/// Between two looks at a run.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const EXECUTE: Order = Order {
    token: None,
    chat: None,
    full: false,
    execute: true,
};

/// Gives an order and waits for the end of the run.
async fn run(server: &Server, order: Order) -> Run {
    let begun = server.admin.reconcile(&order).await.unwrap();
    assert_eq!((begun.phase, begun.ended_at), (Phase::Comparing, None));
    // Under traffic it waits for store and index within the run, and each wait has its own limit.
    let deadline = Instant::now() + PATIENCE * 4;
    loop {
        let runs = server.admin.runs().await.unwrap();
        match runs.last {
            Some(last) if last.id == begun.id => return last,
            last => assert!(Instant::now() < deadline, "{:?} {last:?}", runs.current),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// A chat with ten messages, all of them everywhere.
async fn chat(server: &Server, app: Chat) -> Chat {
    let chat = server.chat_of(app.token).await;
    server.say_all(chat, &["needle in here"; 10]).await;
    chat
}

#[tokio::test(flavor = "multi_thread")]
async fn every_damage_is_found_and_mended_by_one_run() {
    let server = Server::with(&QUIET).await;
    let backend = server.backend();
    let well = server.chat().await;
    let mut chats = Vec::new();
    for _ in 0..5 {
        chats.push(chat(&server, well).await);
    }
    server.settled().await;
    let [behind, stale, burned, missing, orphaned] = chats[..] else {
        unreachable!()
    };
    smuggle(backend, key(behind)).await;
    falsify_count(backend, key(stale)).await;
    burn(backend, key(burned)).await;
    unindex(backend, key(missing), 3).await;
    orphan(backend, key(orphaned)).await;
    falsify_chats_count(backend, well.token).await;

    for (chat, verdict) in [
        (well, Verdict::Ok),
        (behind, Verdict::CounterBehind),
        (stale, Verdict::CountStale),
        (burned, Verdict::Holes),
        (missing, Verdict::Unindexed),
        (orphaned, Verdict::Unindexed),
    ] {
        let found = judged(&server, chat, verdict).await;
        assert_eq!(found.details.is_empty(), verdict == Verdict::Ok);
    }

    let plan = run(&server, Order::default()).await;
    assert_eq!(plan.phase, Phase::Finished, "{plan:?}");
    assert!(plan.steps.iter().all(|step| step.outcome.is_none()));
    let planned = |act, chat: Option<Chat>| {
        plan.steps
            .iter()
            .any(|step| step.act == act && step.chat == chat.map(|chat| chat.number))
    };
    for (act, chat) in [
        (Act::RaiseCounter, Some(behind)),
        (Act::SetCount, Some(stale)),
        (Act::VoidHoles, Some(burned)),
        (Act::Reindex, Some(missing)),
        (Act::Reindex, Some(orphaned)),
        (Act::SetCount, None),
    ] {
        assert!(planned(act, chat), "{act:?} {chat:?}: {:?}", plan.steps);
    }
    // A plan changes nothing.
    assert_eq!(drift(&server, stale).await.count, 17);

    let done = run(&server, EXECUTE).await;
    assert_eq!(
        (done.phase, done.failed, done.waits, done.done),
        (Phase::Finished, 0, 0, done.planned),
        "{done:?}"
    );
    assert_eq!(done.planned, plan.planned);
    assert!(
        done.steps
            .iter()
            .all(|step| step.outcome == Some(Outcome::Done))
    );
    for chat in [well, behind, stale, burned, missing, orphaned] {
        assert_eq!(drift(&server, chat).await.verdict, Verdict::Ok);
    }
    assert_eq!(row(backend, key(stale)).await.messages_count, 10);
    let last = backend
        .ports()
        .counters
        .last(Counter::Messages(key(behind)));
    assert_eq!(last.await.unwrap(), Some(11));
    let name = MessageKey {
        chat: key(burned),
        number: number(11),
    };
    let void = backend.ports().store.message(name).await.unwrap().unwrap();
    assert_eq!(void.state, State::Void);
    // Numbers go on behind everything.
    for (chat, next) in [(behind, 12), (stale, 11), (burned, 12)] {
        assert_eq!(server.say(chat, "on and on").await, next);
    }
    server.settled().await;
    let again = run(&server, EXECUTE).await;
    assert_eq!(again.planned, 0, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_under_traffic_is_mended_and_no_number_given_twice() {
    let server = Arc::new(Server::with(&QUIET).await);
    let well = server.chat().await;
    let mut chats = Vec::new();
    for _ in 0..4 {
        chats.push(chat(&server, well).await);
    }
    server.settled().await;
    let stop = Arc::new(AtomicBool::new(false));
    let said = Arc::new(AtomicUsize::new(0));
    let mut writers = JoinSet::new();
    for nth in 0..8 {
        let (server, stop, chat) = (Arc::clone(&server), Arc::clone(&stop), chats[nth % 4]);
        let said = Arc::clone(&said);
        writers.spawn(async move {
            let mut given = Vec::new();
            while !stop.load(Ordering::Acquire) {
                let new = message("said meanwhile");
                let create = Create::default();
                let client = &server.client;
                let created = client.create_message(chat.token, chat.number, &new, &create);
                given.push((
                    chat.number,
                    created.await.unwrap().value.message_number.get(),
                ));
                said.fetch_add(1, Ordering::AcqRel);
            }
            given
        });
    }
    let backend = server.backend();
    let before: Vec<Option<u32>> = lasts(&server, &chats).await;
    falsify_count(backend, key(chats[0])).await;
    burn(backend, key(chats[1])).await;
    unindex(backend, key(chats[2]), 3).await;
    orphan(backend, key(chats[3])).await;
    for _ in 0..2 {
        // Each run meets traffic, however slow the machine is.
        let before = said.load(Ordering::Acquire);
        let full = Order {
            full: true,
            ..EXECUTE
        };
        let done = run(&server, full).await;
        assert_eq!((done.phase, done.failed), (Phase::Finished, 0), "{done:?}");
        eventually("traffic", async || {
            (said.load(Ordering::Acquire) >= before + 50).then_some(())
        })
        .await;
    }
    stop.store(true, Ordering::Release);
    let given: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    server.settled().await;
    let done = run(&server, EXECUTE).await;
    assert_eq!(done.failed, 0, "{done:?}");
    for (chat, (before, after)) in chats
        .iter()
        .zip(before.into_iter().zip(lasts(&server, &chats).await))
    {
        assert!(before <= after, "no counter is lowered");
        let drift = judged(&server, *chat, Verdict::Ok).await;
        let mut numbers: Vec<u32> = given
            .iter()
            .filter(|(of, _)| *of == chat.number)
            .map(|(_, number)| *number)
            .collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count, "a number was given twice");
        assert_eq!(drift.live, count as u64 + 10);
        assert_eq!(drift.rows, u64::from(drift.highest));
    }
}

async fn lasts(server: &Server, chats: &[Chat]) -> Vec<Option<u32>> {
    let counters: Vec<Counter> = chats
        .iter()
        .map(|chat| Counter::Messages(key(*chat)))
        .collect();
    let found = server.backend().ports().counters.last_of(&counters).await;
    found.unwrap()
}

/// What nobody's row tells is found by comparing each document: one missing and one too many are as
/// many as there should be.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_run_compares_each_document() {
    let server = Server::with(&QUIET).await;
    let well = server.chat().await;
    let chat = chat(&server, well).await;
    server.settled().await;
    unindex(server.backend(), key(chat), 3).await;
    orphan(server.backend(), key(chat)).await;
    assert_eq!(drift(&server, chat).await.verdict, Verdict::Unindexed);
    let full = Order {
        full: true,
        ..EXECUTE
    };
    let done = run(&server, full).await;
    assert_eq!((done.planned, done.done), (1, 1), "{done:?}");
    assert_eq!(drift(&server, chat).await.verdict, Verdict::Ok);
    let path = chat.path("/messages/search?q=needle&limit=100");
    let found: serde_json::Value = server.get(path).send().await.is(200);
    assert_eq!(found["hits"].as_array().unwrap().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_at_a_time_and_it_can_be_cancelled() {
    let server = Server::with(&["--reconcile-every=0", "--create-deadline-ms=10000"]).await;
    let well = server.chat().await;
    let chat = chat(&server, well).await;
    server.settled().await;
    // A lost number is waited for, twice the deadline.
    burn(server.backend(), key(chat)).await;
    let first = server.admin.reconcile(&EXECUTE).await.unwrap();
    let refused = server.admin.reconcile(&EXECUTE).await.unwrap_err();
    let ClientError::Problem { problem, .. } = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!(problem.code, Code::Busy);
    let process = format!("process {}", std::process::id());
    assert!(problem.detail.contains(&process), "{}", problem.detail);
    let other = server.admin_request("POST", "/admin/reconcile").json("{}");
    other.send().await.refused(Code::Busy, None, None);

    let at_work = server.admin.cancel_reconcile().await.unwrap();
    assert_eq!(at_work.current.unwrap().id, first.id);
    let last = eventually("the run is cancelled", async || {
        server.admin.runs().await.unwrap().last
    })
    .await;
    assert_eq!((&last.id, last.phase), (&first.id, Phase::Cancelled));
    // Nothing is at work: nothing is cancelled, and the next one begins.
    let none = server.admin.cancel_reconcile().await.unwrap();
    assert_eq!(none.current, None);
    let plan = server.admin.reconcile(&Order::default()).await.unwrap();
    assert_ne!(plan.id, last.id);
    // A stop ends it within the stop deadline, and says so.
    let server = server.restart().await;
    let last = server.admin.runs().await.unwrap().last.unwrap();
    assert_eq!((last.id, last.phase), (plan.id, Phase::Failed));
}

/// A process that dies says nothing any more: the next run waits for its lease and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_process_died_makes_way() {
    let server = Server::with(&QUIET).await;
    let well = server.chat().await;
    let chat = chat(&server, well).await;
    server.settled().await;
    falsify_count(server.backend(), key(chat)).await;
    let full = Order {
        full: true,
        ..EXECUTE
    };
    let dead = server.backend().begin_run(full).await.unwrap();
    let id = dead.run().id.clone();
    drop(dead);
    let busy = server.backend().begin_due_run().await;
    assert!(matches!(busy, Err(Error::Busy { .. })));
    let work = eventually("the lease ends", async || {
        server.backend().begin_due_run().await.ok()
    })
    .await;
    // What was begun and not ended is what is due.
    assert!(work.run().order.full);
    assert_ne!(work.run().id, id);
    let done = server.backend().carry_out(work).await;
    assert_eq!((done.phase, done.failed), (Phase::Finished, 0));
    assert_eq!(drift(&server, chat).await.verdict, Verdict::Ok);
}

/// The schedule does it by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_comes_by_itself() {
    let server = Server::with(&["--reconcile-every=1s", "--create-deadline-ms=1000"]).await;
    let chat = server.chat().await;
    server.say_all(chat, &["x"; 3]).await;
    server.settled().await;
    falsify_count(server.backend(), key(chat)).await;
    eventually("the count is set", async || {
        let row = row(server.backend(), key(chat)).await;
        (row.messages_count == 3).then_some(())
    })
    .await;
    let seen = eventually("the run is written down", async || {
        server.backend().drift_seen().await.unwrap()
    })
    .await;
    assert!(seen.summary.compared > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_name_nothing_are_refused() {
    let server = Server::with(&QUIET).await;
    let chat = server.chat().await;
    server.say_all(chat, &["x"]).await;
    server.settled().await;
    let order = |body: String| server.admin_request("POST", "/admin/reconcile").json(body);
    let token = chat.token.reveal();
    let nobody = "0".repeat(32);
    for (body, code, field) in [
        ("{\"chat\":1}".to_owned(), Code::InvalidValue, Some("token")),
        ("{\"all\":true}".to_owned(), Code::InvalidValue, Some("all")),
        (
            format!("{{\"token\":\"{nobody}\"}}"),
            Code::UnknownApplication,
            None,
        ),
        (
            format!("{{\"token\":\"{token}\",\"chat\":9}}"),
            Code::UnknownChat,
            None,
        ),
    ] {
        order(body).send().await.refused(code, field, None);
    }
    let one = Order {
        token: Some(chat.token),
        chat: Some(chat.number),
        ..EXECUTE
    };
    assert_eq!(run(&server, one).await.summary.compared, 1);
    let application = Order { chat: None, ..one };
    assert_eq!(run(&server, application).await.summary.compared, 2);
}
