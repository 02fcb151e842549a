//! Messages: create one or many, edit, delete, read, page.

use chat_wire::ids::MessageNumber;
use chat_wire::messages::{BatchCreated, Message, MessagePage, NewMessage};
use std::time::Duration;
use uuid::Uuid;

use crate::accept::{Ticket, detached};
use crate::applications::Read;
use crate::backend::Backend;
use crate::error::Error;
use crate::event::{Event, Line, MessageDeleted, MessageEdited, MessagesCreated, nth_uid};
use crate::failpoint::{Failpoint, reach};
use crate::key::StoredKey;
use crate::limits::{self, Broken};
use crate::port::counters::{Counter, Grant};
use crate::port::log::Topic;
use crate::port::signals::Subject;
use crate::port::store::{ChatKey, MessageKey, MessageRow, Span, State};

/// How long numbers that were not appended wait for a retry with their idempotency key. Clients are told
/// to come back after a second. One that comes later finds its numbers void and fills them.
const RETRY_HOLD: Duration = Duration::from_secs(2);

/// Which part of a chat a page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// Numbers above this one.
    After(u32),
    /// Numbers below this one.
    Before(u32),
    /// Half below this one, then this one and those above.
    Around(u32),
}

/// What a create was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    /// The numbers.
    pub range: BatchRange,
    /// Of the event; where a waiter knows its message by.
    pub uid: Uuid,
}

/// A run of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRange {
    /// First number.
    pub first: MessageNumber,
    /// Last number.
    pub last: MessageNumber,
}

impl From<BatchRange> for BatchCreated {
    fn from(range: BatchRange) -> Self {
        Self {
            first: range.first,
            last: range.last,
        }
    }
}

impl Backend {
    /// Creates one message or a batch in one event, all or nothing; durable when this returns.
    ///
    /// # Errors
    /// See [`Error`]; what breaks a rule takes no number.
    pub async fn create_messages(
        &self,
        chat: ChatKey,
        messages: Vec<NewMessage>,
        key: Option<StoredKey>,
    ) -> Result<Created, Error> {
        check(&messages)?;
        let backend = self.clone();
        detached(async move { backend.accept_messages(chat, messages, key).await }).await
    }

    async fn accept_messages(
        &self,
        chat: ChatKey,
        messages: Vec<NewMessage>,
        key: Option<StoredKey>,
    ) -> Result<Created, Error> {
        let taken_at = self.uptime();
        let count = u32::try_from(messages.len()).map_err(|_| Error::Exhausted)?;
        self.admit(Topic::Messages, || Event::message_key(chat))
            .await?;
        let ticket = self.take(Counter::Messages(chat), count, key).await?;
        let (Ticket::Append(grant) | Ticket::AppendAgain(grant) | Ticket::Done(grant)) = ticket;
        let last = grant.first.checked_add(grant.count.max(1) - 1);
        let range = BatchRange {
            first: MessageNumber::new(grant.first).ok_or(Error::Exhausted)?,
            last: last.and_then(MessageNumber::new).ok_or(Error::Exhausted)?,
        };
        if !matches!(ticket, Ticket::Done(_)) {
            if key.is_some() {
                self.settler()
                    .reclaim(chat, range.first.get()..=range.last.get());
            }
            reach(Failpoint::MessageTakeAppend);
            let event = Event::MessagesCreated(MessagesCreated {
                application_token: chat.token,
                chat_number: chat.chat,
                first: range.first,
                created_at: self.now(),
                generation: grant.generation,
                key,
                messages: lines(messages, grant.uid),
            });
            if let Err(error) = self.append(&event, grant.uid, taken_at).await {
                self.give_up(chat, key, grant, &error).await;
                return Err(error);
            }
            reach(Failpoint::MessageAppendAcknowledge);
            self.acknowledge(chat.token, key).await;
            reach(Failpoint::MessageAcknowledgeAnswer);
        }
        Ok(Created {
            range,
            uid: grant.uid,
        })
    }

    /// Sees to the numbers of a create that failed: they become void where they were never appended.
    async fn give_up(&self, chat: ChatKey, key: Option<StoredKey>, grant: Grant, error: &Error) {
        if !error.proves_absence() {
            self.settler().suspect(chat);
            return;
        }
        // Whoever has a key comes back for the same numbers, and should find them free.
        let hold = key.map_or(Duration::ZERO, |_| RETRY_HOLD);
        let last = grant.first.saturating_add(grant.count.max(1) - 1);
        self.settler()
            .note_lost(chat, grant.first..=last, self.uptime() + hold);
        self.release(chat.token, key, grant, error).await;
    }

    /// Edits a message; durable when this returns.
    ///
    /// # Errors
    /// [`Error::UnknownMessage`] above the counter, [`Error::Gone`] for a void or deleted one, and see [`Error`].
    pub async fn edit_message(&self, key: MessageKey, body: String) -> Result<(), Error> {
        limits::body(&body)?;
        self.writable(key).await?;
        let event = Event::MessageEdited(MessageEdited {
            application_token: key.chat.token,
            chat_number: key.chat.chat,
            message_number: key.number,
            body,
            at: self.now(),
        });
        let backend = self.clone();
        detached(async move { backend.append_now(&event).await }).await
    }

    /// Deletes a message for good; durable when this returns.
    ///
    /// # Errors
    /// As [`Backend::edit_message`].
    pub async fn delete_message(&self, key: MessageKey) -> Result<(), Error> {
        self.writable(key).await?;
        let event = Event::MessageDeleted(MessageDeleted {
            application_token: key.chat.token,
            chat_number: key.chat.chat,
            message_number: key.number,
            at: self.now(),
        });
        let backend = self.clone();
        detached(async move { backend.append_now(&event).await }).await
    }

    async fn writable(&self, key: MessageKey) -> Result<(), Error> {
        self.message(key).await.map(|_| ())
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`Error::UnknownApplication`], [`Error::UnknownChat`], [`Error::UnknownMessage`], [`Error::Gone`],
    /// or those of the ports.
    pub async fn message(&self, key: MessageKey) -> Result<Read<Message>, Error> {
        let Some(row) = self.ports().store.message(key).await? else {
            if !self.knows_chat(key.chat).await? {
                return Err(Error::UnknownChat);
            }
            let last = self.last(Counter::Messages(key.chat)).await?;
            return if key.number.get() <= last {
                Ok(Read::Pending)
            } else {
                Err(Error::UnknownMessage)
            };
        };
        match (row.state, row.uid) {
            (State::Live, _) => Ok(Read::Stored(shown(row))),
            // Dead-lettered, or edited before its create: it may come to be.
            (State::Void, Some(_)) => Ok(Read::Pending),
            (State::Void, None) if row.revision > 0 => Ok(Read::Pending),
            (State::Void | State::Deleted, _) => Err(Error::Gone),
        }
    }

    /// A page of live messages in order of number, out of those up to which the chat is settled.
    ///
    /// # Errors
    /// [`Error::UnknownApplication`], [`Error::UnknownChat`], or those of the ports.
    pub async fn messages(
        &self,
        chat: ChatKey,
        cursor: Cursor,
        limit: u32,
    ) -> Result<MessagePage, Error> {
        let row = self.ports().store.chat(chat).await?;
        let settled = row.map(|row| row.settled_through);
        self.page(chat, settled, cursor, limit).await
    }

    /// A page of a chat that is settled up to a number, or has no row.
    pub(crate) async fn page(
        &self,
        chat: ChatKey,
        settled: Option<u32>,
        cursor: Cursor,
        limit: u32,
    ) -> Result<MessagePage, Error> {
        let Some(settled) = settled else {
            if !self.knows_chat(chat).await? {
                return Err(Error::UnknownChat);
            }
            return Ok(page(Vec::new(), 0, None, None));
        };
        match cursor {
            Cursor::After(after) => {
                let (rows, more) = self.above(chat, after, settled, limit).await?;
                let next_after = more.then(|| last_number(&rows)).flatten();
                let end = after.min(settled).saturating_add(1);
                let back = first_number(&rows).or_else(|| MessageNumber::new(end));
                Ok(page(
                    rows,
                    settled,
                    next_after,
                    back.filter(|n| n.get() > 1),
                ))
            }
            Cursor::Before(before) => {
                let before = before.min(settled.saturating_add(1));
                let (rows, more) = self.below(chat, before, limit).await?;
                let next_before = more.then(|| first_number(&rows)).flatten();
                let forward = last_number(&rows)
                    .or_else(|| MessageNumber::new(before.saturating_sub(1)))
                    .filter(|n| n.get() < settled);
                Ok(page(rows, settled, forward, next_before))
            }
            Cursor::Around(around) => {
                let half = limit / 2;
                let end = settled.saturating_add(1);
                let (mut rows, before) = if half == 0 {
                    (Vec::new(), around > 1)
                } else {
                    self.below(chat, around.min(end), half).await?
                };
                let above = around.saturating_sub(1);
                let (later, after) = self.above(chat, above, settled, limit - half).await?;
                rows.extend(later);
                let next_before = before
                    .then(|| first_number(&rows).or_else(|| MessageNumber::new(around.min(end))));
                let next_before = next_before.flatten();
                let next_after = after.then(|| last_number(&rows)).flatten();
                Ok(page(rows, settled, next_after, next_before))
            }
        }
    }

    async fn above(
        &self,
        chat: ChatKey,
        after: u32,
        through: u32,
        limit: u32,
    ) -> Result<(Vec<MessageRow>, bool), Error> {
        let span = Span::After { after, through };
        let store = &self.ports().store;
        let mut rows = store.messages(chat, span, limit.saturating_add(1)).await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        Ok((rows, more))
    }

    async fn below(
        &self,
        chat: ChatKey,
        before: u32,
        limit: u32,
    ) -> Result<(Vec<MessageRow>, bool), Error> {
        let store = &self.ports().store;
        let mut rows = store
            .messages(chat, Span::Before(before), limit.saturating_add(1))
            .await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        rows.reverse();
        Ok((rows, more))
    }

    /// Waits until the create's messages are stored; returns where they are, or `None` when the time is over.
    ///
    /// # Errors
    /// Those of the ports.
    pub async fn wait_messages(
        &self,
        chat: ChatKey,
        created: Created,
        limit: Duration,
    ) -> Result<Option<BatchRange>, Error> {
        let key = MessageKey {
            chat,
            number: created.range.last,
        };
        self.wait_until(Subject::Chat(chat.token, chat.chat), limit, || async move {
            let store = &self.ports().store;
            let Some(row) = store.message(key).await? else {
                return Ok(None);
            };
            // All lines of a create move together, and the first one has the event's uid.
            if row.state == State::Void || row.uid != Some(last_uid(created)) {
                let moved = store.renumbered(chat, created.uid).await?;
                return Ok(moved.and_then(|first| moved_range(created.range, first)));
            }
            Ok(Some(created.range))
        })
        .await
    }
}

/// The message as the API shows it.
#[must_use]
pub fn shown(row: MessageRow) -> Message {
    Message {
        chat_number: row.key.chat.chat,
        message_number: row.key.number,
        sender: row.sender,
        body: row.body,
        sent_at: row.sent_at,
        created_at: row.created_at,
        updated_at: row.updated_at,
        revision: row.revision,
    }
}

fn check(messages: &[NewMessage]) -> Result<(), Error> {
    if messages.is_empty() {
        return Err(Broken::new("batch", "must have at least one line").into());
    }
    if messages.len() > limits::BATCH_LINES {
        return Err(Broken {
            field: "batch",
            rule: "must have at most 1000 lines",
            too_large: true,
        }
        .into());
    }
    let mut bytes = 0;
    for (line, message) in (1..).zip(messages) {
        let sound = limits::body(&message.body)
            .and_then(|()| message.sender.as_deref().map_or(Ok(()), limits::sender));
        match sound {
            Ok(()) => {}
            Err(broken) if messages.len() == 1 => return Err(broken.into()),
            Err(broken) => return Err(Error::InvalidLine { line, broken }),
        }
        bytes += encoded_len(&message.body)
            + message.sender.as_deref().map_or(0, encoded_len)
            + LINE_ROOM;
    }
    // A single message always fits; a batch of control characters may not.
    if messages.len() > 1 && bytes > limits::RECORD_BYTES {
        return Err(Broken {
            field: "batch",
            rule: "must fit into one record of 1000 KiB once it is escaped",
            too_large: true,
        }
        .into());
    }
    Ok(())
}

/// Bytes of a line around its body and sender.
const LINE_ROOM: usize = 128;

/// Bytes of a text in JSON.
fn encoded_len(text: &str) -> usize {
    text.bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
            0..0x20 => 6,
            _ => 1,
        })
        .sum()
}

fn lines(messages: Vec<NewMessage>, uid: Uuid) -> Vec<Line> {
    let single = messages.len() == 1;
    (0_u128..)
        .zip(messages)
        .map(|(nth, message)| Line {
            // A retry under the same key must repeat the uids of the lines, so they follow from the
            // event's: its random tail counts on.
            uid: if single { uid } else { nth_uid(uid, nth) },
            body: message.body,
            sender: message.sender,
            sent_at: message.sent_at,
        })
        .collect()
}

/// The uid of the last line of a create.
fn last_uid(created: Created) -> Uuid {
    let BatchRange { first, last } = created.range;
    match last.get() - first.get() {
        0 => created.uid,
        nth => nth_uid(created.uid, u128::from(nth)),
    }
}

/// A range of the same length elsewhere.
fn moved_range(range: BatchRange, first: u32) -> Option<BatchRange> {
    let last = first.checked_add(range.last.get() - range.first.get())?;
    Some(BatchRange {
        first: MessageNumber::new(first)?,
        last: MessageNumber::new(last)?,
    })
}

fn first_number(rows: &[MessageRow]) -> Option<MessageNumber> {
    rows.first().map(|row| row.key.number)
}

fn last_number(rows: &[MessageRow]) -> Option<MessageNumber> {
    rows.last().map(|row| row.key.number)
}

fn page(
    rows: Vec<MessageRow>,
    settled_through: u32,
    next_after: Option<MessageNumber>,
    next_before: Option<MessageNumber>,
) -> MessagePage {
    MessagePage {
        messages: rows.into_iter().map(shown).collect(),
        settled_through,
        next_after,
        next_before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> NewMessage {
        NewMessage {
            body: body.into(),
            sender: None,
            sent_at: None,
        }
    }

    #[test]
    fn uids_of_lines_follow_from_the_event() {
        let uid = Uuid::now_v7();
        let twice = [
            lines(vec![message("a"), message("b")], uid),
            lines(vec![message("a"), message("b")], uid),
        ];
        assert_eq!(twice[0], twice[1]);
        assert_eq!(twice[0][0].uid, uid);
        assert_ne!(twice[0][1].uid, uid);
        assert_eq!(twice[0][1].uid.get_version_num(), 7);
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = check(&[message("a"), message("")]).unwrap_err();
        assert!(matches!(error, Error::InvalidLine { line: 2, .. }));
        assert!(matches!(check(&[message("")]), Err(Error::Invalid(_))));
        assert!(check(&[]).is_err());
        assert!(check(&vec![message("a"); limits::BATCH_LINES + 1]).is_err());
    }

    #[test]
    fn a_batch_that_grows_too_large_by_escaping_is_refused() {
        let control = "\u{1}".repeat(limits::BODY_BYTES);
        assert!(check(&[message(&control)]).is_ok());
        assert!(check(&[message(&control), message(&control), message(&control)]).is_err());
    }

    #[test]
    fn the_length_in_json_is_exact() {
        for text in ["plain", "\"\\\n\r\t\u{8}\u{c}\u{1}\u{7f}é\u{1F600}"] {
            assert_eq!(
                serde_json::to_string(text).unwrap().len(),
                encoded_len(text) + 2
            );
        }
    }
}
