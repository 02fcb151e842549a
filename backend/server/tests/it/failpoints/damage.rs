//! What is done to the data before a crash, what is expected of it, and how it is put right afterwards.

use std::path::Path;

use bytes::Bytes;
use chat_client::admin::{Admin, LetterQuery};
use chat_core::event::{Event, Line, MessageEdited, MessagesCreated};
use chat_core::port::log::{Headers, NewRecord, Origin, PartitionId, Topic};
use chat_wire::admin::dlq::{Order, State};
use chat_wire::admin::reconcile;
use chat_wire::ids::MessageNumber;
use chat_wire::time::Timestamp;
use uuid::Uuid;

use super::child::Child;
use super::data::Data;
use super::drive::{self, OLD_MESSAGES};
use crate::harness::{Chat, eventually};
use crate::mode;

/// Longer than the store takes while it refuses, and well within the rules.
const SENDER: &str = "somebody with a long name";
const MESSAGES: PartitionId = PartitionId {
    topic: Topic::Messages,
    index: 0,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    Nothing,
    /// Records that are no events.
    Garbage,
    /// A create that the store refuses until somebody mends it.
    Refused,
    /// A dead letter that is good, to be replayed.
    Letter,
    /// A create with a number that another message has.
    Collision,
    /// A create whose number is two above the next one.
    Gap,
    /// The log is gone, or ends before what was applied.
    OtherLog,
    /// The index is gone.
    NoIndex,
    /// The log keeps no record that was applied.
    OldLog,
    /// A count that its rows contradict.
    WrongCount,
    /// The counters are gone.
    NoCounters,
}

/// What the damage makes true beside what was acknowledged.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Messages that are stored although nobody was given their numbers.
    pub(super) bodies: Vec<(Chat, String)>,
    /// The message whose body is another one than was created.
    pub(super) edited: Option<(Chat, u32, String)>,
    /// Whether reconciliation has something to mend.
    pub(super) drift: bool,
    /// Dead letters, of whatever state.
    pub(super) letters: usize,
}

impl Damage {
    /// Flags of the process that is to crash.
    pub(super) const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::OldLog => &["--log-retention-hours=0"],
            _ => &[],
        }
    }

    /// Does it, while nobody has the data.
    pub(super) async fn inflict(self, path: &Path, old: &[Chat]) -> Expected {
        let mut expected = Expected::default();
        let chat = old[0];
        let data = &Data::new(path);
        match self {
            Self::Nothing | Self::OldLog => {}
            Self::Garbage => {
                expected.letters = 3;
                for text in ["one", "two", "three"] {
                    data.append(Topic::Messages, garbage(text)).await;
                }
            }
            Self::Refused => {
                expected.letters = 1;
                data.forbid_long_senders().await;
                let (record, body) = create(chat, OLD_MESSAGES + 1, Some(SENDER));
                data.append(Topic::Messages, record).await;
                expected.bodies.push((chat, body));
            }
            Self::Letter => {
                expected.letters = 1;
                let body = drive::body();
                data.append(Topic::MessagesDlq, edit(chat, 1, &body)).await;
                expected.edited = Some((chat, 1, body));
            }
            Self::Collision => {
                let (record, body) = create(chat, 3, None);
                data.append(Topic::Messages, record).await;
                expected.bodies.push((chat, body));
            }
            Self::Gap => {
                let (record, body) = create(chat, OLD_MESSAGES + 3, None);
                data.append(Topic::Messages, record).await;
                expected.bodies.push((chat, body));
            }
            Self::OtherLog if mode::on_engines() => {
                // Every partition ends before what was applied.
                data.sql("UPDATE log_positions SET next = next + 1000 WHERE next > 0")
                    .await;
            }
            Self::OtherLog => {
                for name in ["log.db", "log.db-wal", "log.db-shm"] {
                    let _ = std::fs::remove_file(path.join(name));
                }
            }
            Self::NoIndex => std::fs::remove_dir_all(path.join("index")).unwrap(),
            Self::WrongCount => {
                expected.drift = true;
                data.falsify_count(chat).await;
            }
            Self::NoCounters => data.forget_counters().await,
        }
        expected
    }

    /// What operators do while others create.
    pub(super) async fn order(self, admin: &Admin) {
        match self {
            // The process ends meanwhile, and nobody answers.
            Self::Letter => drop(admin.replay(&REPLAY).await),
            Self::WrongCount => drop(admin.reconcile(&RECONCILE).await),
            _ => {}
        }
    }

    /// Puts right what the crash left, while nobody has the data.
    pub(super) async fn repair(self, path: &Path) {
        if self == Self::Letter {
            Data::new(path).age_claims().await;
        }
    }

    /// Sees that everything becomes true that should.
    pub(super) async fn settle(self, child: &Child, path: &Path, expected: &Expected) {
        drive::settled(child).await;
        if self == Self::Refused {
            assert_eq!(letters(child, Some(State::Waiting)).await, expected.letters);
            Data::new(path).allow_long_senders().await;
        }
        if matches!(self, Self::Letter | Self::Refused) {
            eventually("the letters are replayed", async || {
                let decision = child.admin.replay(&REPLAY).await.unwrap();
                assert!(decision.failed.is_empty(), "{decision:?}");
                let replayed = letters(child, Some(State::Replayed)).await;
                (replayed == expected.letters).then_some(())
            })
            .await;
        }
    }
}

const REPLAY: Order = Order {
    ids: Vec::new(),
    all: true,
    topic: None,
    reason: None,
    execute: true,
};
pub(super) const RECONCILE: reconcile::Order = reconcile::Order {
    token: None,
    chat: None,
    full: true,
    execute: true,
};

/// How many dead letters there are in this state.
pub(super) async fn letters(child: &Child, state: Option<State>) -> usize {
    let query = LetterQuery {
        topic: None,
        state,
        after: None,
        limit: 100,
    };
    child.admin.letters(&query).await.unwrap().letters.len()
}

fn garbage(text: &str) -> NewRecord {
    NewRecord {
        key: Bytes::from_static(b"\xff"),
        headers: Headers::default(),
        value: Bytes::copy_from_slice(text.as_bytes()),
    }
}

/// A create that nobody was given a number for, and its body.
fn create(chat: Chat, number: u32, sender: Option<&str>) -> (NewRecord, String) {
    let (uid, body) = (Uuid::now_v7(), drive::body());
    let event = Event::MessagesCreated(MessagesCreated {
        application_token: chat.token,
        chat_number: chat.number,
        first: MessageNumber::new(number).unwrap(),
        created_at: Timestamp::now(),
        generation: 1,
        key: None,
        messages: vec![Line {
            uid,
            body: body.clone(),
            sender: sender.map(str::to_owned),
            sent_at: None,
        }],
    });
    (event.encode(uid), body)
}

/// An edit as a dead letter that stood behind everything.
fn edit(chat: Chat, number: u32, body: &str) -> NewRecord {
    let event = Event::MessageEdited(MessageEdited {
        application_token: chat.token,
        chat_number: chat.number,
        message_number: MessageNumber::new(number).unwrap(),
        body: body.to_owned(),
        at: Timestamp::now(),
    });
    let mut record = event.encode(Uuid::now_v7());
    record.headers.origin = Some(Origin {
        epoch: 0,
        partition: MESSAGES,
        offset: 1_000,
    });
    record.headers.reason = Some("a mistake that was mended".to_owned());
    record
}
