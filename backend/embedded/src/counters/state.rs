//! What the counters know, as a state machine without clocks, locks or input of its own.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use chat_core::key::{KeyHash, StoredKey};
use chat_core::port::counters::{Counter, Error, Grant, Keyed, Opened, Take, Taken};
use chat_core::port::log::Group;
use chat_core::port::store::ChatKey;
use chat_wire::ids::AppToken;

/// Counters in this process are lost only together with everything that they may have given out and
/// nobody appended, so there is one generation; a higher one comes only from a recovery that says so.
pub(super) const FIRST_GENERATION: u32 = 1;
/// Keys above which those that the store knows are let go.
pub(super) const KEYS_KEPT: usize = 65_536;
/// Keys above which nothing more is remembered: the store is far behind.
pub(super) const KEYS_MAX: usize = 1_000_000;
/// How long a key is kept at most, as in the store.
const KEY_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// Keys that one call looks at to let some go.
const FORGET_TRIES: usize = 4;

/// All counters and the keys that they answered.
#[derive(Debug, Default)]
pub(super) struct State {
    applications: HashMap<AppToken, Application>,
    chats: HashMap<ChatKey, u32>,
    /// Where counters stood when they were recovered with a higher generation.
    bases: HashMap<Counter, u32>,
    keys: HashMap<KeyHash, Entry>,
    /// Every key once, about in the order in which they came.
    order: VecDeque<KeyHash>,
}

#[derive(Debug, Clone, Copy)]
struct Application {
    /// The last chat number; `None` where only the generation is known.
    last: Option<u32>,
    generation: u32,
    /// Every key that was ever answered here is remembered, so the store need not be asked.
    complete: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    token: AppToken,
    body_hash: KeyHash,
    grant: Grant,
    made: Instant,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// In flight until then, and after it whoever retries may append again.
    Leased(Instant),
    /// Durable, below this mark.
    Acknowledged(Mark),
}

/// What is remembered of a key.
enum Recall {
    Repeat(AppToken, Grant),
    Resume(AppToken, Grant),
    InFlight,
    OtherBody,
    AskStore,
}

/// The groups that store what carries a key.
pub(super) const STORE_GROUPS: [Group; 3] = [
    Group::ApplicationsStore,
    Group::ChatsStore,
    Group::MessagesStore,
];

/// The end of the log at some moment: an offset for each of [`STORE_GROUPS`].
pub(super) type Mark = [u64; STORE_GROUPS.len()];

/// How far the log and its groups are; both only grow.
pub(super) trait Horizon {
    /// The end of the log now.
    fn end(&self) -> Mark;
    /// Whether everything below the mark is in the store.
    fn applied(&self, mark: &Mark) -> bool;
}

impl State {
    pub(super) fn take(
        &mut self,
        take: &Take,
        now: Instant,
        horizon: &impl Horizon,
    ) -> Result<Taken, Error> {
        let token = take.counter.token();
        let application = self.applications.get(&token);
        let last = match take.counter {
            Counter::Chats(_) => application.and_then(|application| application.last),
            Counter::Messages(chat) => match self.chats.get(&chat) {
                Some(last) => Some(*last),
                None => return Ok(self.missing(chat)),
            },
        };
        let Some(last) = last else {
            return Ok(Taken::Unknown(take.counter));
        };
        let complete = application.is_some_and(|application| application.complete);
        let generation = application.map_or(FIRST_GENERATION, |application| application.generation);
        if let Some(keyed) = take.keyed
            && let Some(recall) =
                self.recall(&keyed, complete, Some((take.counter, generation)), now)
        {
            return Ok(match recall {
                Recall::Repeat(_, grant) => Taken::Repeat(grant),
                Recall::Resume(_, grant) => Taken::Resume(grant),
                Recall::InFlight => Taken::InFlight,
                Recall::OtherBody => Taken::OtherBody,
                Recall::AskStore => Taken::AskStore,
            });
        }
        let count = take.count.max(1);
        let new = last.checked_add(count).ok_or(Error::Exhausted)?;
        let first = last + 1;
        if let Some(keyed) = take.keyed {
            let grant = Grant {
                first,
                count,
                uid: keyed.uid,
                generation,
            };
            self.remember(token, &keyed, grant, now, horizon)?;
        }
        match take.counter {
            Counter::Chats(token) => {
                if let Some(application) = self.applications.get_mut(&token) {
                    application.last = Some(new);
                }
            }
            Counter::Messages(chat) => {
                self.chats.insert(chat, new);
            }
        }
        Ok(Taken::Granted { first, generation })
    }

    /// The answer where a chat has no counter.
    fn missing(&self, chat: ChatKey) -> Taken {
        let application = self.applications.get(&chat.token);
        match application.and_then(|application| application.last) {
            None => Taken::Unknown(Counter::Chats(chat.token)),
            Some(last) if chat.chat.get() > last => Taken::OutOfRange,
            Some(_) => Taken::Unknown(Counter::Messages(chat)),
        }
    }

    pub(super) fn open(
        &mut self,
        token: AppToken,
        keyed: Option<Keyed>,
        now: Instant,
        horizon: &impl Horizon,
    ) -> Result<Opened, Error> {
        if let Some(keyed) = keyed {
            // An application that is being made is in nobody's memory: only the store knows whether
            // an earlier process made one for this key.
            if let Some(recall) = self.recall(&keyed, false, None, now) {
                return Ok(match recall {
                    Recall::Repeat(token, _) => Opened::Repeat(token),
                    Recall::Resume(token, grant) => Opened::Resume {
                        token,
                        uid: grant.uid,
                        // An event of an earlier generation would lose against one of this.
                        generation: self
                            .applications
                            .get(&token)
                            .map_or(grant.generation, |application| application.generation),
                    },
                    Recall::InFlight => Opened::InFlight,
                    Recall::OtherBody => Opened::OtherBody,
                    Recall::AskStore => Opened::AskStore,
                });
            }
            let grant = Grant {
                first: 0,
                count: 0,
                uid: keyed.uid,
                generation: FIRST_GENERATION,
            };
            self.remember(token, &keyed, grant, now, horizon)?;
        }
        let application = self.applications.entry(token).or_insert(Application {
            last: None,
            generation: FIRST_GENERATION,
            complete: true,
        });
        application.last.get_or_insert(0);
        Ok(Opened::Granted {
            generation: application.generation,
        })
    }

    /// Ends the lease of a key whose event is certainly not in the log.
    pub(super) fn release(&mut self, key: StoredKey, grant: Grant, now: Instant) {
        if let Some(entry) = self.keys.get_mut(&key.hash)
            && entry.grant.uid == grant.uid
            && matches!(entry.phase, Phase::Leased(_))
        {
            entry.phase = Phase::Leased(now);
        }
    }

    pub(super) fn open_chat(&mut self, chat: ChatKey) {
        self.chats.entry(chat).or_insert(0);
    }

    pub(super) fn acknowledge(&mut self, key: StoredKey, horizon: &impl Horizon) {
        if let Some(entry) = self.keys.get_mut(&key.hash)
            && entry.body_hash == key.body_hash
            && let Phase::Leased(_) = entry.phase
        {
            entry.phase = Phase::Acknowledged(horizon.end());
        }
    }

    pub(super) fn last(&self, counter: Counter) -> Option<u32> {
        match counter {
            Counter::Chats(token) => self.applications.get(&token)?.last,
            Counter::Messages(chat) => self.chats.get(&chat).copied(),
        }
    }

    pub(super) fn restore(&mut self, counter: Counter, last: u32, generation: u32) {
        let application = self
            .applications
            .entry(counter.token())
            .or_insert(Application {
                last: None,
                generation: FIRST_GENERATION,
                complete: false,
            });
        application.generation = application.generation.max(generation);
        let stands = match counter {
            Counter::Chats(_) => application
                .last
                .insert(application.last.unwrap_or(0).max(last)),
            Counter::Messages(chat) => {
                let counter = self.chats.entry(chat).or_insert(0);
                *counter = last.max(*counter);
                counter
            }
        };
        if generation > FIRST_GENERATION {
            self.bases.insert(counter, *stands);
        }
    }

    /// Puts back an answer that stands in the log. The same event's answer is replaced, as where a
    /// message was renumbered; another event's only by one of a higher generation.
    pub(super) fn restore_key(
        &mut self,
        token: AppToken,
        key: StoredKey,
        grant: Grant,
        now: Instant,
        horizon: &impl Horizon,
    ) {
        let entry = Entry {
            token,
            body_hash: key.body_hash,
            grant,
            made: now,
            phase: Phase::Acknowledged(horizon.end()),
        };
        match self.keys.entry(key.hash) {
            Slot::Vacant(slot) => {
                slot.insert(entry);
                self.order.push_back(key.hash);
            }
            Slot::Occupied(mut slot) => {
                let known = slot.get().grant;
                if known.uid == grant.uid || known.generation < grant.generation {
                    slot.insert(entry);
                }
            }
        }
    }

    /// Lets go of keys that are older than a day, a few at a time.
    pub(super) fn forget(&mut self, now: Instant, horizon: &impl Horizon, tries: usize) {
        for _ in 0..tries {
            let oldest = self.order.front().and_then(|hash| self.keys.get(hash));
            let old = oldest.is_some_and(|entry| now.duration_since(entry.made) >= KEY_LIFE);
            if !old || !self.forget_oldest(now, horizon) {
                return;
            }
        }
    }

    /// What is known of a key; `counter` has the numbers that it would be given, in the generation that it has.
    fn recall(
        &mut self,
        keyed: &Keyed,
        complete: bool,
        counter: Option<(Counter, u32)>,
        now: Instant,
    ) -> Option<Recall> {
        let Some(entry) = self.keys.get_mut(&keyed.key.hash) else {
            return (!complete && !keyed.absent_in_store).then_some(Recall::AskStore);
        };
        if entry.body_hash != keyed.key.body_hash {
            return Some(Recall::OtherBody);
        }
        match entry.phase {
            Phase::Acknowledged(_) => return Some(Recall::Repeat(entry.token, entry.grant)),
            Phase::Leased(until) if now < until => return Some(Recall::InFlight),
            Phase::Leased(_) => {}
        }
        if let Some((counter, generation)) = counter
            && entry.grant.generation != generation
        {
            // What was not in the log when the counter was recovered, and is above what was found there, may have
            // been given to somebody else since, and whatever is still appended of it loses.
            let last = entry.grant.first + entry.grant.count.saturating_sub(1);
            if self.bases.get(&counter).is_some_and(|base| last > *base) {
                return None;
            }
            // An event of an earlier generation would lose against one of this.
            entry.grant.generation = generation;
        }
        entry.phase = Phase::Leased(now + Duration::from_millis(keyed.lease_ms));
        Some(Recall::Resume(entry.token, entry.grant))
    }

    fn remember(
        &mut self,
        token: AppToken,
        keyed: &Keyed,
        grant: Grant,
        now: Instant,
        horizon: &impl Horizon,
    ) -> Result<(), Error> {
        for _ in 0..FORGET_TRIES {
            if self.keys.len() < KEYS_KEPT || self.forget_oldest(now, horizon) {
                break;
            }
        }
        if self.keys.len() >= KEYS_MAX {
            return Err(Error::Full);
        }
        let entry = Entry {
            token,
            body_hash: keyed.key.body_hash,
            grant,
            made: now,
            phase: Phase::Leased(now + Duration::from_millis(keyed.lease_ms)),
        };
        if self.keys.insert(keyed.key.hash, entry).is_none() {
            self.order.push_back(keyed.key.hash);
        }
        Ok(())
    }

    /// Lets go of the oldest key where that is safe, and passes it over where it is not.
    fn forget_oldest(&mut self, now: Instant, horizon: &impl Horizon) -> bool {
        let Some(hash) = self.order.pop_front() else {
            return false;
        };
        let Some(entry) = self.keys.get(&hash) else {
            return false;
        };
        let safe = match entry.phase {
            // Once it is applied the store knows the answer, and is asked from now on.
            Phase::Acknowledged(mark) => horizon.applied(&mark),
            // Nobody was told this answer, but the event may have been appended all the same, even
            // late. After a day, and with nothing waiting in the log, it is in the store or nowhere.
            Phase::Leased(until) => {
                now >= until
                    && now.duration_since(entry.made) >= KEY_LIFE
                    && horizon.applied(&horizon.end())
            }
        };
        if safe {
            if let Some(application) = self.applications.get_mut(&entry.token) {
                application.complete = false;
            }
            self.keys.remove(&hash);
        } else {
            self.order.push_back(hash);
        }
        safe
    }
}
