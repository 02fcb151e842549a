//! Places: how many requests are at work, and how many bytes of bodies they may hold.
//!
//! A place is taken when the whole request is there and left when its work is done, so that a client
//! that sends slowly, or waits for a row, takes none from those who create.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use chat_wire::problem::{Code, Problem};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Reason;
use super::accounts::{Account, AtWork};
use super::refused::{Refused, Written};

/// Bytes of bodies that may be on their way at once, by what their heads declare, in KiB.
const READING_KIB: usize = 256 * 1024;
/// Bytes of large bodies that may be at work at once, in KiB: less than the embedded log queues, which
/// would refuse what is beyond when it has a number already.
const WORKING_KIB: usize = 20 * 1024;
/// A body of this many bytes is large; as many places as there are by default, full of smaller ones, hold 8 MiB.
const LARGE_BYTES: usize = 4 * 1024;
/// How long a large body may wait for those before it.
const LARGE_WAIT: Duration = Duration::from_millis(500);

/// All places of a process.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    reading: Arc<Semaphore>,
    working: Arc<Semaphore>,
    /// Most that the requests of one application may have.
    of_one: u32,
}

impl Places {
    pub(super) fn new(count: u32) -> Self {
        let permits = |count: usize| Arc::new(Semaphore::new(count));
        Self {
            all: permits(count as usize),
            waiting: permits(count as usize),
            reading: permits(READING_KIB),
            working: permits(WORKING_KIB),
            of_one: (count - count / 4).max(1),
        }
    }

    /// Whether there is a place for a request, as things are now.
    pub(super) fn look(&self, account: Option<&Account>) -> Result<(), Refused> {
        if self.are_taken() {
            return Err(none_free());
        }
        match account {
            Some(account) if account.at_work() >= self.of_one => Err(all_of_one()),
            _ => Ok(()),
        }
    }

    fn are_taken(&self) -> bool {
        self.all.available_permits() == 0
    }
}

/// What a request holds while it is at work.
#[derive(Debug)]
struct Held {
    _place: OwnedSemaphorePermit,
    _of_one: Option<AtWork>,
    _bytes: Option<OwnedSemaphorePermit>,
}

/// The place of one request: its clones stand for the same.
#[derive(Debug, Clone)]
pub(crate) struct Place(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    places: Arc<Places>,
    account: Option<Arc<Account>>,
    held: Mutex<Option<Held>>,
}

impl Place {
    pub(super) fn new(places: Arc<Places>, account: Option<Arc<Account>>) -> Self {
        Self(Arc::new(Inner {
            places,
            account,
            held: Mutex::new(None),
        }))
    }

    /// Takes the place of a request without a body.
    pub(super) fn take(&self) -> Result<(), Refused> {
        self.hold(None)
    }

    /// May a body of this many bytes be read? Holds the memory for it.
    pub(crate) fn reading(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refused> {
        Arc::clone(&self.0.places.reading)
            .try_acquire_many_owned(kib(bytes))
            .map_err(|_| Refused::new(&TOO_MANY_BODIES, Reason::Bytes))
    }

    /// Takes the place of a request whose body has arrived. A large one waits for a moment.
    pub(crate) async fn take_with(&self, bytes: usize) -> Result<(), Refused> {
        if bytes <= LARGE_BYTES {
            return self.hold(None);
        }
        let working = Arc::clone(&self.0.places.working);
        match timeout(LARGE_WAIT, working.acquire_many_owned(kib(bytes))).await {
            Ok(Ok(bytes)) => self.hold(Some(bytes)),
            _ => Err(Refused::new(&TOO_MANY_LARGE, Reason::Bytes)),
        }
    }

    fn hold(&self, bytes: Option<OwnedSemaphorePermit>) -> Result<(), Refused> {
        let places = &self.0.places;
        let of_one = match &self.0.account {
            None => None,
            Some(account) => Some(account.enter(places.of_one).ok_or_else(all_of_one)?),
        };
        let place = Arc::clone(&places.all)
            .try_acquire_owned()
            .map_err(|_| none_free())?;
        *self.0.held.lock() = Some(Held {
            _place: place,
            _of_one: of_one,
            _bytes: bytes,
        });
        Ok(())
    }

    /// Leaves the place to wait for something that needs none; `None` where too many wait already.
    pub(crate) fn wait(&self) -> Option<OwnedSemaphorePermit> {
        let waiting = Arc::clone(&self.0.places.waiting).try_acquire_owned();
        *self.0.held.lock() = None;
        waiting.ok()
    }

    /// Charges the application for more messages than the one that it was let in for.
    pub(crate) fn charge(&self, more: usize) {
        if let Some(account) = &self.0.account {
            account.charge(u64::try_from(more).unwrap_or(u64::MAX));
        }
    }

    /// To be held by work that goes on when the client has gone.
    pub(crate) fn held(&self) -> Arc<dyn std::any::Any + Send + Sync> {
        Arc::clone(&self.0) as _
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX)
}

fn none_free() -> Refused {
    Refused::new(&NONE_FREE, Reason::AtWork)
}

fn all_of_one() -> Refused {
    Refused::new(&ALL_OF_ONE, Reason::ApplicationAtWork)
}

static NONE_FREE: LazyLock<Arc<Written>> =
    LazyLock::new(|| overloaded("too many requests are at work"));
static ALL_OF_ONE: LazyLock<Arc<Written>> =
    LazyLock::new(|| overloaded("too many requests of this application are at work"));
static TOO_MANY_BODIES: LazyLock<Arc<Written>> =
    LazyLock::new(|| overloaded("too many bodies are on their way"));
static TOO_MANY_LARGE: LazyLock<Arc<Written>> =
    LazyLock::new(|| overloaded("too many large bodies are at work"));

fn overloaded(detail: &str) -> Arc<Written> {
    Arc::new(Problem::new(Code::Overloaded, detail).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn place(places: &Arc<Places>) -> Place {
        Place::new(Arc::clone(places), None)
    }

    #[test]
    fn who_waits_leaves_the_place_to_others() {
        let places = Arc::new(Places::new(1));
        let (one, two) = (place(&places), place(&places));
        assert!(one.take().is_ok());
        assert!(places.are_taken());
        assert!(matches!(two.take(), Err(refused) if refused.reason() == Reason::AtWork));
        let waits = one.wait();
        assert!(waits.is_some());
        assert!(two.take().is_ok());
        // As many wait as there are places; another one is answered at once.
        assert!(two.wait().is_none());
        assert!(!places.are_taken());
    }

    #[test]
    fn one_application_leaves_places_to_the_others() {
        let places = Arc::new(Places::new(8));
        let account = Arc::new(Account::alone(0));
        let of_a = || Place::new(Arc::clone(&places), Some(Arc::clone(&account)));
        let held: Vec<Place> = (0..6).map(|_| of_a()).collect();
        assert!(held.iter().all(|place| place.take().is_ok()));
        let refused = of_a().take().unwrap_err();
        assert_eq!(refused.reason(), Reason::ApplicationAtWork);
        assert!(place(&places).take().is_ok());
    }

    #[test]
    fn work_that_goes_on_without_its_client_keeps_the_place() {
        let places = Arc::new(Places::new(1));
        let one = place(&places);
        assert!(one.take().is_ok());
        let work = one.held();
        drop(one);
        assert!(places.are_taken());
        drop(work);
        assert!(!places.are_taken());
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_wait_for_each_other_and_small_ones_pass() {
        let places = Arc::new(Places::new(100));
        let (large, other, small) = (place(&places), place(&places), place(&places));
        assert!(large.take_with(15 * MIB).await.is_ok());
        let refused = other.take_with(6 * MIB).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::Bytes);
        assert!(small.take_with(LARGE_BYTES).await.is_ok());
        let (waited, ()) = tokio::join!(other.take_with(6 * MIB), async {
            tokio::time::sleep(LARGE_WAIT / 2).await;
            drop(large);
        });
        assert!(waited.is_ok());
    }

    #[test]
    fn bodies_on_their_way_are_bounded_by_their_bytes() {
        let places = Arc::new(Places::new(100));
        let one = place(&places);
        let most = one.reading(255 * MIB).unwrap();
        assert!(one.reading(MIB).is_err());
        assert!(one.reading(1_000).is_ok());
        drop(most);
        assert!(one.reading(MIB).is_ok());
    }
}
