//! While the log takes no records, requests that append are refused before they are given a number.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chat_core::backend::{Backend, Settings};
use chat_core::error::Error;
use chat_core::key::StoredKey;
use chat_core::messages::{Created, Cursor};
use chat_core::port::Ports;
use chat_core::port::counters::Counter;
use chat_core::port::log::{Group, Log, Topic};
use chat_core::port::store::{ChatKey, MessageKey};
use chat_server::config::Config;
use chat_server::pressure::Pressure;
use chat_server::telemetry::Metrics;
use chat_server::workers::overload::Overload;
use chat_server::workers::run;
use chat_server::workers::store::StoreJob;
use chat_wire::ids::MessageNumber;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::harness::{eventually, message};
use crate::interpose::{Interposed, Mood};
use crate::mode;

/// The rules over an embedded store and a log that does as it is told, and the workers behind them.
struct Rig {
    backend: Backend,
    log: Arc<Interposed>,
    chat: ChatKey,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

impl Rig {
    async fn start(deadline: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = chat_embedded::open::Config::new(dir.path());
        let ports = chat_embedded::open::open(&config).await.unwrap();
        let log = Interposed::over(Arc::clone(&ports.log));
        let ports = Ports {
            log: Arc::clone(&log) as Arc<dyn Log>,
            ..ports
        };
        let settings = Settings {
            create_deadline: deadline,
        };
        let backend = Backend::new(ports, settings);
        let stop = CancellationToken::new();
        work(&backend, &mode::config(dir.path(), &[]), &stop);
        let token = backend.create_application("a".into(), None).await.unwrap();
        let chat = backend.create_chat(token, None).await.unwrap();
        let chat = ChatKey { token, chat };
        let rig = Self {
            backend,
            log,
            chat,
            stop,
            _dir: dir,
        };
        let first = rig.say(None).await.unwrap();
        assert_eq!(first.range.first.get(), 1);
        let wait = rig
            .backend
            .wait_messages(chat, first, Duration::from_secs(30));
        assert!(wait.await.unwrap().is_some());
        rig
    }

    async fn say(&self, key: Option<StoredKey>) -> Result<Created, Error> {
        let messages = vec![message("a body")];
        self.backend.create_messages(self.chat, messages, key).await
    }

    /// The last number that the chat's counter gave out.
    async fn counter(&self) -> u32 {
        let counters = &self.backend.ports().counters;
        let last = counters.last(Counter::Messages(self.chat)).await;
        last.unwrap().unwrap()
    }

    /// Creates until the log takes one again.
    async fn comes_back(&self) -> u32 {
        eventually("a log that takes records", async || {
            self.say(None).await.ok()
        })
        .await
        .range
        .first
        .get()
    }

    async fn live(&self) -> Vec<u32> {
        let page = self.backend.messages(self.chat, Cursor::After(0), 1_000);
        let messages = page.await.unwrap().messages;
        let numbers = messages.iter().map(|message| message.message_number.get());
        numbers.collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn work(backend: &Backend, config: &Config, stop: &CancellationToken) {
    let metrics = Arc::new(Metrics::default());
    let pressure = Arc::new(Pressure::new(config));
    let overload = Arc::new(Overload::new(Arc::clone(&metrics), pressure));
    for group in [
        Group::ApplicationsStore,
        Group::ChatsStore,
        Group::MessagesStore,
    ] {
        let job = StoreJob::new(backend.clone(), group, Arc::clone(&metrics));
        let (ports, stop) = (backend.ports().clone(), stop.clone());
        let (metrics, overload) = (Arc::clone(&metrics), Arc::clone(&overload));
        tokio::spawn(async move { run::run(ports, job, &metrics, &overload, stop).await });
    }
}

const DEADLINE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_full_log_costs_one_number_and_hides_nothing_afterwards() {
    let rig = Rig::start(DEADLINE).await;
    rig.log.is(Mood::Full);
    let error = rig.say(None).await.unwrap_err();
    assert!(matches!(error, Error::NotAppended(_)), "{error}");
    assert!(error.to_string().contains("disk is full"), "{error}");
    assert_eq!(rig.counter().await, 2);
    let appends = rig.log.appends.load(Ordering::Relaxed);
    // Longer than a trial takes to be due; a log that proves without a record that it is full costs nothing.
    let until = Instant::now() + Duration::from_millis(2_500);
    let mut refused = 0;
    while Instant::now() < until {
        let error = rig.say(None).await.unwrap_err();
        assert!(matches!(error, Error::NotAppended(_)), "{error}");
        refused += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(rig.counter().await, 2, "after {refused} refused creates");
    assert_eq!(rig.log.appends.load(Ordering::Relaxed), appends);
    assert!(rig.backend.breaker().refused(Topic::Messages) > 100);

    rig.log.is(Mood::Well);
    assert_eq!(rig.comes_back().await, 3);
    assert!(rig.backend.open_circuits().is_empty());
    assert_eq!(rig.backend.settle_lost().await.unwrap(), 1);
    eventually("the message behind the void", async || {
        (rig.live().await == [1, 3]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_only_an_append_can_tell_a_trial_a_second_costs_a_number() {
    let rig = Rig::start(DEADLINE).await;
    rig.log.is(Mood::Lost);
    let began = Instant::now();
    let mut unknown = 0;
    while began.elapsed() < Duration::from_millis(2_500) {
        match rig.say(None).await.unwrap_err() {
            Error::NotAcknowledged => unknown += 1,
            Error::NotAppended(_) => {}
            error => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!((2..=4).contains(&unknown), "{unknown}");
    assert_eq!(rig.counter().await, 1 + unknown);
    rig.log.is(Mood::Well);
    assert_eq!(rig.comes_back().await, 2 + unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_appends_is_refused() {
    let rig = Rig::start(DEADLINE).await;
    let (backend, chat) = (&rig.backend, rig.chat);
    let first = MessageKey {
        chat,
        number: MessageNumber::FIRST,
    };
    rig.log.is(Mood::Full);
    for _ in 0..2 {
        let refused = [
            backend.edit_message(first, "b".into()).await,
            backend.delete_message(first).await,
            backend.create_chat(chat.token, None).await.map(drop),
            backend.rename_application(chat.token, "b".into()).await,
            backend.create_application("b".into(), None).await.map(drop),
        ];
        for error in refused {
            assert!(matches!(error, Err(Error::NotAppended(_))), "{error:?}");
        }
    }
    // The first of each topic was the one that found out.
    assert_eq!(rig.log.appends.load(Ordering::Relaxed), 3 + 3);
    let open: Vec<Topic> = backend
        .open_circuits()
        .iter()
        .map(|circuit| circuit.partition.topic)
        .collect();
    assert_eq!(open, [Topic::Applications, Topic::Chats, Topic::Messages]);
    rig.log.is(Mood::Well);
    for _ in 0..2 {
        backend.probe_log().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(backend.open_circuits().is_empty());
    backend.edit_message(first, "b".into()).await.unwrap();
    backend.create_chat(chat.token, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_what_was_not_appended_gets_its_number_at_once() {
    let rig = Rig::start(DEADLINE).await;
    let key = Some(StoredKey::new(None, "", "retried", b""));
    rig.log.is(Mood::Full);
    let error = rig.say(key).await.unwrap_err();
    assert!(matches!(error, Error::NotAppended(_)), "{error}");
    rig.log.is(Mood::Well);
    // The number waits for the retry, and is not made void meanwhile.
    assert_eq!(rig.backend.settle_lost().await.unwrap(), 0);
    let created = eventually("a retry", async || match rig.say(key).await {
        Ok(created) => Some(created),
        Err(Error::NotAppended(_)) => None,
        Err(error) => panic!("{error}"),
    })
    .await;
    assert_eq!(created.range.first.get(), 2);
    assert!(!rig.backend.settler().has_lost());
    assert_eq!(rig.say(key).await.unwrap(), created);
    eventually("both", async || (rig.live().await == [1, 2]).then_some(())).await;

    // As an application is created.
    let key = Some(StoredKey::new(None, "", "application", b""));
    rig.log.is(Mood::Full);
    let create = || rig.backend.create_application("c".into(), key);
    assert!(matches!(create().await, Err(Error::NotAppended(_))));
    rig.log.is(Mood::Well);
    let token = eventually("a retry", async || match create().await {
        Ok(token) => Some(token),
        Err(Error::NotAppended(_)) => None,
        Err(error) => panic!("{error}"),
    })
    .await;
    assert_eq!(create().await.unwrap(), token);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_whose_outcome_is_unknown_are_void_after_the_deadline_alone() {
    let rig = Rig::start(Duration::from_millis(500)).await;
    rig.log.is(Mood::Lost);
    let error = rig.say(None).await.unwrap_err();
    assert!(matches!(error, Error::NotAcknowledged), "{error}");
    rig.log.is(Mood::Well);
    let failed_at = Instant::now();
    let number = rig.comes_back().await;
    let voided_at = eventually("a void", async || {
        match rig.backend.settle().await.unwrap() {
            0 => None,
            _ => Some(Instant::now()),
        }
    })
    .await;
    assert!(voided_at - failed_at >= Duration::from_secs(1));
    eventually("the message behind the void", async || {
        (rig.live().await == [1, number]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_wait_for_the_most_patient_process() {
    let rig = Rig::start(Duration::from_millis(500)).await;
    assert_eq!(rig.backend.declare_deadline().await.unwrap(), None);
    let patient = Settings {
        create_deadline: Duration::from_millis(1_500),
    };
    let patient = Backend::new(rig.backend.ports().clone(), patient);
    let before = Some(Duration::from_millis(500));
    assert_eq!(patient.declare_deadline().await.unwrap(), before);
    let longest = Some(Duration::from_millis(1_500));
    assert_eq!(rig.backend.declare_deadline().await.unwrap(), longest);
    rig.log.is(Mood::Lost);
    let error = rig.say(None).await.unwrap_err();
    assert!(matches!(error, Error::NotAcknowledged), "{error}");
    rig.log.is(Mood::Well);
    let failed_at = Instant::now();
    let voided_at = eventually("a void", async || {
        match rig.backend.settle().await.unwrap() {
            0 => None,
            _ => Some(Instant::now()),
        }
    })
    .await;
    assert!(voided_at - failed_at >= Duration::from_secs(3));
}
