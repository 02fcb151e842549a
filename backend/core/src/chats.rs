//! Chats: create, read.

use chat_wire::chats::{Chat, ChatPage};
use chat_wire::ids::{AppToken, ChatNumber};
use std::time::Duration;

use crate::accept::{Ticket, detached};
use crate::applications::Read;
use crate::backend::Backend;
use crate::error::Error;
use crate::event::{ChatCreated, Event};
use crate::failpoint::{Failpoint, reach};
use crate::key::StoredKey;
use crate::port::counters::Counter;
use crate::port::log::Topic;
use crate::port::signals::Subject;
use crate::port::store::{ChatKey, ChatRow, Presence};

impl Backend {
    /// Creates a chat; durable when this returns.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create_chat(
        &self,
        token: AppToken,
        key: Option<StoredKey>,
    ) -> Result<ChatNumber, Error> {
        let backend = self.clone();
        detached(async move { backend.accept_chat(token, key).await }).await
    }

    async fn accept_chat(
        &self,
        token: AppToken,
        key: Option<StoredKey>,
    ) -> Result<ChatNumber, Error> {
        let taken_at = self.uptime();
        self.admit(Topic::Chats, || token.reveal().into()).await?;
        let ticket = self.take(Counter::Chats(token), 1, key).await?;
        let (Ticket::Append(grant) | Ticket::AppendAgain(grant) | Ticket::Done(grant)) = ticket;
        let number = ChatNumber::new(grant.first).ok_or(Error::Exhausted)?;
        if !matches!(ticket, Ticket::Done(_)) {
            reach(Failpoint::ChatTakeAppend);
            let event = Event::ChatCreated(ChatCreated {
                application_token: token,
                chat_number: number,
                created_at: self.now(),
                generation: grant.generation,
                key,
            });
            if let Err(error) = self.append(&event, grant.uid, taken_at).await {
                self.release(token, key, grant, &error).await;
                return Err(error);
            }
            reach(Failpoint::ChatAppendOpen);
            // Where an earlier try has made the chat, messages may have been counted and lost since: then only a
            // recovery knows, and the missing counter asks for it.
            if matches!(ticket, Ticket::Append(_)) {
                let chat = ChatKey {
                    token,
                    chat: number,
                };
                self.ports().counters.open_chat(chat).await?;
            }
            reach(Failpoint::ChatOpenAcknowledge);
            self.acknowledge(token, key).await;
        }
        Ok(number)
    }

    /// Reads a chat.
    ///
    /// # Errors
    /// [`Error::UnknownApplication`], [`Error::UnknownChat`], or those of the ports.
    pub async fn chat(&self, key: ChatKey) -> Result<Read<Chat>, Error> {
        match self.ports().store.chat(key).await? {
            Some(row) if row.presence == Presence::Live => Ok(Read::Stored(shown(&row))),
            Some(_) => Ok(Read::Pending),
            None if self.knows_chat(key).await? => Ok(Read::Pending),
            None => Err(Error::UnknownChat),
        }
    }

    /// A page of chats in order of number, above `after`.
    ///
    /// # Errors
    /// [`Error::UnknownApplication`], or those of the ports.
    pub async fn chats(&self, token: AppToken, after: u32, limit: u32) -> Result<ChatPage, Error> {
        let store = &self.ports().store;
        let mut rows = store.chats(token, after, limit.saturating_add(1)).await?;
        if rows.is_empty() && store.application(token).await?.is_none() {
            self.last(Counter::Chats(token)).await?;
        }
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next_after = rows.last().filter(|_| more).map(|row| row.key.chat);
        Ok(ChatPage {
            chats: rows.iter().map(shown).collect(),
            next_after,
        })
    }

    /// Waits until a chat is stored; false when the time is over.
    ///
    /// # Errors
    /// Those of the ports.
    pub async fn wait_chat(&self, key: ChatKey, limit: Duration) -> Result<bool, Error> {
        let found = self
            .wait_until(Subject::Application(key.token), limit, || async move {
                let row = self.ports().store.chat(key).await?;
                Ok(row.filter(|row| row.presence == Presence::Live))
            })
            .await?;
        Ok(found.is_some())
    }
}

fn shown(row: &ChatRow) -> Chat {
    Chat {
        chat_number: row.key.chat,
        messages_count: row.messages_count,
        created_at: row.created_at,
    }
}
