//! The documents of a comparison: counted, or looked at each, and asked once more where they differ.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use chat_wire::ids::{AppToken, ChatNumber};
use tokio::time::Instant;

use super::compare::{Depth, Looked};
use super::documents::Walk;
use super::judge::Documents;
use crate::backend::Backend;
use crate::error::Error;
use crate::event::Event;
use crate::port::log::{Group, PartitionId, Topic};
use crate::port::store::{ChatKey, Tally};

/// Pause between two looks at the index's position.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How often documents that differ are asked again where rows change meanwhile.
const TRIES: usize = 3;

impl Backend {
    /// Whether the index passes the end that these partitions have now, within a time.
    async fn index_passes(
        &self,
        partitions: impl Iterator<Item = Option<PartitionId>>,
        patience: Duration,
    ) -> Result<bool, Error> {
        let deadline = Instant::now() + patience;
        // Who cannot be asked has not passed.
        let Some(partitions) = partitions.collect::<Option<BTreeSet<PartitionId>>>() else {
            return Ok(false);
        };
        let mut ends = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let Ok((_, end)) = self.ports().log.range(partition).await else {
                return Ok(false);
            };
            ends.push((partition, end));
        }
        for (partition, end) in ends.iter().copied() {
            let store = &self.ports().store;
            while store.position(Group::MessagesIndex, partition).await?.next < end {
                if Instant::now() >= deadline {
                    return Ok(false);
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        while !self.has_read(&ends).await? {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(true)
    }

    /// Whether the index itself has recorded that it has read up to these ends: one that was put back to an
    /// earlier state is behind what the store remembers of it.
    async fn has_read(&self, ends: &[(PartitionId, u64)]) -> Result<bool, Error> {
        let ports = self.ports();
        let log = ports.log.identity().await?;
        let epoch = ports.log.epoch(Topic::Messages).await?;
        let known = ports.search.positions().await?;
        Ok(ends.iter().all(|(partition, end)| {
            let own = known.iter().find(|own| own.partition == *partition);
            let read = own.filter(|own| own.log == log && own.epoch == epoch);
            *end == 0 || read.is_some_and(|own| own.next >= *end)
        }))
    }

    /// What is to be thought of the documents of these chats.
    pub(super) async fn documents(
        &self,
        looked: &[Looked],
        depth: Depth,
        patience: Duration,
    ) -> Result<HashMap<ChatKey, Documents>, Error> {
        let mut found = match depth {
            Depth::Counts => self.count_documents(looked).await,
            Depth::Each => return self.each_document(looked, patience).await,
        };
        for _ in 0..TRIES {
            let differing: Vec<ChatKey> = found
                .iter()
                .filter(|(_, documents)| matches!(documents, Documents::MayCome(_)))
                .map(|(key, _)| *key)
                .collect();
            if differing.is_empty() || !self.count_again(&differing, patience, &mut found).await? {
                break;
            }
        }
        Ok(found)
    }

    /// Documents of each chat; those that are not as many as its live rows may come.
    async fn count_documents(&self, looked: &[Looked]) -> HashMap<ChatKey, Documents> {
        let mut found = HashMap::with_capacity(looked.len());
        let mut by_token: BTreeMap<AppToken, Vec<&Looked>> = BTreeMap::new();
        for one in looked {
            by_token.entry(one.row.key.token).or_default().push(one);
        }
        for (token, chats) in by_token {
            let numbers: Vec<ChatNumber> = chats.iter().map(|one| one.row.key.chat).collect();
            let counts = self.ports().search.counts(token, &numbers).await;
            for (at, one) in chats.into_iter().enumerate() {
                let documents = match &counts {
                    Ok(counts) => match counts.get(at).copied().unwrap_or(0) {
                        count if count == one.tally.live => Documents::Agree(count),
                        count => Documents::MayCome(count),
                    },
                    Err(error) => Documents::Unknown(format!("the index: {error}")),
                };
                found.insert(one.row.key, documents);
            }
        }
        found
    }

    /// Rows, then the index up to the end that the log has now, then documents, then rows: where the
    /// rows are the same both times, the documents in between must be as many. Tells whether to try again.
    async fn count_again(
        &self,
        differing: &[ChatKey],
        patience: Duration,
        found: &mut HashMap<ChatKey, Documents>,
    ) -> Result<bool, Error> {
        let store = &self.ports().store;
        let mut before = Vec::with_capacity(differing.len());
        for (row, tally) in store.chat_tallies(differing).await? {
            let record_key = Event::message_key(row.key);
            let partition = self.ports().log.partition_of(Topic::Messages, &record_key);
            before.push(Looked {
                partition: partition.await.ok(),
                row,
                tally,
            });
        }
        let partitions = before.iter().map(|one| one.partition);
        if !self.index_passes(partitions, patience).await? {
            return Ok(false);
        }
        let counted = self.count_documents(&before).await;
        let after: HashMap<ChatKey, Tally> = store
            .chat_tallies(differing)
            .await?
            .into_iter()
            .map(|(row, tally)| (row.key, tally))
            .collect();
        let mut moving = false;
        for one in &before {
            let key = one.row.key;
            let still = after.get(&key) == Some(&one.tally);
            let documents = match counted.get(&key).cloned() {
                Some(Documents::MayCome(count)) if still => Documents::Differ {
                    found: count,
                    missing: None,
                    orphans: None,
                },
                Some(documents) => documents,
                None => Documents::None,
            };
            moving |= matches!(documents, Documents::MayCome(_));
            found.insert(key, documents);
        }
        Ok(moving)
    }

    /// Each document of each chat; where some differ, once more after the index has read on.
    async fn each_document(
        &self,
        looked: &[Looked],
        patience: Duration,
    ) -> Result<HashMap<ChatKey, Documents>, Error> {
        let mut found = HashMap::with_capacity(looked.len());
        let mut differing = Vec::new();
        for one in looked {
            match self.walk_documents(one.row.key).await {
                Ok(walk) if walk.samples.is_empty() => {
                    found.insert(one.row.key, Documents::Agree(walk.documents));
                }
                Ok(walk) => differing.push((one, walk)),
                Err(Error::Search(error)) => {
                    let unknown = Documents::Unknown(format!("the index: {error}"));
                    found.insert(one.row.key, unknown);
                }
                Err(error) => return Err(error),
            }
        }
        let partitions = differing.iter().map(|(one, _)| one.partition);
        let passed = differing.is_empty() || self.index_passes(partitions, patience).await?;
        for (one, first) in differing {
            let documents = match passed {
                true => self.look_twice(one.row.key, &first).await?,
                false => Documents::MayCome(first.documents),
            };
            found.insert(one.row.key, documents);
        }
        Ok(found)
    }

    async fn look_twice(&self, chat: ChatKey, first: &Walk) -> Result<Documents, Error> {
        let second = self.walk_documents(chat).await?;
        if second.samples.is_empty() {
            return Ok(Documents::Agree(second.documents));
        }
        if first.samples.is_disjoint(&second.samples) {
            return Ok(Documents::Moving(second.documents));
        }
        Ok(Documents::Differ {
            found: second.documents,
            missing: Some(second.missing),
            orphans: Some(second.orphans),
        })
    }
}
