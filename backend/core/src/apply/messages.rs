//! Applying `message.*`: identity is written once, content goes by the highest revision.
//!
//! See invariant: identity-and-content.

use std::collections::{BTreeMap, HashMap, HashSet};

use chat_wire::ids::MessageNumber;
use chat_wire::time::Timestamp;
use uuid::Uuid;

use crate::apply::{Applications, Change, Decoded, Homeless, KEY_LIFE_MS, Numbers, Report, Trust};
use crate::event::{Event, Line, MessagesCreated};
use crate::key::KeyHash;
use crate::port::signals::Subject;
use crate::port::store::{
    ChatKey, ChatRow, Error, KeyRow, MessageKey, MessageRow, Presence, RenumberedRow, State,
    Transaction, Writes,
};

/// Numbers that one step along a chat's rows reads.
const SETTLE_STEP: u32 = 1_000;

/// Everything that one transaction reads and changes.
pub(super) struct Work {
    chats: BTreeMap<ChatKey, Chat>,
    rows: HashMap<MessageKey, (MessageRow, Change)>,
    /// Stored rows that counted as live before this batch.
    live: HashSet<MessageKey>,
    keys: HashMap<KeyHash, KeyRow>,
    put_keys: Vec<KeyRow>,
    renumbered: Vec<RenumberedRow>,
    homeless: Vec<Reassigned>,
    report: Report,
}

/// A create without numbers of its own, its rows, and its idempotency key where that is to be written.
type Reassigned = (Homeless, Vec<MessageRow>, Option<KeyRow>);

/// A create that nobody was told of, because a recovery went on without it.
struct Superseded;

struct Chat {
    row: ChatRow,
    change: Change,
    /// Highest number with a row before this batch: nothing above it needs to be looked up.
    highest_stored: u32,
    added: Vec<u32>,
}

impl Work {
    /// Locks the chats and reads the rows that the records may meet.
    pub(super) async fn load(
        tx: &mut dyn Transaction,
        records: &[&Decoded],
        reserved: &[&Decoded],
        trust: Trust,
    ) -> Result<Self, Error> {
        let all = || records.iter().chain(reserved);
        let mut keys: Vec<ChatKey> = all().filter_map(|record| chat_of(&record.event)).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut work = Self {
            chats: BTreeMap::new(),
            rows: HashMap::with_capacity(all().count()),
            live: HashSet::new(),
            keys: HashMap::new(),
            put_keys: Vec::new(),
            renumbered: Vec::new(),
            homeless: Vec::new(),
            report: Report::default(),
        };
        if keys.is_empty() {
            return Ok(work);
        }
        for mut row in tx.chats(&keys).await? {
            if trust == Trust::Rows {
                row.highest = tx.tally(row.key).await?.highest;
            }
            work.chats.insert(row.key, Chat::stored(row));
        }

        // A number above the chat's highest has no row, which spares fresh creates every look-up.
        let mut wanted = Vec::new();
        for record in all() {
            let Some(chat) = chat_of(&record.event) else {
                continue;
            };
            let highest = match trust {
                Trust::Highest => work.chats.get(&chat).map_or(0, |chat| chat.highest_stored),
                Trust::Rows => u32::MAX,
            };
            let (first, last) = numbers_of(&record.event);
            for number in first..=last.min(highest) {
                wanted.extend(MessageNumber::new(number).map(|number| MessageKey { chat, number }));
            }
        }
        if !wanted.is_empty() {
            wanted.sort_unstable();
            wanted.dedup();
            for row in tx.messages(&wanted).await? {
                if row.state == State::Live {
                    work.live.insert(row.key);
                }
                work.rows.insert(row.key, (row, Change::None));
            }
        }

        let hashes: Vec<KeyHash> = all()
            .filter_map(|record| match &record.event {
                Event::MessagesCreated(event) => event.key.map(|key| key.hash),
                _ => None,
            })
            .collect();
        if !hashes.is_empty() {
            let rows = tx.keys(&hashes).await?;
            work.keys = rows.into_iter().map(|row| (row.key.hash, row)).collect();
        }
        Ok(work)
    }

    /// Runs the rules; returns the messages that need a number first, if there are any.
    pub(super) async fn run(
        &mut self,
        tx: &mut dyn Transaction,
        records: &[&Decoded],
        reserved: &[&Decoded],
        numbers: &Numbers,
    ) -> Result<Option<Vec<Homeless>>, Error> {
        for record in records {
            match &record.event {
                Event::MessagesCreated(event) => self.create_all(record, event, State::Live),
                Event::MessageEdited(event) => {
                    self.change(event.target(), record.revision, event.at, Some(&event.body));
                }
                Event::MessageDeleted(event) => {
                    self.change(event.target(), record.revision, event.at, None);
                }
                _ => {}
            }
        }
        for record in reserved {
            if let Event::MessagesCreated(event) = &record.event {
                self.create_all(record, event, State::Void);
            }
        }
        self.house(tx, numbers).await
    }

    fn create_all(&mut self, record: &Decoded, event: &MessagesCreated, state: State) {
        let Ok(key) = self.remember_key(record, event) else {
            self.supersede(event);
            return;
        };
        if self.has_number_conflict(event) {
            // Of what was refused nothing is stored but its numbers, and these are another's.
            if state == State::Live {
                self.reassign_later(record, event, key);
            }
            return;
        }
        if state == State::Live
            && let Some(row) = key
        {
            self.keys.insert(row.key.hash, row.clone());
            self.put_keys.push(row);
        }
        for (number, line) in numbered(event) {
            let mut row = row_of(event, line, number, record.revision);
            if state == State::Void {
                // Nothing of what was refused: the number alone, and whose it is. A replay brings the rest.
                row.state = State::Void;
                row.uid = row.uid.filter(|uid| !uid.is_nil());
                row.sender = None;
                row.sent_at = None;
                row.body.clear();
                row.revision = 0;
            }
            self.create(row);
        }
    }

    /// The row of an event's idempotency key, where it has one that is to be written.
    ///
    /// # Errors
    /// The key belongs to a create of a higher generation, which the log holds before this one: this one
    /// arrived after a recovery had waited for it, so nobody was told that it is durable.
    fn remember_key(
        &mut self,
        record: &Decoded,
        event: &MessagesCreated,
    ) -> Result<Option<KeyRow>, Superseded> {
        let Some(key) = event.key else {
            return Ok(None);
        };
        let row = KeyRow {
            key,
            token: event.application_token,
            first: event.first.get(),
            count: count_of(event),
            uid: record.uid,
            generation: event.generation,
            created_at: event.created_at,
        };
        let Some(known) = self.keys.get(&key.hash) else {
            return Ok(Some(row));
        };
        // A redelivery; where the messages were given other numbers, the row says which.
        if known.uid == record.uid {
            return Ok(None);
        }
        // The counters forget a key after a day, and so does the API. The row stays until it is swept.
        if event.created_at.millis_since(known.created_at) >= KEY_LIFE_MS {
            return Ok(Some(row));
        }
        // The same request: what it sent is stored, under the number of the later generation.
        if known.generation > event.generation && known.key.body_hash == key.body_hash {
            return Err(Superseded);
        }
        // The counters lost the key, by eviction or with more than that. Either create may have been
        // acknowledged, so both are stored; the first one stays the answer.
        self.report.key_conflicts += 1;
        tracing::error!(
            chat.number = event.chat_number.get(),
            message.number = event.first.get(),
            message.first_number = known.first,
            "two creates were accepted under one idempotency key; both are stored"
        );
        Ok(None)
    }

    /// Whether another message has one of the numbers, and both may have been acknowledged. Also one of a lower
    /// generation than the stored one: counters that went back to a time before a recovery (a stale replica that
    /// was promoted) give out numbers of the generation that they had then.
    fn has_number_conflict(&self, event: &MessagesCreated) -> bool {
        numbered(event).any(|(number, line)| {
            let chat = event.chat();
            let known = self.rows.get(&MessageKey { chat, number });
            known.is_some_and(|(row, _)| {
                row.generation >= event.generation && row.uid.is_some_and(|uid| uid != line.uid)
            })
        })
    }

    fn reassign_later(&mut self, record: &Decoded, event: &MessagesCreated, key: Option<KeyRow>) {
        let who = Homeless {
            chat: event.chat(),
            uid: record.uid,
            count: count_of(event),
            key: event.key,
            generation: event.generation,
            is_displaced: false,
        };
        let rows = numbered(event)
            .map(|(number, line)| row_of(event, line, number, record.revision))
            .collect();
        self.chat(who.chat, event.created_at);
        // Later creates of this batch have to see the key as those of a later batch would.
        if let Some(row) = &key {
            self.keys.insert(row.key.hash, row.clone());
        }
        self.homeless.push((who, rows, key));
    }

    fn create(&mut self, new: MessageRow) {
        self.chat(new.key.chat, new.created_at);
        let Some((old, change)) = self.rows.get_mut(&new.key) else {
            self.report.created += u64::from(new.state == State::Live);
            self.insert(new);
            return;
        };
        match old.uid {
            Some(uid) if Some(uid) == new.uid => {
                // Reserved by its dead letter, and now replayed.
                if old.state == State::Void && new.state == State::Live {
                    fill(old, new);
                    mark(change);
                    self.report.created += 1;
                } else {
                    self.report.repeated += 1;
                }
            }
            Some(uid) if new.generation > old.generation => {
                // Recovery reissued the number: the create of the lower generation came late and was not
                // acknowledged, so what was stored makes way. It is kept all the same, under another number:
                // counters that went back unnoticed may have acknowledged both (invariant: late-append).
                let chat = new.key.chat;
                let before = std::mem::replace(old, new);
                mark(change);
                if before.state == State::Void {
                    self.report.superseded += 1;
                    return;
                }
                let who = Homeless {
                    chat,
                    uid,
                    count: 1,
                    key: None,
                    generation: before.generation,
                    is_displaced: true,
                };
                self.homeless.push((who, vec![before], None));
            }
            // A void row of a dead letter; one of a live create was found to conflict before.
            Some(_) => self.report.superseded += 1,
            None => {
                fill(old, new);
                mark(change);
                self.report.created += 1;
            }
        }
    }

    /// An edit (`Some` body) or a delete (`None`), of a row that may be missing.
    fn change(&mut self, key: MessageKey, revision: u64, at: Timestamp, body: Option<&str>) {
        self.chat(key.chat, at);
        let Some((row, change)) = self.rows.get_mut(&key) else {
            tracing::warn!(
                chat.number = key.chat.chat.get(),
                message.number = key.number.get(),
                "a message was changed whose create is not in the log before it: either comes late, or the log has \
                 lost it"
            );
            self.insert(MessageRow {
                key,
                uid: None,
                generation: 0,
                sender: None,
                body: body.unwrap_or_default().to_owned(),
                state: if body.is_some() {
                    State::Void
                } else {
                    State::Deleted
                },
                sent_at: None,
                created_at: at,
                updated_at: Some(at),
                revision,
            });
            return;
        };
        if row.revision >= revision {
            self.report.repeated += 1;
            return;
        }
        row.revision = revision;
        mark(change);
        match body {
            // A delete is final: what comes later only raises the revision.
            _ if row.state == State::Deleted => self.report.repeated += 1,
            Some(body) => {
                body.clone_into(&mut row.body);
                row.updated_at = Some(at);
                self.report.changed += 1;
            }
            None => {
                row.body.clear();
                row.state = State::Deleted;
                row.updated_at = Some(at);
                self.report.changed += 1;
            }
        }
    }

    /// The numbers of a create whose idempotency key has its row already: they stay empty for good.
    fn supersede(&mut self, event: &MessagesCreated) {
        self.report.superseded += 1;
        for (number, line) in numbered(event) {
            let key = MessageKey {
                chat: event.chat(),
                number,
            };
            if !self.rows.contains_key(&key) {
                self.chat(key.chat, event.created_at);
                let mut row = row_of(event, line, number, 0);
                row.uid = None;
                row.sender = None;
                row.sent_at = None;
                row.body.clear();
                row.state = State::Void;
                self.insert(row);
            }
        }
    }

    /// Finds numbers for creates without any: where they went before, or those that were taken for them.
    async fn house(
        &mut self,
        tx: &mut dyn Transaction,
        numbers: &Numbers,
    ) -> Result<Option<Vec<Homeless>>, Error> {
        let homeless = std::mem::take(&mut self.homeless);
        if homeless.is_empty() {
            return Ok(None);
        }
        let lines = homeless.iter().flat_map(|(who, rows, _)| {
            let lines = rows.iter().filter_map(|row| row.uid);
            lines.chain([who.uid]).map(|uid| (who.chat, uid))
        });
        let asked: Vec<(ChatKey, Uuid)> = lines.collect();
        let moved = tx.renumbered(&asked).await?;
        let mut moved: HashSet<(ChatKey, Uuid)> =
            moved.into_iter().map(|row| (row.chat, row.uid)).collect();
        let mut taken = self.taken(tx, &homeless, numbers).await?;
        let mut waiting = Vec::new();
        for (who, rows, key) in homeless {
            // Of a create that is told again, single lines may have moved, and the others are where they were.
            let is_stored = |row: &MessageRow| {
                let is_moved = row.uid.is_some_and(|uid| moved.contains(&(who.chat, uid)));
                let there = self.rows.get(&row.key);
                is_moved || there.is_some_and(|(there, _)| there.uid == row.uid)
            };
            // What makes way was stored under this number just now, wherever it had come from.
            let is_known = || moved.contains(&(who.chat, who.uid)) || rows.iter().any(is_stored);
            if !who.is_displaced && is_known() {
                self.report.repeated += rows.len() as u64;
                continue;
            }
            let granted = numbers.get(&who).and_then(|granted| {
                let range = range(&who, granted.first)?;
                let is_free = range.iter().all(|key| !taken.contains(key));
                is_free.then_some((range, granted.generation))
            });
            let Some((range, generation)) = granted else {
                // A redelivery may be in the same batch, and a second range would stay empty.
                if !waiting.contains(&who) {
                    waiting.push(who);
                }
                continue;
            };
            moved.insert((who.chat, who.uid));
            if who.is_displaced {
                self.report.displaced.push(who.chat);
            }
            taken.extend(range.iter().copied());
            self.reassign(rows, &range, generation, key);
        }
        Ok((!waiting.is_empty()).then_some(waiting))
    }

    /// Gives the lines of a create these numbers in place of their own.
    fn reassign(
        &mut self,
        rows: Vec<MessageRow>,
        range: &[MessageKey],
        generation: u32,
        key: Option<KeyRow>,
    ) {
        for (mut row, new) in rows.into_iter().zip(range) {
            tracing::error!(
                chat.number = new.chat.chat.get(),
                message.number = row.key.number.get(),
                message.new_number = new.number.get(),
                "two messages had one number; one of them was given another"
            );
            self.renumbered.push(RenumberedRow {
                chat: new.chat,
                uid: row.uid.unwrap_or_default(),
                number: new.number.get(),
            });
            row.key = *new;
            row.generation = generation;
            self.report.renumbered += 1;
            self.insert(row);
        }
        if let (Some(mut row), Some(first)) = (key, range.first()) {
            row.first = first.number.get();
            self.keys.insert(row.key.hash, row.clone());
            self.put_keys.push(row);
        }
    }

    /// Which rows there are among those that numbers were taken for: a counter that went back gives
    /// out what has been given out before.
    async fn taken(
        &self,
        tx: &mut dyn Transaction,
        homeless: &[Reassigned],
        numbers: &Numbers,
    ) -> Result<HashSet<MessageKey>, Error> {
        let mut wanted: Vec<MessageKey> = homeless
            .iter()
            .filter_map(|(who, ..)| range(who, numbers.get(who)?.first))
            .flatten()
            .collect();
        if wanted.is_empty() {
            return Ok(HashSet::new());
        }
        wanted.sort_unstable();
        wanted.dedup();
        let stored = tx.messages(&wanted).await?;
        let stored = stored.into_iter().map(|row| row.key);
        Ok(self.rows.keys().copied().chain(stored).collect())
    }

    fn insert(&mut self, row: MessageRow) {
        let chat = self.chat(row.key.chat, row.created_at);
        chat.added.push(row.key.number.get());
        self.rows.insert(row.key, (row, Change::Insert));
    }

    /// The chat under lock; a stub where its own create has not been applied yet.
    fn chat(&mut self, key: ChatKey, at: Timestamp) -> &mut Chat {
        self.chats.entry(key).or_insert_with(|| Chat {
            row: ChatRow {
                key,
                uid: None,
                generation: 0,
                messages_count: 0,
                highest: 0,
                settled_through: 0,
                resets: 0,
                reset_from: 0,
                created_at: at,
                presence: Presence::Stub,
            },
            change: Change::Insert,
            highest_stored: 0,
            added: Vec::new(),
        })
    }

    /// Counts what changed and hands over what is to be written.
    pub(super) async fn finish(
        mut self,
        tx: &mut dyn Transaction,
        report: &mut Report,
    ) -> Result<Writes, Error> {
        self.count(tx).await?;
        let mut writes = Writes::default();
        let stubs = self
            .chats
            .values()
            .filter(|chat| chat.change == Change::Insert);
        let tokens = stubs.map(|chat| chat.row.key.token).collect();
        let mut applications = Applications::lock(tx, tokens).await?;
        for chat in self.chats.into_values() {
            let key = chat.row.key;
            report.subjects.push(Subject::Chat(key.token, key.chat));
            match chat.change {
                Change::None => {}
                Change::Update => writes.update_chats.push(chat.row),
                Change::Insert => {
                    let application = applications.touch(key.token, chat.row.created_at);
                    application.chats_count += 1;
                    writes.insert_chats.push(chat.row);
                }
            }
        }
        applications.write(&mut writes);
        for (row, change) in self.rows.into_values() {
            match change {
                Change::None => {}
                Change::Insert => writes.insert_messages.push(row),
                Change::Update => writes.update_messages.push(row),
            }
        }
        writes.insert_messages.sort_unstable_by_key(|row| row.key);
        writes.update_messages.sort_unstable_by_key(|row| row.key);
        writes.put_keys = self.put_keys;
        writes.put_renumbered = self.renumbered;
        report.created += self.report.created;
        report.changed += self.report.changed;
        report.repeated += self.report.repeated;
        report.renumbered += self.report.renumbered;
        report.superseded += self.report.superseded;
        report.displaced.append(&mut self.report.displaced);
        report.key_conflicts += self.report.key_conflicts;
        Ok(writes)
    }

    /// Of each chat the lowest number that is live now and was not, although readers had passed it.
    fn reset_from(&self) -> HashMap<ChatKey, u32> {
        let mut lowest: HashMap<ChatKey, u32> = HashMap::new();
        for (row, change) in self.rows.values() {
            let number = row.key.number.get();
            let chat = self.chats.get(&row.key.chat);
            let was_passed = chat.is_some_and(|chat| number <= chat.row.settled_through);
            let is_new = row.state == State::Live && !self.live.contains(&row.key);
            if *change != Change::None && is_new && was_passed {
                let from = lowest.entry(row.key.chat).or_insert(number);
                *from = number.min(*from);
            }
        }
        lowest
    }

    async fn count(&mut self, tx: &mut dyn Transaction) -> Result<(), Error> {
        let mut live: HashMap<ChatKey, i64> = HashMap::new();
        for (row, change) in self.rows.values() {
            if *change != Change::None {
                *live.entry(row.key.chat).or_default() +=
                    i64::from(row.state == State::Live) - i64::from(self.live.contains(&row.key));
            }
        }
        for (key, from) in self.reset_from() {
            if let Some(chat) = self.chats.get_mut(&key) {
                chat.row.resets = chat.row.resets.saturating_add(1);
                chat.row.reset_from = from;
                mark(&mut chat.change);
            }
        }
        for (key, chat) in &mut self.chats {
            let delta = live.get(key).copied().unwrap_or(0);
            let count = i64::from(chat.row.messages_count) + delta;
            let count = u32::try_from(count.max(0)).unwrap_or(u32::MAX);
            let (highest, settled) = chat.settle(tx).await?;
            if (count, highest, settled)
                != (
                    chat.row.messages_count,
                    chat.row.highest,
                    chat.row.settled_through,
                )
            {
                chat.row.messages_count = count;
                chat.row.highest = highest;
                chat.row.settled_through = settled;
                mark(&mut chat.change);
            }
        }
        Ok(())
    }
}

impl Chat {
    const fn stored(row: ChatRow) -> Self {
        Self {
            highest_stored: row.highest,
            row,
            change: Change::None,
            added: Vec::new(),
        }
    }

    /// The highest number that has a row now, and the number up to which all have.
    async fn settle(&mut self, tx: &mut dyn Transaction) -> Result<(u32, u32), Error> {
        self.added.sort_unstable();
        let highest = self
            .added
            .last()
            .map_or(self.row.highest, |last| (*last).max(self.row.highest));
        let mut settled = self.row.settled_through;
        let mut added = self.added.iter().copied().peekable();
        loop {
            let before = settled;
            while let Some(number) = added.next_if(|number| *number <= settled + 1) {
                settled = settled.max(number);
            }
            // Only a number that this batch added can have closed the gap, so without one there is
            // nothing to look for among the rows of earlier batches.
            if settled == before || settled >= self.highest_stored {
                return Ok((highest, settled));
            }
            settled = run_on(tx, self.row.key, settled).await?;
        }
    }
}

/// Walks along the stored rows as long as they follow each other.
async fn run_on(tx: &mut dyn Transaction, chat: ChatKey, from: u32) -> Result<u32, Error> {
    let mut settled = from;
    loop {
        let numbers = tx.numbers_after(chat, settled, SETTLE_STEP).await?;
        for number in &numbers {
            if *number != settled + 1 {
                return Ok(settled);
            }
            settled = *number;
        }
        if numbers.len() < SETTLE_STEP as usize {
            return Ok(settled);
        }
    }
}

const fn mark(change: &mut Change) {
    if matches!(change, Change::None) {
        *change = Change::Update;
    }
}

/// Gives a void row the identity of its create, and the content where no edit has set it.
fn fill(old: &mut MessageRow, new: MessageRow) {
    old.uid = new.uid;
    old.generation = new.generation;
    old.sender = new.sender;
    old.sent_at = new.sent_at;
    old.created_at = new.created_at;
    if old.state == State::Deleted {
        return;
    }
    old.state = new.state;
    if old.revision < new.revision && old.updated_at.is_none() {
        old.body = new.body;
        old.revision = new.revision;
    }
}

fn row_of(
    event: &MessagesCreated,
    line: &Line,
    number: MessageNumber,
    revision: u64,
) -> MessageRow {
    MessageRow {
        key: MessageKey {
            chat: event.chat(),
            number,
        },
        uid: Some(line.uid),
        generation: event.generation,
        sender: line.sender.clone(),
        body: line.body.clone(),
        state: State::Live,
        sent_at: line.sent_at,
        created_at: event.created_at,
        updated_at: None,
        revision,
    }
}

/// The lines of a create with their numbers.
fn numbered(event: &MessagesCreated) -> impl Iterator<Item = (MessageNumber, &Line)> {
    let lines = (event.first.get()..).zip(&event.messages);
    lines.filter_map(|(number, line)| Some((MessageNumber::new(number)?, line)))
}

fn count_of(event: &MessagesCreated) -> u32 {
    u32::try_from(event.messages.len()).unwrap_or(u32::MAX)
}

/// So many numbers from a first one on; `None` where they do not fit.
fn range(who: &Homeless, first: u32) -> Option<Vec<MessageKey>> {
    let last = first.checked_add(who.count.checked_sub(1)?)?;
    let chat = who.chat;
    (first..=last)
        .map(|number| MessageNumber::new(number).map(|number| MessageKey { chat, number }))
        .collect()
}

const fn chat_of(event: &Event) -> Option<ChatKey> {
    match event {
        Event::MessagesCreated(event) => Some(event.chat()),
        Event::MessageEdited(event) => Some(event.target().chat),
        Event::MessageDeleted(event) => Some(event.target().chat),
        _ => None,
    }
}

fn numbers_of(event: &Event) -> (u32, u32) {
    match event {
        Event::MessagesCreated(event) => (event.first.get(), event.last()),
        Event::MessageEdited(event) => (event.message_number.get(), event.message_number.get()),
        Event::MessageDeleted(event) => (event.message_number.get(), event.message_number.get()),
        _ => (1, 0),
    }
}
