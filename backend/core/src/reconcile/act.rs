//! Acting: each step looks again at what it is about to change, and doing it twice is doing it once.

use std::time::Duration;

use chat_wire::admin::reconcile::{Act, Outcome};
use tokio::time::Instant;

use super::judge::Finding;
use crate::backend::Backend;
use crate::error::Error;
use crate::event::Event;
use crate::failpoint::{Failpoint, reach};
use crate::port::counters::Counter;
use crate::port::log::{Group, Topic};
use crate::port::signals::Subject;
use crate::port::store::{ChatKey, Writes};
use crate::voids::{Gap, Proof};

/// Between two looks whether counters have been recovered.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long the store may take to pass the end of a partition.
const STORE_PATIENCE: Duration = Duration::from_secs(5);
/// On top of the deadline that a recovery waits out.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(15);

/// Tells an error as the outcome of a step.
fn failed(error: &Error) -> Outcome {
    Outcome::Failed(error.to_string())
}

impl Backend {
    /// Recovers counters that are missing or behind, all at once: each waits for the same deadline.
    /// Nothing is ever set down, and no key is made here: a missing one takes the fenced recovery.
    pub(super) async fn raise_counters(&self, wanted: &[(Counter, Finding)]) -> Vec<Outcome> {
        let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(wanted.len());
        for (counter, finding) in wanted {
            outcomes.push(self.begin_raise(*counter, *finding).await);
        }
        let deadline = Instant::now() + self.append_patience() + RECOVERY_PATIENCE;
        while outcomes.iter().any(Option::is_none) && Instant::now() < deadline {
            tokio::time::sleep(LOOK_AGAIN).await;
            let waiting: Vec<usize> = (0..wanted.len())
                .filter(|at| outcomes[*at].is_none())
                .collect();
            let counters: Vec<Counter> = waiting.iter().map(|at| wanted[*at].0).collect();
            match self.ports().counters.last_of(&counters).await {
                Ok(found) => {
                    for (at, _) in waiting.iter().zip(found).filter(|(_, last)| last.is_some()) {
                        outcomes[*at] = Some(Outcome::Done);
                    }
                }
                Err(error) => tracing::warn!(%error, "a recovery is waited for"),
            }
        }
        let late = || Outcome::Waits("its recovery has not ended yet".to_owned());
        outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(late))
            .collect()
    }

    /// `None` where a recovery is under way now.
    async fn begin_raise(&self, counter: Counter, finding: Finding) -> Option<Outcome> {
        let to = u32::try_from(finding.to).unwrap_or(u32::MAX);
        let raised = async {
            match self.ports().counters.last(counter).await? {
                Some(last) if last >= to => return Ok(Some(Outcome::Unneeded)),
                Some(_) => self.raise(counter, to).await?,
                None => match self.recover(counter).await {
                    Ok(()) => {}
                    Err(Error::Fenced) => return Ok(None),
                    Err(error) => return Err(error),
                },
            }
            Ok(Some(Outcome::Done))
        };
        raised
            .await
            .unwrap_or_else(|error: Error| Some(failed(&error)))
    }

    /// One step, other than raising a counter.
    /// `has_waited`: whether this is the last try of what the index put off.
    pub(super) async fn act(
        &self,
        counter: Counter,
        finding: Finding,
        has_waited: bool,
    ) -> Outcome {
        let done = match (finding.act, counter) {
            (Act::SetCount, Counter::Messages(chat)) => self.set_messages_count(chat).await,
            (Act::SetCount, Counter::Chats(_)) => self.set_chats_count(counter).await,
            (Act::VoidHoles, Counter::Messages(chat)) => self.void_holes(chat, finding.to).await,
            (Act::Reindex, Counter::Messages(chat)) => self.reindex(chat, has_waited).await,
            // Counters are raised together, and an application has neither voids nor documents.
            (Act::RaiseCounter | Act::VoidHoles | Act::Reindex, _) => Ok(Outcome::Unneeded),
        };
        done.unwrap_or_else(|error| failed(&error))
    }

    /// Locks the chat's row, counts, then sets the count. A worker that applies records of the chat waits
    /// for the lock, so nothing is counted twice or missed (invariant: counts-under-lock).
    async fn set_messages_count(&self, chat: ChatKey) -> Result<Outcome, Error> {
        let mut tx = self.ports().store.begin_free().await?;
        let Some(mut row) = tx.chats(&[chat]).await?.pop() else {
            return Ok(Outcome::Unneeded);
        };
        let tally = tx.tally(chat).await?;
        let live = u32::try_from(tally.live).unwrap_or(u32::MAX);
        let highest = row.highest.max(tally.highest);
        if (row.messages_count, row.highest) == (live, highest) {
            return Ok(Outcome::Unneeded);
        }
        tracing::warn!(
            chat.number = chat.chat.get(),
            count.was = row.messages_count,
            count.is = live,
            "a count that its rows contradict is set"
        );
        row.messages_count = live;
        row.highest = highest;
        tx.write(Writes {
            update_chats: vec![row],
            ..Writes::default()
        })
        .await?;
        reach(Failpoint::CountWriteCommit);
        tx.commit(&[]).await?;
        let subject = Subject::Chat(chat.token, chat.chat);
        self.ports().signals.publish(&[subject]).await;
        Ok(Outcome::Done)
    }

    async fn set_chats_count(&self, counter: Counter) -> Result<Outcome, Error> {
        let token = counter.token();
        let mut tx = self.ports().store.begin_free().await?;
        let Some(mut row) = tx.applications(&[token]).await?.pop() else {
            return Ok(Outcome::Unneeded);
        };
        let tally = tx.tally_chats(token).await?;
        let live = u32::try_from(tally.live).unwrap_or(u32::MAX);
        if row.chats_count == live {
            return Ok(Outcome::Unneeded);
        }
        tracing::warn!(
            count.was = row.chats_count,
            count.is = live,
            "an application's count that its rows contradict is set"
        );
        row.chats_count = live;
        tx.write(Writes {
            update_applications: vec![row],
            ..Writes::default()
        })
        .await?;
        tx.commit(&[]).await?;
        let subject = Subject::Application(token);
        self.ports().signals.publish(&[subject]).await;
        Ok(Outcome::Done)
    }

    /// The comparison has waited until no record of a number through `through` can come. The store has
    /// to be where it was then: one that was rolled back meanwhile lacks rows whose records exist.
    async fn void_holes(&self, chat: ChatKey, through: u64) -> Result<Outcome, Error> {
        let counter = Counter::Messages(chat);
        let proof = match self.reconciler().sightings.proof(counter) {
            Some(proof) => Some(proof),
            // Rows below what was settled are gone, and nothing was waited for.
            None => self.pass_end(chat).await?,
        };
        let waits =
            || Outcome::Waits("the store has not applied all records that there may be".to_owned());
        let Some(proof) = proof else {
            return Ok(waits());
        };
        let gap = Gap {
            chat,
            // From the beginning: a row below what was settled may be gone too.
            after: Some(0),
            through: u32::try_from(through).unwrap_or(u32::MAX),
        };
        let voided = self.void_all(Some(proof), vec![gap]).await?;
        self.reconciler().sightings.forget(counter);
        Ok(match voided.voids {
            _ if voided.disproved => waits(),
            0 => Outcome::Unneeded,
            _ => Outcome::Done,
        })
    }

    /// Notes the end of the chat's partition and waits until the store has passed it; `None` where it
    /// does not in time.
    async fn pass_end(&self, chat: ChatKey) -> Result<Option<Proof>, Error> {
        let key = Event::message_key(chat);
        let log = &self.ports().log;
        let partition = log.partition_of(Topic::Messages, &key).await?;
        let Some(proof) = self.note_end(partition).await? else {
            return Ok(None);
        };
        let deadline = Instant::now() + STORE_PATIENCE;
        loop {
            let store = &self.ports().store;
            let position = store.position(Group::MessagesStore, partition).await?;
            if proof.holds(&position) {
                return Ok(Some(proof));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn reindex(&self, chat: ChatKey, has_waited: bool) -> Result<Outcome, Error> {
        let mended = self.mend_documents(chat, has_waited).await?;
        tracing::warn!(
            chat.number = chat.chat.get(),
            indexed = mended.indexed,
            removed = mended.removed,
            refused = mended.refused,
            "the index is made to say what the rows say"
        );
        if self.still_differs(chat, &mended).await? {
            return Ok(Outcome::Waits(
                "the index remembers newer revisions of some documents; those of deleted ones it \
                 forgets after a while"
                    .to_owned(),
            ));
        }
        Ok(match (mended.refused, mended.indexed + mended.removed) {
            (0, 0) => Outcome::Unneeded,
            (0, _) => Outcome::Done,
            (refused, _) => Outcome::Failed(format!("the index refuses {refused} documents")),
        })
    }
}
