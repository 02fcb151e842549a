//! Search: candidates from the index, the truth from the store.
//!
//! The index may answer with too much and may lag behind; every hit is checked against the stored body
//! (invariant: hits-are-verified), and how far the index lags is part of the answer.

use std::collections::HashMap;

use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::search::{Hit, SearchPage, Sort};
use chat_wire::time::Timestamp;

use crate::backend::Backend;
use crate::error::Error;
use crate::event::Event;
use crate::index::{self, Recorded};
use crate::limits::Broken;
use crate::messages::shown;
use crate::port::counters::Counter;
use crate::port::log::{Group, PartitionId, Topic};
use crate::port::search::{Query, Rank};
use crate::port::store::{ChatKey, MessageKey, MessageRow, State};
use crate::text;

/// Candidates that one look at the index asks for, at least.
const CANDIDATES_MIN: usize = 32;
/// Candidates that one look at the index asks for, at most.
const CANDIDATES_MAX: usize = 1_000;
/// Candidates that one answer examines before it hands out a cursor to go on.
const EXAMINED_MAX: usize = 20_000;

/// What is looked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// In this application.
    pub token: AppToken,
    /// In this chat alone.
    pub chat: Option<ChatNumber>,
    /// As it was typed.
    pub text: String,
    /// The order of hits.
    pub sort: Sort,
    /// Where the last page ended.
    pub cursor: Option<String>,
    /// At most so many hits.
    pub limit: u32,
}

impl Backend {
    /// Searches a chat or an application.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty or too long text or a foreign cursor, [`Error::UnknownApplication`],
    /// [`Error::UnknownChat`], or those of the ports.
    pub async fn search(&self, request: Request) -> Result<SearchPage, Error> {
        let text = check(&request.text)?;
        let after = request.cursor.as_deref().map(rank_of).transpose()?;
        self.known(&request).await?;
        // Asked before the search: whatever was searchable then is in the answer.
        let (lag_records, complete, ends) = self.index_lag(request.token, request.chat).await?;

        let mut query = Query {
            token: request.token,
            chat: request.chat,
            text,
            sort: request.sort,
            after,
            limit: (request.limit as usize + 1).clamp(CANDIDATES_MIN, CANDIDATES_MAX),
        };
        let limit = request.limit as usize;
        let mut hits: Vec<(Rank, Hit)> = Vec::new();
        let mut examined = 0;
        let mut more = true;
        while more && hits.len() <= limit && examined < EXAMINED_MAX {
            let candidates = self.ports().search.candidates(&query).await?;
            more = candidates.len() >= query.limit;
            examined += candidates.len();
            let keys: Vec<MessageKey> = candidates.iter().map(|found| found.key).collect();
            let mut rows = self.rows(&keys).await?;
            for candidate in &candidates {
                if hits.len() > limit {
                    break;
                }
                let row = rows.remove(&candidate.key);
                if let Some(hit) = row.and_then(|row| verified(row, &query.text)) {
                    hits.push((candidate.rank, hit));
                }
            }
            query.after = candidates.last().map(|last| last.rank).or(query.after);
        }

        // A store that was put back meanwhile has not had the rows of some hits.
        let complete = complete && self.is_stored(&ends).await?;
        let next = if hits.len() > limit {
            hits.truncate(limit);
            hits.last().map(|(rank, _)| *rank)
        } else if more {
            query.after
        } else {
            None
        };
        Ok(SearchPage {
            hits: hits.into_iter().map(|(_, hit)| hit).collect(),
            complete,
            lag_records,
            next_cursor: next.map(cursor_of),
        })
    }

    async fn known(&self, request: &Request) -> Result<(), Error> {
        let last = self.last(Counter::Chats(request.token)).await?;
        match request.chat {
            Some(chat) if chat.get() > last => Err(Error::UnknownChat),
            _ => Ok(()),
        }
    }

    async fn rows(&self, keys: &[MessageKey]) -> Result<HashMap<MessageKey, MessageRow>, Error> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.ports().store.messages_by_key(keys).await?;
        Ok(rows.into_iter().map(|row| (row.key, row)).collect())
    }

    /// Records that may hold an answer and are not searchable yet, and whether nothing else is missing
    /// either. Both the index and the store may have gone back to an earlier state: a hit needs its
    /// document and its row, so the one that is further behind counts.
    async fn index_lag(
        &self,
        token: AppToken,
        chat: Option<ChatNumber>,
    ) -> Result<(u64, bool, Vec<(PartitionId, u64)>), Error> {
        let log = &self.ports().log;
        let partitions = match chat {
            Some(chat) => {
                let key = Event::message_key(ChatKey { token, chat });
                vec![log.partition_of(Topic::Messages, &key).await?]
            }
            None => (0..log.partitions(Topic::Messages).await?)
                .map(|index| PartitionId {
                    topic: Topic::Messages,
                    index,
                })
                .collect(),
        };
        let epoch = log.epoch(Topic::Messages).await?;
        let identity = log.identity().await?;
        let indexed = self.ports().search.positions().await?;
        let (mut lag, mut complete) = (0, true);
        let mut ends = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let range = log.range(partition).await?;
            let store = &self.ports().store;
            let stored = store.position(Group::MessagesStore, partition).await?;
            let own = indexed.iter().find(|own| own.partition == partition);
            let (read, whole) = match index::recorded(own, identity, epoch, range) {
                Recorded::Through(next) => (next, true),
                Recorded::Lacking(next) => (next, false),
                Recorded::Foreign { .. } => (range.0, false),
            };
            let behind = range.1.saturating_sub(read.min(stored.next));
            // A position beyond the end is of records that are gone.
            complete &= whole && behind == 0 && stored.next <= range.1;
            lag += behind;
            ends.push((partition, range.1));
        }
        Ok((lag, complete, ends))
    }
}

impl Backend {
    /// Whether the store has applied everything below these offsets.
    async fn is_stored(&self, ends: &[(PartitionId, u64)]) -> Result<bool, Error> {
        let store = &self.ports().store;
        for (partition, end) in ends {
            let position = store.position(Group::MessagesStore, *partition).await?;
            if position.next < *end {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn check(text: &str) -> Result<String, Broken> {
    if text.chars().count() > text::MAX_QUERY_CHARS {
        return Err(Broken::new("q", "must have at most 256 characters"));
    }
    let normalized = text::normalize(text);
    if normalized.is_empty() {
        return Err(Broken::new(
            "q",
            "must have at least one character that is no combining mark",
        ));
    }
    Ok(normalized)
}

fn verified(row: MessageRow, text: &str) -> Option<Hit> {
    if row.state != State::Live {
        return None;
    }
    let highlights = text::highlights(&row.body, text);
    (!highlights.is_empty()).then(|| Hit {
        message: shown(row),
        highlights,
    })
}

fn cursor_of(rank: Rank) -> String {
    format!(
        "{}.{}.{}",
        rank.created_at.as_micros(),
        rank.chat,
        rank.number
    )
}

fn rank_of(cursor: &str) -> Result<Rank, Broken> {
    let mut parts = cursor.split('.');
    let rank = (|| {
        let created_at = Timestamp::from_micros(parts.next()?.parse().ok()?).ok()?;
        let chat = parts.next()?.parse().ok()?;
        let number = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Rank {
            created_at,
            chat,
            number,
        })
    })();
    rank.ok_or(Broken::new(
        "cursor",
        "must be the next_cursor of an earlier page",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back() {
        let rank = Rank {
            created_at: Timestamp::from_micros(-5).unwrap(),
            chat: ChatNumber::FIRST,
            number: 9,
        };
        assert_eq!(rank_of(&cursor_of(rank)), Ok(rank));
        for foreign in ["", "1", "1.2", "1.2.3.4", "a.b.c", "1.0.3"] {
            assert!(rank_of(foreign).is_err(), "{foreign}");
        }
    }

    #[test]
    fn a_text_of_marks_alone_finds_nothing_and_says_so() {
        assert!(check("\u{301}").is_err());
        assert!(check("").is_err());
        assert!(check(&"x".repeat(257)).is_err());
        assert_eq!(check("\u{c9}A").as_deref(), Ok("ea"));
    }
}
