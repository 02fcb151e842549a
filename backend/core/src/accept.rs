//! Accept: take a number, append the event, answer. The one path that every create goes.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use crate::backend::Backend;
use crate::breaker::NO_ANSWER;
use crate::error::Error;
use crate::event::Event;
use crate::key::StoredKey;
use crate::port::counters::{Counter, Grant, Keyed, Take, Taken};
use crate::port::signals::Subject;
use crate::port::store::KeyRow;
use crate::port::{counters, log};

/// How often a take goes round: look in the store, recover, and once more for each.
const TAKE_ROUNDS: usize = 6;
/// How often a waiter reads again without a hint.
const REREAD: Duration = Duration::from_secs(1);

/// The outcome of a take.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ticket {
    /// Append this event, then answer.
    Append(Grant),
    /// An earlier try may have appended it: append it again, then answer.
    AppendAgain(Grant),
    /// It was appended before: answer.
    Done(Grant),
}

impl Backend {
    /// Takes `count` numbers of a counter, recovering it where it is not known.
    pub(crate) async fn take(
        &self,
        counter: Counter,
        count: u32,
        key: Option<StoredKey>,
    ) -> Result<Ticket, Error> {
        let uid = self.new_uid();
        let mut keyed = key.map(|key| self.keyed(key, uid));
        for _ in 0..TAKE_ROUNDS {
            let take = Take {
                counter,
                count,
                keyed,
            };
            match self.ports().counters.take(take).await? {
                Taken::Granted { first, generation } => {
                    return Ok(Ticket::Append(Grant {
                        first,
                        count,
                        uid,
                        generation,
                    }));
                }
                Taken::Resume(grant) => return Ok(Ticket::AppendAgain(grant)),
                Taken::Repeat(grant) => return Ok(Ticket::Done(grant)),
                Taken::InFlight => return Err(Error::KeyInFlight),
                Taken::OtherBody => return Err(Error::KeyReused),
                Taken::OutOfRange => return Err(Error::UnknownChat),
                Taken::Fenced => return Err(Error::Fenced),
                Taken::Unknown(missing) => self.recover_for(counter, missing).await?,
                Taken::AskStore => {
                    if let Some(keyed) = &mut keyed {
                        if let Some(row) = self.stored_key(keyed.key).await? {
                            return Ok(Ticket::Done(Grant {
                                first: row.first,
                                count: row.count,
                                uid: row.uid,
                                generation: row.generation,
                            }));
                        }
                        keyed.absent_in_store = true;
                    }
                }
            }
        }
        Err(Error::Fenced)
    }

    pub(crate) fn keyed(&self, key: StoredKey, uid: Uuid) -> Keyed {
        Keyed {
            key,
            uid,
            lease_ms: self.settings().lease_ms(),
            absent_in_store: false,
        }
    }

    pub(crate) async fn stored_key(&self, key: StoredKey) -> Result<Option<KeyRow>, Error> {
        match self.ports().store.key(key.hash).await? {
            Some(row) if row.key.body_hash != key.body_hash => Err(Error::KeyReused),
            row => Ok(row),
        }
    }

    /// Appends an event that carries no number, so that its deadline begins now.
    pub(crate) async fn append_now(&self, event: &Event) -> Result<(), Error> {
        self.admit(event.topic(), || event.key()).await?;
        self.append(event, self.new_uid(), self.uptime()).await
    }

    /// Appends within the deadline that began when the number was taken, as [`Backend::uptime`] told
    /// then; returns when it is durable.
    pub(crate) async fn append(
        &self,
        event: &Event,
        uid: Uuid,
        taken_at: Duration,
    ) -> Result<(), Error> {
        let deadline = taken_at + self.settings().create_deadline;
        let left = deadline.saturating_sub(self.uptime());
        let record = event.encode(uid);
        self.appends()
            .count(event.topic(), record.key.len() + record.value.len());
        let append = self.ports().log.append(event.topic(), record);
        let failure = match timeout(left, append).await {
            Ok(Ok(appended)) if self.uptime() <= deadline => {
                self.breaker().close(appended.partition);
                return Ok(());
            }
            // An acknowledgement that came late is as good as none: a recovery may have gone on
            // without it (invariant: late-append). Where the counters took most of the time, the log is not to blame.
            Ok(Ok(_)) | Err(_) if left < self.settings().create_deadline / 2 => {
                return Err(Error::NotAcknowledged);
            }
            Ok(Ok(_)) | Err(_) => log::Error::Unavailable(NO_ANSWER.to_owned()),
            Ok(Err(failure)) => failure,
        };
        let error = match failure {
            log::Error::Unavailable(_) => Error::NotAcknowledged,
            log::Error::NotAppended(ref reason) => Error::NotAppended(reason.clone()),
            // The record is to blame, and the next one may well be taken.
            refused => return Err(refused.into()),
        };
        let (topic, reason) = (event.topic(), failure.reason());
        tracing::warn!(topic = topic.name(), reason, "an append failed");
        self.append_failed(topic, &event.key(), &reason).await;
        Err(error)
    }

    /// Ends the lease of a key whose event is certainly not in the log: a retry need not wait for it.
    pub(crate) async fn release(
        &self,
        token: chat_wire::ids::AppToken,
        key: Option<StoredKey>,
        grant: Grant,
        error: &Error,
    ) {
        if let Some(key) = key
            && error.proves_absence()
            && let Err(error) = self.ports().counters.release(token, key, grant).await
        {
            tracing::warn!(%error, "an idempotency key stays in flight until its lease ends");
        }
    }

    /// Notes that a key's event is durable. A failure costs a retry its speed, not its answer.
    pub(crate) async fn acknowledge(
        &self,
        token: chat_wire::ids::AppToken,
        key: Option<StoredKey>,
    ) {
        if let Some(key) = key
            && let Err(error) = self.ports().counters.acknowledge(token, key).await
        {
            tracing::warn!(%error, "an idempotency key stays in flight until its lease ends");
        }
    }

    /// Waits until `stored` says so, reading at every hint and each second; `None` when the time is over.
    pub async fn wait_until<T, F, Fut>(
        &self,
        subject: Subject,
        limit: Duration,
        mut stored: F,
    ) -> Result<Option<T>, Error>
    where
        F: FnMut() -> Fut + Send,
        Fut: Future<Output = Result<Option<T>, Error>> + Send,
        T: Send,
    {
        let deadline = Instant::now() + limit;
        // Listening before reading: a change in between is heard.
        let mut subscription = self.ports().signals.subscribe(subject).await;
        loop {
            if let Some(found) = stored().await? {
                return Ok(Some(found));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            let next_look = (Instant::now() + REREAD).min(deadline);
            // Either end means the same: look again.
            let _ = timeout_at(next_look, subscription.changed()).await;
        }
    }

    /// Whether an application has given out this chat number; recovers the counter where it is not known.
    pub(crate) async fn knows_chat(
        &self,
        chat: crate::port::store::ChatKey,
    ) -> Result<bool, Error> {
        let last = self.last(Counter::Chats(chat.token)).await?;
        Ok(last >= chat.chat.get())
    }

    /// The last number that a counter has given out; recovers it where it is not known.
    pub(crate) async fn last(&self, counter: Counter) -> Result<u32, Error> {
        for _ in 0..TAKE_ROUNDS {
            if let Some(last) = self.ports().counters.last(counter).await? {
                return Ok(last);
            }
            self.recover(counter).await?;
        }
        Err(Error::Counters(counters::Error::Unavailable(
            "a counter is gone as soon as it was recovered".into(),
        )))
    }
}

/// Runs to its end even when the caller goes away: a number that was taken should reach the log,
/// and a database connection must not be dropped in the middle of a query.
pub(crate) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    }
}
