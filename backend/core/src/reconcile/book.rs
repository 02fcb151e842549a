//! The book: which run is at work in whichever process, how the last one ended, and where to go on.
//!
//! It is one shared note of the store. Every change names the version that it read, so of two processes
//! that begin a run at once one wins, and an owner that was given up notices at its next entry.

use std::time::Duration;

use chat_wire::admin::drift::Summary;
use chat_wire::admin::reconcile::{Order, Phase, Run};
use chat_wire::ids::AppToken;
use chat_wire::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::backend::Backend;
use crate::error::Error;
use crate::port::store;

/// The note's name.
const NAME: &str = "reconcile";
/// How long an entry holds without a sign of life.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// Between two signs of life.
pub(super) const BEAT: Duration = Duration::from_secs(2);
/// How often a change is tried that others are faster with.
const TRIES: usize = 50;

/// Where a walk over everything is: behind this chat number of this application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spot {
    pub(super) token: AppToken,
    pub(super) after: u32,
}

/// A run and where its walk is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) run: Run,
    /// Up to where everything is done, and what had been counted there.
    #[serde(default)]
    pub(super) mark: Option<Mark>,
}

/// A place from which a walk can be gone on with: nothing before it waits for anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) spot: Spot,
    summary: Summary,
    planned: u64,
    done: u64,
    waits: u64,
    failed: u64,
    steps: usize,
}

impl Entry {
    /// Where a walk goes on.
    pub(super) fn spot(&self) -> Option<Spot> {
        self.mark.map(|mark| mark.spot)
    }

    /// Notes that everything before this spot is done; without one, that a walk begins anew.
    pub(super) fn reach(&mut self, spot: Option<Spot>) {
        let run = &self.run;
        self.mark = spot.map(|spot| Mark {
            spot,
            summary: run.summary,
            planned: run.planned,
            done: run.done,
            waits: run.waits,
            failed: run.failed,
            steps: run.steps.len(),
        });
    }

    /// Forgets what was counted behind the mark: it is met again.
    fn rewind(&mut self) {
        let Some(mark) = self.mark else {
            return;
        };
        let run = &mut self.run;
        run.summary = mark.summary;
        run.planned = mark.planned;
        run.done = mark.done;
        run.waits = mark.waits;
        run.failed = mark.failed;
        run.steps.truncate(mark.steps);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    entry: Entry,
    alive_at: Timestamp,
    #[serde(default)]
    cancelled: bool,
}

/// Everything that runs tell each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Book {
    current: Option<Held>,
    pub(super) last: Option<Run>,
    /// A run that ended in the middle of its walk.
    unfinished: Option<Entry>,
    /// The minute of Unix time from which on changes have not been compared.
    pub(super) since: u32,
    /// Where the patrol goes on.
    pub(super) patrol: Option<Spot>,
}

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    /// By somebody.
    Order(Order),
    /// By the clock: what was left unfinished first.
    Schedule,
}

/// What an owner hears at a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Go on.
    GoOn,
    /// Somebody cancelled the run.
    Cancelled,
    /// The run is not this process's any more.
    Lost,
}

impl Book {
    /// Closes a run whose owner gives no sign of life.
    fn expire(&mut self, now: Timestamp) {
        let dead = self
            .current
            .take_if(|held| held.alive_at < now.minus(LEASE));
        self.close_dead(dead);
    }

    /// Closes a run whose last sign of life is of a clock that was ahead, and that has given none since
    /// somebody began to watch it.
    fn expire_of_the_future(&mut self, now: Timestamp, is_silent: impl FnOnce() -> bool) {
        let is_ahead = |held: &Held| held.alive_at.minus(LEASE) > now;
        if self.current.as_ref().is_some_and(is_ahead) && is_silent() {
            let dead = self.current.take();
            self.close_dead(dead);
        }
    }

    fn close_dead(&mut self, dead: Option<Held>) {
        if let Some(mut held) = dead {
            held.entry.run.phase = Phase::Failed;
            held.entry.run.ended_at = Some(held.alive_at);
            held.entry.run.detail = Some(format!(
                "{} gave no sign of life any more; the next run goes on",
                held.entry.run.owner
            ));
            self.close(held.entry, !held.cancelled);
        }
    }

    fn close(&mut self, entry: Entry, may_go_on: bool) {
        self.last = Some(entry.run.clone());
        self.unfinished = Some(entry).filter(|_| may_go_on);
    }

    fn begin(
        &mut self,
        wanted: Wanted,
        owner: &str,
        id: Uuid,
        now: Timestamp,
    ) -> Result<Entry, Error> {
        self.expire(now);
        if let Some(held) = &self.current {
            return Err(Error::Busy {
                owner: held.entry.run.owner.clone(),
                since: held.entry.run.started_at,
            });
        }
        let order = match (wanted, &self.unfinished) {
            (Wanted::Order(order), _) => order,
            (Wanted::Schedule, Some(left)) if left.run.order.execute => left.run.order,
            (Wanted::Schedule, _) => Order {
                execute: true,
                ..Order::default()
            },
        };
        let fresh = || Entry {
            run: Run {
                id: String::new(),
                order,
                owner: String::new(),
                started_at: now,
                ended_at: None,
                phase: Phase::Comparing,
                detail: None,
                summary: Default::default(),
                planned: 0,
                done: 0,
                waits: 0,
                failed: 0,
                steps: Vec::new(),
            },
            mark: None,
        };
        // A walk goes on where the same order left it, with what it had found.
        let mut entry = self
            .unfinished
            .take_if(|left| left.run.order == order && left.mark.is_some())
            .unwrap_or_else(fresh);
        entry.rewind();
        entry.run.detail = entry
            .mark
            .map(|_| format!("goes on where run {} ended", entry.run.id));
        entry.run.id = id.to_string();
        owner.clone_into(&mut entry.run.owner);
        entry.run.started_at = now;
        entry.run.ended_at = None;
        entry.run.phase = Phase::Comparing;
        self.current = Some(Held {
            entry: entry.clone(),
            alive_at: now,
            cancelled: false,
        });
        Ok(entry)
    }

    /// The run at work, if its owner lives.
    pub(super) fn current(&self) -> Option<&Run> {
        self.current.as_ref().map(|held| &held.entry.run)
    }
}

impl Backend {
    /// The book as it stands now; a run whose owner is gone is closed in it.
    pub(super) async fn book(&self) -> Result<Book, Error> {
        let note = self.ports().store.note(NAME).await?;
        let mut book = read(note.as_ref());
        self.expire(&mut book, note.as_ref());
        Ok(book)
    }

    fn expire(&self, book: &mut Book, note: Option<&store::Note>) {
        let version = note.map_or(0, |note| note.version);
        book.expire(self.now());
        book.expire_of_the_future(self.now(), || {
            self.reconciler().is_silent(version, self.uptime(), LEASE)
        });
    }

    /// Changes the book; `change` may be called several times.
    pub(super) async fn write_book<T>(
        &self,
        mut change: impl FnMut(&mut Book) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let store = &self.ports().store;
        for _ in 0..TRIES {
            let note = store.note(NAME).await?;
            let mut book = read(note.as_ref());
            self.expire(&mut book, note.as_ref());
            let result = change(&mut book)?;
            let text = serde_json::to_string(&book).map_err(|error| {
                Error::Store(store::Error::Refused(format!(
                    "the book of runs cannot be written: {error}"
                )))
            })?;
            let version = note.map_or(0, |note| note.version);
            if store.put_note(NAME, version, &text).await? {
                return Ok(result);
            }
        }
        Err(Error::Store(store::Error::Unavailable(
            "the book of runs changes faster than it can be written".into(),
        )))
    }

    pub(super) async fn begin_entry(&self, wanted: Wanted) -> Result<Entry, Error> {
        let owner = self.reconciler().owner();
        self.write_book(|book| book.begin(wanted, &owner, self.new_uid(), self.now()))
            .await
    }

    /// A sign of life, with how far the run is.
    pub(super) async fn beat(&self, entry: &Entry) -> Result<Heard, Error> {
        self.write_book(|book| {
            let now = self.now();
            match &mut book.current {
                Some(held) if held.entry.run.id == entry.run.id => {
                    held.entry.clone_from(entry);
                    held.alive_at = now;
                    Ok(match held.cancelled {
                        true => Heard::Cancelled,
                        false => Heard::GoOn,
                    })
                }
                _ => Ok(Heard::Lost),
            }
        })
        .await
    }

    /// The last entry of a run; `may_go_on` where another run should end its walk.
    pub(super) async fn end_entry(
        &self,
        entry: &Entry,
        may_go_on: bool,
        mut note: impl FnMut(&mut Book) + Send,
    ) -> Result<(), Error> {
        self.write_book(|book| {
            let ours = |held: &mut Held| held.entry.run.id == entry.run.id;
            if book.current.take_if(ours).is_some() {
                book.close(entry.clone(), may_go_on);
                note(book);
            }
            Ok(())
        })
        .await
    }

    /// Asks the run at work to end.
    pub(super) async fn cancel_entry(&self) -> Result<(), Error> {
        self.write_book(|book| {
            book.expire(self.now());
            if let Some(held) = &mut book.current {
                held.cancelled = true;
            }
            Ok(())
        })
        .await
    }
}

/// What cannot be read was written by another version: runs begin anew then, which costs time alone.
fn read(note: Option<&store::Note>) -> Book {
    note.and_then(|note| {
        serde_json::from_str(&note.text)
            .inspect_err(|error| tracing::warn!(%error, "the book of runs cannot be read"))
            .ok()
    })
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000).unwrap()
    }

    const FULL: Order = Order {
        token: None,
        chat: None,
        full: true,
        execute: true,
    };

    #[test]
    fn one_run_at_a_time_until_its_lease_is_over() {
        let mut book = Book::default();
        let first = book
            .begin(Wanted::Order(FULL), "one", Uuid::now_v7(), at(0))
            .unwrap();
        let refused = book.begin(Wanted::Schedule, "two", Uuid::now_v7(), at(15));
        assert!(matches!(refused, Err(Error::Busy { owner, .. }) if owner == "one"));
        let second = book
            .begin(Wanted::Schedule, "two", Uuid::now_v7(), at(16))
            .unwrap();
        assert_ne!(first.run.id, second.run.id);
        assert_eq!(book.last.as_ref().unwrap().phase, Phase::Failed);
        // The schedule ends what was begun.
        assert_eq!(second.run.order, FULL);
    }

    #[test]
    fn a_walk_goes_on_where_it_ended() {
        let mut book = Book::default();
        let mut first = book
            .begin(Wanted::Order(FULL), "one", Uuid::now_v7(), at(0))
            .unwrap();
        let spot = Spot {
            token: AppToken::from_bytes([1; 16]),
            after: 7,
        };
        first.run.summary.compared = 99;
        first.run.planned = 3;
        first.reach(Some(spot));
        // What came behind the spot is met again, and must not be counted twice.
        first.run.summary.compared = 120;
        first.run.planned = 9;
        book.current.as_mut().unwrap().entry = first;
        let second = book
            .begin(Wanted::Order(FULL), "two", Uuid::now_v7(), at(100))
            .unwrap();
        let counted = (second.run.summary.compared, second.run.planned);
        assert_eq!((second.spot(), counted), (Some(spot), (99, 3)));
        // Another order begins at its own beginning.
        let plan = Order {
            execute: false,
            ..FULL
        };
        let third = book
            .begin(Wanted::Order(plan), "three", Uuid::now_v7(), at(200))
            .unwrap();
        assert_eq!((third.spot(), third.run.summary.compared), (None, 0));
    }

    #[test]
    fn what_was_cancelled_is_not_gone_on_with() {
        let mut book = Book::default();
        book.begin(Wanted::Order(FULL), "one", Uuid::now_v7(), at(0))
            .unwrap();
        book.current.as_mut().unwrap().cancelled = true;
        let next = book
            .begin(Wanted::Schedule, "two", Uuid::now_v7(), at(100))
            .unwrap();
        assert!(!next.run.order.full);
    }
}
