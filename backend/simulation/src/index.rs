//! The simulated search port: documents that become visible with a refresh, and positions beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use chat_core::port::log::PartitionId;
use chat_core::port::search::{
    Candidate, Document, Error, IndexPosition, Indexed, Listed, Query, Rank, Search, Staged,
};
use chat_core::port::store::{ChatKey, MessageKey};
use chat_core::text;
use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::search::Sort;
use chat_wire::time::Timestamp;
use rand::Rng;

use crate::world::{Link, Outage};

/// A document as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// External version.
    pub revision: u64,
    /// Of the create.
    pub created_at: Timestamp,
    /// `None` for a tombstone.
    pub text: Option<String>,
}

/// How long an index does not answer while another state of it is put in its place: longer than any search.
const REPLACED_FOR: Duration = Duration::from_secs(2);

/// One state of the index.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Documents by message.
    pub documents: BTreeMap<MessageKey, Stored>,
    /// How far each partition was read.
    pub positions: BTreeMap<PartitionId, IndexPosition>,
}

/// The index.
#[derive(Debug, Default)]
pub struct IndexState {
    /// What was written.
    written: Snapshot,
    /// What a search sees.
    pub visible: Snapshot,
    dirty: BTreeSet<MessageKey>,
    /// Earlier visible states.
    snapshots: Vec<Snapshot>,
    /// It does not answer.
    pub down: Outage,
    /// It acknowledges, and shows nothing new.
    pub stuck: Outage,
    /// Times it lost something.
    pub losses: u64,
}

impl IndexState {
    fn refresh(&mut self) {
        if self.stuck.lasts() {
            return;
        }
        self.snapshots.push(self.visible.clone());
        for key in std::mem::take(&mut self.dirty) {
            if let Some(document) = self.written.documents.get(&key) {
                self.visible.documents.insert(key, document.clone());
            }
        }
        self.visible.positions = self.written.positions.clone();
    }

    /// Goes back to an earlier state, as when a snapshot is restored.
    pub fn roll_back(&mut self, states: usize) -> usize {
        let at = self.snapshots.len().saturating_sub(states);
        let gone = self.snapshots.len() - at;
        if let Some(snapshot) = self.snapshots.drain(at..).next() {
            self.written = snapshot.clone();
            self.visible = snapshot;
            self.dirty.clear();
            self.losses += 1;
            self.down.for_span(REPLACED_FOR);
        }
        gone
    }

    /// Loses everything.
    pub fn empty(&mut self) {
        self.written = Snapshot::default();
        self.visible = Snapshot::default();
        self.dirty.clear();
        self.snapshots.clear();
        self.losses += 1;
        self.down.for_span(REPLACED_FOR);
    }

    fn write(&mut self, document: &Document, or_same: bool) -> Indexed {
        let known = self.written.documents.get(&document.key);
        let newer = known.is_some_and(|known| match or_same {
            true => known.revision > document.revision,
            false => known.revision >= document.revision,
        });
        if newer {
            return Indexed::Newer;
        }
        let stored = Stored {
            revision: document.revision,
            created_at: document.created_at,
            text: document.body.as_deref().map(text::normalize),
        };
        self.written.documents.insert(document.key, stored);
        self.dirty.insert(document.key);
        Indexed::Done
    }
}

/// The index as one process reaches it.
#[derive(Debug, Clone)]
pub struct SimSearch {
    /// The way there.
    pub link: Link,
}

impl SimSearch {
    async fn asked<T>(&self, look: impl FnOnce(&mut IndexState) -> T + Send) -> Result<T, Error> {
        self.link.call().await;
        let found = self.link.world.with(|state| {
            // An index is closed while an older state is put in its place: calls under way fail.
            let losses = state.index.losses;
            let opened = self.link.process.index.lock().replace(losses);
            let is_closed = opened.is_some_and(|opened| opened != losses);
            let is_lost = state.rng.random_bool(state.noise.index_unknown);
            if state.index.down.lasts() || is_closed || is_lost {
                return Err(Error::Unavailable("no answer".into()));
            }
            Ok(look(&mut state.index))
        });
        if found.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.link.reply().await;
        found
    }

    async fn live<T>(
        &self,
        look: impl FnOnce(&mut dyn Iterator<Item = (&MessageKey, &Stored)>) -> T + Send,
    ) -> Result<T, Error> {
        self.asked(|index| {
            let mut live = index
                .visible
                .documents
                .iter()
                .filter(|(_, stored)| stored.text.is_some());
            look(&mut live)
        })
        .await
    }
}

#[async_trait]
impl Search for SimSearch {
    async fn stage(&self, documents: Vec<Document>) -> Result<Staged, Error> {
        let written = self
            .asked(|index| {
                documents
                    .iter()
                    .map(|document| index.write(document, false))
                    .collect()
            })
            .await?;
        Ok(Staged::Written(written))
    }

    async fn publish(
        &self,
        staged: Staged,
        positions: &[IndexPosition],
    ) -> Result<Vec<Indexed>, Error> {
        let verdicts = match staged {
            Staged::Written(verdicts) => verdicts,
            Staged::Documents(documents) => {
                self.asked(|index| {
                    let write = |document| index.write(document, false);
                    documents.iter().map(write).collect()
                })
                .await?
            }
        };
        self.asked(|index| {
            for position in positions {
                index
                    .written
                    .positions
                    .insert(position.partition, *position);
            }
            index.refresh();
        })
        .await?;
        self.link.note(|| {
            let next: Vec<u64> = positions.iter().map(|position| position.next).collect();
            format!(
                "index: {} documents visible, read to {next:?}",
                verdicts.len()
            )
        });
        Ok(verdicts)
    }

    async fn positions(&self) -> Result<Vec<IndexPosition>, Error> {
        self.asked(|index| index.visible.positions.values().copied().collect())
            .await
    }

    async fn repair(&self, documents: Vec<Document>) -> Result<Vec<Indexed>, Error> {
        self.asked(|index| {
            let write = |document| index.write(document, true);
            let verdicts = documents.iter().map(write).collect();
            index.refresh();
            verdicts
        })
        .await
    }

    async fn list(&self, chat: ChatKey, after: u32, limit: usize) -> Result<Vec<Listed>, Error> {
        self.live(|live| {
            live.filter(|(key, _)| key.chat == chat && key.number.get() > after)
                .map(|(key, stored)| Listed {
                    number: key.number,
                    revision: stored.revision,
                })
                .take(limit)
                .collect()
        })
        .await
    }

    async fn counts(&self, token: AppToken, chats: &[ChatNumber]) -> Result<Vec<u64>, Error> {
        self.live(|live| {
            let mut counts = vec![0; chats.len()];
            for (key, _) in live.filter(|(key, _)| key.chat.token == token) {
                if let Some(at) = chats.iter().position(|chat| *chat == key.chat.chat) {
                    counts[at] += 1;
                }
            }
            counts
        })
        .await
    }

    async fn candidates(&self, query: &Query) -> Result<Vec<Candidate>, Error> {
        self.live(|live| {
            let mut found: Vec<Candidate> = live
                .filter(|(key, stored)| {
                    key.chat.token == query.token
                        && query.chat.is_none_or(|chat| key.chat.chat == chat)
                        && stored
                            .text
                            .as_deref()
                            .is_some_and(|text| text.contains(&query.text))
                })
                .map(|(key, stored)| Candidate {
                    key: *key,
                    rank: Rank {
                        created_at: stored.created_at,
                        chat: key.chat.chat,
                        number: key.number.get(),
                    },
                })
                .collect();
            match query.sort {
                Sort::Newest => found.sort_unstable_by_key(|one| std::cmp::Reverse(one.rank)),
                Sort::Number => found.sort_unstable_by_key(|one| (one.rank.chat, one.rank.number)),
            }
            if let Some(after) = query.after {
                found.retain(|one| match query.sort {
                    Sort::Newest => one.rank < after,
                    Sort::Number => (one.rank.chat, one.rank.number) > (after.chat, after.number),
                });
            }
            found.truncate(query.limit);
            found
        })
        .await
    }

    async fn count(&self, token: AppToken, chat: Option<ChatNumber>) -> Result<u64, Error> {
        self.live(|live| {
            live.filter(|(key, _)| {
                key.chat.token == token && chat.is_none_or(|chat| key.chat.chat == chat)
            })
            .count() as u64
        })
        .await
    }

    async fn check(&self) -> Result<(), Error> {
        self.asked(|_| ()).await
    }
}
