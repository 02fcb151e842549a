//! The log's tail: what has been acknowledged and may not be in the store yet, as far as a recovery
//! needs it. A recovery waits for no worker; it reads the log itself (invariant: recovery-reads-log).

use std::collections::HashMap;
use std::sync::Arc;

use chat_wire::ids::AppToken;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::error::Error;
use crate::event::{Event, Undecodable};
use crate::key::{KeyHash, StoredKey};
use crate::port::Ports;
use crate::port::counters::{Counter, Grant};
use crate::port::log::{self, Group, PartitionId, PollLimits, Record, Topic};
use crate::port::store::ChatKey;

/// How much one read of the tail brings.
const READ: PollLimits = PollLimits {
    records: 10_000,
    bytes: 4 * 1024 * 1024,
    wait_ms: 0,
};
/// Counters of one partition above which a tail is forgotten and read again from the store's position.
const COUNTERS_MAX: usize = 500_000;

/// What the tail says about one counter.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// The highest number in it; 0 where only the counter's own create stands there.
    pub(crate) last: u32,
    /// The highest generation in it.
    pub(crate) generation: u32,
    /// The answers of creates that carried a key.
    pub(crate) keys: Vec<(StoredKey, Grant)>,
}

/// The tails of all partitions that were ever asked for. Whoever asks at the same time shares a read,
/// and each read goes on where the last one ended.
#[derive(Debug, Default)]
pub(crate) struct Tails {
    parts: Mutex<HashMap<PartitionId, Arc<tokio::sync::Mutex<Tail>>>>,
}

#[derive(Debug, Default)]
struct Tail {
    /// Everything that was appended before this moment has been read.
    complete_at: Option<Instant>,
    epoch: u32,
    /// The store's position when reading began: everything below was in the store then.
    from: u64,
    next: u64,
    counters: HashMap<Counter, Seen>,
    /// The answers of creates of applications, which are asked for by a key alone.
    applications: HashMap<KeyHash, (StoredKey, AppToken)>,
}

impl Tails {
    /// What stands in the tail of the counter's partitions about it, everything that was appended
    /// before `since` included; `None` where nothing does. Ask the store afterwards, not before: what
    /// leaves the tail is in the store by then.
    pub(crate) async fn seen(
        &self,
        ports: &Ports,
        counter: Counter,
        since: Instant,
    ) -> Result<Option<Seen>, Error> {
        let mut found: Option<Seen> = None;
        for (topic, key) in places(counter) {
            let partition = ports.log.partition_of(topic, &key).await?;
            let tail = self.tail(ports, partition, since).await?;
            if let Some(seen) = tail.counters.get(&counter) {
                let all = found.get_or_insert_default();
                all.last = all.last.max(seen.last);
                all.generation = all.generation.max(seen.generation);
                all.keys.extend_from_slice(&seen.keys);
            }
        }
        Ok(found)
    }

    /// Fails where the store is not any more where the counter's tails begin, and has them read again: it went
    /// back, and lacks rows whose records were taken to be in it. To be called when the store was asked.
    pub(crate) async fn confirm(&self, ports: &Ports, counter: Counter) -> Result<(), Error> {
        for (topic, key) in places(counter) {
            let partition = ports.log.partition_of(topic, &key).await?;
            let tail = Arc::clone(self.parts.lock().entry(partition).or_default());
            let mut tail = tail.lock_owned().await;
            let group = store_group(topic);
            let stored = ports.store.position(group, partition).await?;
            let applied = if stored.epoch == tail.epoch {
                stored.next
            } else {
                0
            };
            if applied < tail.from {
                tail.complete_at = None;
                let reason = "the store went back while a counter was being recovered".to_owned();
                return Err(crate::port::store::Error::Unavailable(reason).into());
            }
        }
        Ok(())
    }

    /// Which application was created with this key, as far as the tails tell: which partition it
    /// stands in is not known without its token. Ask the store afterwards, as with [`Tails::seen`].
    pub(crate) async fn application(
        &self,
        ports: &Ports,
        key: KeyHash,
        since: Instant,
    ) -> Result<Option<(StoredKey, AppToken)>, Error> {
        let topic = Topic::Applications;
        for index in 0..ports.log.partitions(topic).await? {
            let tail = self
                .tail(ports, PartitionId { topic, index }, since)
                .await?;
            if let Some(found) = tail.applications.get(&key) {
                return Ok(Some(*found));
            }
        }
        Ok(None)
    }

    /// The tail of a partition, with everything that was appended before `since`.
    async fn tail(
        &self,
        ports: &Ports,
        partition: PartitionId,
        since: Instant,
    ) -> Result<OwnedMutexGuard<Tail>, Error> {
        let tail = Arc::clone(self.parts.lock().entry(partition).or_default());
        let mut tail = tail.lock_owned().await;
        if tail.complete_at.is_none_or(|at| at < since) {
            tail.read_on(ports, partition).await?;
        }
        Ok(tail)
    }
}

impl Tail {
    async fn read_on(&mut self, ports: &Ports, partition: PartitionId) -> Result<(), Error> {
        let complete_at = Instant::now();
        let (start, end) = ports.log.range(partition).await?;
        let epoch = ports.log.epoch(partition.topic).await?;
        let stored = ports
            .store
            .position(store_group(partition.topic), partition)
            .await?;
        let applied = if stored.epoch == epoch {
            stored.next
        } else {
            0
        };
        let is_stale = self.epoch != epoch || self.next <= applied || self.next > end;
        if is_stale || applied < self.from || self.counters.len() > COUNTERS_MAX {
            // All that was read is in the store by now, or belongs to a log that is gone; or the store
            // was put back to before where reading began.
            self.counters.clear();
            self.applications.clear();
            self.epoch = epoch;
            self.from = applied;
            self.next = applied;
        }
        self.next = self.next.max(start);
        while self.next < end {
            let records = ports.log.read(partition, self.next, READ).await?;
            let Some(last) = records.last() else {
                // There is something up to the end: an empty answer is a read that failed, and to take
                // it for the end would reissue the numbers behind it.
                let reason = format!("a read at {} below the end {end} found nothing", self.next);
                return Err(log::Error::Unavailable(reason).into());
            };
            self.next = last.offset + 1;
            for record in &records {
                self.note(record)?;
            }
        }
        self.complete_at = Some(complete_at);
        Ok(())
    }

    fn note(&mut self, record: &Record) -> Result<(), Error> {
        let (uid, event) = match Event::decode(record) {
            Ok(decoded) => decoded,
            // Its numbers were acknowledged, and this program cannot tell which they are.
            Err(newer @ Undecodable::Newer(_)) => {
                let reason = format!("{newer}: update this chatd");
                return Err(log::Error::Unavailable(reason).into());
            }
            // What cannot be read took its number long ago, by its dead letter or not at all.
            Err(_) => return Ok(()),
        };
        let (counter, first, count, generation, key) = match &event {
            Event::ApplicationCreated(event) => {
                let counter = Counter::Chats(event.application_token);
                let answer = |key: StoredKey| (key.hash, (key, event.application_token));
                self.applications.extend(event.key.map(answer));
                (counter, 0, 0, event.generation, event.key)
            }
            Event::ChatCreated(event) => {
                let chat = ChatKey {
                    token: event.application_token,
                    chat: event.chat_number,
                };
                self.counters.entry(Counter::Messages(chat)).or_default();
                let counter = Counter::Chats(event.application_token);
                (
                    counter,
                    event.chat_number.get(),
                    1,
                    event.generation,
                    event.key,
                )
            }
            Event::MessagesCreated(event) => {
                let count = event.last() - event.first.get() + 1;
                let counter = Counter::Messages(event.chat());
                (
                    counter,
                    event.first.get(),
                    count,
                    event.generation,
                    event.key,
                )
            }
            _ => return Ok(()),
        };
        let seen = self.counters.entry(counter).or_default();
        seen.last = seen.last.max((first + count).saturating_sub(1));
        seen.generation = seen.generation.max(generation);
        seen.keys.extend(key.map(|key| {
            let grant = Grant {
                first,
                count,
                uid,
                generation,
            };
            (key, grant)
        }));
        Ok(())
    }
}

/// Where events about a counter stand: those that make it, and those that carry its numbers.
fn places(counter: Counter) -> [(Topic, bytes::Bytes); 2] {
    let token = bytes::Bytes::from(counter.token().reveal());
    match counter {
        Counter::Chats(_) => [(Topic::Applications, token.clone()), (Topic::Chats, token)],
        Counter::Messages(chat) => [
            (Topic::Chats, token),
            (Topic::Messages, Event::message_key(chat)),
        ],
    }
}

const fn store_group(topic: Topic) -> Group {
    match topic {
        Topic::Applications | Topic::ApplicationsDlq => Group::ApplicationsStore,
        Topic::Chats | Topic::ChatsDlq => Group::ChatsStore,
        Topic::Messages | Topic::MessagesDlq => Group::MessagesStore,
    }
}
