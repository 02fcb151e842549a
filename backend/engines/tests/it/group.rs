//! What a group may expect of a member that is at work.

use std::time::Duration;

use bytes::Bytes;
use chat_core::port::Ports;
use chat_core::port::log::{Consumer, Group, Headers, NewRecord, PollLimits, Polled, Topic};
use chat_engines::open::connect;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::namespace::Namespace;

/// How long anything may take that happens at all.
const DEADLINE: Duration = Duration::from_secs(60);
/// Longer than a group needs to share out what was given back: a few heartbeats.
const SHARED_OUT: Duration = Duration::from_secs(3);
/// More than is taken below before the group shares out anew.
const RECORDS: usize = 2_000;

const LIMITS: PollLimits = PollLimits {
    records: 1,
    bytes: 1024 * 1024,
    wait_ms: 100,
};

/// A member with a batch at work, and one that joins.
struct Pair {
    works: Box<dyn Consumer>,
    newcomer: JoinHandle<Box<dyn Consumer>>,
}

/// Polls until partitions come, and seeks none.
async fn first_assigned(mut consumer: Box<dyn Consumer>) -> Box<dyn Consumer> {
    loop {
        match consumer.poll(LIMITS).await.unwrap() {
            Polled::Assigned(partitions) if !partitions.is_empty() => return consumer,
            _ => {}
        }
    }
}

/// Two members, the first of which has heard that the group shares out anew, and has not answered.
async fn pair(ports: &Ports) -> Pair {
    let appends: Vec<_> = (0..RECORDS)
        .map(|nth| {
            let ports = ports.clone();
            let record = NewRecord {
                key: Bytes::from(nth.to_string()),
                headers: Headers::default(),
                value: Bytes::from_static(b"v"),
            };
            tokio::spawn(async move { ports.log.append(Topic::Messages, record).await })
        })
        .collect();
    for append in appends {
        append.await.unwrap().unwrap();
    }
    let mut works = ports.log.join(Group::MessagesStore).await.unwrap();
    let began = Instant::now();
    let mut has_records = false;
    while !has_records {
        assert!(began.elapsed() < DEADLINE);
        match works.poll(LIMITS).await.unwrap() {
            Polled::Assigned(partitions) => {
                for partition in partitions {
                    works.seek(partition, 0).await.unwrap();
                }
            }
            Polled::Records(_) => has_records = true,
            _ => {}
        }
    }
    let joins = ports.log.join(Group::MessagesStore).await.unwrap();
    let newcomer = tokio::spawn(first_assigned(joins));
    let began = Instant::now();
    let (mut taken, mut silent) = (0, 0);
    // There is more, so that nothing comes any longer says that the group wants something.
    while silent < 20 {
        assert!(began.elapsed() < DEADLINE && taken < RECORDS);
        let records = works.waiting(LIMITS).await.unwrap();
        silent = match records.is_empty() {
            true => silent + 1,
            false => 0,
        };
        taken += records.len();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Pair { works, newcomer }
}

/// Whoever takes what waits hears that the group shares out anew, and gives nothing back before it polls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_stays_while_its_batch_is_at_work() {
    let namespace = Namespace::fresh().await;
    let ports = connect(&namespace.config).await.unwrap();
    let Pair {
        mut works,
        mut newcomer,
    } = pair(&ports).await;
    assert!(
        timeout(SHARED_OUT, &mut newcomer).await.is_err(),
        "a partition was given away behind the back of its member"
    );
    // Now the batch is done. That a partition should go was heard before, and comes first.
    let polled = works.poll(LIMITS).await.unwrap();
    assert!(
        matches!(&polled, Polled::Revoked(partitions) if !partitions.is_empty()),
        "{polled:?}"
    );
    let began = Instant::now();
    while !newcomer.is_finished() {
        assert!(began.elapsed() < DEADLINE);
        works.poll(LIMITS).await.unwrap();
    }
    newcomer.await.unwrap().leave().await;
    works.leave().await;
}

/// Whoever leaves without having answered keeps nobody waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_answers_what_was_asked() {
    let namespace = Namespace::fresh().await;
    let ports = connect(&namespace.config).await.unwrap();
    let Pair { works, newcomer } = pair(&ports).await;
    let began = Instant::now();
    works.leave().await;
    let newcomer = timeout(DEADLINE, newcomer).await.unwrap().unwrap();
    // Sooner than the brokers give up a member that is silent.
    assert!(
        began.elapsed() < Duration::from_secs(9),
        "{:?}",
        began.elapsed()
    );
    newcomer.leave().await;
}
