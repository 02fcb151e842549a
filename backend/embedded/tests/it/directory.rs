//! A small data directory with everything in it, and what was acknowledged in it.

use std::collections::BTreeMap;
use std::path::Path;

use chat_core::apply::{self, Batch, Numbers, Outcome};
use chat_core::event::{
    ApplicationCreated, ChatCreated, Event, Line, MessageDeleted, MessageEdited, MessagesCreated,
};
use chat_core::index;
use chat_core::port::Ports;
use chat_core::port::counters::Counter;
use chat_core::port::log::{Group, PartitionId, PollLimits};
use chat_core::port::search::{IndexPosition, Query};
use chat_core::port::store::{ChatKey, MessageKey, Span, State};
use chat_embedded::open::{Config, open};
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::search::Sort;
use chat_wire::time::Timestamp;
use uuid::Uuid;

const PAGE: PollLimits = PollLimits {
    records: 1_000,
    bytes: 1 << 20,
    wait_ms: 0,
};
/// Messages of each chat that are applied, and that are only in the log.
pub(crate) const APPLIED: u32 = 40;
pub(crate) const PENDING: u32 = 8;

/// What was acknowledged: of each message its body, or nothing where it was deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) names: BTreeMap<AppToken, String>,
    pub(crate) messages: BTreeMap<ChatKey, BTreeMap<u32, Option<String>>>,
}

/// The workers: applies and indexes what waits; answers how many messages became dead letters.
pub(crate) async fn drain(ports: &Ports) -> Result<u64, String> {
    let mut dead = 0;
    for group in Group::ALL {
        let partition = PartitionId {
            topic: group.topic(),
            index: 0,
        };
        let epoch = ports.log.epoch(group.topic()).await.map_err(text)?;
        let position = ports.store.position(group, partition).await.map_err(text)?;
        let (_, end) = ports.log.range(partition).await.map_err(text)?;
        let mut next = position.next;
        while next < end {
            let records = ports.log.read(partition, next, PAGE).await.map_err(text)?;
            let Some(last) = records.last() else { break };
            let first = next;
            next = last.offset + 1;
            let (batch, poison) = Batch::decode(group, partition, epoch, first, records);
            let batches = [batch];
            if group == Group::MessagesIndex {
                let documents = index::documents(ports, &batches).await.map_err(text)?;
                let staged = index::stage(ports, documents).await.map_err(text)?;
                let read = IndexPosition {
                    partition,
                    log: ports.log.identity().await.map_err(text)?,
                    epoch,
                    next,
                    whole: true,
                };
                index::publish(ports, staged, &[read]).await.map_err(text)?;
            } else {
                let messages = poison.iter().map(|poison| {
                    let scope = poison.record.headers.scope;
                    scope.map_or(1, |scope| u64::from(scope.count.max(1)))
                });
                dead += messages.sum::<u64>();
            }
            let applied = apply::apply(ports.store.as_ref(), &batches, &Numbers::new()).await;
            let Outcome::Applied(_) = applied.map_err(text)? else {
                return Err("two messages have one number".to_owned());
            };
        }
    }
    Ok(dead)
}

/// What is served beside what was acknowledged; an error is damage that somebody is told of.
pub(crate) async fn compare(
    ports: &Ports,
    ledger: &Ledger,
    dead: u64,
) -> Result<Option<String>, String> {
    let wrong = |what: String| Ok(Some(what));
    let store = &ports.store;
    let mut missing = 0;
    let listed = store.applications(None, 100).await.map_err(text)?;
    for (token, name) in &ledger.names {
        let found = store.application(*token).await.map_err(text)?;
        let in_list = listed.iter().find(|row| row.token == *token);
        let name = Some(name);
        if found.as_ref().map(|row| &row.name) != name || in_list.map(|row| &row.name) != name {
            missing += 1;
        }
        let chats = ledger.messages.keys().filter(|key| key.token == *token);
        let numbers: Vec<u32> = chats.map(|key| key.chat.get()).collect();
        let rows = store.chats(*token, 0, 100).await.map_err(text)?;
        let listed: Vec<u32> = rows.iter().map(|row| row.key.chat.get()).collect();
        if listed != numbers {
            return wrong(format!("chats {listed:?} instead of {numbers:?}"));
        }
        if found.is_some_and(|row| row.chats_count as usize != numbers.len()) {
            return wrong("a wrong count of chats".to_owned());
        }
        let last = ports
            .counters
            .last(Counter::Chats(*token))
            .await
            .map_err(text)?;
        let last = last.unwrap_or(store.highest_chat(*token).await.map_err(text)?);
        if last < numbers.len() as u32 {
            return wrong(format!("chat {} is given out again", last + 1));
        }
    }
    for (chat, messages) in &ledger.messages {
        let row = store.chat(*chat).await.map_err(text)?;
        let Some(row) = row else {
            return wrong("a chat is missing".to_owned());
        };
        let highest = *messages.keys().next_back().unwrap();
        let last = ports
            .counters
            .last(Counter::Messages(*chat))
            .await
            .map_err(text)?;
        if last.unwrap_or(row.highest) < highest {
            return wrong(format!(
                "message {highest} is given out again: {last:?} {row:?}"
            ));
        }
        let mut page = BTreeMap::new();
        let mut after = 0;
        loop {
            let span = Span::After {
                after,
                through: row.settled_through,
            };
            let rows = store.messages(*chat, span, 7).await.map_err(text)?;
            let Some(last) = rows.last() else { break };
            after = last.key.number.get();
            page.extend(rows.into_iter().map(|row| (row.key.number.get(), row.body)));
        }
        let mut live = 0;
        for (number, body) in messages {
            let key = MessageKey {
                chat: *chat,
                number: MessageNumber::new(*number).unwrap(),
            };
            let found = store.message(key).await.map_err(text)?;
            let is_live = found.as_ref().is_some_and(|row| row.state == State::Live);
            live += u32::from(is_live);
            let shown = found.filter(|_| is_live).map(|row| row.body);
            if page.get(number) != shown.as_ref() {
                return wrong(format!("message {number} differs from its page"));
            }
            match (&shown, body) {
                (Some(shown), Some(body)) if shown == body => {}
                (None, None) => {}
                (Some(shown), _) => return wrong(format!("{number}: {shown:?} for {body:?}")),
                // A create that became a dead letter, or a delete.
                (None, Some(_)) => missing += 1,
            }
        }
        if row.messages_count != live {
            return wrong(format!("it counts {} of {live}", row.messages_count));
        }
        if page.len() != live as usize {
            return wrong("a page has messages that nobody sent".to_owned());
        }
        let query = Query {
            token: chat.token,
            chat: Some(chat.chat),
            text: "word".to_owned(),
            sort: Sort::Number,
            after: None,
            limit: 1_000,
        };
        let hits = ports.search.candidates(&query).await.map_err(text)?;
        let keys: Vec<MessageKey> = hits.iter().map(|hit| hit.key).collect();
        let mut rows = store.messages_by_key(&keys).await.map_err(text)?;
        rows.retain(|row| row.state == State::Live);
        let found: BTreeMap<u32, String> = rows
            .into_iter()
            .map(|row| (row.key.number.get(), row.body))
            .collect();
        if found != page {
            return wrong(format!("search finds {} of {}", found.len(), page.len()));
        }
    }
    // An edit or a delete that became a dead letter leaves what was before.
    if missing > dead {
        return wrong(format!("{missing} are missing, {dead} are dead letters"));
    }
    Ok(None)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A small directory: applications, chats, messages, some edited and some deleted; the last messages of
/// each chat are in the log alone.
pub(crate) async fn fill(dir: &Path) -> Ledger {
    let ports = open(&Config::new(dir)).await.unwrap();
    let mut ledger = Ledger::default();
    let at = Timestamp::from_micros(1_767_225_600_000_000).unwrap();
    for nth in 1..=2_u8 {
        let application_token = AppToken::from_bytes([nth * 31; 16]);
        let name = format!("application {nth}");
        append(
            &ports,
            Event::ApplicationCreated(ApplicationCreated {
                application_token,
                name: name.clone(),
                created_at: at,
                generation: 1,
                key: None,
            }),
        )
        .await;
        ledger.names.insert(application_token, name);
        for number in 1..=3 {
            let chat = ChatKey {
                token: application_token,
                chat: ChatNumber::new(number).unwrap(),
            };
            append(
                &ports,
                Event::ChatCreated(ChatCreated {
                    application_token,
                    chat_number: chat.chat,
                    created_at: at,
                    generation: 1,
                    key: None,
                }),
            )
            .await;
            send(&ports, &mut ledger, chat, 1..=APPLIED).await;
            change(&ports, &mut ledger, chat).await;
        }
    }
    assert_eq!(drain(&ports).await, Ok(0));
    let chats: Vec<ChatKey> = ledger.messages.keys().copied().collect();
    for chat in chats {
        send(&ports, &mut ledger, chat, APPLIED + 1..=APPLIED + PENDING).await;
    }
    ports.life.close().await;
    ledger
}

async fn append(ports: &Ports, event: Event) {
    let record = event.encode(Uuid::now_v7());
    ports.log.append(event.topic(), record).await.unwrap();
}

/// Single messages and batches of four.
async fn send(
    ports: &Ports,
    ledger: &mut Ledger,
    chat: ChatKey,
    numbers: std::ops::RangeInclusive<u32>,
) {
    let (mut first, last) = numbers.into_inner();
    while first <= last {
        let lines = if first % 8 == 1 { 1 } else { 4 }.min(last - first + 1);
        let application = chat.token.as_bytes()[0];
        let body = |number: u32| {
            let chat = chat.chat;
            format!(
                "word {number} of {chat} of {application} {}",
                "text ".repeat(9)
            )
        };
        append(
            ports,
            Event::MessagesCreated(MessagesCreated {
                application_token: chat.token,
                chat_number: chat.chat,
                first: MessageNumber::new(first).unwrap(),
                created_at: Timestamp::from_micros(1_767_225_600_000_000).unwrap(),
                generation: 1,
                key: None,
                messages: (first..first + lines)
                    .map(|number| Line {
                        uid: Uuid::now_v7(),
                        body: body(number),
                        sender: Some(format!("sender {number}")),
                        sent_at: None,
                    })
                    .collect(),
            }),
        )
        .await;
        let sent = ledger.messages.entry(chat).or_default();
        sent.extend((first..first + lines).map(|number| (number, Some(body(number)))));
        first += lines;
    }
}

/// Edits one message and deletes another.
async fn change(ports: &Ports, ledger: &mut Ledger, chat: ChatKey) {
    let at = Timestamp::from_micros(1_767_225_600_000_001).unwrap();
    let body = "another word".to_owned();
    let sent = ledger.messages.get_mut(&chat).unwrap();
    sent.insert(5, Some(body.clone()));
    sent.insert(9, None);
    append(
        ports,
        Event::MessageEdited(MessageEdited {
            application_token: chat.token,
            chat_number: chat.chat,
            message_number: MessageNumber::new(5).unwrap(),
            body,
            at,
        }),
    )
    .await;
    append(
        ports,
        Event::MessageDeleted(MessageDeleted {
            application_token: chat.token,
            chat_number: chat.chat,
            message_number: MessageNumber::new(9).unwrap(),
            at,
        }),
    )
    .await;
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) fn flip(file: &Path, byte: u64, bit: u64) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[byte as usize] ^= 1 << bit;
    std::fs::write(file, bytes).unwrap();
}

/// Flips a bit in the middle of a text wherever a file holds it: old pages may hold it too.
pub(crate) fn damage(file: &Path, text: &str) {
    let mut bytes = std::fs::read(file).unwrap();
    let text = text.as_bytes();
    let places = bytes.windows(text.len()).enumerate();
    let found = places.filter(|(_, found)| *found == text).map(|(at, _)| at);
    let places: Vec<usize> = found.collect();
    assert!(!places.is_empty(), "the text is not in the file");
    for at in places {
        bytes[at + text.len() / 2] ^= 1;
    }
    std::fs::write(file, bytes).unwrap();
}
