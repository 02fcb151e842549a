//! Settling: a number that was handed out and never acknowledged becomes a void row.
//!
//! In this order and no other (rule 18): note the counter; wait out the deadline of whoever may still
//! append; note the end of the log; wait until the store has passed it; what is missing then, up to the
//! counter that was noted, will never come.

use std::collections::HashMap;

use chat_wire::ids::MessageNumber;
use chat_wire::time::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::error::Error;
use crate::event::Event;
use crate::failpoint::{Failpoint, reach};
use crate::port::counters::Counter;
use crate::port::log::{Group, PartitionId, Topic};
use crate::port::signals::Subject;
use crate::port::store::{ChatKey, MessageKey, MessageRow, State, Writes};

/// Chats with gaps that one step looks at.
const CHATS_A_STEP: u32 = 1_000;
/// Numbers that one transaction makes void.
pub(crate) const VOIDS_A_STEP: usize = 10_000;
/// Numbers that one read walks over.
const NUMBERS_A_READ: u32 = 10_000;

/// Chats in which a number may have been lost.
#[derive(Debug, Default)]
pub struct Settler {
    suspects: Mutex<HashMap<ChatKey, Suspect>>,
}

#[derive(Debug, Clone, Copy)]
enum Suspect {
    /// Nothing is known but the suspicion.
    New,
    /// The counter stood at `last`; whoever holds a number up to it has until `since` + deadline.
    Waiting { last: u32, since: Instant },
    /// Everything that will ever be appended for those numbers is below `end`.
    Reading {
        last: u32,
        partition: PartitionId,
        end: u64,
    },
}

impl Settler {
    /// Notes that a number of this chat may never be used.
    pub fn suspect(&self, chat: ChatKey) {
        self.suspects.lock().entry(chat).or_insert(Suspect::New);
    }
}

impl Backend {
    /// Suspects every chat of the store that has a gap.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn suspect_gaps(&self) -> Result<(), Error> {
        let mut after = None;
        loop {
            let chats = self
                .ports()
                .store
                .unsettled_chats(after, CHATS_A_STEP)
                .await?;
            for row in &chats {
                self.settler().suspect(row.key);
            }
            after = chats.last().map(|row| row.key);
            if chats.len() < CHATS_A_STEP as usize {
                return Ok(());
            }
        }
    }

    /// One step for every suspect; returns how many numbers became void. To be called about once a second.
    ///
    /// # Errors
    /// Those of the ports; the next step goes on where this one stopped.
    pub async fn settle(&self) -> Result<u64, Error> {
        let suspects: Vec<(ChatKey, Suspect)> = {
            let suspects = self.settler().suspects.lock();
            suspects
                .iter()
                .map(|(chat, suspect)| (*chat, *suspect))
                .collect()
        };
        let mut voided = 0;
        for (chat, suspect) in suspects {
            let next = match suspect {
                Suspect::Reading {
                    last,
                    partition,
                    end,
                } => {
                    let position = self
                        .ports()
                        .store
                        .position(Group::MessagesStore, partition)
                        .await?;
                    if position.next < end {
                        continue;
                    }
                    voided += self.void(chat, last, None).await?;
                    None
                }
                _ => Some(self.advance(chat, suspect).await?),
            };
            let mut suspects = self.settler().suspects.lock();
            match next {
                Some(next) => suspects.insert(chat, next),
                None => suspects.remove(&chat),
            };
        }
        Ok(voided)
    }

    async fn advance(&self, chat: ChatKey, suspect: Suspect) -> Result<Suspect, Error> {
        match suspect {
            Suspect::New => Ok(Suspect::Waiting {
                last: self.last(Counter::Messages(chat)).await?,
                since: Instant::now(),
            }),
            // The margin is another deadline: clocks do not matter, but a producer may be slow to give up.
            Suspect::Waiting { last, since }
                if since.elapsed() > self.settings().create_deadline * 2 =>
            {
                let log = &self.ports().log;
                let key = Event::message_key(chat);
                let partition = log.partition_of(Topic::Messages, &key).await?;
                let (_, end) = log.range(partition).await?;
                Ok(Suspect::Reading {
                    last,
                    partition,
                    end,
                })
            }
            waiting => Ok(waiting),
        }
    }

    /// Makes numbers up to `last` void that have no row, as many as one step may; those above `from`,
    /// or above what is settled. Whoever calls has waited until they will never come.
    pub(crate) async fn void(
        &self,
        chat: ChatKey,
        last: u32,
        from: Option<u32>,
    ) -> Result<u64, Error> {
        let mut tx = self.ports().store.begin_free().await?;
        let Some(mut row) = tx.chats(&[chat]).await?.pop() else {
            // Nothing of this chat was ever stored: there is nothing that a void could be below of.
            return Ok(0);
        };
        let mut missing = Vec::new();
        let mut reached = from.unwrap_or(row.settled_through);
        'walk: while reached < last {
            let numbers = tx.numbers_after(chat, reached, NUMBERS_A_READ).await?;
            let end = numbers.len() < NUMBERS_A_READ as usize;
            for number in numbers.into_iter().chain(end.then_some(last + 1)) {
                for gap in reached + 1..number.min(last + 1) {
                    if missing.len() == VOIDS_A_STEP {
                        break 'walk;
                    }
                    missing.push(gap);
                    reached = gap;
                }
                reached = reached.max(number.min(last));
            }
        }
        if missing.is_empty() && reached <= row.settled_through {
            return Ok(0);
        }
        row.highest = row.highest.max(reached);
        row.settled_through = row.settled_through.max(reached);
        let voids = missing.len() as u64;
        let now = self.now();
        let rows = missing.into_iter().filter_map(MessageNumber::new);
        tx.write(Writes {
            insert_messages: rows.map(|number| void_row(chat, number, now)).collect(),
            update_chats: vec![row],
            ..Writes::default()
        })
        .await?;
        if voids > 0 {
            reach(Failpoint::VoidWriteCommit);
        }
        tx.commit(&[]).await?;
        if voids > 0 {
            reach(Failpoint::VoidCommitSignal);
            tracing::warn!(
                chat.number = chat.chat.get(),
                voids,
                "numbers that were handed out and never acknowledged are void now"
            );
        }
        let subject = Subject::Chat(chat.token, chat.chat);
        self.ports().signals.publish(&[subject]).await;
        Ok(voids)
    }
}

const fn void_row(chat: ChatKey, number: MessageNumber, now: Timestamp) -> MessageRow {
    MessageRow {
        key: MessageKey { chat, number },
        uid: None,
        generation: 0,
        sender: None,
        body: String::new(),
        state: State::Void,
        sent_at: None,
        created_at: now,
        updated_at: None,
        revision: 0,
    }
}
