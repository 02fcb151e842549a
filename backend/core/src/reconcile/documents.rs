//! Documents beside rows: which messages the index lacks, which documents have no message, and mending both.
//!
//! Numbers and revisions are compared, not only how many there are: a document that is missing and one
//! too many would hide each other.

use std::collections::{HashMap, HashSet};

use chat_wire::ids::MessageNumber;

use crate::backend::Backend;
use crate::error::Error;
use crate::event::{Event, epoch_floor, epoch_of};
use crate::index;
use crate::port::log::{Group, Topic};
use crate::port::search::{Document, Indexed, Listed};
use crate::port::store::{ChatKey, MessageKey, MessageRow, State, Writes};

/// Messages of one look at rows or at the index.
const LOOK: u32 = 10_000;
/// Documents that are written together: bodies are up to 64 KiB.
const BATCH: usize = 500;
/// Messages that a comparison names; what it counts has no limit.
const SAMPLES: usize = 1_000;

/// How a message differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Difference {
    /// It is live with this revision, and the index has it not, or with an older one.
    Missing(MessageNumber, u64),
    /// The index has it with this revision, and it is not live, or the row is older.
    Orphan(MessageNumber, u64),
}

/// What a walk along a chat found.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Documents that are no tombstones.
    pub(super) documents: u64,
    pub(super) missing: u64,
    pub(super) orphans: u64,
    /// The first of them.
    pub(super) samples: HashSet<Difference>,
}

/// What mending did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Mended {
    /// Documents that say now what their rows say.
    pub(super) indexed: u64,
    /// Documents that are tombstones now.
    pub(super) removed: u64,
    /// Documents that the index refuses.
    pub(super) refused: u64,
    /// Differences, the first of them, of which the index says that it knows a newer revision.
    newer: HashSet<Difference>,
    /// What the index remembers for a while only, it would have forgotten by now.
    pub(super) has_waited: bool,
}

impl Backend {
    /// Walks along the rows and the documents of a chat. Under traffic some differences pass: only what
    /// a second walk finds again, after the index has read on, is one.
    pub(super) async fn walk_documents(&self, chat: ChatKey) -> Result<Walk, Error> {
        let mut walk = Walk::default();
        let mut after = 0;
        loop {
            let (differences, documents, through) = self.stretch(chat, after).await?;
            walk.documents += documents;
            for difference in differences {
                match difference {
                    Difference::Missing(..) => walk.missing += 1,
                    Difference::Orphan(..) => walk.orphans += 1,
                }
                if walk.samples.len() < SAMPLES {
                    walk.samples.insert(difference);
                }
            }
            match through {
                Some(through) => after = through,
                None => return Ok(walk),
            }
        }
    }

    /// Compares from one number on; tells where the next stretch begins.
    async fn stretch(
        &self,
        chat: ChatKey,
        after: u32,
    ) -> Result<(Vec<Difference>, u64, Option<u32>), Error> {
        let ports = self.ports();
        let rows = ports.store.revisions(chat, after, LOOK).await?;
        let full = rows.len() >= LOOK as usize;
        let through = rows.last().filter(|_| full).map(|(number, _)| *number);
        let documents = self.listed(chat, after, through).await?;
        let count = documents.len() as u64;
        let mut there: HashMap<u32, u64> = documents
            .into_iter()
            .map(|listed| (listed.number.get(), listed.revision))
            .collect();
        let mut differences = Vec::new();
        for (number, revision) in rows {
            let Some(name) = MessageNumber::new(number) else {
                continue;
            };
            match there.remove(&number) {
                Some(found) if found == revision => {}
                Some(found) if found > revision => {
                    differences.push(Difference::Orphan(name, found));
                }
                _ => differences.push(Difference::Missing(name, revision)),
            }
        }
        let orphans = there.into_iter().filter_map(|(number, revision)| {
            MessageNumber::new(number).map(|number| Difference::Orphan(number, revision))
        });
        differences.extend(orphans);
        differences.sort_unstable();
        Ok((differences, count, through))
    }

    async fn listed(
        &self,
        chat: ChatKey,
        after: u32,
        through: Option<u32>,
    ) -> Result<Vec<Listed>, Error> {
        let mut found: Vec<Listed> = Vec::new();
        let mut behind = after;
        loop {
            let page = self
                .ports()
                .search
                .list(chat, behind, LOOK as usize)
                .await?;
            let full = page.len() >= LOOK as usize;
            let inside = |listed: &Listed| through.is_none_or(|last| listed.number.get() <= last);
            let all_inside = page.iter().all(inside);
            let last = page.last().map(|listed| listed.number.get());
            found.extend(page.into_iter().filter(inside));
            match last {
                Some(last) if full && all_inside => behind = last,
                _ => return Ok(found),
            }
        }
    }

    /// Indexes what is missing and removes what has no live message. Safe at any time: what is written
    /// is a row as it is stored, with its revision, and a document of a newer one stays.
    pub(super) async fn mend_documents(
        &self,
        chat: ChatKey,
        has_waited: bool,
    ) -> Result<Mended, Error> {
        let mut mended = Mended {
            has_waited,
            ..Mended::default()
        };
        let mut after = 0;
        loop {
            let (differences, _, through) = self.stretch(chat, after).await?;
            for some in differences.chunks(BATCH) {
                self.mend(chat, some, &mut mended).await?;
            }
            match through {
                Some(through) => after = through,
                None => return Ok(mended),
            }
        }
    }

    /// Whether something stays as it was although the index was told: it remembers a newer revision.
    /// Elasticsearch does so for a minute of a document that somebody deleted by hand.
    pub(super) async fn still_differs(
        &self,
        chat: ChatKey,
        mended: &Mended,
    ) -> Result<bool, Error> {
        if mended.newer.is_empty() {
            return Ok(false);
        }
        let walk = self.walk_documents(chat).await?;
        Ok(!walk.samples.is_disjoint(&mended.newer))
    }

    async fn mend(
        &self,
        chat: ChatKey,
        differences: &[Difference],
        mended: &mut Mended,
    ) -> Result<(), Error> {
        let ports = self.ports();
        let keys: Vec<MessageKey> = differences
            .iter()
            .map(|difference| match difference {
                Difference::Missing(number, _) | Difference::Orphan(number, _) => MessageKey {
                    chat,
                    number: *number,
                },
            })
            .collect();
        // The rows are read after the documents were: a document was made of a row, so a row that is
        // not live now makes an orphan of what was there before.
        let rows = ports.store.messages_by_key(&keys).await?;
        let mut rows: HashMap<MessageKey, _> = rows.into_iter().map(|row| (row.key, row)).collect();
        let mut documents = Vec::with_capacity(keys.len());
        let mut made: Vec<Difference> = Vec::with_capacity(keys.len());
        for (key, difference) in keys.into_iter().zip(differences) {
            match (rows.remove(&key).and_then(index::document), difference) {
                // A deleted message stays deleted: its tombstone may outdo a document of a later epoch, whose
                // events log and store have lost.
                (Some(document), Difference::Orphan(_, revision)) if document.body.is_none() => {
                    documents.push(Document {
                        revision: document.revision.max(*revision),
                        ..document
                    });
                }
                (Some(document), _) => documents.push(document),
                // Its number was never used, or is void: the document becomes a tombstone under its
                // own revision, which a delete would forget (invariant: tombstones-stay).
                (None, Difference::Orphan(_, revision)) => documents.push(Document {
                    key,
                    revision: *revision,
                    created_at: self.now(),
                    body: None,
                }),
                (None, Difference::Missing(..)) => continue,
            }
            made.push(*difference);
        }
        let told: Vec<(MessageKey, bool)> = documents
            .iter()
            .map(|document| (document.key, document.body.is_some()))
            .collect();
        let verdicts = ports.search.repair(documents).await?;
        let mut outdone = Vec::new();
        for (((key, live), difference), verdict) in told.into_iter().zip(made).zip(verdicts) {
            match verdict {
                Indexed::Done if live => mended.indexed += 1,
                Indexed::Done => mended.removed += 1,
                Indexed::Newer if live => outdone.push((key, difference)),
                // Mostly somebody was faster, with what is newer.
                Indexed::Newer if mended.newer.len() < SAMPLES => {
                    mended.newer.insert(difference);
                }
                Indexed::Newer => {}
                Indexed::Refused(reason) => {
                    mended.refused += 1;
                    tracing::error!(
                        chat.number = chat.chat.get(),
                        message.number = key.number.get(),
                        reason,
                        "the index refuses a message; it is stored and cannot be found"
                    );
                }
            }
        }
        self.outdo(chat, outdone, mended).await
    }

    /// Begins a new epoch where the index knows a revision of this epoch, or of a later one, that no record has:
    /// the store has applied all that there is. An epoch that the store has forgotten was given a second time then.
    async fn outdo_epoch(
        &self,
        chat: ChatKey,
        outdone: &[(MessageKey, Difference)],
        has_waited: bool,
    ) -> Result<(), Error> {
        let ports = self.ports();
        let epoch = ports.log.epoch(Topic::Messages).await?;
        let floor = epoch_floor(epoch);
        let known: HashMap<MessageKey, u64> = outdone
            .iter()
            .filter_map(|(key, difference)| match difference {
                Difference::Orphan(_, known) => Some((*key, *known)),
                // The revision of a tombstone is not told. Without an epoch that was raised, the index may only
                // remember for a while what somebody deleted by hand.
                Difference::Missing(_, revision) => {
                    (epoch > 0 || has_waited).then_some((*key, revision + 1))
                }
            })
            .filter(|(_, known)| *known >= floor)
            .collect();
        if known.is_empty() {
            return Ok(());
        }
        let record_key = Event::message_key(chat);
        let partition = ports.log.partition_of(Topic::Messages, &record_key).await?;
        // The index was given its document before this, and the log the record before that.
        let Some(proof) = self.note_end(partition).await? else {
            return Ok(());
        };
        let position = ports
            .store
            .position(Group::MessagesStore, partition)
            .await?;
        if !proof.holds(&position) {
            return Ok(());
        }
        let keys: Vec<MessageKey> = known.keys().copied().collect();
        let rows = ports.store.messages_by_key(&keys).await?;
        let outdoes =
            |row: &&MessageRow| row.state == State::Live && row.revision < known[&row.key];
        let Some(highest) = rows.iter().filter(outdoes).map(|row| known[&row.key]).max() else {
            return Ok(());
        };
        let raised = ports
            .log
            .raise_epoch(Topic::Messages, epoch_of(highest))
            .await?;
        tracing::error!(
            epoch = raised,
            chat.number = chat.chat.get(),
            "the index knows revisions that no record of the log has: the store has forgotten an epoch; going on in \
             a new one"
        );
        Ok(())
    }

    /// Indexes live rows of which the index knows a newer revision. Mostly somebody was faster, and the
    /// row says so by now. Where the revision is of an earlier epoch, the event that it is of is gone from
    /// log and store: the row is given a revision above all earlier epochs, and below everything that may
    /// still come in this one.
    async fn outdo(
        &self,
        chat: ChatKey,
        outdone: Vec<(MessageKey, Difference)>,
        mended: &mut Mended,
    ) -> Result<(), Error> {
        if outdone.is_empty() {
            return Ok(());
        }
        let ports = self.ports();
        self.outdo_epoch(chat, &outdone, mended.has_waited).await?;
        let floor = epoch_floor(ports.log.epoch(Topic::Messages).await?);
        let keys: Vec<MessageKey> = outdone.iter().map(|(key, _)| *key).collect();
        let mut tx = ports.store.begin_free().await?;
        // Whoever applies records of this chat waits for its row.
        tx.chats(&[chat]).await?;
        let mut rows = tx.messages(&keys).await?;
        rows.retain(|row| row.state == State::Live && row.revision < floor);
        for row in &mut rows {
            row.revision = floor;
        }
        let raised: Vec<MessageKey> = rows.iter().map(|row| row.key).collect();
        let documents: Vec<Document> = rows.iter().cloned().filter_map(index::document).collect();
        if !rows.is_empty() {
            tx.write(Writes {
                update_messages: rows,
                ..Writes::default()
            })
            .await?;
            tx.commit(&[]).await?;
            tracing::warn!(
                chat.number = chat.chat.get(),
                messages = raised.len(),
                "the index knows revisions of a log that is gone; these messages are given new ones"
            );
        }
        for verdict in ports.search.repair(documents).await? {
            mended.indexed += u64::from(verdict == Indexed::Done);
        }
        for (key, difference) in outdone {
            if !raised.contains(&key) && mended.newer.len() < SAMPLES {
                mended.newer.insert(difference);
            }
        }
        Ok(())
    }
}
