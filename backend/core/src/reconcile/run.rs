//! A run: an order carried out to its end, with a sign of life all the while.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use chat_wire::admin::drift::Verdict;
use chat_wire::admin::reconcile::{Act, Order, Outcome, Phase, Run, Runs, Step};
use chat_wire::admin::stats::DriftSeen;
use chat_wire::ids::AppToken;
use chat_wire::time::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::book::{BEAT, Entry, Heard, LEASE, Spot, Wanted};
use super::compare::Depth;
use super::judge::{Compared, Finding};
use crate::backend::Backend;
use crate::error::Error;
use crate::event::Event;
use crate::limits::Broken;
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
/// Chats that a run of what changed compares beside those, one after the other through all there are:
/// what was changed by hand is found too, at a cost that does not grow with what exists.
const PATROL_CHATS: u32 = 1_000;
/// Messages of them.
const PATROL_MESSAGES: u64 = 200_000;
/// Minutes before its begin from which on the next run looks at changes again: clocks of workers
/// differ, and a row is committed after its minute was written.
const OVERLAP_MINUTES: u32 = 5;

/// A run that has begun and is to be carried out.
#[derive(Debug)]
pub struct Work {
    entry: Entry,
}

impl Work {
    /// As it begins.
    #[must_use]
    pub const fn run(&self) -> &Run {
        &self.entry.run
    }
}

/// Why a run ends before its end.
enum Halt {
    Cancelled,
    Lost,
    Closing,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

const GO_ON: u8 = 0;
const CANCELLED: u8 = 1;
const LOST: u8 = 2;

/// What the run and its sign of life share.
struct Progress {
    entry: Mutex<Entry>,
    heard: AtomicU8,
}

impl Progress {
    fn change<T>(&self, change: impl FnOnce(&mut Entry) -> T) -> T {
        change(&mut self.entry.lock())
    }

    fn phase(&self, phase: Phase) {
        self.change(|entry| entry.run.phase = phase);
    }
}

/// One pass of a run over chats.
struct Pass<'a> {
    backend: &'a Backend,
    progress: &'a Progress,
    order: Order,
    seen: HashSet<ChatKey>,
    tokens: BTreeSet<AppToken>,
    /// Chats with numbers on their way, to be judged when waiting has told.
    later: Vec<ChatKey>,
}

impl Backend {
    /// Begins a run, if none is at work in any process; it is to be carried out then.
    ///
    /// # Errors
    /// [`Error::Busy`] names who holds it; [`Error::Invalid`], [`Error::UnknownApplication`] and
    /// [`Error::UnknownChat`] where the order names nothing; those of the store.
    pub async fn begin_run(&self, order: Order) -> Result<Work, Error> {
        let store = &self.ports().store;
        match (order.token, order.chat) {
            (None, Some(_)) => {
                return Err(Broken::new("token", "must be given with a chat").into());
            }
            (Some(token), None) if store.application(token).await?.is_none() => {
                return Err(Error::UnknownApplication);
            }
            (Some(token), Some(chat)) if store.chat(ChatKey { token, chat }).await?.is_none() => {
                return Err(Error::UnknownChat);
            }
            _ => {}
        }
        let entry = self.begin_entry(Wanted::Order(order)).await?;
        Ok(Work { entry })
    }

    /// Begins the run that is due: what was left unfinished, or what changed since the last one.
    ///
    /// # Errors
    /// As [`Backend::begin_run`].
    pub async fn begin_due_run(&self) -> Result<Work, Error> {
        let entry = self.begin_entry(Wanted::Schedule).await?;
        Ok(Work { entry })
    }

    /// The run at work in whichever process, and the last one.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn runs(&self) -> Result<Runs, Error> {
        let book = self.book().await?;
        Ok(Runs {
            current: book.current().cloned(),
            last: book.last,
        })
    }

    /// Asks the run at work, in whichever process, to end after its step.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn cancel_run(&self) -> Result<Runs, Error> {
        self.cancel_entry().await?;
        self.runs().await
    }

    /// What the last run found, in whichever process; `None` before the first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn drift_seen(&self) -> Result<Option<DriftSeen>, Error> {
        let runs = self.runs().await?;
        Ok(runs.last.map(|last| DriftSeen {
            at: last.ended_at.unwrap_or(last.started_at),
            summary: last.summary,
            running: runs.current.map(|run| run.phase),
        }))
    }

    /// Carries a run out to its end and writes down how it ended.
    pub async fn carry_out(&self, work: Work) -> Run {
        let _working = self.reconciler().working.lock().await;
        let order = work.entry.run.order;
        let began = Timestamp::now();
        let progress = Arc::new(Progress {
            entry: Mutex::new(work.entry),
            heard: AtomicU8::new(GO_ON),
        });
        let life = tokio::spawn(live(self.clone(), Arc::clone(&progress)));
        let mut pass = Pass {
            backend: self,
            progress: &progress,
            order,
            seen: HashSet::new(),
            tokens: BTreeSet::new(),
            later: Vec::new(),
        };
        let ended = pass.all().await;
        life.abort();
        let patrol = ended.as_ref().copied().unwrap_or_default();
        let (phase, detail) = match &ended {
            Ok(_) => (Phase::Finished, None),
            Err(Halt::Cancelled) => (Phase::Cancelled, None),
            Err(Halt::Lost) => (
                Phase::Failed,
                Some("another process took the run over".to_owned()),
            ),
            Err(Halt::Closing) => (
                Phase::Failed,
                Some("the server stops; the next run goes on".to_owned()),
            ),
            Err(Halt::Failed(error)) => (Phase::Failed, Some(error.to_string())),
        };
        let entry = progress.change(|entry| {
            entry.run.phase = phase;
            entry.run.detail = detail;
            entry.run.ended_at = Some(Timestamp::now());
            entry.clone()
        });
        let everything = order.token.is_none() && order.execute && ended.is_ok();
        let written = self.end_entry(&entry, phase == Phase::Failed, |book| {
            if everything {
                book.since = began.unix_minute().saturating_sub(OVERLAP_MINUTES);
                book.patrol = patrol;
            }
        });
        if let Err(error) = written.await {
            tracing::warn!(%error, "the end of a reconciliation is not written down; its lease ends it");
        }
        tell(&entry.run);
        entry.run
    }
}

/// One line for whoever reads the log; nothing where there was nothing to say.
fn tell(run: &Run) {
    let Run {
        planned,
        done,
        waits,
        failed,
        summary,
        ..
    } = run;
    let compared = summary.compared;
    match (&run.detail, planned) {
        (Some(detail), _) => tracing::warn!(
            compared,
            planned,
            done,
            waits,
            failed,
            "a reconciliation ended before its end: {detail}"
        ),
        (None, 0) => tracing::debug!(compared, "a reconciliation found nothing to do"),
        (None, _) => tracing::info!(
            compared,
            planned,
            done,
            waits,
            failed,
            execute = run.order.execute,
            "a reconciliation has ended"
        ),
    }
}

/// Gives signs of life until it is aborted, and hears whether to go on.
async fn live(backend: Backend, progress: Arc<Progress>) {
    let mut last = Instant::now();
    loop {
        tokio::time::sleep(BEAT).await;
        let entry = progress.change(|entry| entry.clone());
        match backend.beat(&entry).await {
            Ok(Heard::GoOn) => last = Instant::now(),
            Ok(Heard::Cancelled) => {
                last = Instant::now();
                progress.heard.store(CANCELLED, Ordering::Release);
            }
            Ok(Heard::Lost) => progress.heard.store(LOST, Ordering::Release),
            // Others take the run for dead by then.
            Err(_) if last.elapsed() >= LEASE => progress.heard.store(LOST, Ordering::Release),
            Err(error) => tracing::warn!(%error, "a reconciliation could give no sign of life"),
        }
    }
}

impl Pass<'_> {
    /// Whether to go on; asked between any two steps.
    fn check(&self) -> Result<(), Halt> {
        match self.progress.heard.load(Ordering::Acquire) {
            CANCELLED => Err(Halt::Cancelled),
            LOST => Err(Halt::Lost),
            _ if self.backend.reconciler().is_closing() => Err(Halt::Closing),
            _ => Ok(()),
        }
    }

    /// Everything that was ordered; returns where the patrol goes on.
    async fn all(&mut self) -> Result<Option<Spot>, Halt> {
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
                let from = self.progress.change(|entry| entry.spot);
                self.sweep(from, u32::MAX, u64::MAX, true).await?;
                self.backend.book().await?.patrol
            }
            (None, _) => self.changed().await?,
        };
        self.later().await?;
        Ok(patrol)
    }

    async fn one_application(&mut self, token: AppToken) -> Result<(), Halt> {
        let depth = match self.order.full {
            true => Depth::Each,
            false => Depth::Counts,
        };
        let from = self.progress.change(|entry| entry.spot);
        let mut after = from.map_or(0, |spot| spot.after);
        loop {
            let mut chats = Vec::new();
            let next = self
                .backend
                .add_chats(&mut chats, token, after, BATCH)
                .await?;
            let keys: Vec<ChatKey> = chats.into_iter().map(|(key, _)| key).collect();
            self.chats(&keys, depth).await?;
            self.progress.change(|entry| entry.spot = next);
            match next {
                Some(spot) => after = spot.after,
                None => return Ok(()),
            }
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
            self.applications(stretch.tokens).await?;
            let messages: u64 = stretch.chats.iter().map(|(_, high)| u64::from(*high)).sum();
            let keys: Vec<ChatKey> = stretch.chats.into_iter().map(|(key, _)| key).collect();
            self.chats(&keys, Depth::Each).await?;
            spot = stretch.next;
            if resumable {
                self.progress.change(|entry| entry.spot = spot);
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
        let (mut minute, mut after) = (book.since, None);
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
            let outcome = self.backend.act(counter, finding).await;
            self.list(counter, finding, Some(outcome));
        }
        self.progress.phase(Phase::Comparing);
        Ok(())
    }

    fn list(&self, counter: Counter, finding: Finding, outcome: Option<Outcome>) {
        let (token, chat) = match counter {
            Counter::Chats(token) => (token, None),
            Counter::Messages(key) => (key.token, Some(key.chat)),
        };
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
