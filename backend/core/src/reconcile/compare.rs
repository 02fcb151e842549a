//! Comparing: figures are asked in an order in which what is under way explains itself.
//!
//! The counter first, then the end of the log and how far the store is, then the rows: a number of the
//! counter is in the rows, or in the log behind the store, or on its way there. Documents are asked last
//! and, where they differ, once more after the index has read on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use chat_wire::ids::AppToken;
use chat_wire::time::Timestamp;
use tokio::time::Instant;

use super::judge::{Asked, Compared, Documents, Facts, Gaps, judge};
use super::sightings::Place;
use crate::backend::Backend;
use crate::error::Error;
use crate::event::Event;
use crate::port::counters::{Counter, Floor};
use crate::port::log::{Group, PartitionId, Topic};
use crate::port::store::{ChatKey, ChatRow, Tally};
use crate::voids::Proof;

/// How documents are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// How many there are.
    Counts,
    /// Each of them.
    Each,
}

/// A chat's rows, and where its records are.
pub(super) struct Looked {
    pub(super) row: ChatRow,
    pub(super) tally: Tally,
    pub(super) partition: Option<PartitionId>,
}

impl Backend {
    /// How long a number may be on its way: the margin is another deadline, for clocks that differ.
    pub(super) fn under_way(&self) -> Duration {
        self.append_patience() * 2
    }

    /// Compares these chats; those without a row are left out. Waits so long for the index.
    pub(super) async fn compare_chats(
        &self,
        keys: &[ChatKey],
        depth: Depth,
        patience: Duration,
    ) -> Result<Vec<Compared>, Error> {
        let counters: Vec<Counter> = keys.iter().map(|key| Counter::Messages(*key)).collect();
        let mut asked = self.ask_counters(&counters).await;
        let mut partitions = HashMap::with_capacity(keys.len());
        for key in keys {
            let record_key = Event::message_key(*key);
            let place = self.ports().log.partition_of(Topic::Messages, &record_key);
            if let Ok(partition) = place.await {
                partitions.insert(*key, partition);
            }
        }
        let places = self
            .places(Group::MessagesStore, partitions.values().copied())
            .await?;
        let looked: Vec<Looked> = self
            .ports()
            .store
            .chat_tallies(keys)
            .await?
            .into_iter()
            .map(|(row, tally)| Looked {
                partition: partitions.get(&row.key).copied(),
                row,
                tally,
            })
            .collect();
        self.ask_again(&looked, &mut asked).await;
        let mut documents = self.documents(&looked, depth, patience).await?;
        let names = self.names(&looked).await?;
        let mut compared = Vec::with_capacity(looked.len());
        for Looked {
            row,
            tally,
            partition,
        } in looked
        {
            let counter = Counter::Messages(row.key);
            let asked = asked.remove(&counter).unwrap_or(Asked::Missing);
            let place = partition.and_then(|partition| places.get(&partition).copied());
            compared.push(judge(Facts {
                token: row.key.token,
                name: names.get(&row.key.token).cloned().unwrap_or_default(),
                chat: Some(row.key.chat),
                gaps: self.gaps(counter, &asked, &row, tally, place),
                counter: asked,
                tally,
                count: row.messages_count,
                highest_column: Some(row.highest),
                in_log: place.map(|place| place.in_log()),
                documents: documents.remove(&row.key).unwrap_or(Documents::None),
                young: self.is_young(row.created_at),
            }));
        }
        Ok(compared)
    }

    /// Compares these applications with the rows of their chats, not with what is in them; those
    /// without a row are left out.
    pub(super) async fn compare_applications(
        &self,
        tokens: &[AppToken],
    ) -> Result<Vec<Compared>, Error> {
        let counters: Vec<Counter> = tokens.iter().map(|token| Counter::Chats(*token)).collect();
        let mut asked = self.ask_counters(&counters).await;
        let mut partitions = HashMap::with_capacity(tokens.len());
        for token in tokens {
            let key = token.reveal();
            let place = self
                .ports()
                .log
                .partition_of(Topic::Chats, key.as_bytes())
                .await;
            if let Ok(partition) = place {
                partitions.insert(*token, partition);
            }
        }
        let places = self
            .places(Group::ChatsStore, partitions.values().copied())
            .await?;
        let mut compared = Vec::with_capacity(tokens.len());
        for (row, tally) in self.ports().store.application_tallies(tokens).await? {
            let counter = Counter::Chats(row.token);
            let mut asked = asked.remove(&counter).unwrap_or(Asked::Missing);
            if asked.known().is_some_and(|last| last < tally.highest) {
                asked = self.ask_counter(counter).await;
            }
            let place = partitions
                .get(&row.token)
                .and_then(|partition| places.get(partition).copied());
            let known = asked.known().unwrap_or(0).max(tally.highest);
            let rows = u32::try_from(tally.rows).unwrap_or(u32::MAX);
            compared.push(judge(Facts {
                token: row.token,
                name: row.name,
                chat: None,
                gaps: self.reconciler().sightings.look(
                    counter,
                    known,
                    rows,
                    place,
                    self.under_way(),
                ),
                counter: asked,
                tally,
                count: row.chats_count,
                highest_column: None,
                in_log: place.map(|place| place.in_log()),
                documents: Documents::None,
                young: self.is_young(row.created_at),
            }));
        }
        Ok(compared)
    }

    fn is_young(&self, created_at: Timestamp) -> bool {
        self.now().minus(self.under_way()) < created_at
    }

    fn gaps(
        &self,
        counter: Counter,
        asked: &Asked<u32>,
        row: &ChatRow,
        tally: Tally,
        place: Option<Place>,
    ) -> Gaps {
        // Everything up to there had a row once, and some are gone.
        if tally.rows < u64::from(row.settled_through) {
            return Gaps::Void {
                through: row.settled_through,
            };
        }
        let known = asked.known().unwrap_or(0).max(tally.highest);
        let (sightings, wait) = (&self.reconciler().sightings, self.under_way());
        sightings.look(counter, known, row.settled_through, place, wait)
    }

    async fn ask_counter(&self, counter: Counter) -> Asked<u32> {
        let found = self.ports().counters.last(counter).await;
        match found {
            Ok(Some(last)) => Asked::Is(last),
            // Where nothing can be lost but what the store knows, a counter is put back when it is
            // first asked for: that it has not been yet is no drift.
            Ok(None) if self.ports().counters.floor() == Floor::Store => {
                match self.last(counter).await {
                    Ok(last) => Asked::Is(last),
                    Err(Error::UnknownApplication | Error::UnknownChat) => Asked::Missing,
                    Err(error) => unknown("counter", &error),
                }
            }
            Ok(None) => Asked::Missing,
            Err(error) => unknown("counter", &error),
        }
    }

    async fn ask_counters(&self, counters: &[Counter]) -> HashMap<Counter, Asked<u32>> {
        let found = match self.ports().counters.last_of(counters).await {
            Ok(found) => found,
            Err(error) => {
                let all = counters.iter();
                return all
                    .map(|counter| (*counter, unknown("counter", &error)))
                    .collect();
            }
        };
        let mut asked = HashMap::with_capacity(counters.len());
        for (counter, last) in counters.iter().zip(found) {
            let last = match last {
                Some(last) => Asked::Is(last),
                None => self.ask_counter(*counter).await,
            };
            asked.insert(*counter, last);
        }
        asked
    }

    /// Asks once more where a row has come since, so that what is below the rows is really below.
    async fn ask_again(&self, looked: &[Looked], asked: &mut HashMap<Counter, Asked<u32>>) {
        for one in looked {
            let counter = Counter::Messages(one.row.key);
            let below = match asked.get(&counter) {
                Some(Asked::Is(last)) => *last < one.tally.highest,
                Some(Asked::Missing) => true,
                Some(Asked::Unknown(_)) | None => false,
            };
            if below {
                asked.insert(counter, self.ask_counter(counter).await);
            }
        }
    }

    /// Ends and positions; a partition that cannot be asked is left out.
    pub(super) async fn places(
        &self,
        group: Group,
        partitions: impl Iterator<Item = PartitionId>,
    ) -> Result<BTreeMap<PartitionId, Place>, Error> {
        let mut places = BTreeMap::new();
        for partition in partitions.collect::<BTreeSet<_>>() {
            let noted_at = Instant::now();
            let Ok(Some(Proof { epoch, end, .. })) = self.note_end(partition).await else {
                continue;
            };
            let stored = self.ports().store.position(group, partition).await?;
            places.insert(
                partition,
                Place {
                    partition,
                    epoch,
                    end,
                    stored,
                    noted_at,
                },
            );
        }
        Ok(places)
    }

    async fn names(&self, looked: &[Looked]) -> Result<HashMap<AppToken, String>, Error> {
        let tokens: BTreeSet<AppToken> = looked.iter().map(|one| one.row.key.token).collect();
        let mut names = HashMap::with_capacity(tokens.len());
        for token in tokens {
            let row = self.ports().store.application(token).await?;
            names.insert(token, row.map(|row| row.name).unwrap_or_default());
        }
        Ok(names)
    }
}

fn unknown(what: &str, error: &dyn std::fmt::Display) -> Asked<u32> {
    Asked::Unknown(format!("the {what}: {error}"))
}
