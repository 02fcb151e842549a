//! The promises of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use chat_core::limits::RECORD_BYTES;
use chat_core::port::Ports;
use chat_core::port::log::{
    Appended, Consumer, Error, Group, Headers, Log, NewRecord, Origin, PartitionId, PollLimits,
    Polled, Record, Topic,
};
use chat_wire::time::Timestamp;
use uuid::Uuid;

use crate::fixture::{DEADLINE, Fixture, reopen, soon, stays_pending};
use crate::sample::{PLENTY, record};

/// A record is read as it was appended, whatever bytes and headers it has, and where the append said.
pub async fn a_record_is_read_as_it_was_appended(fixture: &impl Fixture) {
    let log = fixture.open().await.log;
    let every_byte: Vec<u8> = (0..=255).collect();
    let strange = NewRecord {
        key: every_byte.clone().into(),
        headers: Headers {
            event: Some("an event \u{1F600}".to_owned()),
            uid: Some(Uuid::max()),
            schema: Some(u32::MAX),
            origin: Some(Origin {
                epoch: 3,
                partition: PartitionId {
                    topic: Topic::Messages,
                    index: 2,
                },
                offset: 1 << 39,
            }),
            reason: Some("the value is no JSON".to_owned()),
        },
        value: every_byte.into(),
    };
    let bare = NewRecord {
        key: Bytes::from_static(b"k"),
        headers: Headers::default(),
        value: Bytes::new(),
    };
    let before = Timestamp::now();
    for sent in [strange, bare, record("k", "{}")] {
        for topic in [Topic::Messages, Topic::MessagesDlq] {
            let at = log.append(topic, sent.clone()).await.unwrap();
            let read = one(&*log, at).await;
            assert_eq!(read.partition, at.partition);
            assert_eq!(read.offset, at.offset);
            assert_eq!(read.key, sent.key);
            assert_eq!(read.headers, sent.headers);
            assert_eq!(read.value, sent.value);
            // A broker's clock may differ, but not by a minute.
            let age = read.appended_at.as_micros() - before.as_micros();
            assert!(age.abs() < 60_000_000, "{age} µs");
        }
    }
}

/// The largest record that the rules let through fits, also as a dead letter with its reason.
pub async fn the_largest_record_fits(fixture: &impl Fixture) {
    let log = fixture.open().await.log;
    let mut largest = record("0123456789abcdef0123456789abcdef|4294967295", "");
    largest.value = vec![b'x'; RECORD_BYTES].into();
    let at = log.append(Topic::Messages, largest.clone()).await.unwrap();
    assert_eq!(one(&*log, at).await.value.len(), RECORD_BYTES);
    largest.headers.reason = Some("r".repeat(1_024));
    let at = log.append(Topic::MessagesDlq, largest).await.unwrap();
    assert_eq!(one(&*log, at).await.value.len(), RECORD_BYTES);
}

/// A record that will never fit is refused for good, and nothing of it stays.
pub async fn a_record_that_is_too_large_is_refused(fixture: &impl Fixture) {
    let log = fixture.open().await.log;
    let first = log.append(Topic::Messages, record("k", "1")).await.unwrap();
    let mut huge = record("k", "");
    huge.value = vec![0; 8 * 1024 * 1024].into();
    let error = log.append(Topic::Messages, huge).await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    assert!(!error.retryable());
    let second = log.append(Topic::Messages, record("k", "2")).await.unwrap();
    assert_eq!(second.offset, first.offset + 1);
}

/// Records of one key are in one partition, in the order of their appends, without a gap.
pub async fn records_of_a_key_stay_in_order(fixture: &impl Fixture) {
    let log = fixture.open().await.log;
    let mut last: BTreeMap<&str, Appended> = BTreeMap::new();
    for nth in 0..30 {
        for key in ["a", "b", "c"] {
            let sent = record(key, &format!("{key}{nth}"));
            let at = log.append(Topic::Messages, sent).await.unwrap();
            let planned = log.partition_of(Topic::Messages, key.as_bytes()).await;
            assert_eq!(at.partition, planned.unwrap());
            if let Some(before) = last.insert(key, at) {
                assert_eq!(before.partition, at.partition);
                assert!(before.offset < at.offset);
            }
        }
    }
    for (key, at) in last {
        let values: Vec<String> = all(&*log, at.partition)
            .await
            .iter()
            .filter(|record| record.key == key.as_bytes())
            .map(|record| String::from_utf8(record.value.to_vec()).unwrap())
            .collect();
        let sent: Vec<String> = (0..30).map(|nth| format!("{key}{nth}")).collect();
        assert_eq!(values, sent);
    }
}

/// Appends at the same time get a place each, and each place holds the record of its append.
pub async fn appends_at_once_get_a_place_each(fixture: &impl Fixture) {
    let log = fixture.open().await.log;
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut places = Vec::new();
                for nth in 0..50 {
                    let value = format!("{task}-{nth}");
                    let sent = record(&format!("key {task}"), &value);
                    places.push((log.append(Topic::Messages, sent).await.unwrap(), value));
                }
                places
            })
        })
        .collect();
    let mut places = BTreeMap::new();
    for task in tasks {
        for (at, value) in task.await.unwrap() {
            let taken = places.insert((at.partition, at.offset), value);
            assert_eq!(taken, None, "a place was given twice");
        }
    }
    assert_eq!(places.len(), 800);
    for index in 0..log.partitions(Topic::Messages).await.unwrap() {
        for read in all(&*log, partition(Topic::Messages, index)).await {
            let value = places.remove(&(read.partition, read.offset)).unwrap();
            assert_eq!(read.value, value.as_bytes());
        }
    }
    assert!(places.is_empty(), "acknowledged and not there: {places:?}");
}

/// What one topic is told is in no other.
pub async fn topics_are_apart(fixture: &impl Fixture) {
    let log = fixture.open().await.log;
    for topic in Topic::ALL {
        log.append(topic, record("k", topic.name())).await.unwrap();
    }
    for topic in Topic::ALL {
        let mut values = Vec::new();
        for index in 0..log.partitions(topic).await.unwrap() {
            values.extend(all(&*log, partition(topic, index)).await);
        }
        assert_eq!(values.len(), 1);
        assert_eq!(values[0].value, topic.name().as_bytes());
        assert_eq!(values[0].partition.topic, topic);
    }
}

/// A topic has at least one partition, and a key always goes to the same one of them.
pub async fn a_key_has_one_partition(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let before = spread(&*ports.log).await;
    let ports = reopen(fixture, ports).await;
    assert_eq!(spread(&*ports.log).await, before);
}

async fn spread(log: &dyn Log) -> Vec<PartitionId> {
    let count = log.partitions(Topic::Messages).await.unwrap();
    assert!(count >= 1);
    let mut found = Vec::new();
    for nth in 0..50 {
        let key = format!("key {nth}");
        let partition = log.partition_of(Topic::Messages, key.as_bytes()).await.unwrap();
        assert_eq!(partition.topic, Topic::Messages);
        assert!(partition.index < count);
        found.push(partition);
    }
    found
}

/// The range begins at the first record and ends where the next will be.
pub async fn the_range_is_what_there_is(fixture: &impl Fixture) {
    let log = fixture.open().await.log;
    let at = log.append(Topic::Chats, record("k", "1")).await.unwrap();
    let (start, end) = log.range(at.partition).await.unwrap();
    assert_eq!((start, end), (at.offset, at.offset + 1));
    let next = log.append(Topic::Chats, record("k", "2")).await.unwrap();
    assert_eq!(next.offset, end);
    assert_eq!(log.range(at.partition).await.unwrap(), (start, end + 1));
}

/// Reading gives the records from an offset on, within the limits, and nothing at the end.
pub async fn reading_goes_on_from_any_offset(fixture: &impl Fixture) {
    let log = fixture.open().await.log;
    let mut last = None;
    for nth in 0..10 {
        let sent = record("k", &format!("{nth}{}", "x".repeat(999)));
        last = Some(log.append(Topic::Messages, sent).await.unwrap());
    }
    let last = last.unwrap();
    let first = last.offset - 9;
    for skip in 0..10 {
        let read = log.read(last.partition, first + skip, PLENTY).await.unwrap();
        let offsets: Vec<u64> = read.iter().map(|record| record.offset).collect();
        assert_eq!(offsets, (first + skip..=last.offset).collect::<Vec<_>>());
    }
    let few = PollLimits { records: 3, ..PLENTY };
    assert_eq!(log.read(last.partition, first, few).await.unwrap().len(), 3);
    let small = PollLimits { bytes: 2_500, ..PLENTY };
    let read = log.read(last.partition, first, small).await.unwrap();
    assert!((1..=3).contains(&read.len()), "{}", read.len());
    let none = PollLimits { wait_ms: 0, ..PLENTY };
    let read = log.read(last.partition, last.offset + 1, none).await.unwrap();
    assert!(read.is_empty());
}

/// What was acknowledged is there after a restart, at its place.
pub async fn records_survive_a_restart(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let mut places = Vec::new();
    for nth in 0..20 {
        let sent = record(&format!("{}", nth % 4), &format!("{nth}"));
        places.push(ports.log.append(Topic::Messages, sent).await.unwrap());
    }
    let ports = reopen(fixture, ports).await;
    for (nth, at) in places.into_iter().enumerate() {
        assert_eq!(one(&*ports.log, at).await.value, nth.to_string().as_bytes());
    }
}

/// Offsets go on after a restart; none is given twice.
pub async fn offsets_go_on_after_a_restart(fixture: &impl Fixture) {
    let mut ports = fixture.open().await;
    let mut last = None;
    for _ in 0..3 {
        let at = ports.log.append(Topic::Messages, record("k", "v")).await.unwrap();
        assert!(last < Some(at.offset));
        last = Some(at.offset);
        ports = reopen(fixture, ports).await;
    }
}

/// The epoch stands as long as the topic is what it was.
pub async fn the_epoch_stands(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    ports.log.append(Topic::Messages, record("k", "v")).await.unwrap();
    let before = ports.log.epoch(Topic::Messages).await.unwrap();
    let ports = reopen(fixture, ports).await;
    assert_eq!(ports.log.epoch(Topic::Messages).await.unwrap(), before);
}

/// A consumer is given partitions first, and records only of those that were sought.
pub async fn a_consumer_seeks_before_it_reads(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    ports.log.append(Topic::Messages, record("k", "v")).await.unwrap();
    let mut consumer = ports.log.join(Group::MessagesStore).await.unwrap();
    let held = assigned(&mut *consumer, &*ports.log, Topic::Messages).await;
    let quick = PollLimits { wait_ms: 200, ..PLENTY };
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
    assert_eq!(values(&mut *consumer, 6).await, ["0", "1", "2", "3", "4", "5"]);
    consumer.seek(places[2].partition, places[2].offset).await.unwrap();
    assert_eq!(values(&mut *consumer, 4).await, ["2", "3", "4", "5"]);
    consumer.seek(places[5].partition, places[5].offset).await.unwrap();
    assert_eq!(values(&mut *consumer, 1).await, ["5"]);
    consumer.leave().await;
}

/// A poll returns no more than it was allowed, and what is left the next time.
pub async fn a_poll_keeps_its_limits(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let body = "x".repeat(1_000);
    for _ in 0..20 {
        ports.log.append(Topic::Messages, record("k", &body)).await.unwrap();
    }
    let mut consumer = reader(&ports, Group::MessagesStore).await;
    let mut read = 0;
    let mut limits = [
        (PollLimits { records: 3, ..PLENTY }, 3),
        // At most one record more than fits.
        (PollLimits { bytes: 4_500, ..PLENTY }, 5),
    ]
    .into_iter()
    .cycle();
    while read < 20 {
        let (limits, most) = limits.next().unwrap();
        let records = records(&mut *consumer, limits).await;
        assert!((1..=most).contains(&records.len()), "{} of {most}", records.len());
        read += records.len();
    }
    assert_eq!(read, 20);
    consumer.leave().await;
}

/// A poll of nothing new waits as long as it was told, then says so.
pub async fn a_poll_waits_for_news(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let mut consumer = reader(&ports, Group::MessagesStore).await;
    let short = PollLimits { wait_ms: 200, ..PLENTY };
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
    let patient = PollLimits { wait_ms: 60_000, ..PLENTY };
    let waiting = tokio::spawn(async move {
        let begun = Instant::now();
        (records(&mut *consumer, patient).await, begun.elapsed())
    });
    ports.log.append(Topic::Messages, record("k", "news")).await.unwrap();
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
    for group in [Group::MessagesStore, Group::MessagesIndex] {
        let mut consumer = reader(&ports, group).await;
        assert_eq!(values(&mut *consumer, 5).await, ["0", "1", "2", "3", "4"]);
        consumer.leave().await;
    }
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
    let at = ports.log.append(Topic::Messages, record("k", "1")).await.unwrap();
    let mut consumer = reader(&ports, Group::MessagesStore).await;
    assert_eq!(values(&mut *consumer, 1).await, ["1"]);
    consumer.commit(at.partition, at.offset + 1).await.unwrap();
    consumer.leave().await;
    let mut consumer = reader(&ports, Group::MessagesStore).await;
    assert_eq!(values(&mut *consumer, 1).await, ["1"]);
    consumer.leave().await;
}

/// An append that nobody waits for any more harms no other.
pub async fn giving_up_on_an_append_is_harmless(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    for nth in 0..20 {
        let append = ports.log.append(Topic::Messages, record("k", "given up"));
        // Polled once at most, then dropped.
        tokio::select! {
            biased;
            _ = append => {}
            () = std::future::ready(()) => {}
        }
        let kept = record("k", &format!("kept {nth}"));
        let at = ports.log.append(Topic::Messages, kept).await.unwrap();
        assert_eq!(one(&*ports.log, at).await.value, format!("kept {nth}").as_bytes());
    }
}

/// The log answers when it is asked whether it does.
pub async fn the_log_answers(fixture: &impl Fixture) {
    fixture.open().await.log.check().await.unwrap();
}

const fn partition(topic: Topic, index: u32) -> PartitionId {
    PartitionId { topic, index }
}

/// The record at a place.
async fn one(log: &dyn Log, at: Appended) -> Record {
    let limits = PollLimits { records: 1, ..PLENTY };
    let read = soon("the record can be read", log.read(at.partition, at.offset, limits)).await;
    read.unwrap().into_iter().next().expect("what was acknowledged is there")
}

/// Every record of a partition.
pub async fn all(log: &dyn Log, partition: PartitionId) -> Vec<Record> {
    let (start, end) = log.range(partition).await.unwrap();
    let mut found = Vec::new();
    let mut from = start;
    while from < end {
        let read = soon("the partition can be read", log.read(partition, from, PLENTY)).await;
        let read = read.unwrap();
        from = read.last().expect("the end is not reached").offset + 1;
        found.extend(read);
    }
    found
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
        let limits = PollLimits { wait_ms: 100, ..PLENTY };
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
                assert!(self.held.contains(&records[0].partition), "read without being held");
                self.read += records.len();
            }
            Polled::Idle => {}
        }
    }
}
