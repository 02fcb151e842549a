//! The promises of the log to those who consume it in groups.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use chat_core::port::Ports;
use chat_core::port::log::{Consumer, Group, Log, PartitionId, PollLimits, Polled, Record, Topic};

use crate::fixture::{DEADLINE, Fixture, QUIET, soon, stays_pending};
use crate::sample::{PLENTY, record};

/// A consumer is given partitions first, and records only of those that were sought.
pub async fn a_consumer_seeks_before_it_reads(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    ports
        .log
        .append(Topic::Messages, record("k", "v"))
        .await
        .unwrap();
    let mut consumer = ports.log.join(Group::MessagesStore).await.unwrap();
    let held = assigned(&mut *consumer, &*ports.log, Topic::Messages).await;
    let quick = PollLimits {
        wait_ms: 200,
        ..PLENTY
    };
    let polled = consumer.poll(quick).await.unwrap();
    assert!(matches!(polled, Polled::Idle), "{polled:?}");
    for partition in held {
        let (start, _) = ports.log.range(partition).await.unwrap();
        consumer.seek(partition, start).await.unwrap();
    }
    assert_eq!(values(&mut *consumer, 1).await, ["v"]);
    consumer.leave().await;
}

/// A consumer reads each record once, in order within its partition, from where it sought.
pub async fn a_consumer_reads_on(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let mut sent = Vec::new();
    let mut consumer = reader(&ports, Group::MessagesStore).await;
    for round in 0..4 {
        for nth in 0..25 {
            let value = format!("{round}-{nth}");
            let appended = ports.log.append(Topic::Messages, record("k", &value)).await;
            appended.unwrap();
            sent.push(value);
        }
        let from = sent.len() - 25;
        assert_eq!(values(&mut *consumer, 25).await, sent[from..]);
    }
    consumer.leave().await;
}

/// Seeking goes back as well as forth.
pub async fn a_consumer_seeks_again(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let mut places = Vec::new();
    for nth in 0..6 {
        let sent = record("k", &nth.to_string());
        places.push(ports.log.append(Topic::Messages, sent).await.unwrap());
    }
    let mut consumer = reader(&ports, Group::MessagesStore).await;
    assert_eq!(
        values(&mut *consumer, 6).await,
        ["0", "1", "2", "3", "4", "5"]
    );
    consumer
        .seek(places[2].partition, places[2].offset)
        .await
        .unwrap();
    assert_eq!(values(&mut *consumer, 4).await, ["2", "3", "4", "5"]);
    consumer
        .seek(places[5].partition, places[5].offset)
        .await
        .unwrap();
    assert_eq!(values(&mut *consumer, 1).await, ["5"]);
    consumer.leave().await;
}

/// A poll returns no more than it was allowed, and what is left the next time.
pub async fn a_poll_keeps_its_limits(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let body = "x".repeat(1_000);
    for _ in 0..20 {
        ports
            .log
            .append(Topic::Messages, record("k", &body))
            .await
            .unwrap();
    }
    let mut consumer = reader(&ports, Group::MessagesStore).await;
    let mut read = 0;
    let mut limits = [
        (
            PollLimits {
                records: 3,
                ..PLENTY
            },
            3,
        ),
        // At most one record more than fits.
        (
            PollLimits {
                bytes: 4_500,
                ..PLENTY
            },
            5,
        ),
    ]
    .into_iter()
    .cycle();
    while read < 20 {
        let (limits, most) = limits.next().unwrap();
        let records = records(&mut *consumer, limits).await;
        assert!(
            (1..=most).contains(&records.len()),
            "{} of {most}",
            records.len()
        );
        read += records.len();
    }
    assert_eq!(read, 20);
    consumer.leave().await;
}

/// What waits comes in batches: a consumer with a backlog is not handed one record at a time.
pub async fn a_backlog_comes_in_batches(fixture: &impl Fixture) {
    const RECORDS: usize = 1_000;
    const POLLS_MAX: usize = 100;
    let ports = fixture.open().await;
    let appends: Vec<_> = (0..RECORDS)
        .map(|nth| {
            let ports = ports.clone();
            let record = record("k", &nth.to_string());
            tokio::spawn(async move { ports.log.append(Topic::Messages, record).await })
        })
        .collect();
    for append in appends {
        append.await.unwrap().unwrap();
    }
    let mut consumer = reader(&ports, Group::MessagesStore).await;
    let (mut read, mut polls) = (0, 0);
    while read < RECORDS {
        read += records(&mut *consumer, PLENTY).await.len();
        polls += 1;
    }
    assert!(polls <= POLLS_MAX, "{polls} polls for {RECORDS} records");
    consumer.leave().await;
}

/// What has come already can be had without a poll: in order, once, and within the same limits.
pub async fn what_waits_is_part_of_the_order(fixture: &impl Fixture) {
    const RECORDS: usize = 200;
    let few = PollLimits {
        records: 7,
        ..PLENTY
    };
    let ports = fixture.open().await;
    for nth in 0..RECORDS {
        let record = record("k", &nth.to_string());
        ports.log.append(Topic::Messages, record).await.unwrap();
    }
    let mut consumer = reader(&ports, Group::MessagesStore).await;
    let (mut offsets, mut without_poll) = (Vec::new(), 0);
    while offsets.len() < RECORDS {
        let polled = records(&mut *consumer, few).await;
        offsets.extend(polled.iter().map(|record| record.offset));
        loop {
            let waiting = consumer.waiting(few).await.unwrap();
            if waiting.is_empty() {
                break;
            }
            assert!(waiting.len() <= 7);
            without_poll += waiting.len();
            offsets.extend(waiting.iter().map(|record| record.offset));
        }
    }
    let first = offsets[0];
    assert!(offsets.iter().copied().eq(first..first + RECORDS as u64));
    assert!(without_poll > 0, "a backlog never waits here");
    assert!(consumer.waiting(few).await.unwrap().is_empty());
    consumer.leave().await;
}

/// A poll of nothing new waits as long as it was told, then says so.
pub async fn a_poll_waits_for_news(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let mut consumer = reader(&ports, Group::MessagesStore).await;
    let short = PollLimits {
        wait_ms: 200,
        ..PLENTY
    };
    let begun = Instant::now();
    let polled = consumer.poll(short).await.unwrap();
    assert!(matches!(polled, Polled::Idle), "{polled:?}");
    // A little less is forgiven to clocks of other resolutions.
    assert!(begun.elapsed().as_millis() >= 150, "{:?}", begun.elapsed());
}

/// A poll that waits ends when a record comes, not when its time is over.
pub async fn an_append_ends_a_wait(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let mut consumer = reader(&ports, Group::MessagesStore).await;
    let patient = PollLimits {
        wait_ms: 60_000,
        ..PLENTY
    };
    let waiting = tokio::spawn(async move {
        let begun = Instant::now();
        (records(&mut *consumer, patient).await, begun.elapsed())
    });
    ports
        .log
        .append(Topic::Messages, record("k", "news"))
        .await
        .unwrap();
    let (records, waited) = soon("the poll ends", waiting).await.unwrap();
    assert_eq!(records[0].value, "news");
    assert!(waited < DEADLINE);
}

/// Two groups of one topic each read all of it.
pub async fn groups_read_apart(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    for nth in 0..5 {
        let sent = record("k", &nth.to_string());
        ports.log.append(Topic::Messages, sent).await.unwrap();
    }
    let mut store = reader(&ports, Group::MessagesStore).await;
    let mut index = reader(&ports, Group::MessagesIndex).await;
    for consumer in [&mut store, &mut index] {
        let read = values(&mut **consumer, 5).await;
        assert_eq!(read, ["0", "1", "2", "3", "4"]);
    }
    store.leave().await;
    index.leave().await;
}

/// A partition is one member's at a time: who loses it is told, and reads no more of it.
pub async fn a_partition_has_one_reader(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let topic = Topic::Messages;
    let mut first = Held::join(&ports).await;
    let mut second = Held::join(&ports).await;
    let count = ports.log.partitions(topic).await.unwrap() as usize;
    soon("the partitions are shared out", async {
        while first.held.len() + second.held.len() != count || !second.moved {
            first.step().await;
            second.step().await;
        }
    })
    .await;
    assert!(first.held.is_disjoint(&second.held));
    ports.log.append(topic, record("k", "v")).await.unwrap();
    soon("one of them reads it", async {
        while first.read + second.read == 0 {
            first.step().await;
            second.step().await;
        }
    })
    .await;
    first.step().await;
    second.step().await;
    assert_eq!(first.read + second.read, 1, "both have read it");
}

/// Whoever is left gets the partitions of a member that leaves.
pub async fn leaving_hands_over(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let count = ports.log.partitions(Topic::Messages).await.unwrap() as usize;
    let mut stays = Held::join(&ports).await;
    let mut goes = Held::join(&ports).await;
    soon("the partitions are shared out", async {
        while stays.held.len() + goes.held.len() != count || !goes.moved {
            stays.step().await;
            goes.step().await;
        }
    })
    .await;
    goes.consumer.leave().await;
    soon("the other one has all", async {
        while stays.held.len() != count {
            stays.step().await;
        }
    })
    .await;
}

/// Telling the log how far a group is changes nothing about what is read.
pub async fn committing_moves_nobody(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let at = ports
        .log
        .append(Topic::Messages, record("k", "1"))
        .await
        .unwrap();
    let mut consumer = reader(&ports, Group::MessagesStore).await;
    assert_eq!(values(&mut *consumer, 1).await, ["1"]);
    consumer.commit(at.partition, at.offset + 1).await.unwrap();
    consumer.leave().await;
    let mut consumer = reader(&ports, Group::MessagesStore).await;
    assert_eq!(values(&mut *consumer, 1).await, ["1"]);
    consumer.leave().await;
}

/// A group's members are those that joined and have not left, each group's its own.
pub async fn members_are_counted(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let (store, index) = (Group::MessagesStore, Group::MessagesIndex);
    for group in Group::ALL {
        assert_eq!(ports.log.members(group).await.unwrap(), 0, "{group:?}");
    }
    let mut first = Held::join(&ports).await;
    soon("there is one", async {
        while ports.log.members(store).await.unwrap() != 1 {
            first.step().await;
        }
    })
    .await;
    assert_eq!(ports.log.members(index).await.unwrap(), 0);
    let mut second = Held::join(&ports).await;
    soon("there are two", async {
        while ports.log.members(store).await.unwrap() != 2 {
            first.step().await;
            second.step().await;
        }
    })
    .await;
    first.consumer.leave().await;
    second.consumer.leave().await;
    soon("nobody is left", async {
        while ports.log.members(store).await.unwrap() != 0 {
            tokio::time::sleep(QUIET).await;
        }
    })
    .await;
}

/// Polls until all partitions of the topic are this consumer's.
async fn assigned(
    consumer: &mut dyn Consumer,
    log: &dyn Log,
    topic: Topic,
) -> BTreeSet<PartitionId> {
    let count = log.partitions(topic).await.unwrap() as usize;
    let mut held = BTreeSet::new();
    soon("all partitions are assigned", async {
        while held.len() < count {
            match consumer.poll(PLENTY).await.unwrap() {
                Polled::Assigned(more) => held.extend(more),
                Polled::Idle => {}
                other => panic!("this comes before the assignment: {other:?}"),
            }
        }
    })
    .await;
    held
}

/// A consumer that has all partitions of its topic and has sought their beginnings.
async fn reader(ports: &Ports, group: Group) -> Box<dyn Consumer> {
    let mut consumer = ports.log.join(group).await.unwrap();
    for partition in assigned(&mut *consumer, &*ports.log, group.topic()).await {
        let (start, _) = ports.log.range(partition).await.unwrap();
        consumer.seek(partition, start).await.unwrap();
    }
    consumer
}

/// The next records.
async fn records(consumer: &mut dyn Consumer, limits: PollLimits) -> Vec<Record> {
    soon("records come", async {
        loop {
            match consumer.poll(limits).await.unwrap() {
                Polled::Records(records) => return records,
                Polled::Idle => {}
                other => panic!("this comes between records: {other:?}"),
            }
        }
    })
    .await
}

/// The values of the next so many records, which are all that there is.
async fn values(consumer: &mut dyn Consumer, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        for record in records(consumer, PLENTY).await {
            values.push(String::from_utf8(record.value.to_vec()).unwrap());
        }
    }
    assert_eq!(values.len(), count, "more than was appended: {values:?}");
    let quiet = stays_pending(records(consumer, PLENTY)).await;
    assert!(quiet, "something came twice");
    values
}

/// A consumer and what it holds.
struct Held {
    consumer: Box<dyn Consumer>,
    log: Arc<dyn Log>,
    held: BTreeSet<PartitionId>,
    /// It was given something at some time.
    moved: bool,
    read: usize,
}

impl Held {
    async fn join(ports: &Ports) -> Self {
        let mut member = Self {
            consumer: ports.log.join(Group::MessagesStore).await.unwrap(),
            log: Arc::clone(&ports.log),
            held: BTreeSet::new(),
            moved: false,
            read: 0,
        };
        member.step().await;
        member
    }

    async fn step(&mut self) {
        let limits = PollLimits {
            wait_ms: 100,
            ..PLENTY
        };
        match self.consumer.poll(limits).await.unwrap() {
            Polled::Assigned(partitions) => {
                self.moved = true;
                for partition in partitions {
                    assert!(self.held.insert(partition), "assigned twice");
                    let (start, _) = self.log.range(partition).await.unwrap();
                    self.consumer.seek(partition, start).await.unwrap();
                }
            }
            Polled::Revoked(partitions) => {
                for partition in partitions {
                    assert!(self.held.remove(&partition), "revoked without being held");
                }
            }
            Polled::Records(records) => {
                assert!(
                    self.held.contains(&records[0].partition),
                    "read without being held"
                );
                self.read += records.len();
            }
            Polled::Idle => {}
            gone @ Polled::Gone { .. } => panic!("nothing was removed: {gone:?}"),
        }
    }
}
