//! Applying `message.*`: identity is written once, content goes by highest revision (rule 6).

use std::collections::{BTreeMap, HashMap, HashSet};

use chat_wire::ids::MessageNumber;
use chat_wire::time::Timestamp;
use uuid::Uuid;

use crate::apply::{Applications, Change, Decoded, Homeless, Numbers, Report, Trust};
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
    homeless: Vec<(Homeless, MessageRow)>,
    report: Report,
}

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
        if let Some(key) = event.key {
            match self.keys.get(&key.hash) {
                Some(known) if known.uid != record.uid && known.generation >= event.generation => {
                    self.supersede(event);
                    return;
                }
                Some(known) if known.uid != record.uid => {
                    let known = known.clone();
                    self.withdraw(event.chat(), &known);
                }
                _ => {}
            }
            let row = KeyRow {
                key,
                token: event.application_token,
                first: event.first.get(),
                count: u32::try_from(event.messages.len()).unwrap_or(u32::MAX),
                uid: record.uid,
                generation: event.generation,
                created_at: event.created_at,
            };
            if state == State::Live && self.keys.insert(key.hash, row.clone()) != Some(row.clone())
            {
                self.put_keys.push(row);
            }
        }
        for (number, line) in (event.first.get()..).zip(&event.messages) {
            let Some(number) = MessageNumber::new(number) else {
                continue;
            };
            let mut row = row_of(event, line, number, record.revision);
            if state == State::Void {
                // Nothing of what was refused: the number alone, and whose it is. A replay brings the rest.
                row.state = State::Void;
                row.sender = None;
                row.sent_at = None;
                row.body.clear();
                row.revision = 0;
            }
            self.create(row);
        }
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
            Some(_) if new.generation > old.generation => {
                // Recovery reissued the number: the create of the lower generation was never
                // acknowledged, so what was stored makes way (rule 5).
                let key = old.key;
                *old = new;
                mark(change);
                self.report.superseded += 1;
                tracing::warn!(
                    chat.number = key.chat.chat.get(),
                    message.number = key.number.get(),
                    "a create of a higher generation replaced one that was never acknowledged"
                );
            }
            Some(_) if new.generation < old.generation => self.report.superseded += 1,
            Some(_) => {
                let homeless = Homeless {
                    chat: new.key.chat,
                    uid: new.uid.unwrap_or_default(),
                };
                self.homeless.push((homeless, new));
            }
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
        for (number, line) in (event.first.get()..).zip(&event.messages) {
            let Some(number) = MessageNumber::new(number) else {
                continue;
            };
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

    /// Takes back what a create of a lower generation stored under a key that now has another answer.
    fn withdraw(&mut self, chat: ChatKey, known: &KeyRow) {
        self.report.superseded += 1;
        for number in known.first..known.first.saturating_add(known.count) {
            let Some(number) = MessageNumber::new(number) else {
                continue;
            };
            if let Some((row, change)) = self.rows.get_mut(&MessageKey { chat, number })
                && row.generation == known.generation
            {
                row.uid = None;
                row.body.clear();
                row.state = State::Void;
                row.revision = 0;
                mark(change);
            }
        }
    }

    /// Finds the homeless a place: where they went before, or the numbers that were taken for them.
    async fn house(
        &mut self,
        tx: &mut dyn Transaction,
        numbers: &Numbers,
    ) -> Result<Option<Vec<Homeless>>, Error> {
        let homeless = std::mem::take(&mut self.homeless);
        if homeless.is_empty() {
            return Ok(None);
        }
        let asked: Vec<(ChatKey, Uuid)> = homeless.iter().map(|(h, _)| (h.chat, h.uid)).collect();
        let mut moved: HashSet<Homeless> = tx
            .renumbered(&asked)
            .await?
            .into_iter()
            .map(|row| Homeless {
                chat: row.chat,
                uid: row.uid,
            })
            .collect();
        let mut taken = self.taken(tx, &homeless, numbers).await?;
        let mut waiting = Vec::new();
        for (who, mut row) in homeless {
            if moved.contains(&who) {
                self.report.repeated += 1;
                continue;
            }
            let number = numbers.get(&who).copied().and_then(MessageNumber::new);
            let free = |number: &MessageNumber| {
                let (chat, number) = (who.chat, *number);
                taken.insert(MessageKey { chat, number })
            };
            let Some(number) = number.filter(free) else {
                // A redelivery may be in the same batch, and a second number would stay empty.
                if !waiting.contains(&who) {
                    waiting.push(who);
                }
                continue;
            };
            moved.insert(who);
            tracing::error!(
                chat.number = who.chat.chat.get(),
                message.number = row.key.number.get(),
                message.new_number = number.get(),
                "two messages had one number; the later one was given another"
            );
            self.renumbered.push(RenumberedRow {
                chat: who.chat,
                uid: who.uid,
                number: number.get(),
            });
            row.key.number = number;
            self.report.renumbered += 1;
            self.insert(row);
        }
        Ok((!waiting.is_empty()).then_some(waiting))
    }

    /// Which rows there are among those that numbers were taken for: a counter that went back gives
    /// out what has been given out before.
    async fn taken(
        &self,
        tx: &mut dyn Transaction,
        homeless: &[(Homeless, MessageRow)],
        numbers: &Numbers,
    ) -> Result<HashSet<MessageKey>, Error> {
        let mut wanted: Vec<MessageKey> = homeless
            .iter()
            .filter_map(|(who, _)| {
                let number = MessageNumber::new(*numbers.get(who)?)?;
                let chat = who.chat;
                Some(MessageKey { chat, number })
            })
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
        writes.insert_renumbered = self.renumbered;
        report.created += self.report.created;
        report.changed += self.report.changed;
        report.repeated += self.report.repeated;
        report.renumbered += self.report.renumbered;
        report.superseded += self.report.superseded;
        Ok(writes)
    }

    async fn count(&mut self, tx: &mut dyn Transaction) -> Result<(), Error> {
        let mut live: HashMap<ChatKey, i64> = HashMap::new();
        for (row, change) in self.rows.values() {
            if *change != Change::None {
                *live.entry(row.key.chat).or_default() +=
                    i64::from(row.state == State::Live) - i64::from(self.live.contains(&row.key));
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
