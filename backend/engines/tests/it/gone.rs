//! Records that retention took before they were applied (invariant: gone-records-stop).

use std::collections::BTreeMap;
use std::time::Duration;

use chat_contract::sample::record;
use chat_core::port::Ports;
use chat_core::port::log::{Consumer, Group, PartitionId, PollLimits, Polled, Topic};
use chat_engines::open::connect;
use tokio::time::Instant;

use crate::namespace::Namespace;

const LIMITS: PollLimits = PollLimits {
    records: 100,
    bytes: 1 << 20,
    wait_ms: 500,
};

/// Offsets by partition: the next one after the last that was seen.
type Ends = BTreeMap<PartitionId, u64>;

/// Appends a record to each of 30 keys, which are spread over all partitions.
async fn append(ports: &Ports) -> Ends {
    let mut ends = Ends::new();
    for nth in 0..30 {
        let sent = record(&format!("key {nth}"), "v");
        let at = ports.log.append(Topic::Messages, sent).await.unwrap();
        ends.insert(at.partition, at.offset + 1);
    }
    ends
}

/// Reads until it is done; returns what was told as gone.
async fn read(
    consumer: &mut dyn Consumer,
    read: &mut Ends,
    done: impl Fn(&Ends, &[(PartitionId, u64, u64)]) -> bool,
) -> Vec<(PartitionId, u64, u64)> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut gone = Vec::new();
    while !done(read, &gone) {
        assert!(Instant::now() < deadline, "{gone:?} {read:?}");
        match consumer.poll(LIMITS).await.unwrap() {
            Polled::Assigned(partitions) => {
                for partition in partitions {
                    consumer.seek(partition, 0).await.unwrap();
                }
            }
            Polled::Records(records) => {
                let last = records.last().unwrap();
                read.insert(last.partition, last.offset + 1);
            }
            Polled::Gone {
                partition,
                asked,
                start,
            } => gone.push((partition, asked, start)),
            Polled::Idle => {}
            Polled::Revoked(partitions) => panic!("{partitions:?} were taken away"),
        }
    }
    gone
}

/// They stop their partition and no other, and a worker that is sent behind the gap goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_took_stops_its_partition_alone() {
    let namespace = Namespace::fresh().await;
    let ports = connect(&namespace.config).await.unwrap();
    let ends = append(&ports).await;
    assert_eq!(ends.len(), 3);
    let cut = *ends.keys().next().unwrap();
    namespace.delete_records(cut, 2).await;

    let mut consumer = ports.log.join(Group::MessagesStore).await.unwrap();
    let mut seen = Ends::new();
    let others = |seen: &Ends, ends: &Ends| {
        let mut others = ends.iter().filter(|(place, _)| **place != cut);
        others.all(|(place, end)| seen.get(place) == Some(end))
    };
    let told = read(&mut *consumer, &mut seen, |seen, told| {
        others(seen, &ends) && !told.is_empty()
    });
    assert_eq!(told.await, [(cut, 0, 2)]);
    assert!(!seen.contains_key(&cut));

    let ends = append(&ports).await;
    let told = read(&mut *consumer, &mut seen, |seen, _| others(seen, &ends));
    assert_eq!(told.await, []);
    assert!(!seen.contains_key(&cut));

    consumer.seek(cut, 2).await.unwrap();
    let told = read(&mut *consumer, &mut seen, |seen, _| *seen == ends);
    assert_eq!(told.await, []);
    consumer.leave().await;
    ports.life.close().await;
}
