//! The promises of the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chat_core::limits::RECORD_BYTES;
use chat_core::port::log::{
    Appended, Error, Headers, Log, NewRecord, Origin, PartitionId, PollLimits, Record, Topic,
};
use chat_wire::time::Timestamp;
use uuid::Uuid;

use crate::fixture::{Fixture, reopen, soon};
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
            ..Headers::default()
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
        let partition = log
            .partition_of(Topic::Messages, key.as_bytes())
            .await
            .unwrap();
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

/// The ranges of a topic are those of its partitions, whether they hold anything or not.
pub async fn ranges_are_told_at_once(fixture: &impl Fixture) {
    let log = fixture.open().await.log;
    for nth in 0..20 {
        let sent = record(&format!("key {nth}"), "v");
        log.append(Topic::Messages, sent).await.unwrap();
    }
    for topic in Topic::ALL {
        let ranges = log.ranges(topic).await.unwrap();
        let count = log.partitions(topic).await.unwrap();
        assert_eq!(ranges.len(), count as usize);
        for (index, range) in (0..).zip(ranges) {
            let partition = PartitionId { topic, index };
            assert_eq!(range, log.range(partition).await.unwrap(), "{partition:?}");
        }
    }
    let ranges = log.ranges(Topic::Messages).await.unwrap();
    let records: u64 = ranges.iter().map(|(start, end)| end - start).sum();
    assert_eq!(records, 20);
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
        let read = log
            .read(last.partition, first + skip, PLENTY)
            .await
            .unwrap();
        let offsets: Vec<u64> = read.iter().map(|record| record.offset).collect();
        assert_eq!(offsets, (first + skip..=last.offset).collect::<Vec<_>>());
    }
    let few = PollLimits {
        records: 3,
        ..PLENTY
    };
    assert_eq!(log.read(last.partition, first, few).await.unwrap().len(), 3);
    let small = PollLimits {
        bytes: 2_500,
        ..PLENTY
    };
    let read = log.read(last.partition, first, small).await.unwrap();
    assert!((1..=3).contains(&read.len()), "{}", read.len());
    let none = PollLimits {
        wait_ms: 0,
        ..PLENTY
    };
    let read = log
        .read(last.partition, last.offset + 1, none)
        .await
        .unwrap();
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
        let at = ports
            .log
            .append(Topic::Messages, record("k", "v"))
            .await
            .unwrap();
        assert!(last < Some(at.offset));
        last = Some(at.offset);
        ports = reopen(fixture, ports).await;
    }
}

/// The epoch stands as long as the topic is what it was.
pub async fn the_epoch_stands(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    ports
        .log
        .append(Topic::Messages, record("k", "v"))
        .await
        .unwrap();
    let before = ports.log.epoch(Topic::Messages).await.unwrap();
    let ports = reopen(fixture, ports).await;
    assert_eq!(ports.log.epoch(Topic::Messages).await.unwrap(), before);
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
        assert_eq!(
            one(&*ports.log, at).await.value,
            format!("kept {nth}").as_bytes()
        );
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
    let limits = PollLimits {
        records: 1,
        ..PLENTY
    };
    let read = soon(
        "the record can be read",
        log.read(at.partition, at.offset, limits),
    )
    .await;
    read.unwrap()
        .into_iter()
        .next()
        .expect("what was acknowledged is there")
}

/// Every record of a partition.
pub async fn all(log: &dyn Log, partition: PartitionId) -> Vec<Record> {
    let (start, end) = log.range(partition).await.unwrap();
    let mut found = Vec::new();
    let mut from = start;
    while from < end {
        let read = soon(
            "the partition can be read",
            log.read(partition, from, PLENTY),
        )
        .await;
        let read = read.unwrap();
        from = read.last().expect("the end is not reached").offset + 1;
        found.extend(read);
    }
    found
}
