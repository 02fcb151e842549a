//! Deciding about dead letters: replaying them, each once, and giving them up with a reason.
//!
//! A decision is a row of the store, written before and after the append of a replay. A process that
//! dies in between leaves an intention, and after a while somebody else may replay the letter again.
//! That second record changes nothing: it carries the origin of the first, so that its revision is the
//! same, and a create is known by its uid. Appended twice, it is stored once (invariant: replays-keep-origin).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chat_wire::admin::dlq::{Decision, Failed, Order, State};
use chat_wire::time::Timestamp;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{LOOK, LetterId, Read, named};
use crate::accept::detached;
use crate::backend::Backend;
use crate::error::Error;
use crate::failpoint::{Failpoint, reach};
use crate::limits::Broken;
use crate::port::log::{Headers, NewRecord, Record, Topic};
use crate::port::store::{Fate, LetterRow};

/// How long an intention to replay holds without its append.
const INTENTION: Duration = Duration::from_secs(60);
/// Longest reason, in code points.
const REASON_CHARS: usize = 1_000;
/// Letters that one order names.
const IDS_MAX: usize = 1_000;
/// Failures that one answer lists.
const FAILURES_LISTED: usize = 1_000;

/// What is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sentence {
    Replay,
    Discard(String),
}

impl Backend {
    /// Appends letters again to the topics that they came from, each at most once.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the order names nothing; those of log and store. Letters that were
    /// decided before stay decided, so the same order may be given again.
    pub async fn replay_letters(&self, order: &Order) -> Result<Decision, Error> {
        if order.reason.is_some() {
            return Err(Broken::new("reason", "belongs to a discard alone").into());
        }
        self.sentence(order.clone(), Sentence::Replay).await
    }

    /// Gives letters up, and keeps why.
    ///
    /// # Errors
    /// As [`Backend::replay_letters`].
    pub async fn discard_letters(&self, order: &Order) -> Result<Decision, Error> {
        let reason = order.reason.as_deref().unwrap_or_default().trim();
        if reason.is_empty() || reason.chars().count() > REASON_CHARS {
            return Err(Broken::new("reason", "must have 1 to 1000 characters").into());
        }
        let sentence = Sentence::Discard(reason.to_owned());
        self.sentence(order.clone(), sentence).await
    }

    async fn sentence(&self, order: Order, sentence: Sentence) -> Result<Decision, Error> {
        match (order.all, order.ids.is_empty()) {
            (false, true) => {
                return Err(Broken::new("ids", "must name letters, or all be true").into());
            }
            (true, false) => {
                return Err(Broken::new("ids", "must be empty where all is true").into());
            }
            _ => {}
        }
        if order.topic.is_some() && !order.all {
            return Err(Broken::new("topic", "belongs to all").into());
        }
        if order.ids.len() > IDS_MAX {
            return Err(Broken::new("ids", "must be at most 1000; use all for more").into());
        }
        let topic = named(order.topic.as_deref())?;
        // Whoever ordered it may go away; a letter that was begun should not be left in between.
        let backend = self.clone();
        detached(async move {
            let mut decision = Decision::default();
            if order.all {
                backend
                    .sentence_all(topic, &sentence, order.execute, &mut decision)
                    .await?;
            } else {
                for id in &order.ids {
                    let read = match LetterId::parse(id) {
                        Some(id) => backend.read_letter(id).await,
                        None => Err(Error::UnknownLetter),
                    };
                    match read {
                        Ok(read) => {
                            backend
                                .decide(vec![read], &sentence, order.execute, &mut decision)
                                .await?;
                        }
                        Err(Error::UnknownLetter) => {
                            fail(&mut decision, id.clone(), &Error::UnknownLetter);
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            Ok(decision)
        })
        .await
    }

    /// Up to the ends that the topics have now: a letter that is buried again while this goes on waits
    /// for the next order.
    async fn sentence_all(
        &self,
        topic: Option<Topic>,
        sentence: &Sentence,
        execute: bool,
        decision: &mut Decision,
    ) -> Result<(), Error> {
        for partition in self.dead_partitions(topic).await? {
            let (start, end) = self.ports().log.range(partition).await?;
            let mut from = start;
            while from < end {
                let mut read = self.read_letters(partition, from, LOOK).await?;
                let Some(last) = read.last() else { break };
                from = last.id().offset + 1;
                read.retain(|one| one.id().offset < end && one.state() == State::Waiting);
                self.decide(read, sentence, execute, decision).await?;
            }
        }
        Ok(())
    }

    /// Claims letters, does what was decided, writes that down.
    async fn decide(
        &self,
        letters: Vec<Read>,
        sentence: &Sentence,
        execute: bool,
        decision: &mut Decision,
    ) -> Result<(), Error> {
        let (letters, before): (Vec<Read>, Vec<Read>) = letters
            .into_iter()
            .partition(|one| one.state() == State::Waiting);
        decision.before += before.len() as u64;
        if !execute {
            decision.done += letters.len() as u64;
            return Ok(());
        }
        let Some(first) = letters.first() else {
            return Ok(());
        };
        let store = &self.ports().store;
        let claim = self.new_uid();
        let epoch = self.ports().log.epoch(first.id().partition.topic).await?;
        let row = |id: LetterId, fate: Fate, at: Timestamp, reason: &str| LetterRow {
            partition: id.partition,
            epoch,
            offset: id.offset,
            fate,
            claim,
            at,
            reason: reason.to_owned(),
        };
        let stale = self.now().minus(INTENTION);
        let (fate, reason) = match sentence {
            Sentence::Replay => (Fate::Replaying, ""),
            Sentence::Discard(reason) => (Fate::Discarded, reason.as_str()),
        };
        let now = self.now();
        let wanted: Vec<LetterRow> = letters
            .iter()
            .map(|one| row(one.id(), fate, now, reason))
            .collect();
        store.decide(&wanted, stale).await?;
        // Of two who decide about one letter the store lets one win; who it was is read.
        let ours = self.claimed(&letters, epoch, claim).await?;
        let (mine, others): (Vec<Read>, Vec<Read>) = letters
            .into_iter()
            .partition(|one| ours.contains_key(&one.id()));
        decision.before += others.len() as u64;
        if *sentence != Sentence::Replay {
            decision.done += mine.len() as u64;
            return Ok(());
        }
        reach(Failpoint::ReplayClaimAppend);
        let appended = self.append_again(mine).await;
        reach(Failpoint::ReplayAppendNote);
        let mut rows = Vec::with_capacity(appended.len());
        for (id, appended) in appended {
            match appended {
                Ok(()) => {
                    decision.done += 1;
                    rows.push(row(id, Fate::Replayed, self.now(), ""));
                }
                Err(error) => {
                    fail(decision, id.text(), &error);
                    // An intention this old is nobody's: the next order may try at once.
                    let long_ago = stale.minus(INTENTION);
                    rows.push(row(id, Fate::Replaying, long_ago, ""));
                }
            }
        }
        Ok(store.decide(&rows, stale).await?)
    }

    async fn claimed(
        &self,
        letters: &[Read],
        epoch: u32,
        claim: Uuid,
    ) -> Result<HashMap<LetterId, LetterRow>, Error> {
        let (Some(first), Some(last)) = (letters.first(), letters.last()) else {
            return Ok(HashMap::new());
        };
        let partition = first.id().partition;
        let (from, through) = (first.id().offset, last.id().offset);
        let rows = self
            .ports()
            .store
            .letters(partition, epoch, from, through)
            .await?;
        Ok(rows
            .into_iter()
            .filter(|row| row.claim == claim)
            .map(|row| {
                let (partition, offset) = (row.partition, row.offset);
                (LetterId { partition, offset }, row)
            })
            .collect())
    }

    /// The original bytes, key and headers, with where they came from, to the topic of their origin.
    async fn append_again(&self, letters: Vec<Read>) -> Vec<(LetterId, Result<(), Error>)> {
        let mut appends = JoinSet::new();
        for one in letters {
            let log = Arc::clone(&self.ports().log);
            let id = one.id();
            let Record {
                key,
                headers,
                value,
                ..
            } = one.record;
            let topic = headers.origin.map_or_else(
                || source(id.partition.topic),
                |origin| origin.partition.topic,
            );
            let record = NewRecord {
                key,
                headers: Headers {
                    reason: None,
                    ..headers
                },
                value,
            };
            appends.spawn(async move {
                let appended = log.append(topic, record).await;
                (id, appended.map(drop).map_err(Error::from))
            });
        }
        appends.join_all().await
    }
}

/// The topic whose dead letters stand in this one.
const fn source(topic: Topic) -> Topic {
    match topic {
        Topic::Applications | Topic::ApplicationsDlq => Topic::Applications,
        Topic::Chats | Topic::ChatsDlq => Topic::Chats,
        Topic::Messages | Topic::MessagesDlq => Topic::Messages,
    }
}

fn fail(decision: &mut Decision, id: String, error: &Error) {
    if decision.failed.len() < FAILURES_LISTED {
        let detail = error.to_string();
        decision.failed.push(Failed { id, detail });
    }
}
