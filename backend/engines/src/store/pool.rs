//! Connections to one database, which know that they lead to the server that it was.
//!
//! After a failover a connection may stay open to the server before, which goes on answering: its rows
//! are old, and what it stores is lost. So each connection is verified before its use unless that was
//! done within the last second and nothing has failed since: which server is it, and does it take
//! writes? A server that takes none is a replica or was demoted, and its rows are not to be believed
//! either. Where another server answers, every other connection is closed, and no transaction that
//! began before is committed. Where nobody demotes the server before and its connections stay open,
//! only a new connection finds the new one, so one is made every few seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use chat_core::clock::{Clock as _, System};
use chat_core::port::store::Error;
use parking_lot::Mutex;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions, Connection, MySqlConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::failure::told;
use super::schema;
use super::server::{self, Seen};

/// How long a caller waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Below the time after which servers and proxies usually drop an idle connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(240);
/// How long a connection is believed to lead to where it led.
const BELIEVED: Duration = Duration::from_secs(1);
/// How often a new connection is made, to see where it leads.
const SCOUTED: Duration = Duration::from_secs(5);
/// How long a server that takes no writes is left alone.
const REFUSED_FOR: Duration = Duration::from_millis(250);
/// Pauses between attempts to connect, while nobody listens.
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_millis(250);
/// How long a goodbye may take.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections, as many as are needed and at most so many.
pub(super) struct Pool {
    options: MySqlConnectOptions,
    size: u32,
    places: Arc<Semaphore>,
    /// The one that was used last is at the end, and is used next.
    idle: Mutex<Vec<Checked>>,
    server: Mutex<Server>,
    /// As in `server`, to be compared without waiting.
    turn: AtomicU64,
    /// When something failed last: what was verified before then is not believed. In microseconds of
    /// the uptime, as the next one.
    suspected_us: AtomicU64,
    /// When a connection was made last.
    scouted_us: AtomicU64,
    /// What this kind of server can be asked, of [`server::QUESTIONS`].
    question: AtomicUsize,
}

/// Where the connections lead.
#[derive(Default)]
struct Server {
    identity: Option<String>,
    /// How often another one was found.
    turn: u64,
    /// Since when it takes no writes, and what to say until it is asked again.
    refused: Option<(Duration, String)>,
}

/// A connection that was verified.
pub(super) struct Checked {
    connection: MySqlConnection,
    /// Uptime before the question was sent.
    checked_at: Duration,
    used_at: Duration,
    turn: u64,
}

impl Checked {
    pub(super) const fn connection(&self) -> &MySqlConnection {
        &self.connection
    }

    pub(super) const fn connection_mut(&mut self) -> &mut MySqlConnection {
        &mut self.connection
    }
}

impl Pool {
    /// No connection is made yet.
    pub(super) fn new(options: MySqlConnectOptions, size: u32) -> Arc<Self> {
        Arc::new(Self {
            options,
            size,
            places: Arc::new(Semaphore::new(size as usize)),
            idle: Mutex::default(),
            server: Mutex::default(),
            turn: AtomicU64::new(0),
            suspected_us: AtomicU64::new(0),
            scouted_us: AtomicU64::new(0),
            question: AtomicUsize::new(0),
        })
    }

    /// Waits for a place, and then for a connection.
    pub(super) async fn acquire(&self) -> Result<(Checked, OwnedSemaphorePermit), Error> {
        let within = async {
            let place = Arc::clone(&self.places).acquire_owned().await;
            let place = place.map_err(|_| Error::Unavailable("the store is closed".into()))?;
            Ok((self.ensure(None).await?, place))
        };
        in_time(within).await
    }

    /// The same connection where it may be used on, else another one.
    pub(super) async fn verified(&self, held: Checked) -> Result<Checked, Error> {
        in_time(self.ensure(Some(held))).await
    }

    /// Takes a connection back: its last answer was read to the end.
    pub(super) fn put(&self, mut connection: Checked) {
        if !self.is_current(&connection) || self.places.is_closed() {
            retire(connection);
            return;
        }
        let now = System.uptime();
        connection.used_at = now;
        let mut idle = self.idle.lock();
        idle.push(connection);
        // Those that were used longest ago are at the beginning.
        let old = idle
            .iter()
            .take_while(|one| now.saturating_sub(one.used_at) >= IDLE_TIMEOUT)
            .count();
        let old = old.max(idle.len().saturating_sub(self.size as usize));
        for connection in idle.drain(..old) {
            retire(connection);
        }
    }

    /// Something failed: every connection is verified before its next use.
    pub(super) fn suspect(&self) {
        self.suspected_us
            .store(micros(System.uptime()), Ordering::Relaxed);
    }

    /// Whether no other server was found since this connection was verified.
    pub(super) fn is_current(&self, connection: &Checked) -> bool {
        connection.turn == self.turn.load(Ordering::Acquire)
    }

    /// Lets go of all connections, and waits until those that are in use come back.
    pub(super) async fn close(&self) {
        let every = self.places.acquire_many(self.size).await;
        self.places.close();
        drop(every);
        let idle = std::mem::take(&mut *self.idle.lock());
        for connection in idle {
            // The goodbye is a courtesy.
            let _ = timeout(GOODBYE_TIMEOUT, connection.connection.close()).await;
        }
    }

    async fn ensure(&self, mut held: Option<Checked>) -> Result<Checked, Error> {
        loop {
            let Some(connection) = held.take().or_else(|| self.pop()) else {
                return self.connect().await;
            };
            if !self.is_current(&connection) {
                continue;
            }
            let now = System.uptime();
            if !self.is_due(&connection, now) {
                return Ok(connection);
            }
            if self.is_scout_due(now) {
                match self.connect().await {
                    Ok(new) => {
                        self.put(connection);
                        return Ok(new);
                    }
                    // What is there may be good all the same.
                    Err(error) => tracing::debug!(%error, "no new connection to the database"),
                }
            }
            if let Some(connection) = self.verify(connection).await? {
                return Ok(connection);
            }
        }
    }

    /// The connection that was used last, unless that is too long ago for any.
    fn pop(&self) -> Option<Checked> {
        let connection = self.idle.lock().pop()?;
        let unused = System.uptime().saturating_sub(connection.used_at);
        if unused >= IDLE_TIMEOUT {
            for connection in std::mem::take(&mut *self.idle.lock()) {
                retire(connection);
            }
            retire(connection);
            return None;
        }
        Some(connection)
    }

    fn is_due(&self, connection: &Checked, now: Duration) -> bool {
        let suspected = self.suspected_us.load(Ordering::Relaxed);
        micros(connection.checked_at) <= suspected
            || now.saturating_sub(connection.checked_at) >= BELIEVED
    }

    /// Whether it is time for a new connection, and this caller is the one who makes it.
    fn is_scout_due(&self, now: Duration) -> bool {
        let (last, now) = (self.scouted_us.load(Ordering::Relaxed), micros(now));
        now.saturating_sub(last) >= micros(SCOUTED)
            && self
                .scouted_us
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Asks a connection where it leads; `None` where it cannot be used any more.
    async fn verify(&self, mut connection: Checked) -> Result<Option<Checked>, Error> {
        let asked_at = System.uptime();
        match server::look(&mut connection.connection, &self.question).await {
            Ok(seen) => {
                let Some(turn) = self.judge(seen, connection.turn)? else {
                    return Ok(None);
                };
                connection.checked_at = asked_at;
                connection.turn = turn;
                Ok(Some(connection))
            }
            Err(error) => {
                tracing::debug!(%error, "a connection to the database is lost");
                self.suspect();
                Ok(None)
            }
        }
    }

    async fn connect(&self) -> Result<Checked, Error> {
        if let Some((since, reason)) = &self.server.lock().refused
            && System.uptime().saturating_sub(*since) < REFUSED_FOR
        {
            return Err(Error::Unavailable(reason.clone()));
        }
        let mut pause = RETRY_FIRST;
        loop {
            let asked_at = System.uptime();
            let turn = self.turn.load(Ordering::Acquire);
            let made = async {
                let mut connection = self.options.connect().await?;
                schema::prepare(&mut connection).await?;
                let seen = server::look(&mut connection, &self.question).await?;
                Ok((connection, seen))
            };
            let (connection, seen) = match made.await {
                Ok(made) => made,
                Err(error) if is_away(&error) => {
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                    continue;
                }
                Err(error) => return Err(told(error)),
            };
            self.scouted_us.store(micros(asked_at), Ordering::Relaxed);
            if let Some(turn) = self.judge(seen, turn)? {
                return Ok(Checked {
                    connection,
                    checked_at: asked_at,
                    used_at: asked_at,
                    turn,
                });
            }
        }
    }

    /// What follows from what was seen. The turn of a connection of that server; `None` where another
    /// server was found since the question was sent, because the answer is not the newest then.
    fn judge(&self, seen: Seen, asked: u64) -> Result<Option<u64>, Error> {
        let Seen {
            identity,
            read_only,
        } = seen;
        let mut server = self.server.lock();
        if server.turn != asked {
            return Ok(None);
        }
        if let Some(setting) = read_only {
            let reason = server::refusal(setting);
            let news = server.refused.is_none();
            server.refused = Some((System.uptime(), reason.clone()));
            self.suspect();
            if news {
                tracing::error!(server = identity, "{reason}");
            }
            return Err(Error::Unavailable(reason));
        }
        if server.refused.take().is_some() {
            tracing::warn!(server = identity, "the database takes writes");
        }
        match &server.identity {
            Some(known) if *known == identity => {}
            None => server.identity = Some(identity),
            Some(known) => {
                tracing::error!(
                    server.before = known,
                    server.now = identity,
                    "another server answers for the database, or the same one after a restart: it may lack \
                     what the one before had; all connections are closed"
                );
                server.identity = Some(identity);
                server.turn += 1;
                self.turn.store(server.turn, Ordering::Release);
                for connection in std::mem::take(&mut *self.idle.lock()) {
                    retire(connection);
                }
            }
        }
        Ok(Some(server.turn))
    }

    /// The server that connections lead to, where one was made.
    pub(super) fn identity(&self) -> Option<String> {
        self.server.lock().identity.clone()
    }
}

/// Says goodbye without waiting for it.
fn retire(connection: Checked) {
    tokio::spawn(async move {
        let _ = timeout(GOODBYE_TIMEOUT, connection.connection.close()).await;
    });
}

async fn in_time<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(ACQUIRE_TIMEOUT, work).await.unwrap_or_else(|_| {
        Err(Error::Unavailable(format!(
            "no connection within {} s",
            ACQUIRE_TIMEOUT.as_secs()
        )))
    })
}

/// Nobody listens: a server that is being started will, within moments.
fn is_away(error: &sqlx::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error, sqlx::Error::Io(error)
        if matches!(error.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
