//! Applications: create, rename, read.

use chat_wire::applications::Application;
use chat_wire::ids::AppToken;
use std::time::Duration;

use crate::accept::detached;
use crate::backend::Backend;
use crate::error::Error;
use crate::event::{ApplicationCreated, ApplicationRenamed, Event};
use crate::failpoint::{Failpoint, reach};
use crate::key::StoredKey;
use crate::limits;
use crate::port::counters::{Counter, Floor, Grant, Opened};
use crate::port::log::Topic;
use crate::port::signals::Subject;
use crate::port::store::{ApplicationRow, Presence};

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read<T> {
    /// It is stored.
    Stored(T),
    /// It was handed out and is not stored yet: ask again soon.
    Pending,
}

impl Backend {
    /// Creates an application; durable when this returns.
    ///
    /// # Errors
    /// See [`Error`]; no event was appended unless it is [`Error::NotAcknowledged`].
    pub async fn create_application(
        &self,
        name: String,
        key: Option<StoredKey>,
    ) -> Result<AppToken, Error> {
        limits::name(&name)?;
        let backend = self.clone();
        detached(async move { backend.accept_application(name, key).await }).await
    }

    async fn accept_application(
        &self,
        name: String,
        key: Option<StoredKey>,
    ) -> Result<AppToken, Error> {
        let taken_at = self.uptime();
        let new = self.new_token();
        self.admit(Topic::Applications, || new.reveal().into())
            .await?;
        let mut keyed = key.map(|key| self.keyed(key, self.new_uid()));
        let uid = keyed.map_or_else(|| self.new_uid(), |keyed| keyed.uid);
        let (token, uid, generation) = loop {
            match self.ports().counters.open(new, keyed).await? {
                Opened::Granted { generation } => break (new, uid, generation),
                Opened::Resume {
                    token,
                    uid,
                    generation,
                } => break (token, uid, generation),
                Opened::Lost { token, uid } => {
                    break (token, uid, self.open_again(token).await?);
                }
                Opened::Repeat(token) => return Ok(token),
                Opened::InFlight => return Err(Error::KeyInFlight),
                Opened::OtherBody => return Err(Error::KeyReused),
                Opened::AskStore => match &mut keyed {
                    Some(keyed) if !keyed.absent_in_store => {
                        if let Some(token) = self.created_before(keyed.key).await? {
                            return Ok(token);
                        }
                        keyed.absent_in_store = true;
                    }
                    _ => return Err(Error::Fenced),
                },
            }
        };
        reach(Failpoint::ApplicationOpenAppend);
        let event = Event::ApplicationCreated(ApplicationCreated {
            application_token: token,
            name,
            created_at: self.now(),
            generation,
            key,
        });
        if let Err(error) = self.append(&event, uid, taken_at).await {
            let grant = Grant {
                first: 0,
                count: 0,
                uid,
                generation,
            };
            self.release(token, key, grant, &error).await;
            return Err(error);
        }
        reach(Failpoint::ApplicationAppendAcknowledge);
        self.acknowledge(token, key).await;
        Ok(token)
    }

    /// Puts back the counter of an application whose create was begun before the counters were lost. Where neither
    /// log nor store knows the application, its token was told to nobody, and nothing was counted. Returns the
    /// generation that its create has now.
    async fn open_again(&self, token: AppToken) -> Result<u32, Error> {
        let counter = Counter::Chats(token);
        match self.recover(counter).await {
            Ok(()) | Err(Error::UnknownApplication) => {}
            Err(other) => return Err(other),
        }
        let generation = self.ports().store.raise_generation(token, 0).await?;
        // What a recovery found is not lowered by this.
        let counters = &self.ports().counters;
        counters.restore(counter, 0, generation).await?;
        Ok(generation)
    }

    /// The application that was created with a key, by what the log and the store know of it.
    async fn created_before(&self, key: StoredKey) -> Result<Option<AppToken>, Error> {
        if self.ports().counters.floor() == Floor::Log
            && let Some((logged, token)) = self.application_in_log(key.hash).await?
        {
            return match logged.body_hash == key.body_hash {
                true => Ok(Some(token)),
                false => Err(Error::KeyReused),
            };
        }
        Ok(self.stored_key(key).await?.map(|row| row.token))
    }

    /// Renames an application; durable when this returns.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rename_application(&self, token: AppToken, name: String) -> Result<(), Error> {
        limits::name(&name)?;
        self.last(Counter::Chats(token)).await?;
        let event = Event::ApplicationRenamed(ApplicationRenamed {
            application_token: token,
            name,
            at: self.now(),
        });
        let backend = self.clone();
        detached(async move { backend.append_now(&event).await }).await
    }

    /// Reads an application.
    ///
    /// # Errors
    /// [`Error::UnknownApplication`], or those of the ports.
    pub async fn application(&self, token: AppToken) -> Result<Read<Application>, Error> {
        match self.ports().store.application(token).await? {
            Some(row) if row.presence == Presence::Live => Ok(Read::Stored(shown(row))),
            Some(_) => Ok(Read::Pending),
            None => {
                self.last(Counter::Chats(token)).await?;
                Ok(Read::Pending)
            }
        }
    }

    /// Applications in order of token, above `after`: for operators alone.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn applications(
        &self,
        after: Option<AppToken>,
        limit: u32,
    ) -> Result<Vec<Application>, Error> {
        let rows = self.ports().store.applications(after, limit).await?;
        Ok(rows.into_iter().map(shown).collect())
    }

    /// Waits until an application is stored; false when the time is over.
    ///
    /// # Errors
    /// Those of the ports.
    pub async fn wait_application(&self, token: AppToken, limit: Duration) -> Result<bool, Error> {
        let found = self
            .wait_until(Subject::Application(token), limit, || async move {
                let row = self.ports().store.application(token).await?;
                Ok(row.filter(|row| row.presence == Presence::Live))
            })
            .await?;
        Ok(found.is_some())
    }
}

fn shown(row: ApplicationRow) -> Application {
    Application {
        token: row.token,
        name: row.name,
        chats_count: row.chats_count,
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}
