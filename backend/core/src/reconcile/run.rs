//! A run: an order carried out to its end, with a sign of life all the while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use chat_wire::admin::reconcile::{Order, Phase, Run, Runs};
use chat_wire::admin::stats::DriftSeen;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::book::{BEAT, Entry, Heard, LEASE, Wanted};
use super::pass::Pass;
use crate::backend::Backend;
use crate::error::Error;
use crate::limits::Broken;
use crate::port::search::{self, IndexPosition};
use crate::port::store::ChatKey;

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
pub(super) enum Halt {
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
pub(super) struct Progress {
    entry: Mutex<Entry>,
    heard: AtomicU8,
}

impl Progress {
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Entry) -> T) -> T {
        change(&mut self.entry.lock())
    }

    pub(super) fn phase(&self, phase: Phase) {
        self.change(|entry| entry.run.phase = phase);
    }

    /// Whether to go on.
    pub(super) fn check(&self, backend: &Backend) -> Result<(), Halt> {
        match self.heard.load(Ordering::Acquire) {
            CANCELLED => Err(Halt::Cancelled),
            LOST => Err(Halt::Lost),
            _ if backend.reconciler().is_closing() => Err(Halt::Closing),
            _ => Ok(()),
        }
    }
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
        // An index that lacks what the log does not have any more is filled from the rows.
        let wanted = match self.lacking_positions().await {
            Ok(lacking) if lacking.is_empty() => Wanted::Schedule,
            Ok(_) => Wanted::Order(Order {
                token: None,
                chat: None,
                full: true,
                execute: true,
            }),
            // Where the index does not answer, the rest is compared all the same.
            Err(Error::Search(_)) => Wanted::Schedule,
            Err(error) => return Err(error),
        };
        let entry = self.begin_entry(wanted).await?;
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
        // What changes after a jump ahead of the clock should not seem to be older than this run.
        let began = self.trusted_now();
        let goes_on = work.entry.mark.is_some();
        let progress = Arc::new(Progress {
            entry: Mutex::new(work.entry),
            heard: AtomicU8::new(GO_ON),
        });
        let life = tokio::spawn(live(self.clone(), Arc::clone(&progress)));
        // Before the first look: what the index lacks by now, this run makes good.
        let lacking = match order.full && order.execute && order.token.is_none() && !goes_on {
            true => self.lacking_positions().await.unwrap_or_default(),
            false => Vec::new(),
        };
        let mut pass = Pass::new(self, &progress, order);
        let ended = pass.all().await;
        if ended.is_ok()
            && pass.has_all_documents()
            && let Err(error) = self.note_whole(&lacking).await
        {
            tracing::warn!(%error, "the index does not note that it is whole again; the next run does");
        }
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
            entry.run.ended_at = Some(self.now());
            entry.clone()
        });
        let everything = order.token.is_none() && order.execute && ended.is_ok();
        let written = self.end_entry(&entry, phase == Phase::Failed, |book| {
            if everything {
                // What an earlier run swept may have changed since, before this one began.
                if !goes_on {
                    book.since = began.unix_minute().saturating_sub(OVERLAP_MINUTES);
                }
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

impl Backend {
    /// Whether the index says that it lacks documents; an index that does not answer says nothing.
    pub async fn lacks_documents(&self) -> bool {
        let lacking = self.lacking_positions().await;
        lacking.is_ok_and(|lacking| !lacking.is_empty())
    }

    /// Positions of an index that lacks something below them.
    pub(super) async fn lacking_positions(&self) -> Result<Vec<IndexPosition>, Error> {
        let mut positions = self.ports().search.positions().await?;
        positions.retain(|position| !position.whole);
        Ok(positions)
    }

    /// Notes that the index holds everything below these positions, as far as they are still those of
    /// the same log and epoch.
    async fn note_whole(&self, lacking: &[IndexPosition]) -> Result<(), Error> {
        if lacking.is_empty() {
            return Ok(());
        }
        let now = self.lacking_positions().await?;
        let whole: Vec<IndexPosition> = now
            .into_iter()
            .filter(|now| {
                let is_same = |then: &&IndexPosition| {
                    then.partition == now.partition
                        && (then.log, then.epoch) == (now.log, now.epoch)
                        && then.next <= now.next
                };
                lacking.iter().any(|then| is_same(&then))
            })
            .map(|now| IndexPosition { whole: true, ..now })
            .collect();
        let nothing = search::Staged::Documents(Vec::new());
        if whole.is_empty() {
            return Ok(());
        }
        self.ports().search.publish(nothing, &whole).await?;
        tracing::warn!(partitions = whole.len(), "the search index is whole again");
        Ok(())
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
