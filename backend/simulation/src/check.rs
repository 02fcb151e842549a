//! The checker: what is there in the end, against what clients were told and what the log holds.

use std::collections::{BTreeMap, BTreeSet};

use chat_core::apply::Batch;
use chat_core::event::Event;
use chat_core::port::counters::Counter;
use chat_core::port::log::{Group, PartitionId, Topic};
use chat_core::port::store::{ChatKey, MessageKey, Presence, State as RowState};
use chat_wire::ids::ChatNumber;
use uuid::Uuid;

use crate::ledger::{Answer, Create, Ledger, Made};
use crate::world::State;

/// What a history did that no system could make good, so that some promises are only "reported".
#[derive(Debug, Clone, Copy, Default)]
pub struct Excuses {
    /// Records were lost by the log.
    pub log_lost: bool,
    /// Counters went back in a way that nobody can notice.
    pub counters_silent: bool,
    /// The counters lost idempotency keys and nothing else, so that nobody can notice.
    pub keys_lost: bool,
    /// The counters lost everything, which they do notice: they recover idempotency keys from the log beyond the
    /// store's position, and ask the store for all others.
    pub counters_lost: bool,
    /// The store forgot commits.
    pub store_forgot: bool,
    /// A clock was set.
    pub clocks: bool,
}

/// Whether everything that was appended is applied and every gap is closed.
#[must_use]
pub fn is_quiet(state: &State) -> bool {
    let applied = Group::ALL.into_iter().all(|group| {
        let topic = group.topic();
        (0..crate::log::partitions(topic)).all(|index| {
            let partition = PartitionId { topic, index };
            let end = state.log.end(partition);
            let position = state.store.rows.position(group, partition);
            position.next == end
        })
    });
    let settled = |row: &chat_core::port::store::ChatRow| row.settled_through >= row.highest;
    applied && state.store.rows.chats.values().all(settled)
}

/// Why it is not quiet.
#[must_use]
pub fn unrest(state: &State) -> String {
    let mut why = Vec::new();
    for group in Group::ALL {
        let topic = group.topic();
        for index in 0..crate::log::partitions(topic) {
            let partition = PartitionId { topic, index };
            let (end, position) = (
                state.log.end(partition),
                state.store.rows.position(group, partition),
            );
            if end > 0 && (position.next != end || position.epoch != state.store.rows.epoch(topic))
            {
                why.push(format!(
                    "{}-{index} at {} epoch {} of {end} epoch {}",
                    group.name(),
                    position.next,
                    position.epoch,
                    state.store.rows.epoch(topic)
                ));
            }
        }
    }
    for row in state.store.rows.chats.values() {
        if row.settled_through < row.highest {
            why.push(format!(
                "chat {} settled {} of {}",
                row.key.chat, row.settled_through, row.highest
            ));
        }
    }
    why.join(", ")
}

/// Everything that is broken in the end.
#[must_use]
pub fn check(state: &State, ledger: &Ledger, excuses: Excuses, reported: bool) -> Vec<String> {
    let mut check = Check {
        state,
        ledger,
        excuses,
        reported,
        breaches: Vec::new(),
        logged: logged(state),
    };
    check.numbers();
    check.keys();
    check.stored();
    check.dense();
    check.contents();
    check.order();
    check.breaches
}

struct Check<'a> {
    state: &'a State,
    ledger: &'a Ledger,
    excuses: Excuses,
    reported: bool,
    breaches: Vec<String>,
    /// Texts of creates that the log holds.
    logged: BTreeSet<String>,
}

fn logged(state: &State) -> BTreeSet<String> {
    let mut texts = BTreeSet::new();
    for record in state.log.partitions.values().flatten() {
        match Event::decode(record) {
            Ok((_, Event::MessagesCreated(event))) => {
                texts.extend(event.messages.into_iter().map(|line| line.body));
            }
            Ok((_, Event::ApplicationCreated(event))) => {
                texts.insert(event.name);
            }
            _ => {}
        }
    }
    texts
}

impl Check<'_> {
    fn say(&mut self, text: String) {
        self.breaches.push(text);
    }

    /// Whether a create may be gone: the log lost it.
    fn is_excused(&self, create: &Create, line: usize) -> bool {
        self.excuses.log_lost && self.reported && !self.logged.contains(&create.texts[line])
    }

    /// No number twice.
    fn numbers(&mut self) {
        let mut chats: BTreeMap<(String, u32), Vec<usize>> = BTreeMap::new();
        for (nth, create) in self.ledger.creates.iter().enumerate() {
            let scope = match create.made {
                Made::Application => continue,
                Made::Chat(token) => format!("chats of {:?}", token.as_bytes()),
                Made::Messages(chat) => format!("{:?}", (chat.token.as_bytes(), chat.chat)),
            };
            if let Some(Answer::Numbers(first, last)) = create.answer() {
                for number in first..=last {
                    chats.entry((scope.clone(), number)).or_default().push(nth);
                }
            }
        }
        for ((_, number), who) in chats.into_iter().filter(|(_, who)| who.len() > 1) {
            let may = self.excuses.log_lost || self.excuses.counters_silent;
            if !(may && self.reported) {
                self.say(format!(
                    "number {number} was acknowledged to each of {who:?}"
                ));
            }
        }
    }

    /// Equal answers to one key.
    fn keys(&mut self) {
        for (nth, create) in self.ledger.creates.iter().enumerate() {
            let Some(first) = create.answer() else {
                continue;
            };
            let other = create.answers.iter().find(|(_, answer)| *answer != first);
            if let Some((_, other)) = other
                && !(self.excuses.log_lost || self.keys_may_be_lost())
            {
                self.say(format!(
                    "the key of #{nth} was answered {first:?}, then {other:?}"
                ));
            }
        }
    }

    /// Nothing acknowledged lost, nothing stored twice, stored where acknowledged.
    fn stored(&mut self) {
        let rows = &self.state.store.rows;
        // A message is known by its create: an edit changes its body, so the log says whose uid it was.
        let mut texts: BTreeMap<Uuid, String> = BTreeMap::new();
        for record in self.state.log.partitions.values().flatten() {
            if let Ok((_, Event::MessagesCreated(event))) = Event::decode(record) {
                texts.extend(event.messages.into_iter().map(|line| (line.uid, line.body)));
            }
        }
        let mut places: BTreeMap<String, Vec<MessageKey>> = BTreeMap::new();
        for row in rows.messages.values() {
            let text = row.uid.and_then(|uid| texts.get(&uid).cloned());
            let text = text.unwrap_or_else(|| row.body.clone());
            if row.state != RowState::Void {
                places.entry(text).or_default().push(row.key);
            }
        }
        let mut breaches = Vec::new();
        for (nth, create) in self.ledger.creates.iter().enumerate() {
            match (create.made, create.answer()) {
                (Made::Application, Some(Answer::Token(token))) => {
                    let there = rows.applications.get(&token);
                    if there.is_none_or(|row| row.presence != Presence::Live)
                        && !self.is_excused(create, 0)
                    {
                        breaches.push(format!(
                            "application #{nth} was acknowledged and is not there"
                        ));
                    }
                }
                (Made::Chat(token), Some(Answer::Numbers(number, _))) => {
                    let key = ChatNumber::new(number).map(|chat| ChatKey { token, chat });
                    let row = key.and_then(|key| rows.chats.get(&key));
                    if row.is_none_or(|row| row.presence != Presence::Live)
                        && !self.excuses.log_lost
                    {
                        breaches.push(format!(
                            "chat #{nth} ({number}) was acknowledged and is not there"
                        ));
                    }
                }
                (Made::Messages(chat), answer) => {
                    for (line, text) in create.texts.iter().enumerate() {
                        let found = places.get(text).map(Vec::as_slice).unwrap_or_default();
                        if found.len() > 1 && !(create.key.is_some() && self.keys_may_be_lost()) {
                            breaches.push(format!(
                                "#{nth} line {line} is stored {} times",
                                found.len()
                            ));
                        }
                        let Some(Answer::Numbers(first, _)) = answer else {
                            continue;
                        };
                        let number = first + u32::try_from(line).unwrap_or(0);
                        match found.first() {
                            None if self.was_deleted(nth, line) => {}
                            None if self.is_excused(create, line) => {}
                            None => breaches.push(format!(
                                "#{nth} line {line}, message {number} of chat {}, was acknowledged and is not there",
                                chat.chat
                            )),
                            Some(key) if key.number.get() != number => {
                                let moved = self.excuses.log_lost || self.excuses.counters_silent;
                                if !(moved && self.reported) {
                                    breaches.push(format!(
                                        "#{nth} line {line} was acknowledged as {number} and is stored as {}",
                                        key.number
                                    ));
                                }
                            }
                            Some(_) => {}
                        }
                    }
                }
                _ => {}
            }
        }
        self.breaches.extend(breaches);
    }

    /// Whether two creates of one key may both be stored: the counters forgot the key while its first
    /// create stood in the log alone, and that was reported.
    fn keys_may_be_lost(&self) -> bool {
        // A store that forgets commits has not the keys any more that the counters ask it for, until it has
        // applied the records again.
        let both = self.excuses.counters_lost && self.excuses.store_forgot;
        (self.excuses.counters_silent || self.excuses.keys_lost || both) && self.reported
    }

    fn was_deleted(&self, nth: usize, line: usize) -> bool {
        let mut changes = self.ledger.changes.iter();
        changes.any(|change| change.of == (nth, line) && change.body.is_none())
    }

    /// Numbers without gaps, counts equal rows, counters not below them.
    fn dense(&mut self) {
        let rows = &self.state.store.rows;
        let mut breaches = Vec::new();
        for row in rows.chats.values() {
            let tally = rows.tally(row.key);
            if tally.rows != u64::from(tally.highest) || row.settled_through != tally.highest {
                breaches.push(format!(
                    "chat {}: {} rows up to {}, settled through {}",
                    row.key.chat, tally.rows, tally.highest, row.settled_through
                ));
            }
            if u64::from(row.messages_count) != tally.live {
                breaches.push(format!(
                    "chat {}: counted {}, {} are live",
                    row.key.chat, row.messages_count, tally.live
                ));
            }
            let counter = self.state.counters.known(Counter::Messages(row.key));
            if counter.is_some_and(|counter| counter < tally.highest) {
                breaches.push(format!(
                    "chat {}: the counter is {counter:?}, and {} has a row",
                    row.key.chat, tally.highest
                ));
            }
        }
        for row in rows.applications.values() {
            let chats = rows.tally_chats(row.token);
            if u64::from(row.chats_count) != chats.live {
                breaches.push(format!(
                    "an application counts {} of {} chats",
                    row.chats_count, chats.live
                ));
            }
        }
        self.breaches.extend(breaches);
    }

    /// The highest revision wins, as the log tells it.
    fn contents(&mut self) {
        if self.excuses.log_lost || self.excuses.counters_silent {
            return;
        }
        let mut latest: BTreeMap<MessageKey, (u64, Option<String>)> = BTreeMap::new();
        for ((_, partition), records) in self
            .state
            .log
            .partitions
            .iter()
            .map(|(partition, records)| ((), partition, records))
            .map(|((), partition, records)| (((), partition), records))
        {
            if partition.topic != Topic::Messages {
                continue;
            }
            let epoch = self.state.store.rows.epoch(Topic::Messages);
            let (batch, _) =
                Batch::decode(Group::MessagesStore, *partition, epoch, 0, records.clone());
            for record in batch.records {
                let (key, body) = match record.event {
                    Event::MessageEdited(event) => (event.target(), Some(event.body.clone())),
                    Event::MessageDeleted(event) => (event.target(), None),
                    _ => continue,
                };
                let entry = latest.entry(key).or_insert((0, Some(String::new())));
                // A delete is final.
                if entry.1.is_some() && record.revision > entry.0 {
                    *entry = (record.revision, body);
                }
            }
        }
        let mut breaches = Vec::new();
        for (key, (_, body)) in latest {
            let Some(row) = self.state.store.rows.messages.get(&key) else {
                continue;
            };
            let right = match &body {
                None => row.state == RowState::Deleted,
                Some(body) => row.body == *body,
            };
            if !right {
                breaches.push(format!(
                    "message {} of chat {} is {:?} {:?}, and the last change says {body:?}",
                    key.number, key.chat.chat, row.state, row.body
                ));
            }
        }
        self.breaches.extend(breaches);
    }

    /// A create that began after another was acknowledged has a higher number.
    fn order(&mut self) {
        if self.excuses.log_lost || self.excuses.counters_silent {
            return;
        }
        let mut breaches = Vec::new();
        let messages: Vec<(usize, ChatKey, &Create, u32, u32)> = self
            .ledger
            .creates
            .iter()
            .enumerate()
            .filter_map(|(nth, create)| match (create.made, create.answer()) {
                (Made::Messages(chat), Some(Answer::Numbers(first, last))) => {
                    Some((nth, chat, create, first, last))
                }
                _ => None,
            })
            .collect();
        for (nth, chat, create, first, _) in &messages {
            for (other, of, earlier, _, last) in &messages {
                let told = earlier.answers.first().map(|(at, _)| *at);
                if chat == of && told.is_some_and(|told| told < create.began) && first <= last {
                    breaches.push(format!(
                        "#{nth} is {first}, and #{other}, acknowledged before it began, is {last}"
                    ));
                }
            }
        }
        self.breaches.extend(breaches);
    }
}

/// What a search and the pages must show in the end.
#[must_use]
pub fn live_texts(state: &State, wanted: impl Fn(&MessageKey) -> bool) -> Vec<String> {
    let rows = state.store.rows.messages.values();
    let live = rows.filter(|row| row.state == RowState::Live && wanted(&row.key));
    live.map(|row| row.body.clone()).collect()
}
