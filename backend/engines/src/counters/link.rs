//! A connection to Redis that knows which server it leads to.
//!
//! Counters that went back (another server was promoted, an old dump was loaded) are found by the
//! server's run and replication ids, which every counter carries (invariant: counter-identity).
//! Asking for them within a script is out of the question: INFO costs more than everything else that the script
//! does. But a connection leads to one process for as long as it lives, so asking once a connection
//! tells the same, as long as a connection and its answer are never apart: hence no connection
//! manager, which would connect anew behind our back. What can change under a connection is the
//! replication id, when the server's role does: another server's numbers take the place of ours then.
//! It is asked for again several times a second while there are calls, and before a call that comes
//! after a pause. The same look tells whether the server evicts keys, which it forgets without a trace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chat_core::clock::{Clock as _, System};
use chat_core::port::counters::Error;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisError};
use tokio::time::Instant;

use super::scripts::Script;

/// How long one call may take. The number may have been taken when it is over.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an attempt to connect stands for all who ask.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How long the server's answer about itself is believed. A recovery waits longer than this on top of the time
/// that a create may take: whoever believes in the server before has appended by then.
const BELIEVED: Duration = Duration::from_millis(500);
/// After this it is asked again, while calls go on.
const ASKED_AFTER: Duration = Duration::from_millis(250);
const HOUR_MS: u64 = 60 * 60 * 1_000;
/// For so long after a server was first seen, idempotency keys may be missing that it never had: as long as a
/// script keeps them.
const KEY_LIFE_MS: u64 = 25 * HOUR_MS;
/// How long it is remembered when a server was first seen.
const MARK_LIFE_MS: u64 = 30 * 24 * HOUR_MS;
/// Digits of either id that are kept: 64 bits.
const ID_DIGITS: usize = 16;

/// What answers a call: a word, and what belongs to it.
pub(super) type Words = Vec<String>;

/// Connects when it is needed, and again after an error.
pub(super) struct Links {
    client: Client,
    prefix: String,
    current: Mutex<Option<Arc<Link>>>,
    /// One attempt at a time: when the last one was, and what to say until the next.
    connecting: tokio::sync::Mutex<Option<(Instant, String)>>,
}

/// One connection.
pub(super) struct Link {
    connection: MultiplexedConnection,
    /// Run id and replication id of the server.
    pub(super) server: String,
    /// When somebody first saw it, by its own clock.
    pub(super) first_seen_ms: u64,
    /// Whether the server is so new to us that keys may be missing.
    recent: AtomicBool,
    /// Whether it evicts keys, or has.
    evicts: AtomicBool,
    /// When it was last asked who it is, and when that was which was answered: by the uptime.
    asked_at: Mutex<Duration>,
    verified_at: Mutex<Duration>,
    verifying: tokio::sync::Mutex<()>,
}

/// What a server says of itself.
struct Said {
    /// Run id and replication id.
    server: String,
    evicts: bool,
}

impl Links {
    pub(super) fn new(client: Client, prefix: String) -> Self {
        Self {
            client,
            prefix,
            current: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    /// The connection.
    pub(super) async fn link(self: &Arc<Self>) -> Result<Arc<Link>, Error> {
        let current = self.current.lock().clone();
        if let Some(link) = current
            && self.verified(&link).await
        {
            return Ok(link);
        }
        let mut failed = self.connecting.lock().await;
        if let Some(link) = self.current.lock().clone() {
            return Ok(link);
        }
        if let Some((at, reason)) = &*failed
            && at.elapsed() < RETRY_AFTER
        {
            return Err(Error::Unavailable(reason.clone()));
        }
        match self.connect().await {
            Ok(link) => {
                let link = Arc::new(link);
                *self.current.lock() = Some(Arc::clone(&link));
                // A server that connects and then refuses every call should not be stormed.
                *failed = Some((
                    Instant::now(),
                    "the connection failed as soon as it was made".into(),
                ));
                Ok(link)
            }
            Err(error) => {
                let reason = error.to_string();
                *failed = Some((Instant::now(), reason.clone()));
                Err(Error::Unavailable(reason))
            }
        }
    }

    /// Connects and asks the server who it is, on that very connection.
    pub(super) async fn connect(&self) -> Result<Link, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        // Alone, because of an error within a pipeline nobody says what kind it is: who is not let in
        // should be told so.
        redis::cmd("PING").exec_async(&mut connection).await?;
        let asked_at = System.uptime();
        let said = ask(&mut connection).await?;
        let mut load = redis::pipe();
        for script in Script::ALL {
            load.cmd("SCRIPT").arg("LOAD").arg(script.text()).ignore();
        }
        load.exec_async(&mut connection).await?;
        let (seen, now) = first_seen(&mut connection, &self.mark(&said.server)).await?;
        Ok(Link {
            connection,
            server: said.server,
            first_seen_ms: seen,
            recent: AtomicBool::new(is_recent(seen, now)),
            evicts: AtomicBool::new(said.evicts),
            asked_at: Mutex::new(asked_at),
            verified_at: Mutex::new(asked_at),
            verifying: tokio::sync::Mutex::default(),
        })
    }

    /// Tells an error of a call. Whether it ran is not known; whether the next one will is not either,
    /// unless the server itself said what it did not like.
    pub(super) fn failed(self: &Arc<Self>, link: &Arc<Link>, error: &RedisError) -> Error {
        if !error.code().is_some_and(stays) {
            self.give_up(link);
        }
        Error::Unavailable(error.to_string())
    }

    /// The words that answer a call of several, where nothing was wrong with it.
    pub(super) fn judged(
        self: &Arc<Self>,
        link: &Arc<Link>,
        mut words: Words,
    ) -> Result<Words, Error> {
        if words.first().is_none_or(|word| word != "error") {
            return Ok(words);
        }
        let reason = words.pop().unwrap_or_default();
        if !stays(&reason) {
            self.give_up(link);
        }
        Err(Error::Unavailable(reason))
    }

    /// Gives up a connection that failed, or that leads to another server by now.
    pub(super) fn give_up(&self, link: &Arc<Link>) {
        let mut current = self.current.lock();
        if current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, link))
        {
            *current = None;
        }
    }

    /// Whether idempotency keys may be missing that the server, or the one before it, should know. An
    /// emptied server is new again, which its connections do not notice.
    pub(super) async fn is_recent(&self, link: &Link) -> Result<bool, RedisError> {
        if link.recent.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let mut connection = link.connection.clone();
        let (seen, now) = first_seen(&mut connection, &self.mark(&link.server)).await?;
        let recent = is_recent(seen, now);
        link.recent.store(recent, Ordering::Relaxed);
        Ok(recent)
    }

    /// The key that says when a server was first seen.
    fn mark(&self, server: &str) -> String {
        format!("{}server:{server}", self.prefix)
    }

    /// Whether a connection leads where it led. While calls go on nobody waits for that, because it is asked
    /// beside them; after a pause the first call does.
    async fn verified(self: &Arc<Self>, link: &Arc<Link>) -> bool {
        let age = |at: &Mutex<Duration>| System.uptime().saturating_sub(*at.lock());
        if age(&link.verified_at) < BELIEVED {
            if link.is_due() {
                let links = Arc::clone(self);
                let due = Arc::clone(link);
                tokio::spawn(async move { links.look_again(&due).await });
            }
            return true;
        }
        let _one = link.verifying.lock().await;
        if age(&link.verified_at) < BELIEVED {
            return true;
        }
        // Whoever was first may have found that it leads elsewhere.
        self.is_current(link) && self.look_again(link).await
    }

    fn is_current(&self, link: &Arc<Link>) -> bool {
        let current = self.current.lock();
        current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, link))
    }

    /// Asks the server again who it is; false where it is another one, or does not answer.
    async fn look_again(&self, link: &Arc<Link>) -> bool {
        let asked_at = System.uptime();
        *link.asked_at.lock() = asked_at;
        let mut connection = link.connection.clone();
        match ask(&mut connection).await {
            Ok(said) if said.server == link.server => {
                link.evicts.store(said.evicts, Ordering::Relaxed);
                let mut verified_at = link.verified_at.lock();
                *verified_at = asked_at.max(*verified_at);
                true
            }
            Ok(_) => {
                tracing::warn!("the counters' server became another one, or changed its role");
                self.give_up(link);
                false
            }
            Err(error) => {
                tracing::debug!(%error, "the counters' server does not say who it is");
                self.give_up(link);
                false
            }
        }
    }
}

impl Link {
    fn is_due(&self) -> bool {
        let mut asked_at = self.asked_at.lock();
        let now = System.uptime();
        let due = now.saturating_sub(*asked_at) >= ASKED_AFTER;
        if due {
            *asked_at = now;
        }
        due
    }

    /// "1" where keys may be gone before their time, as the scripts want it.
    pub(super) fn forgetful(&self) -> &'static str {
        match self.evicts.load(Ordering::Relaxed) {
            true => "1",
            false => "0",
        }
    }

    /// Runs a script; it answers a word and what belongs to it, or that for each of its calls.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        script: Script,
        keys: &[&str],
        arguments: &[&str],
    ) -> Result<T, RedisError> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(script.hash()).arg(keys.len());
        for part in keys.iter().chain(arguments) {
            command.arg(*part);
        }
        let mut connection = self.connection.clone();
        match command.query_async(&mut connection).await {
            // Somebody emptied the server's scripts: nothing has run.
            Err(error) if error.code() == Some("NOSCRIPT") => {
                let mut load = redis::cmd("SCRIPT");
                load.arg("LOAD").arg(script.text());
                load.exec_async(&mut connection).await?;
                command.query_async(&mut connection).await
            }
            other => other,
        }
    }

    /// The server's clock: seconds since 1970, and microseconds.
    pub(super) async fn time(&self) -> Result<(i64, i64), RedisError> {
        redis::cmd("TIME")
            .query_async(&mut self.connection.clone())
            .await
    }

    /// What the server says of itself, as lines `name:value`.
    pub(super) async fn info(&self) -> Result<String, RedisError> {
        redis::cmd("INFO")
            .query_async(&mut self.connection.clone())
            .await
    }

    /// A setting of the server; `None` where it knows none of this name.
    pub(super) async fn configured(&self, name: &str) -> Result<Option<String>, RedisError> {
        let mut ask = redis::cmd("CONFIG");
        ask.arg("GET").arg(name);
        let pair: Vec<String> = ask.query_async(&mut self.connection.clone()).await?;
        Ok(pair.into_iter().nth(1))
    }

    /// Answers when the server does.
    pub(super) async fn ping(&self) -> Result<(), RedisError> {
        redis::cmd("PING")
            .exec_async(&mut self.connection.clone())
            .await
    }
}

/// Whether a connection is good after an error: the server says that it cannot do this now, or not with
/// this key. Servers before Redis 7 write where in the script it was in front of the code.
fn stays(error: &str) -> bool {
    ["OOM", "NOREPLICAS", "BUSY", "WRONGTYPE"]
        .iter()
        .any(|code| error.contains(code))
}

async fn ask(connection: &mut MultiplexedConnection) -> Result<Said, RedisError> {
    let mut ask = redis::pipe();
    for section in ["server", "replication", "memory", "stats"] {
        ask.cmd("INFO").arg(section);
    }
    let answers: [String; 4] = ask.query_async(connection).await?;
    let [server, replication, memory, stats] = answers.each_ref().map(String::as_str);
    Ok(Said {
        server: format!(
            "{}{}",
            id(server, "run_id"),
            id(replication, "master_replid")
        ),
        evicts: evicts(memory, stats),
    })
}

fn id(info: &str, name: &str) -> String {
    field(info, name).chars().take(ID_DIGITS).collect()
}

fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim()
}

/// Whether a server forgets keys when memory is short, or has done so. One that does not tell is believed to be as
/// the doctor wants it.
fn evicts(memory: &str, stats: &str) -> bool {
    let policy = field(memory, "maxmemory_policy");
    let may = !matches!(policy, "" | "noeviction") && field(memory, "maxmemory") != "0";
    may || !matches!(field(stats, "evicted_keys"), "" | "0")
}

const fn is_recent(seen: u64, now: u64) -> bool {
    now.saturating_sub(seen) < KEY_LIFE_MS
}

/// When a server was first seen by anybody, and now, in milliseconds.
async fn first_seen(
    connection: &mut MultiplexedConnection,
    key: &str,
) -> Result<(u64, u64), RedisError> {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(connection).await?;
    let now = seconds * 1_000 + micros / 1_000;
    let mut set = redis::cmd("SET");
    set.arg(key).arg(now).arg("NX").arg("PX").arg(MARK_LIFE_MS);
    set.exec_async(connection).await?;
    let seen: Option<u64> = redis::cmd("GET").arg(key).query_async(connection).await?;
    Ok((seen.unwrap_or(now), now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_who_it_is() {
        let info =
            "# Server\r\nredis_version:7.0\r\nrun_id:0123456789abcdef0123\r\nrole:master\r\n";
        assert_eq!(id(info, "run_id"), "0123456789abcdef");
        assert_eq!(id(info, "master_replid"), "");
    }

    #[test]
    fn a_server_that_evicts_says_so() {
        let lru = "maxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\n";
        let endless = "maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n";
        let keeps = "maxmemory:100\r\nmaxmemory_policy:noeviction\r\n";
        assert!(evicts(lru, "evicted_keys:0\r\n"));
        assert!(!evicts(endless, "evicted_keys:0\r\n"));
        assert!(!evicts(keeps, "evicted_keys:0\r\n"));
        assert!(evicts(keeps, "evicted_keys:7\r\n"));
        assert!(!evicts("", ""));
    }
}
