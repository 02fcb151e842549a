//! The promises of the adapter as a whole.

use chat_core::port::log::{Group, PartitionId, Topic};
use chat_core::port::store::{Position, Writes};

use crate::fixture::{Fixture, reopen};
use crate::log::all;
use crate::sample::{chat, message_row, record};

/// Housekeeping removes nothing that a group has still to read, and no dead letter.
pub async fn housekeeping_keeps_what_is_unread(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let mut places = Vec::new();
    for topic in [Topic::Messages, Topic::MessagesDlq, Topic::Chats] {
        for nth in 0..5 {
            let sent = record("k", &nth.to_string());
            places.push(ports.log.append(topic, sent).await.unwrap());
        }
    }
    // One group of two has passed the messages, and the chats are passed half.
    let passed = [
        (
            Group::MessagesStore,
            places[4].partition,
            places[4].offset + 1,
        ),
        (Group::ChatsStore, places[12].partition, places[12].offset),
    ];
    for (group, partition, next) in passed {
        let tx = ports.store.begin(group, &[partition]).await.unwrap();
        let position = Position {
            next,
            ..Position::START
        };
        tx.commit(&[position]).await.unwrap();
    }
    ports.life.housekeep().await;
    ports.life.housekeep().await;
    for (from, partition) in [
        (places[0].offset, places[0].partition),
        (places[5].offset, places[5].partition),
        (places[12].offset, places[12].partition),
    ] {
        let left = all(&*ports.log, partition).await;
        let offsets: Vec<u64> = left.iter().map(|record| record.offset).collect();
        for wanted in from..from + 2 {
            assert!(
                offsets.contains(&wanted),
                "{wanted} of {partition:?} is gone"
            );
        }
    }
}

/// An offset is never given twice, not even after everything was removed, and a restart.
pub async fn offsets_outlive_their_records(fixture: &impl Fixture) {
    let mut ports = fixture.open().await;
    let mut last: Option<u64> = None;
    for _ in 0..3 {
        let at = ports
            .log
            .append(Topic::Chats, record("k", "v"))
            .await
            .unwrap();
        assert!(last < Some(at.offset), "{last:?} and then {}", at.offset);
        last = Some(at.offset);
        let tx = ports
            .store
            .begin(Group::ChatsStore, &[at.partition])
            .await
            .unwrap();
        let position = Position {
            next: at.offset + 1,
            ..Position::START
        };
        tx.commit(&[position]).await.unwrap();
        ports.life.housekeep().await;
        ports = reopen(fixture, ports).await;
        let (start, end) = ports.log.range(at.partition).await.unwrap();
        assert!(start <= end && end == at.offset + 1, "{start}..{end}");
    }
}

/// Closing makes everything durable, and the ports do nothing afterwards.
pub async fn closing_ends_everything(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let at = ports
        .log
        .append(Topic::Messages, record("k", "v"))
        .await
        .unwrap();
    ports.life.close().await;
    assert!(
        ports
            .log
            .append(Topic::Messages, record("k", "late"))
            .await
            .is_err()
    );
    assert!(ports.store.begin_free().await.is_err());
    let later = fixture.open().await;
    assert_eq!(all(&*later.log, at.partition).await.len(), 1);
}

/// The two databases of one adapter agree after a restart: the epoch stands, so do the positions.
pub async fn positions_survive_a_restart(fixture: &impl Fixture) {
    let ports = fixture.open().await;
    let at = ports
        .log
        .append(Topic::Messages, record("k", "v"))
        .await
        .unwrap();
    let epoch = ports.log.epoch(Topic::Messages).await.unwrap();
    let position = Position {
        next: at.offset + 1,
        epoch,
        last_uid: None,
    };
    let mut tx = ports
        .store
        .begin(Group::MessagesStore, &[at.partition])
        .await
        .unwrap();
    let rows = vec![message_row(chat(1, 1), 1)];
    tx.write(Writes {
        insert_messages: rows,
        ..Writes::default()
    })
    .await
    .unwrap();
    tx.commit(&[position]).await.unwrap();
    let ports = reopen(fixture, ports).await;
    let place = PartitionId { ..at.partition };
    let stored = ports
        .store
        .position(Group::MessagesStore, place)
        .await
        .unwrap();
    assert_eq!(stored, position);
    assert_eq!(ports.log.epoch(Topic::Messages).await.unwrap(), epoch);
}
