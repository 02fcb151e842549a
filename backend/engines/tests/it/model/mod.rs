//! The counters on Redis and those of the embedded default, told the same calls: they give the same answers.
//!
//! Time passes by leases: one of 0 ms is over at the next call, one of a minute never is. Both count up, give
//! no number twice, and forget nothing that they were told.
//!
//! Where they differ on purpose, the test says when exactly, and holds each to its own answer:
//!
//! - **A chat without its application.** The embedded counters give out numbers of a chat whose counter they
//!   have; on Redis the application's counter is looked at first, because it may have been lost by itself. In
//!   one process both are lost together, so the case does not arise there; such takes are left out here.
//! - **Claims.** Recoveries of the embedded counters wait for nobody, so nothing is ever claimed or fenced
//!   ([`Floor::Store`]). On Redis whoever recovers claims the counter, and takes are told that it is fenced.
//! - **A key after a recovery.** On Redis a key that is not there may be in the store for a day after any counter
//!   of its application was restored. The embedded counters know whether they remember every key of an
//!   application, which they do where it was opened in this process: then they need not ask.
//! - **Opening a chat after a recovery.** On Redis that makes no counter while a create may be under way that
//!   was given its number before: messages may have been counted and lost since. In one process nothing is lost.
//!
//! - **Generations.** On Redis each counter has its own, because each may be lost by itself. The embedded counters
//!   have one for all counters of an application, and a higher one than the first only where a recovery says so.
//!   Generations are compared for the counter of chats; those in answers about messages as long as it has the first.
//!
//! Not compared: keys that are older than a day, keys beyond the number that the embedded counters remember, and a
//! server that changes or evicts (`counters.rs` does that).

mod calls;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chat_core::key::{KeyHash, StoredKey};
use chat_core::port::counters::{
    Counter, Counters, Error, Floor, Grant, Keyed, Opened, Take, Taken,
};
use chat_core::port::store::ChatKey;
use chat_engines::config::Config;
use chat_wire::ids::{AppToken, ChatNumber};
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestCaseError, TestRunner};
use uuid::Uuid;

use self::calls::{APPLICATIONS, CHATS, Call, Create, Key, Target, call};

const CALLS: usize = 60;
/// Of a lease that never ends here.
const LONG_MS: u64 = 10 * 60 * 1_000;

#[test]
fn counters_on_redis_and_in_this_process_answer_alike() {
    let Some(url) = std::env::var("REDIS_URL")
        .ok()
        .filter(|url| !url.is_empty())
    else {
        assert!(std::env::var_os("CI").is_none(), "REDIS_URL is not set");
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let data = tempfile::tempdir().unwrap();
    let config = Config {
        redis_prefix: format!("t{}:", Uuid::new_v4().simple()),
        // For longer than the test a create may be under way.
        create_deadline: Duration::from_secs(3_600),
        ..Config::new(String::new(), url, String::new(), String::new())
    };
    let (redis, embedded) = runtime.block_on(async {
        let redis = chat_engines::open::counters(&config).await.unwrap();
        let config = chat_embedded::open::Config::new(data.path());
        let embedded = chat_embedded::open::open(&config).await.unwrap();
        (redis, embedded)
    });
    assert_eq!(
        (redis.floor(), embedded.counters.floor()),
        (Floor::Log, Floor::Store)
    );
    let cases = Cases {
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Cases::default()
    };
    let calls = prop::collection::vec(call(), 1..CALLS);
    let compared = TestRunner::new(cases).run(&calls, |calls| {
        let pair = Pair::new(Arc::clone(&redis), Arc::clone(&embedded.counters));
        runtime.block_on(pair.compare(calls))
    });
    runtime.block_on(async {
        embedded.life.close().await;
        forget(&config).await;
    });
    compared.unwrap();
}

/// Both counters, with applications that no other case has.
struct Pair {
    redis: Arc<dyn Counters>,
    embedded: Arc<dyn Counters>,
    tokens: Vec<AppToken>,
    /// Keeps the keys of creates of applications apart from those of other cases.
    case: String,
    /// Numbers each call.
    nth: u128,
    /// Applications of which a counter was restored.
    restored: HashSet<AppToken>,
    /// Applications that the embedded counters know since they were opened.
    opened: HashSet<AppToken>,
    /// Claimed on Redis, and not restored since.
    claimed: HashSet<Counter>,
    highest: HashMap<Counter, u32>,
    /// Of the counter of chats, where it was restored with one above the first.
    generations: HashMap<AppToken, u32>,
    /// Of the event that was given a key first.
    uids: HashMap<KeyHash, Uuid>,
}

type Compared = Result<(), TestCaseError>;

impl Pair {
    fn new(redis: Arc<dyn Counters>, embedded: Arc<dyn Counters>) -> Self {
        let token = || AppToken::from_bytes(*Uuid::new_v4().as_bytes());
        Self {
            redis,
            embedded,
            tokens: (0..APPLICATIONS).map(|_| token()).collect(),
            case: Uuid::new_v4().to_string(),
            nth: 1 << 64,
            restored: HashSet::new(),
            opened: HashSet::new(),
            claimed: HashSet::new(),
            highest: HashMap::new(),
            generations: HashMap::new(),
            uids: HashMap::new(),
        }
    }

    async fn compare(mut self, calls: Vec<Call>) -> Compared {
        for call in calls {
            self.nth += 1;
            match call {
                Call::Take(target, count, key) => self.take(target, count, key).await?,
                Call::Open(application, key) => self.open(application, key).await?,
                Call::OpenChat(application, chat) => {
                    self.open_chat(self.chat(application, chat)).await?;
                }
                Call::Acknowledge(create, key) => {
                    let (token, key) = (self.token(create), self.stored(create, key));
                    self.redis.acknowledge(token, key).await.unwrap();
                    self.embedded.acknowledge(token, key).await.unwrap();
                }
                Call::Release(create, key, own) => self.release(create, key, own).await,
                Call::Last(target) => drop(self.last(self.counter(target)).await?),
                Call::Restore(target, last, next) => self.restore_in(target, last, next).await,
                Call::RestoreKey(create, key, grant) => self.restore_key(create, key, grant).await,
                Call::Claim(target) => self.claim(self.counter(target)).await?,
            }
        }
        for application in 0..APPLICATIONS {
            self.last(Counter::Chats(self.tokens[application])).await?;
            for chat in 1..=CHATS {
                self.last(Counter::Messages(self.chat(application, chat)))
                    .await?;
            }
        }
        Ok(())
    }

    fn chat(&self, application: usize, chat: u32) -> ChatKey {
        ChatKey {
            token: self.tokens[application],
            chat: ChatNumber::new(chat).unwrap(),
        }
    }

    fn counter(&self, target: Target) -> Counter {
        match target {
            Target::Chats(application) => Counter::Chats(self.tokens[application]),
            Target::Messages(application, chat) => Counter::Messages(self.chat(application, chat)),
        }
    }

    fn token(&self, create: Create) -> AppToken {
        match create {
            Create::Application(application) => self.tokens[application],
            Create::In(target) => self.counter(target).token(),
        }
    }

    /// The scope of a key is what its create makes.
    fn stored(&self, create: Create, key: Key) -> StoredKey {
        let body = if key.other_body {
            b"other"
        } else {
            b"a body".as_slice()
        };
        let (token, path) = match create {
            Create::Application(_) => (None, self.case.clone()),
            Create::In(target) => (Some(self.token(create)), format!("{target:?}")),
        };
        StoredKey::new(token, &path, &key.name.to_string(), body)
    }

    fn keyed(&self, create: Create, key: Key) -> Keyed {
        Keyed {
            key: self.stored(create, key),
            uid: Uuid::from_u128(self.nth),
            lease_ms: if key.over { 0 } else { LONG_MS },
            absent_in_store: key.absent_in_store,
        }
    }

    async fn take(&mut self, target: Target, count: u32, key: Option<Key>) -> Compared {
        let counter = self.counter(target);
        let token = counter.token();
        let application = self.embedded.last(Counter::Chats(token)).await.unwrap();
        if let Counter::Messages(chat) = counter
            && self.embedded.last(counter).await.unwrap().is_some()
            && application.is_none_or(|last| last < chat.chat.get())
        {
            // A chat without its application: see above.
            return Ok(());
        }
        let keyed = key.map(|key| self.keyed(Create::In(target), key));
        let mut take = Take {
            counter,
            count,
            keyed,
        };
        let mut redis = self.redis.take(take).await;
        let mut embedded = self.embedded.take(take).await;
        if let Ok(Taken::Unknown(missing)) = embedded {
            let expected = self.lost(counter, missing);
            prop_assert_eq!(redis.unwrap(), expected);
            return Ok(());
        }
        let knows_all = self.opened.contains(&token) && self.restored.contains(&token);
        if knows_all
            && matches!(redis, Ok(Taken::AskStore))
            && let Some(keyed) = &mut take.keyed
        {
            prop_assert!(!keyed.absent_in_store);
            keyed.absent_in_store = true;
            redis = self.redis.take(take).await;
        }
        if matches!(counter, Counter::Messages(_)) && self.generations.contains_key(&token) {
            // One generation for all counters of an application, or one for each: see above.
            redis = redis.map(without_generation);
            embedded = embedded.map(without_generation);
        }
        prop_assert_eq!(told(&redis), told(&embedded));
        if let Ok(Taken::Granted { first, .. }) = embedded {
            if let Some(keyed) = keyed {
                self.uids.insert(keyed.key.hash, keyed.uid);
            }
            let last = first + (count.max(1) - 1);
            let before = self.highest.insert(counter, last);
            prop_assert!(before < Some(first), "a number twice");
        }
        Ok(())
    }

    /// What Redis says where the embedded counters say that one is missing.
    fn lost(&self, counter: Counter, missing: Counter) -> Taken {
        if !self.claimed.contains(&missing) {
            return Taken::Unknown(missing);
        }
        // The recovery of the chat is begun beside that of its application.
        if counter != missing && !self.claimed.contains(&counter) {
            return Taken::Unknown(counter);
        }
        Taken::Fenced
    }

    async fn open(&mut self, application: usize, key: Option<Key>) -> Compared {
        let token = self.tokens[application];
        let keyed = key.map(|key| self.keyed(Create::Application(application), key));
        let known = self.restored.contains(&token) || self.opened.contains(&token);
        let redis = self.redis.open(token, keyed).await;
        let embedded = self.embedded.open(token, keyed).await;
        prop_assert_eq!(told(&redis), told(&embedded));
        if let Ok(Opened::Granted { .. }) = embedded {
            if let Some(keyed) = keyed {
                self.uids.insert(keyed.key.hash, keyed.uid);
            }
            if !known {
                self.opened.insert(token);
            }
        }
        Ok(())
    }

    async fn open_chat(&mut self, chat: ChatKey) -> Compared {
        let counter = Counter::Messages(chat);
        let before = self.last(counter).await?;
        let application = self.last(Counter::Chats(chat.token)).await?;
        self.redis.open_chat(chat).await.unwrap();
        self.embedded.open_chat(chat).await.unwrap();
        let left = application.is_none() || self.restored.contains(&chat.token);
        if before.is_none() && left {
            // After a recovery, or before one that is needed: see above. Made equal by what follows then.
            prop_assert_eq!(self.redis.last(counter).await.unwrap(), None);
            prop_assert_eq!(self.embedded.last(counter).await.unwrap(), Some(0));
            self.restore(counter, 0, 1).await;
        }
        let after = self.last(counter).await?;
        prop_assert_eq!(after, before.or(Some(0)));
        Ok(())
    }

    async fn release(&self, create: Create, key: Key, own: bool) {
        let (token, key) = (self.token(create), self.stored(create, key));
        let uid = self.uids.get(&key.hash).filter(|_| own).copied();
        let of_application = matches!(create, Create::Application(_));
        let grant = Grant {
            first: 1,
            count: u32::from(!of_application),
            uid: uid.unwrap_or(Uuid::from_u128(self.nth)),
            generation: 1,
        };
        self.redis.release(token, key, grant).await.unwrap();
        self.embedded.release(token, key, grant).await.unwrap();
    }

    /// The same on both, and never lower than before.
    async fn last(&mut self, counter: Counter) -> Result<Option<u32>, TestCaseError> {
        let redis = self.redis.last(counter).await.unwrap();
        let embedded = self.embedded.last(counter).await.unwrap();
        prop_assert_eq!(redis, embedded);
        let before = self.highest.get(&counter).copied();
        prop_assert!(before <= redis, "{:?} was lowered to {:?}", before, redis);
        if let Some(last) = redis {
            self.highest.insert(counter, last);
        }
        Ok(redis)
    }

    /// Generations of a counter only grow; those of messages are left at the first one.
    async fn restore_in(&mut self, target: Target, last: u32, next: bool) {
        let counter = self.counter(target);
        let mut generation = 1;
        if let Target::Chats(_) = target {
            let before = self.generations.get(&counter.token()).copied().unwrap_or(1);
            generation = before + u32::from(next);
            if generation > 1 {
                self.generations.insert(counter.token(), generation);
            }
        }
        self.restore(counter, last, generation).await;
    }

    async fn restore(&mut self, counter: Counter, last: u32, generation: u32) {
        self.redis.restore(counter, last, generation).await.unwrap();
        self.embedded
            .restore(counter, last, generation)
            .await
            .unwrap();
        self.restored.insert(counter.token());
        self.claimed.remove(&counter);
    }

    async fn restore_key(&self, create: Create, key: Key, mut grant: Grant) {
        let (token, key) = (self.token(create), self.stored(create, key));
        match create {
            Create::Application(_) => (grant.first, grant.count) = (0, 0),
            // The generation that is known decides, and they differ in it: see above.
            Create::In(Target::Messages(..)) if self.generations.contains_key(&token) => return,
            Create::In(_) => {}
        }
        self.redis.restore_key(token, key, grant).await.unwrap();
        self.embedded.restore_key(token, key, grant).await.unwrap();
    }

    /// Nobody claims what is there.
    async fn claim(&mut self, counter: Counter) -> Compared {
        if self.last(counter).await?.is_none() {
            let claimed = self.embedded.claim(counter, LONG_MS).await.unwrap();
            prop_assert_eq!(claimed, Some(Duration::ZERO));
            let claimed = self.redis.claim(counter, LONG_MS).await.unwrap();
            let free = self.claimed.insert(counter);
            prop_assert_eq!(claimed, free.then_some(Duration::ZERO));
        }
        Ok(())
    }
}

fn without_generation(taken: Taken) -> Taken {
    let same = |grant| Grant {
        generation: 1,
        ..grant
    };
    match taken {
        Taken::Granted { first, .. } => Taken::Granted {
            first,
            generation: 1,
        },
        Taken::Repeat(grant) => Taken::Repeat(same(grant)),
        Taken::Resume(grant) => Taken::Resume(same(grant)),
        other => other,
    }
}

/// An answer, or the kind of an error.
fn told<T: std::fmt::Debug>(answer: &Result<T, Error>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => error.to_string(),
    }
}

/// Removes what the test left on the server.
async fn forget(config: &Config) {
    let client = redis::Client::open(config.redis_url.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut ask = redis::cmd("KEYS");
    ask.arg(format!("{}*", config.redis_prefix));
    let keys: Vec<String> = ask.query_async(&mut connection).await.unwrap();
    for keys in keys.chunks(1_000) {
        redis::cmd("DEL")
            .arg(keys)
            .exec_async(&mut connection)
            .await
            .unwrap();
    }
}
