//! Each record that can never be applied becomes one dead letter: also where nobody knows whether its
//! append arrived, and where its batch is told again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chat_core::backend::{Backend, Settings};
use chat_core::letters::Wish;
use chat_core::port::Ports;
use chat_core::port::log::{
    Appended, Consumer, Error, Group, Headers, Log, LogId, NewRecord, PartitionId, PollLimits,
    Record, Topic,
};
use chat_server::telemetry::Metrics;
use chat_server::workers::batch::Work;
use chat_server::workers::run::Job as _;
use chat_server::workers::store::StoreJob;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::harness::eventually;

const MESSAGES: PartitionId = PartitionId {
    topic: Topic::Messages,
    index: 0,
};
const LIMITS: PollLimits = PollLimits {
    records: 100,
    bytes: 1 << 20,
    wait_ms: 0,
};

/// What becomes of an append to a dead-letter topic that is told to have failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It never arrives.
    Lost,
    /// It has arrived.
    Kept,
    /// It arrives when the test says so.
    Late,
}

/// A log whose appends of dead letters fail as they are told to.
struct Unsure {
    log: Arc<dyn Log>,
    /// Of the next appends, the next one last.
    fates: Mutex<Vec<Fate>>,
    late: Mutex<Vec<NewRecord>>,
}

impl Unsure {
    /// What was late arrives.
    async fn arrive(&self) {
        let late = std::mem::take(&mut *self.late.lock());
        for letter in late {
            let appended = self.log.append(Topic::MessagesDlq, letter).await;
            appended.unwrap();
        }
    }
}

#[async_trait]
impl Log for Unsure {
    async fn append(&self, topic: Topic, record: NewRecord) -> Result<Appended, Error> {
        let fate = match topic {
            Topic::MessagesDlq => self.fates.lock().pop(),
            _ => None,
        };
        match fate {
            None => return self.log.append(topic, record).await,
            Some(Fate::Lost) => {}
            Some(Fate::Kept) => {
                self.log.append(topic, record).await?;
            }
            Some(Fate::Late) => self.late.lock().push(record),
        }
        Err(Error::Unavailable("nobody knows".into()))
    }

    async fn join(&self, group: Group) -> Result<Box<dyn Consumer>, Error> {
        self.log.join(group).await
    }

    async fn partitions(&self, topic: Topic) -> Result<u32, Error> {
        self.log.partitions(topic).await
    }

    async fn partition_of(&self, topic: Topic, key: &[u8]) -> Result<PartitionId, Error> {
        self.log.partition_of(topic, key).await
    }

    async fn range(&self, partition: PartitionId) -> Result<(u64, u64), Error> {
        self.log.range(partition).await
    }

    async fn ranges(&self, topic: Topic) -> Result<Vec<(u64, u64)>, Error> {
        self.log.ranges(topic).await
    }

    async fn members(&self, group: Group) -> Result<u32, Error> {
        self.log.members(group).await
    }

    async fn read(
        &self,
        partition: PartitionId,
        from: u64,
        limits: PollLimits,
    ) -> Result<Vec<Record>, Error> {
        self.log.read(partition, from, limits).await
    }

    async fn identity(&self) -> Result<LogId, Error> {
        self.log.identity().await
    }

    async fn epoch(&self, topic: Topic) -> Result<u32, Error> {
        self.log.epoch(topic).await
    }

    async fn raise_epoch(&self, topic: Topic, above: u32) -> Result<u32, Error> {
        self.log.raise_epoch(topic, above).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.log.check().await
    }
}

/// A worker whose batches the test tells.
struct Worker {
    ports: Ports,
    log: Arc<Unsure>,
    backend: Backend,
    job: StoreJob,
    _dir: tempfile::TempDir,
}

impl Worker {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = chat_embedded::open::Config::new(dir.path());
        let ports = chat_embedded::open::open(&config).await.unwrap();
        let log = Arc::new(Unsure {
            log: Arc::clone(&ports.log),
            fates: Mutex::default(),
            late: Mutex::default(),
        });
        let ports = Ports {
            log: Arc::clone(&log) as Arc<dyn Log>,
            ..ports
        };
        let (backend, job) = process(&ports);
        Self {
            ports,
            log,
            backend,
            job,
            _dir: dir,
        }
    }

    /// Another process on the same store and log; this one has died.
    fn died(&mut self) {
        (self.backend, self.job) = process(&self.ports);
    }

    /// Appends records that are no events.
    async fn garbage(&self, texts: &[&'static str]) {
        for text in texts {
            let garbage = NewRecord {
                key: Bytes::from_static(b"\xff"),
                headers: Headers::default(),
                value: Bytes::from_static(text.as_bytes()),
            };
            let appended = self.ports.log.append(Topic::Messages, garbage).await;
            appended.unwrap();
        }
    }

    /// Everything from an offset on, as one batch.
    async fn batch(&self, from: u64) -> Work {
        Work {
            partition: MESSAGES,
            first: from,
            before: None,
            records: self.ports.log.read(MESSAGES, from, LIMITS).await.unwrap(),
        }
    }

    /// Tells a batch once; true where it was done.
    async fn tell(&self, work: &Work) -> bool {
        let work = std::slice::from_ref(work);
        match self.job.prepare(work).await {
            Ok(ready) => self.job.handle(work, ready).await.is_ok(),
            Err(_) => false,
        }
    }

    /// Tells a batch until it is done.
    async fn tell_until_done(&self, work: &Work) {
        eventually("the batch is done", async || {
            self.tell(work).await.then_some(())
        })
        .await;
    }

    /// The offsets that the letters came from.
    async fn letters(&self) -> Vec<u64> {
        let wish = Wish {
            limit: 100,
            ..Wish::default()
        };
        let page = self.backend.letters(&wish).await.unwrap();
        let mut offsets: Vec<u64> = page
            .letters
            .iter()
            .map(|letter| letter.origin.as_ref().unwrap().offset)
            .collect();
        assert_eq!(page.waiting, offsets.len() as u64);
        offsets.sort_unstable();
        offsets
    }
}

fn process(ports: &Ports) -> (Backend, StoreJob) {
    let settings = Settings {
        create_deadline: Duration::from_millis(100),
    };
    let backend = Backend::new(ports.clone(), settings);
    let metrics = Arc::new(Metrics::default());
    let job = StoreJob::new(backend.clone(), Group::MessagesStore, metrics);
    (backend, job)
}

/// What a newer program has written may have been acknowledged: it is no dead letter, and nobody passes over it.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_a_newer_schema_stops_the_worker_and_becomes_no_dead_letter() {
    let worker = Worker::start().await;
    worker.garbage(&["before"]).await;
    let newer = NewRecord {
        key: Bytes::from_static(b"k"),
        headers: Headers {
            event: Some("message.created".to_owned()),
            uid: Some(Uuid::from_u128(2)),
            schema: Some(2),
            ..Headers::default()
        },
        value: Bytes::from_static(b"{}"),
    };
    worker
        .ports
        .log
        .append(Topic::Messages, newer)
        .await
        .unwrap();
    worker.garbage(&["behind"]).await;
    let work = worker.batch(0).await;
    for _ in 0..2 {
        assert!(!worker.tell(&work).await);
        assert_eq!(worker.letters().await, [0]);
        let store = &worker.ports.store;
        let position = store
            .position(Group::MessagesStore, MESSAGES)
            .await
            .unwrap();
        assert_eq!(position.next, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_arrived_unheard_is_not_repeated() {
    let worker = Worker::start().await;
    worker.garbage(&["a", "b", "c", "d"]).await;
    let work = worker.batch(0).await;
    // The last two are heard of, and are not appended again because of the others.
    *worker.log.fates.lock() = vec![Fate::Kept, Fate::Kept];
    assert!(!worker.tell(&work).await);
    assert_eq!(worker.letters().await, [0, 1, 2, 3]);
    // All of them are there: nothing is waited for.
    assert!(worker.tell(&work).await);
    assert_eq!(worker.letters().await, [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_was_lost_is_made_again_when_it_cannot_arrive_any_more() {
    let worker = Worker::start().await;
    worker.garbage(&["a", "b", "c"]).await;
    let work = worker.batch(0).await;
    *worker.log.fates.lock() = vec![Fate::Lost, Fate::Late];
    assert!(!worker.tell(&work).await);
    assert_eq!(worker.letters().await, [2]);
    worker.log.arrive().await;
    worker.tell_until_done(&work).await;
    assert_eq!(worker.letters().await, [0, 1, 2]);
    // Lost twice, it comes the third time.
    worker.garbage(&["d"]).await;
    let work = worker.batch(3).await;
    *worker.log.fates.lock() = vec![Fate::Lost, Fate::Lost];
    worker.tell_until_done(&work).await;
    assert_eq!(worker.letters().await, [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_behind_the_append_leaves_no_second_letter() {
    let mut worker = Worker::start().await;
    worker.garbage(&["a", "same", "same"]).await;
    let work = worker.batch(0).await;
    let groups = (Group::MessagesStore, MESSAGES);
    let position = async |worker: &Worker| {
        let position = worker.ports.store.position(groups.0, groups.1).await;
        position.unwrap().next
    };
    // It dies when the letters are there and the position has not moved.
    *worker.log.fates.lock() = vec![Fate::Kept; 3];
    assert!(!worker.tell(&work).await);
    assert_eq!(position(&worker).await, 0);
    worker.died();
    // Meanwhile more has come, and is one batch with what was there.
    worker.garbage(&["b"]).await;
    let work = worker.batch(0).await;
    worker.tell_until_done(&work).await;
    assert_eq!(position(&worker).await, 4);
    assert_eq!(worker.letters().await, [0, 1, 2, 3]);
    // Told again behind its commit it buries nothing, and the next one does.
    assert!(worker.tell(&work).await);
    worker.garbage(&["a"]).await;
    assert!(worker.tell(&worker.batch(4).await).await);
    assert_eq!(worker.letters().await, [0, 1, 2, 3, 4]);
}
