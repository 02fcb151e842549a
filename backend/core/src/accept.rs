//! Accept: take a number, append the event, answer. The one path that every create goes.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::backend::Backend;
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
        let uid = Uuid::now_v7();
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
                Taken::Resume(grant) => return Ok(Ticket::Append(grant)),
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

    /// Appends within the deadline that began when the number was taken; returns when it is durable.
    pub(crate) async fn append(
        &self,
        event: &Event,
        uid: Uuid,
        taken_at: Instant,
    ) -> Result<(), Error> {
        let deadline = taken_at + self.settings().create_deadline;
        let record = event.encode(uid);
        self.appends()
            .count(event.topic(), record.key.len() + record.value.len());
        let append = self.ports().log.append(event.topic(), record);
        match timeout_at(deadline, append).await {
            // An acknowledgement that came late is as good as none: a recovery may have gone on
            // without it (rule 5).
            Ok(Ok(_)) if Instant::now() <= deadline => Ok(()),
            Ok(Ok(_)) | Err(_) => Err(Error::NotAcknowledged),
            Ok(Err(log::Error::Unavailable(reason) | log::Error::NotAppended(reason))) => {
                tracing::warn!(topic = event.topic().name(), reason, "an append failed");
                Err(Error::NotAcknowledged)
            }
            Ok(Err(refused)) => Err(refused.into()),
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
