//! A pass: along everything that was ordered, comparing, and acting where that was ordered too.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use chat_wire::admin::drift::Verdict;
use chat_wire::admin::reconcile::{Act, Order, Outcome, Phase, Step};
use chat_wire::ids::AppToken;
use tokio::time::Instant;

use super::book::Spot;
use super::compare::Depth;
use super::judge::{Compared, Finding};
use super::run::{Halt, Progress};
use crate::backend::Backend;
use crate::event::Event;
use crate::port::counters::Counter;
use crate::port::log::{Group, Topic};
use crate::port::store::ChatKey;

/// Chats that are compared together.
const BATCH: u32 = 100;
/// Pause behind each batch: whoever serves requests on the same engines comes first.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a batch waits for the index to read on, before what differs counts as on its way.
const INDEX_PATIENCE: Duration = Duration::from_secs(2);
/// How long the store may take to pass the end of the log that was noted for lost numbers.
const STORE_PATIENCE: Duration = Duration::from_secs(15);
/// Between two looks while something is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Steps that a run lists; it counts all.
const STEPS_LISTED: usize = 1_000;
/// Chats with numbers on their way that wait for the end of a run.
const LATER_MAX: usize = 50_000;
/// How long an index may remember what was deleted: Elasticsearch does for 60 s (`index.gc_deletes`),
/// and looks every few seconds.
const INDEX_FORGETS: Duration = Duration::from_secs(90);
/// Between two tries of what the index puts off.
const AGAIN_PAUSE: Duration = Duration::from_secs(5);
/// Steps that are tried again.
const AGAIN_MAX: usize = 10_000;
/// Chats that a run of what changed compares beside those, one after the other through all there are:
/// what was changed by hand is found too, at a cost that does not grow with what exists.
const PATROL_CHATS: u32 = 1_000;
/// About so many messages of them: their rows are counted.
const PATROL_MESSAGES: u64 = 200_000;

/// One pass of a run over chats.
pub(super) struct Pass<'a> {
    backend: &'a Backend,
    progress: &'a Progress,
    order: Order,
    seen: HashSet<ChatKey>,
    tokens: BTreeSet<AppToken>,
    /// Chats with numbers on their way, to be judged when waiting has told.
    later: Vec<ChatKey>,
    /// Steps that the index puts off.
    again: Vec<(Counter, Finding)>,
    /// Chats of which the index may lack documents in the end, for all that is known.
    lacking: BTreeSet<ChatKey>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(backend: &'a Backend, progress: &'a Progress, order: Order) -> Self {
        Self {
            backend,
            progress,
            order,
            seen: HashSet::new(),
            tokens: BTreeSet::new(),
            later: Vec::new(),
            again: Vec::new(),
            lacking: BTreeSet::new(),
        }
    }

    /// Whether everything was compared with its documents, and what differed was mended.
    pub(super) fn has_all_documents(&self) -> bool {
        self.lacking.is_empty()
    }

    /// Whether to go on; asked between any two steps.
    fn check(&self) -> Result<(), Halt> {
        self.progress.check(self.backend)
    }

    /// Everything that was ordered; returns where the patrol goes on.
    pub(super) async fn all(&mut self) -> Result<Option<Spot>, Halt> {
        let patrol = match (self.order.token, self.order.chat) {
            (Some(token), Some(chat)) => {
                self.chats(&[ChatKey { token, chat }], Depth::Each).await?;
                None
            }
            (Some(token), None) => {
                self.applications(vec![token]).await?;
                self.one_application(token).await?;
                None
            }
            (None, _) if self.order.full => {
                let from = self.progress.change(|entry| entry.spot());
                self.sweep(from, u32::MAX, u64::MAX, true).await?;
                self.backend.book().await?.patrol
            }
            (None, _) => self.changed().await?,
        };
        self.later().await?;
        self.again().await?;
        Ok(patrol)
    }

    async fn one_application(&mut self, token: AppToken) -> Result<(), Halt> {
        let depth = match self.order.full {
            true => Depth::Each,
            false => Depth::Counts,
        };
        let from = self.progress.change(|entry| entry.spot());
        let mut after = from.map_or(0, |spot| spot.after);
        loop {
            let mut chats = Vec::new();
            let next = self
                .backend
                .add_chats(&mut chats, token, after, BATCH)
                .await?;
            let keys: Vec<ChatKey> = chats.into_iter().map(|(key, _)| key).collect();
            self.chats(&keys, depth).await?;
            self.reach(next);
            match next {
                Some(spot) => after = spot.after,
                None => return Ok(()),
            }
        }
    }

    /// Notes how far the walk is, unless something before this waits for the end of the run: whoever
    /// goes on has to meet it again.
    fn reach(&self, spot: Option<Spot>) {
        if self.later.is_empty() && self.again.is_empty() {
            self.progress.change(|entry| entry.reach(spot));
        }
    }

    /// Along everything from a spot on, as far as these limits; keeps the spot where `resumable`.
    async fn sweep(
        &mut self,
        from: Option<Spot>,
        mut chats_left: u32,
        mut messages_left: u64,
        resumable: bool,
    ) -> Result<Option<Spot>, Halt> {
        let mut spot = from;
        loop {
            let stretch = self.backend.walk_on(spot, BATCH.min(chats_left)).await?;
            let stretch = stretch.within(messages_left);
            self.applications(stretch.tokens).await?;
            let messages: u64 = stretch.chats.iter().map(|(_, high)| u64::from(*high)).sum();
            let keys: Vec<ChatKey> = stretch.chats.into_iter().map(|(key, _)| key).collect();
            self.chats(&keys, Depth::Each).await?;
            spot = stretch.next;
            if resumable {
                self.reach(spot);
            }
            chats_left = chats_left.saturating_sub(u32::try_from(keys.len()).unwrap_or(u32::MAX));
            messages_left = messages_left.saturating_sub(messages);
            if spot.is_none() || chats_left == 0 || messages_left == 0 {
                return Ok(spot);
            }
        }
    }

    /// What somebody found, a piece of everything, and what changed since the last run.
    async fn changed(&mut self) -> Result<Option<Spot>, Halt> {
        let book = self.backend.book().await?;
        let suspects = self.backend.reconciler().take_suspects();
        self.chats(&suspects, Depth::Each).await?;
        // The patrol first: it compares more closely, and what it has met is not compared again.
        let patrol = self
            .sweep(book.patrol, PATROL_CHATS, PATROL_MESSAGES, false)
            .await?;
        // A run under a clock that was ahead left a beginning in the future: everything may have changed
        // since the one before it.
        let now = self.backend.trusted_now().unix_minute();
        let since = if book.since > now { 0 } else { book.since };
        let (mut minute, mut after) = (since, None);
        loop {
            let store = &self.backend.ports().store;
            let changed = store.changed_chats(minute, after, BATCH).await?;
            let keys: Vec<ChatKey> = changed.iter().map(|(_, key)| *key).collect();
            let tokens: BTreeSet<AppToken> = keys.iter().map(|key| key.token).collect();
            self.applications(tokens.into_iter().collect()).await?;
            self.chats(&keys, Depth::Counts).await?;
            match changed.last() {
                Some((last, key)) if changed.len() >= BATCH as usize => {
                    (minute, after) = (*last, Some(*key));
                }
                _ => return Ok(patrol),
            }
        }
    }

    async fn applications(&mut self, tokens: Vec<AppToken>) -> Result<(), Halt> {
        self.check()?;
        let mut fresh = tokens;
        fresh.retain(|token| self.tokens.insert(*token));
        if fresh.is_empty() {
            return Ok(());
        }
        let compared = self.backend.compare_applications(&fresh).await?;
        self.settle(compared).await
    }

    async fn chats(&mut self, keys: &[ChatKey], depth: Depth) -> Result<(), Halt> {
        let fresh: Vec<ChatKey> = keys
            .iter()
            .filter(|key| self.seen.insert(**key))
            .copied()
            .collect();
        for keys in fresh.chunks(BATCH as usize) {
            self.check()?;
            let compared = self
                .backend
                .compare_chats(keys, depth, INDEX_PATIENCE)
                .await?;
            let (later, now): (Vec<Compared>, Vec<Compared>) = compared
                .into_iter()
                .partition(|one| one.may_be_void && self.later.len() < LATER_MAX);
            self.later.extend(later.iter().filter_map(key));
            self.settle(now).await?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Waits until it is known which of the numbers on their way will never come, and judges then.
    async fn later(&mut self) -> Result<(), Halt> {
        let later = std::mem::take(&mut self.later);
        if later.is_empty() {
            return Ok(());
        }
        self.ripen(&later).await?;
        for keys in later.chunks(BATCH as usize) {
            self.check()?;
            // Once to note the end of the log where the wait is over, once to see it passed.
            self.backend
                .compare_chats(keys, Depth::Counts, Duration::ZERO)
                .await?;
        }
        self.pass_ends(&later).await?;
        for keys in later.chunks(BATCH as usize) {
            self.check()?;
            let compared = self
                .backend
                .compare_chats(keys, Depth::Each, INDEX_PATIENCE)
                .await?;
            self.settle(compared).await?;
        }
        Ok(())
    }

    /// Tries once more what the index put off, until it takes it or forgets nothing in a long while.
    async fn again(&mut self) -> Result<(), Halt> {
        let deadline = Instant::now() + INDEX_FORGETS;
        let mut waiting = std::mem::take(&mut self.again);
        while !waiting.is_empty() {
            self.progress.phase(Phase::Acting);
            let pause = Instant::now() + AGAIN_PAUSE;
            while Instant::now() < pause {
                self.check()?;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            let last = Instant::now() >= deadline;
            for (counter, finding) in std::mem::take(&mut waiting) {
                self.check()?;
                match self.backend.act(counter, finding, last).await {
                    Outcome::Waits(_) if !last => waiting.push((counter, finding)),
                    outcome => self.list(counter, finding, Some(outcome)),
                }
            }
        }
        Ok(())
    }

    async fn ripen(&self, keys: &[ChatKey]) -> Result<(), Halt> {
        let counters: Vec<Counter> = keys.iter().map(|key| Counter::Messages(*key)).collect();
        let youngest = self.backend.reconciler().sightings.youngest(&counters);
        let ripe = youngest.map(|since| since + self.backend.under_way());
        while ripe.is_some_and(|ripe| Instant::now() < ripe) {
            self.check()?;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Waits until the store has passed the ends that the log has now, or for as long as is bearable.
    async fn pass_ends(&self, keys: &[ChatKey]) -> Result<(), Halt> {
        let log = &self.backend.ports().log;
        let mut partitions = HashSet::new();
        for key in keys {
            let record_key = Event::message_key(*key);
            partitions.insert(log.partition_of(Topic::Messages, &record_key).await?);
        }
        let group = Group::MessagesStore;
        let places = self.backend.places(group, partitions.into_iter()).await?;
        let deadline = Instant::now() + STORE_PATIENCE;
        for (partition, place) in places {
            let store = &self.backend.ports().store;
            while store.position(group, partition).await?.next < place.end
                && Instant::now() < deadline
            {
                self.check()?;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }

    /// Counts what was found, and acts where that was ordered.
    async fn settle(&mut self, compared: Vec<Compared>) -> Result<(), Halt> {
        let mut found: Vec<(Counter, Finding)> = Vec::new();
        for one in compared {
            let verdict: Verdict = one.drift.verdict;
            if let Some(chat) = key(&one).filter(|_| one.may_lack_documents) {
                self.lacking.insert(chat);
            }
            self.progress.change(|entry| entry.run.summary.add(verdict));
            let counter = key(&one).map_or(Counter::Chats(one.drift.token), Counter::Messages);
            found.extend(one.findings.into_iter().map(|finding| (counter, finding)));
        }
        if found.is_empty() {
            return Ok(());
        }
        self.progress
            .change(|entry| entry.run.planned += found.len() as u64);
        if !self.order.execute {
            for (counter, finding) in found {
                self.list(counter, finding, None);
            }
            return Ok(());
        }
        self.progress.phase(Phase::Acting);
        let (counters, mut others): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|(_, finding)| finding.act == Act::RaiseCounter);
        self.check()?;
        let outcomes = self.backend.raise_counters(&counters).await;
        for ((counter, finding), outcome) in counters.into_iter().zip(outcomes) {
            self.list(counter, finding, Some(outcome));
        }
        // Voids come before what is counted and indexed of the rows.
        others.sort_by_key(|(_, finding)| finding.act != Act::VoidHoles);
        for (counter, finding) in others {
            self.check()?;
            match self.backend.act(counter, finding, false).await {
                Outcome::Waits(_) if self.again.len() < AGAIN_MAX => {
                    self.again.push((counter, finding));
                }
                outcome => self.list(counter, finding, Some(outcome)),
            }
        }
        self.progress.phase(Phase::Comparing);
        Ok(())
    }

    fn list(&mut self, counter: Counter, finding: Finding, outcome: Option<Outcome>) {
        let (token, chat) = match counter {
            Counter::Chats(token) => (token, None),
            Counter::Messages(key) => (key.token, Some(key.chat)),
        };
        // What was only planned, or not done, is looked at by the next run wherever that goes.
        if let (Counter::Messages(key), None | Some(Outcome::Waits(_) | Outcome::Failed(_))) =
            (counter, &outcome)
        {
            self.backend.reconciler().suspect(key);
        }
        if let (Counter::Messages(chat), Act::Reindex) = (counter, finding.act)
            && !matches!(outcome, Some(Outcome::Done | Outcome::Unneeded))
        {
            self.lacking.insert(chat);
        }
        self.progress.change(|entry| {
            let run = &mut entry.run;
            match &outcome {
                None => {}
                Some(Outcome::Done | Outcome::Unneeded) => run.done += 1,
                Some(Outcome::Waits(_)) => run.waits += 1,
                Some(Outcome::Failed(_)) => run.failed += 1,
            }
            if run.steps.len() < STEPS_LISTED {
                run.steps.push(Step {
                    act: finding.act,
                    token,
                    chat,
                    from: finding.from,
                    to: finding.to,
                    outcome,
                });
            }
        });
    }
}

fn key(compared: &Compared) -> Option<ChatKey> {
    compared.drift.chat.map(|chat| ChatKey {
        token: compared.drift.token,
        chat,
    })
}
