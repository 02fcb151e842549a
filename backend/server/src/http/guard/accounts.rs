//! What each application may do: how fast it may create, and how many of its requests may be at work.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use chat_core::rates::Rates;
use chat_wire::ids::AppToken;
use parking_lot::RwLock;
use tokio::time::Instant;

use super::pace::{Left, Pace};

/// Accounts that are kept before those that nobody uses are removed. Anybody can make up tokens.
const SWEEP_ABOVE: usize = 65_536;

/// One application, as this process sees it.
#[derive(Debug)]
pub(crate) struct Account {
    /// Messages a second; 0 for no limit.
    rate: AtomicU32,
    pace: Pace,
    at_work: AtomicU32,
    began: Instant,
}

impl Account {
    fn new(rate: u32, began: Instant) -> Self {
        Self {
            rate: AtomicU32::new(rate),
            pace: Pace::default(),
            at_work: AtomicU32::new(0),
            began,
        }
    }

    /// One that nothing looks up: for creates that belong to no application.
    pub(super) fn alone(rate: u32) -> Self {
        Self::new(rate, Instant::now())
    }

    /// Lets one create pass.
    ///
    /// # Errors
    /// How long to wait.
    pub(crate) fn pass(&self) -> Result<(), std::time::Duration> {
        match self.rate() {
            0 => Ok(()),
            rate => self.pace.pass(rate, self.now_ns()),
        }
    }

    /// Charges a create that was let pass for more messages than one.
    pub(crate) fn charge(&self, more: u64) {
        match self.rate() {
            0 => {}
            rate => self.pace.charge(rate, more, self.now_ns()),
        }
    }

    /// The rate and what is left of it; `None` where there is no limit.
    pub(crate) fn left(&self) -> Option<(u32, Left)> {
        match self.rate() {
            0 => None,
            rate => Some((rate, self.pace.left(rate, self.now_ns()))),
        }
    }

    /// One request more at work, unless there are as many as there may be.
    pub(crate) fn enter(self: &Arc<Self>, most: u32) -> Option<AtWork> {
        let entered = self
            .at_work
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                (now < most).then_some(now + 1)
            });
        entered.ok().map(|_| AtWork(Arc::clone(self)))
    }

    /// How many requests are at work.
    pub(crate) fn at_work(&self) -> u32 {
        self.at_work.load(Ordering::Relaxed)
    }

    fn rate(&self) -> u32 {
        self.rate.load(Ordering::Relaxed)
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A request of an application that is at work.
#[derive(Debug)]
pub(crate) struct AtWork(Arc<Account>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The accounts of all applications that ask.
#[derive(Debug)]
pub(crate) struct Accounts {
    rate: u32,
    began: Instant,
    book: RwLock<Book>,
}

#[derive(Debug)]
struct Book {
    accounts: HashMap<AppToken, Arc<Account>>,
    rates: Rates,
    sweep_above: usize,
}

impl Accounts {
    /// With this many messages a second for whom nothing else is said.
    pub(super) fn new(rate: u32) -> Self {
        Self {
            rate,
            began: Instant::now(),
            book: RwLock::new(Book {
                accounts: HashMap::new(),
                rates: Rates::new(),
                sweep_above: SWEEP_ABOVE,
            }),
        }
    }

    /// The account of an application.
    pub(super) fn of(&self, token: AppToken) -> Arc<Account> {
        if let Some(account) = self.book.read().accounts.get(&token) {
            return Arc::clone(account);
        }
        let mut book = self.book.write();
        if book.accounts.len() >= book.sweep_above {
            book.sweep();
        }
        let rate = book.rates.get(&token).copied().unwrap_or(self.rate);
        let made = || Arc::new(Account::new(rate, self.began));
        Arc::clone(book.accounts.entry(token).or_insert_with(made))
    }

    /// Takes over what operators have set; debts stay.
    pub(super) fn set(&self, rates: Rates) {
        if self.book.read().rates == rates {
            return;
        }
        let mut book = self.book.write();
        book.rates = rates;
        for (token, account) in &book.accounts {
            let rate = book.rates.get(token).copied().unwrap_or(self.rate);
            account.rate.store(rate, Ordering::Relaxed);
        }
    }
}

impl Book {
    fn sweep(&mut self) {
        self.accounts.retain(|_, account| {
            Arc::strong_count(account) > 1 || !account.pace.is_over(account.now_ns())
        });
        // Where all of them are in use, looking again at each new one would cost more than it gives.
        self.sweep_above = SWEEP_ABOVE.max(self.accounts.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: u32) -> AppToken {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        AppToken::from_bytes(bytes)
    }

    fn passed(account: &Account) -> usize {
        (0..100).filter(|_| account.pass().is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn each_application_has_its_own_limit() {
        let accounts = Accounts::new(5);
        accounts.set(Rates::from([(token(2), 50), (token(3), 0)]));
        let passed = [1, 2, 3].map(|number| passed(&accounts.of(token(number))));
        assert_eq!(passed, [5, 50, 100]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_limit_counts_from_the_next_create_on() {
        let accounts = Accounts::new(0);
        let account = accounts.of(token(1));
        assert_eq!(passed(&account), 100);
        accounts.set(Rates::from([(token(1), 3)]));
        assert_eq!(passed(&account), 3);
        assert_eq!(account.left().unwrap().0, 3);
        accounts.set(Rates::new());
        assert_eq!(passed(&account), 100);
        assert_eq!(account.left(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_that_nobody_uses_are_forgotten() {
        let accounts = Accounts::new(1);
        let kept = accounts.of(token(0));
        assert!(accounts.of(token(1)).pass().is_ok());
        for number in 2..=u32::try_from(SWEEP_ABOVE).unwrap() {
            let _ = accounts.of(token(number));
        }
        assert_eq!(accounts.book.read().accounts.len(), 3);
        // A debt is not forgotten with them.
        assert!(accounts.of(token(1)).pass().is_err());
        drop(kept);
    }

    #[tokio::test(start_paused = true)]
    async fn no_application_has_more_at_work_than_it_may() {
        let account = Accounts::new(0).of(token(1));
        let (one, two) = (account.enter(2), account.enter(2));
        assert!(one.is_some() && two.is_some());
        assert!(account.enter(2).is_none());
        drop(one);
        assert!(account.enter(2).is_some());
    }
}
