//! The simulated store port.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chat_core::key::KeyHash;
use chat_core::port::log::{Group, PartitionId};
use chat_core::port::store::{
    ApplicationRow, ChatKey, ChatRow, Error, Fate, KeyRow, LetterRow, MessageKey, MessageRow, Note,
    Position, Presence, RenumberedRow, Span, State, Store, Tally, Totals, Transaction, Writes,
};
use chat_wire::ids::AppToken;
use chat_wire::time::Timestamp;
use rand::Rng;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

use crate::rows::{LOCK_PATIENCE, Rows};
use crate::world::Link;

/// How long a call waits for a store that does not answer.
const TIMEOUT: Duration = Duration::from_millis(500);
/// Between two looks whether a lock is free.
const LOCK_LOOK: Duration = Duration::from_millis(7);

/// The store as one process reaches it.
#[derive(Debug, Clone)]
pub struct SimStore {
    /// The way there.
    pub link: Link,
}

impl SimStore {
    async fn read<T>(&self, look: impl FnOnce(&Rows) -> T + Send) -> Result<T, Error> {
        self.link.call().await;
        let found = self.link.world.with(|state| {
            state.store.available()?;
            // The connections to the server before break, also those of a process that was paused meanwhile.
            let forgotten = state.store.forgotten;
            let connected = self.link.process.store.lock().replace(forgotten);
            let is_broken = connected.is_some_and(|connected| connected != forgotten);
            if is_broken || state.store.replaced.lasts() {
                return Err(Error::Unavailable("the connection broke".into()));
            }
            Ok(look(&state.store.rows))
        });
        if found.is_err() {
            tokio::time::sleep(TIMEOUT).await;
        }
        self.link.reply().await;
        found
    }

    /// A change of its own transaction, whose outcome may stay unknown.
    async fn change<T: Send>(
        &self,
        what: &str,
        change: impl FnOnce(&mut Rows, &mut crate::rows::Commit) -> T + Send,
    ) -> Result<T, Error> {
        self.link.call().await;
        let changed = self.link.world.with(|state| {
            state.store.writable()?;
            let lost = state.rng.random_bool(state.noise.store_unknown / 2.0);
            if lost {
                return Err(unknown());
            }
            let changed = state.store.change(change);
            match state.rng.random_bool(state.noise.store_unknown / 2.0) {
                true => Err(unknown()),
                false => Ok(changed),
            }
        });
        self.link.note(|| format!("store: {what}"));
        self.link.reply().await;
        changed
    }

    async fn begin_with(
        &self,
        owned: Option<(Group, Vec<PartitionId>)>,
    ) -> Result<SimTransaction, Error> {
        self.link.call().await;
        let began = Instant::now();
        let id = loop {
            let taken = self.link.world.with(|state| {
                state.store.available()?;
                Ok(state.store.begin(&self.link.process))
            })?;
            match taken {
                Some(id) => break id,
                None if began.elapsed() > LOCK_PATIENCE * 2 => {
                    return Err(Error::Unavailable("a lock was waited for too long".into()));
                }
                None => tokio::time::sleep(LOCK_LOOK).await,
            }
            self.link.alive().await;
        };
        let positions = self.link.world.with(|state| {
            let owned = owned.iter().flat_map(|(group, partitions)| {
                partitions.iter().map(move |partition| (*group, *partition))
            });
            owned
                .map(|(group, partition)| state.store.rows.position(group, partition))
                .collect()
        });
        let transaction = SimTransaction {
            link: self.link.clone(),
            id,
            owned,
            positions,
            writes: Vec::new(),
        };
        self.link.reply().await;
        Ok(transaction)
    }
}

fn unknown() -> Error {
    Error::Unavailable("the connection broke; whether it was done is not known".into())
}

/// A transaction of the store.
#[derive(Debug)]
struct SimTransaction {
    link: Link,
    id: u64,
    owned: Option<(Group, Vec<PartitionId>)>,
    positions: Vec<Position>,
    writes: Vec<Writes>,
}

impl SimTransaction {
    async fn read<T>(&self, look: impl FnOnce(&Rows) -> T + Send) -> Result<T, Error> {
        self.link.call().await;
        let found = self.link.world.with(|state| {
            state.store.available()?;
            if !state.store.is_held(self.id) {
                return Err(Error::Unavailable("the connection was ended".into()));
            }
            Ok(look(&state.store.rows))
        });
        self.link.reply().await;
        found
    }
}

impl Drop for SimTransaction {
    fn drop(&mut self) {
        self.link.world.with(|state| state.store.end(self.id));
    }
}

#[async_trait]
impl Transaction for SimTransaction {
    fn positions(&self) -> &[Position] {
        &self.positions
    }

    async fn applications(&mut self, tokens: &[AppToken]) -> Result<Vec<ApplicationRow>, Error> {
        self.read(|rows| found(tokens, &rows.applications)).await
    }

    async fn chats(&mut self, keys: &[ChatKey]) -> Result<Vec<ChatRow>, Error> {
        self.read(|rows| found(keys, &rows.chats)).await
    }

    async fn messages(&mut self, keys: &[MessageKey]) -> Result<Vec<MessageRow>, Error> {
        self.read(|rows| found(keys, &rows.messages)).await
    }

    async fn numbers_after(
        &mut self,
        chat: ChatKey,
        after: u32,
        limit: u32,
    ) -> Result<Vec<u32>, Error> {
        self.read(|rows| {
            let above = rows.messages_of(chat, after);
            above
                .map(|row| row.key.number.get())
                .take(limit as usize)
                .collect()
        })
        .await
    }

    async fn tally(&mut self, chat: ChatKey) -> Result<Tally, Error> {
        self.read(|rows| rows.tally(chat)).await
    }

    async fn tally_chats(&mut self, token: AppToken) -> Result<Tally, Error> {
        self.read(|rows| rows.tally_chats(token)).await
    }

    async fn keys(&mut self, hashes: &[KeyHash]) -> Result<Vec<KeyRow>, Error> {
        self.read(|rows| found(hashes, &rows.keys)).await
    }

    async fn renumbered(
        &mut self,
        messages: &[(ChatKey, Uuid)],
    ) -> Result<Vec<RenumberedRow>, Error> {
        self.read(|rows| {
            let row = |(chat, uid): &(ChatKey, Uuid)| {
                let number = *rows.renumbered.get(&(*chat, *uid))?;
                Some(RenumberedRow {
                    chat: *chat,
                    uid: *uid,
                    number,
                })
            };
            messages.iter().filter_map(row).collect()
        })
        .await
    }

    async fn write(&mut self, writes: Writes) -> Result<(), Error> {
        self.read(|_| ()).await?;
        self.writes.push(writes);
        Ok(())
    }

    async fn commit(mut self: Box<Self>, positions: &[Position]) -> Result<(), Error> {
        self.link.call().await;
        let mut moved = Vec::new();
        if let Some((group, partitions)) = &self.owned {
            for ((partition, new), old) in partitions.iter().zip(positions).zip(&self.positions) {
                if new.epoch < old.epoch {
                    return Err(Error::Unavailable("the topic is in a later epoch".into()));
                }
                moved.push(((*group, *partition), *new));
            }
        }
        let minute = self.link.world.true_time().unix_minute();
        let writes = std::mem::take(&mut self.writes);
        let id = self.id;
        let done = self.link.world.with(|state| {
            state.store.writable()?;
            if !state.store.is_held(id) {
                return Err(Error::Unavailable("the connection was ended".into()));
            }
            if state.rng.random_bool(state.noise.store_unknown / 2.0) {
                return Err(unknown());
            }
            state.store.commit(writes, &moved, minute)?;
            state.store.end(id);
            match state.rng.random_bool(state.noise.store_unknown / 2.0) {
                true => Err(unknown()),
                false => Ok(()),
            }
        });
        self.link.note(|| match (&done, &self.owned) {
            (Ok(()), Some((group, _))) => format!(
                "store: {} at {:?}",
                group.name(),
                moved.iter().map(|(_, p)| p.next).collect::<Vec<_>>()
            ),
            (Ok(()), None) => "store: commit".to_owned(),
            (Err(error), _) => format!("store: no commit: {error}"),
        });
        self.link.world.news.notify_waiters();
        self.link.reply().await;
        done
    }
}

fn found<K: Ord, V: Clone>(keys: &[K], table: &BTreeMap<K, V>) -> Vec<V> {
    let rows = keys.iter().filter_map(|key| table.get(key));
    rows.cloned().collect()
}

#[async_trait]
impl Store for SimStore {
    async fn begin(
        &self,
        group: Group,
        partitions: &[PartitionId],
    ) -> Result<Box<dyn Transaction>, Error> {
        let owned = Some((group, partitions.to_vec()));
        Ok(Box::new(self.begin_with(owned).await?))
    }

    async fn begin_free(&self) -> Result<Box<dyn Transaction>, Error> {
        Ok(Box::new(self.begin_with(None).await?))
    }

    async fn application(&self, token: AppToken) -> Result<Option<ApplicationRow>, Error> {
        self.read(|rows| rows.applications.get(&token).cloned())
            .await
    }

    async fn applications(
        &self,
        after: Option<AppToken>,
        limit: u32,
    ) -> Result<Vec<ApplicationRow>, Error> {
        self.read(|rows| {
            let above = |row: &&ApplicationRow| after.is_none_or(|after| row.token > after);
            let all = rows.applications.values().filter(above);
            all.take(limit as usize).cloned().collect()
        })
        .await
    }

    async fn chat(&self, key: ChatKey) -> Result<Option<ChatRow>, Error> {
        self.read(|rows| rows.chats.get(&key).cloned()).await
    }

    async fn chats(&self, token: AppToken, after: u32, limit: u32) -> Result<Vec<ChatRow>, Error> {
        self.read(|rows| {
            let mine = |row: &&ChatRow| row.key.token == token && row.key.chat.get() > after;
            let all = rows.chats.values().filter(mine);
            all.take(limit as usize).cloned().collect()
        })
        .await
    }

    async fn highest_chat(&self, token: AppToken) -> Result<u32, Error> {
        self.read(|rows| rows.tally_chats(token).highest).await
    }

    async fn message(&self, key: MessageKey) -> Result<Option<MessageRow>, Error> {
        self.read(|rows| rows.messages.get(&key).cloned()).await
    }

    async fn messages(
        &self,
        chat: ChatKey,
        span: Span,
        limit: u32,
    ) -> Result<Vec<MessageRow>, Error> {
        self.read(|rows| {
            let live = |row: &&MessageRow| row.state == State::Live;
            match span {
                Span::After { after, through } => rows
                    .messages_of(chat, after)
                    .take_while(|row| row.key.number.get() <= through)
                    .filter(live)
                    .take(limit as usize)
                    .cloned()
                    .collect(),
                Span::Before(before) => {
                    let mut below: Vec<MessageRow> = rows
                        .messages_of(chat, 0)
                        .take_while(|row| row.key.number.get() < before)
                        .filter(live)
                        .cloned()
                        .collect();
                    below.reverse();
                    below.truncate(limit as usize);
                    below
                }
            }
        })
        .await
    }

    async fn messages_by_key(&self, keys: &[MessageKey]) -> Result<Vec<MessageRow>, Error> {
        self.read(|rows| found(keys, &rows.messages)).await
    }

    async fn renumbered(&self, chat: ChatKey, uid: Uuid) -> Result<Option<u32>, Error> {
        self.read(|rows| rows.renumbered.get(&(chat, uid)).copied())
            .await
    }

    async fn key(&self, hash: KeyHash) -> Result<Option<KeyRow>, Error> {
        self.read(|rows| rows.keys.get(&hash).cloned()).await
    }

    async fn position(&self, group: Group, partition: PartitionId) -> Result<Position, Error> {
        self.read(|rows| rows.position(group, partition)).await
    }

    async fn positions(&self, group: Group) -> Result<Vec<(PartitionId, Position)>, Error> {
        self.read(|rows| {
            let mine = rows.positions.iter().filter(|((of, _), _)| *of == group);
            mine.map(|((_, partition), position)| (*partition, *position))
                .collect()
        })
        .await
    }

    async fn totals(&self) -> Result<Totals, Error> {
        self.read(|rows| Totals {
            applications: rows
                .applications
                .values()
                .filter(|row| row.presence == Presence::Live)
                .count() as u64,
            chats: rows.chats.len() as u64,
            messages: rows
                .chats
                .values()
                .map(|row| u64::from(row.messages_count))
                .sum(),
        })
        .await
    }

    async fn unsettled_chats(
        &self,
        after: Option<ChatKey>,
        limit: u32,
    ) -> Result<Vec<ChatRow>, Error> {
        self.read(|rows| {
            let open = |row: &&ChatRow| {
                row.settled_through < row.highest && after.is_none_or(|after| row.key > after)
            };
            let all = rows.chats.values().filter(open);
            all.take(limit as usize).cloned().collect()
        })
        .await
    }

    async fn chat_tallies(&self, keys: &[ChatKey]) -> Result<Vec<(ChatRow, Tally)>, Error> {
        self.read(|rows| {
            let of = |row: ChatRow| {
                let tally = rows.tally(row.key);
                (row, tally)
            };
            found(keys, &rows.chats).into_iter().map(of).collect()
        })
        .await
    }

    async fn application_tallies(
        &self,
        tokens: &[AppToken],
    ) -> Result<Vec<(ApplicationRow, Tally)>, Error> {
        self.read(|rows| {
            let of = |row: ApplicationRow| {
                let tally = rows.tally_chats(row.token);
                (row, tally)
            };
            found(tokens, &rows.applications)
                .into_iter()
                .map(of)
                .collect()
        })
        .await
    }

    async fn revisions(
        &self,
        chat: ChatKey,
        after: u32,
        limit: u32,
    ) -> Result<Vec<(u32, u64)>, Error> {
        self.read(|rows| {
            rows.messages_of(chat, after)
                .filter(|row| row.state == State::Live)
                .map(|row| (row.key.number.get(), row.revision))
                .take(limit as usize)
                .collect()
        })
        .await
    }

    async fn changed_chats(
        &self,
        minute: u32,
        after: Option<ChatKey>,
        limit: u32,
    ) -> Result<Vec<(u32, ChatKey)>, Error> {
        self.read(|rows| {
            let mut all: Vec<(u32, ChatKey)> =
                rows.changed.iter().map(|(key, at)| (*at, *key)).collect();
            all.sort_unstable();
            all.retain(|(at, key)| match after {
                Some(after) => (*at, *key) > (minute, after),
                None => *at >= minute,
            });
            all.truncate(limit as usize);
            all
        })
        .await
    }

    async fn note(&self, name: &str) -> Result<Option<Note>, Error> {
        self.read(|rows| rows.notes.get(name).cloned()).await
    }

    async fn put_note(&self, name: &str, version: u64, text: &str) -> Result<bool, Error> {
        self.change("a shared document", |rows, commit| {
            let is = rows.notes.get(name).map_or(0, |note| note.version);
            if is != version {
                return false;
            }
            let note = Note {
                version: version + 1,
                text: text.to_owned(),
            };
            rows.set_note(commit, name.to_owned(), Some(note));
            true
        })
        .await
    }

    async fn letters(
        &self,
        partition: PartitionId,
        epoch: u32,
        from: u64,
        through: u64,
    ) -> Result<Vec<LetterRow>, Error> {
        self.read(|rows| {
            let range = (partition, epoch, from)..=(partition, epoch, through);
            rows.letters
                .range(range)
                .map(|(_, row)| row.clone())
                .collect()
        })
        .await
    }

    async fn decide(&self, letters: &[LetterRow], stale: Timestamp) -> Result<(), Error> {
        self.change("decisions about dead letters", |rows, commit| {
            for letter in letters {
                let key = (letter.partition, letter.epoch, letter.offset);
                let free = match rows.letters.get(&key) {
                    None => true,
                    Some(row) => {
                        row.fate == Fate::Replaying && (row.claim == letter.claim || row.at < stale)
                    }
                };
                if free {
                    rows.set_letter(commit, key, Some(letter.clone()));
                }
            }
        })
        .await
    }

    async fn letters_decided(
        &self,
        partition: PartitionId,
        epoch: u32,
        from: u64,
    ) -> Result<u64, Error> {
        self.read(|rows| {
            let range = (partition, epoch, from)..=(partition, epoch, u64::MAX);
            let decided = |row: &&LetterRow| row.fate != Fate::Replaying;
            rows.letters
                .range(range)
                .map(|(_, row)| row)
                .filter(decided)
                .count() as u64
        })
        .await
    }

    async fn forget_keys(&self, before: Timestamp) -> Result<u64, Error> {
        self.change("old keys go", |rows, commit| {
            let old: Vec<KeyHash> = rows
                .keys
                .iter()
                .filter(|(_, row)| row.created_at < before)
                .map(|(hash, _)| *hash)
                .collect();
            for hash in &old {
                rows.set_key(commit, *hash, None);
            }
            old.len() as u64
        })
        .await
    }

    async fn raise_generation(&self, token: AppToken, seen: u32) -> Result<u32, Error> {
        self.change("a generation is raised", |rows, commit| {
            let known = rows.generations.get(&token).copied().unwrap_or(1);
            let generation = known.max(seen) + 1;
            rows.set_generation(commit, token, Some(generation));
            generation
        })
        .await
    }

    async fn check(&self) -> Result<(), Error> {
        self.read(|_| ()).await
    }
}
