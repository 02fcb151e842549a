//! Void rows: the place of numbers for which no record can come any more.
//!
//! Whoever asks for voids has waited until they are none of anybody's; what was waited for is proved
//! again here, in the transaction that writes them.

use chat_wire::ids::MessageNumber;
use chat_wire::time::Timestamp;

use crate::backend::Backend;
use crate::error::Error;
use crate::failpoint::{Failpoint, reach};
use crate::port::log::{Group, PartitionId};
use crate::port::signals::Subject;
use crate::port::store::{
    self, ChatKey, ChatRow, MessageKey, MessageRow, Position, State, Transaction, Writes,
};

/// Numbers that one transaction makes void.
const VOIDS_A_STEP: usize = 10_000;
/// Chats that one transaction locks.
const CHATS_A_STEP: usize = 100;
/// Numbers that one read walks over.
const NUMBERS_A_READ: u32 = 10_000;

/// Numbers of a chat, of which those without a row are to become void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) chat: ChatKey,
    /// Exclusive; what is settled where there is none.
    pub(crate) after: Option<u32>,
    /// Inclusive.
    pub(crate) through: u32,
}

/// What the store must have applied before a number without a row is one without a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) partition: PartitionId,
    /// Of the topic when the end was noted: an offset of another epoch proves nothing.
    pub(crate) epoch: u32,
    /// End of the partition, after the deadline of whoever might have appended.
    pub(crate) end: u64,
}

impl Proof {
    /// Whether a store at this position has applied everything below the end.
    pub(crate) const fn holds(&self, position: &Position) -> bool {
        self.end == 0 || (position.epoch == self.epoch && position.next >= self.end)
    }
}

/// What became of gaps.
#[derive(Debug, Default)]
pub(crate) struct Voided {
    /// Numbers that are void now.
    pub(crate) voids: u64,
    /// Chats that have no row yet.
    pub(crate) absent: Vec<ChatKey>,
    /// The store has not applied what it had to, or not any more: nothing was written.
    pub(crate) disproved: bool,
}

/// One transaction's part of that.
struct Step {
    voids: u64,
    absent: Vec<ChatKey>,
    subjects: Vec<Subject>,
    /// What is left of the gaps that it was given.
    rest: Vec<Gap>,
}

impl Backend {
    /// Makes the numbers of these gaps void that have no row, in transactions of bounded size. Whoever
    /// calls has waited until no record of theirs can come; where that has to be proved by what the
    /// store has applied, all chats belong to the partition of the proof.
    pub(crate) async fn void_all(
        &self,
        proof: Option<Proof>,
        mut gaps: Vec<Gap>,
    ) -> Result<Voided, Error> {
        // One order for everybody keeps two transactions from waiting for each other.
        gaps.sort_unstable_by_key(|gap| (gap.chat, gap.after));
        let mut voided = Voided::default();
        let mut chats = 0;
        while !gaps.is_empty() {
            let more = gaps.split_off(chats_end(&gaps));
            let Some(step) = self.void_some(proof, &gaps).await? else {
                voided.disproved = true;
                break;
            };
            chats += step.subjects.len();
            voided.voids += step.voids;
            voided.absent.extend(step.absent);
            self.ports().signals.publish(&step.subjects).await;
            gaps = step.rest;
            gaps.extend(more);
        }
        if voided.voids > 0 {
            tracing::warn!(
                chats,
                voids = voided.voids,
                "numbers that were handed out and have no record are void now"
            );
        }
        Ok(voided)
    }

    /// One transaction; `None` where the store disproves that it has applied what it had to.
    async fn void_some(&self, proof: Option<Proof>, gaps: &[Gap]) -> Result<Option<Step>, Error> {
        let store = &self.ports().store;
        let mut tx = match proof {
            None => store.begin_free().await?,
            Some(proof) => {
                let tx = store
                    .begin(Group::MessagesStore, &[proof.partition])
                    .await?;
                if !tx.positions().iter().all(|position| proof.holds(position)) {
                    return Ok(None);
                }
                tx
            }
        };
        let mut keys: Vec<ChatKey> = gaps.iter().map(|gap| gap.chat).collect();
        keys.dedup();
        let mut rows = tx.chats(&keys).await?;
        rows.sort_unstable_by_key(|row| row.key);
        let found = |chat: &ChatKey| rows.binary_search_by_key(chat, |row| row.key).is_ok();
        // Where nothing of a chat was ever stored, there is nothing that a void could be below of.
        let absent = keys.iter().copied().filter(|chat| !found(chat)).collect();
        let mut room = VOIDS_A_STEP;
        let mut step = Step {
            voids: 0,
            absent,
            subjects: Vec::new(),
            rest: Vec::new(),
        };
        for row in rows {
            let chat = row.key;
            let gaps = gaps.iter().filter(|gap| gap.chat == chat);
            self.void_chat(tx.as_mut(), row, gaps, &mut room, &mut step)
                .await?;
        }
        if step.voids > 0 {
            reach(Failpoint::VoidWriteCommit);
        }
        // The positions stay as they are.
        tx.commit(&[]).await?;
        if step.voids > 0 {
            reach(Failpoint::VoidCommitSignal);
        }
        Ok(Some(step))
    }

    async fn void_chat(
        &self,
        tx: &mut dyn Transaction,
        mut row: ChatRow,
        gaps: impl Iterator<Item = &Gap> + Send,
        room: &mut usize,
        step: &mut Step,
    ) -> Result<(), Error> {
        let chat = row.key;
        let before = (row.highest, row.settled_through);
        let mut missing = Vec::new();
        for gap in gaps {
            let after = gap.after.unwrap_or(row.settled_through);
            let found = missing.len();
            let reached =
                missing_numbers(tx, chat, after..gap.through, *room, &mut missing).await?;
            *room -= missing.len() - found;
            row.highest = row.highest.max(reached);
            if reached < gap.through {
                step.rest.push(Gap {
                    after: Some(reached),
                    ..*gap
                });
            }
        }
        let voids = missing.len() as u64;
        if voids > 0 {
            let now = self.now();
            let numbers = missing.into_iter().filter_map(MessageNumber::new);
            tx.write(Writes {
                insert_messages: numbers.map(|number| void_row(chat, number, now)).collect(),
                ..Writes::default()
            })
            .await?;
        }
        // Also over the rows that were stored meanwhile behind the gap.
        row.settled_through = run_on(tx, chat, row.settled_through).await?;
        row.highest = row.highest.max(row.settled_through);
        if voids > 0 || before != (row.highest, row.settled_through) {
            step.voids += voids;
            step.subjects.push(Subject::Chat(chat.token, chat.chat));
            tx.write(Writes {
                update_chats: vec![row],
                ..Writes::default()
            })
            .await?;
        }
        Ok(())
    }
}

/// How many of the gaps, in order of chat, one transaction may be given.
fn chats_end(gaps: &[Gap]) -> usize {
    let mut chats = 0;
    let mut last = None;
    gaps.iter()
        .position(|gap| {
            chats += usize::from(last != Some(gap.chat));
            last = Some(gap.chat);
            chats > CHATS_A_STEP
        })
        .unwrap_or(gaps.len())
}

/// Adds the numbers of a range (its start exclusive, its end inclusive) that have no row, as many as there
/// is room for; returns how far it came.
async fn missing_numbers(
    tx: &mut dyn Transaction,
    chat: ChatKey,
    range: std::ops::Range<u32>,
    room: usize,
    missing: &mut Vec<u32>,
) -> Result<u32, store::Error> {
    let last = range.end;
    let mut reached = range.start;
    let most = missing.len() + room;
    while reached < last {
        let numbers = tx.numbers_after(chat, reached, NUMBERS_A_READ).await?;
        let end = numbers.len() < NUMBERS_A_READ as usize;
        let beyond = last.saturating_add(1);
        for number in numbers.into_iter().chain(end.then_some(beyond)) {
            for gap in reached.saturating_add(1)..number.min(beyond) {
                if missing.len() == most {
                    return Ok(reached);
                }
                missing.push(gap);
                reached = gap;
            }
            reached = reached.max(number.min(last));
        }
    }
    Ok(reached)
}

/// The number up to which all have a row, from one up to which they have.
async fn run_on(tx: &mut dyn Transaction, chat: ChatKey, from: u32) -> Result<u32, store::Error> {
    let mut settled = from;
    loop {
        let numbers = tx.numbers_after(chat, settled, NUMBERS_A_READ).await?;
        for number in &numbers {
            if *number != settled.saturating_add(1) {
                return Ok(settled);
            }
            settled = *number;
        }
        if numbers.len() < NUMBERS_A_READ as usize {
            return Ok(settled);
        }
    }
}

const fn void_row(chat: ChatKey, number: MessageNumber, now: Timestamp) -> MessageRow {
    MessageRow {
        key: MessageKey { chat, number },
        uid: None,
        generation: 0,
        sender: None,
        body: String::new(),
        state: State::Void,
        sent_at: None,
        created_at: now,
        updated_at: None,
        revision: 0,
    }
}
