use bytes::Bytes;
use chat_core::port::log::{Group, Headers, NewRecord, PollLimits, Polled, Topic};
use chat_core::port::store::{ApplicationRow, Position, Presence, Writes};
use chat_embedded::open::{Config, open};
use chat_wire::ids::AppToken;
use chat_wire::time::Timestamp;

#[tokio::test]
async fn all() {
    let dir = tempfile::tempdir().unwrap();
    let ports = open(&Config::new(dir.path())).await.unwrap();
    let record = NewRecord {
        key: Bytes::from_static(b"k"),
        headers: Headers::default(),
        value: Bytes::from_static(b"v"),
    };
    let at = ports.log.append(Topic::Messages, record).await.unwrap();
    assert_eq!(at.offset, 0);
    let mut consumer = ports.log.join(Group::MessagesStore).await.unwrap();
    let limits = PollLimits {
        records: 10,
        bytes: 1000,
        wait_ms: 1000,
    };
    let Polled::Assigned(p) = consumer.poll(limits).await.unwrap() else {
        panic!()
    };
    consumer.seek(p[0], 0).await.unwrap();
    let Polled::Records(r) = consumer.poll(limits).await.unwrap() else {
        panic!()
    };
    assert_eq!(r.len(), 1);
    let mut tx = ports.store.begin(Group::MessagesStore, p[0]).await.unwrap();
    let now = Timestamp::now();
    let row = ApplicationRow {
        token: AppToken::from_bytes([1; 16]),
        name: "x".into(),
        chats_count: 0,
        created_at: now,
        updated_at: now,
        revision: 1,
        presence: Presence::Live,
    };
    tx.write(Writes {
        insert_applications: vec![row.clone()],
        ..Writes::default()
    })
    .await
    .unwrap();
    tx.commit(Position {
        next: 1,
        epoch: 0,
        last_uid: None,
    })
    .await
    .unwrap();
    assert_eq!(ports.store.application(row.token).await.unwrap(), Some(row));
    assert!(
        open(&Config::new(dir.path()))
            .await
            .err()
            .unwrap()
            .to_string()
            .contains("in use by process")
    );
    ports.life.housekeep().await;
    ports.life.close().await;
    let ports = open(&Config::new(dir.path())).await.unwrap();
    assert_eq!(ports.log.range(p[0]).await.unwrap(), (0, 1));
    ports.life.close().await;
}
