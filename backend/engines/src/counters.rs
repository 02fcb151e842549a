//! The counters port on Redis: one script a call or for many of them, every key of an application on one shard.

mod examine;
mod gather;
mod link;
mod scripts;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::failpoint::{Failpoint, reach};
use chat_core::key::StoredKey;
use chat_core::port::counters::{
    Counter, Counters, Error, Floor, Grant, Keyed, Opened, Take, Taken,
};
use chat_core::port::store::ChatKey;
use chat_wire::ids::AppToken;
use futures_util::{StreamExt, TryStreamExt};
use redis::{Client, RedisError};
use uuid::Uuid;

use self::gather::{Call, Gather};
use self::link::{Link, Links, Words};
use self::scripts::Script;
use crate::config::Config;

const SETTING: &str = "REDIS_URL";
/// Questions about counters that are on their way together.
const ASKED_AT_ONCE: usize = 128;

/// The numbers of one database of Redis.
pub(crate) struct Numbers {
    links: Arc<Links>,
    takes: Arc<Gather>,
    acknowledgements: Arc<Gather>,
    prefix: String,
    /// For how long a create may be under way, in milliseconds.
    under_way_ms: u64,
}

impl Numbers {
    /// Reaches the server.
    pub(crate) async fn connect(config: &Config) -> Result<Self, crate::error::Error> {
        let links = Links::new(client(config)?, config.redis_prefix.clone());
        links.connect().await.map_err(|error| unusable(&error))?;
        let under_way = config.create_deadline + Duration::from_secs(1);
        let links = Arc::new(links);
        Ok(Self {
            takes: Gather::new(&links, Script::Take),
            acknowledgements: Gather::new(&links, Script::Acknowledge),
            links,
            prefix: config.redis_prefix.clone(),
            under_way_ms: u64::try_from(under_way.as_millis()).unwrap_or(u64::MAX),
        })
    }

    // The braces are Redis Cluster's hash tag: what is within them chooses the shard.
    fn counter(&self, counter: Counter) -> String {
        match counter {
            Counter::Chats(token) => format!("{}application:{{{}}}", self.prefix, token.reveal()),
            Counter::Messages(chat) => {
                format!(
                    "{}chat:{{{}}}|{}",
                    self.prefix,
                    chat.token.reveal(),
                    chat.chat
                )
            }
        }
    }

    fn fence(&self, counter: Counter) -> String {
        match counter {
            Counter::Chats(token) => format!("{}fence:{{{}}}", self.prefix, token.reveal()),
            Counter::Messages(chat) => {
                format!(
                    "{}fence:{{{}}}|{}",
                    self.prefix,
                    chat.token.reveal(),
                    chat.chat
                )
            }
        }
    }

    fn key(&self, token: AppToken, key: StoredKey) -> String {
        format!("{}key:{{{}}}|{:?}", self.prefix, token.reveal(), key.hash)
    }

    /// The key of a create of an application, which has no token yet.
    fn application_key(&self, key: StoredKey) -> String {
        format!("{}key:{{{:?}}}", self.prefix, key.hash)
    }

    async fn run(
        &self,
        script: Script,
        keys: &[&str],
        arguments: impl FnOnce(&Link) -> Vec<String>,
    ) -> Result<Answer, Error> {
        let link = self.links.link().await?;
        let arguments = arguments(&link);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match link.run(script, keys, &arguments).await {
            Ok(words) => Ok(Answer { words }),
            Err(error) => Err(self.links.failed(&link, &error)),
        }
    }

    async fn open_key(&self, token: AppToken, keyed: &Keyed) -> Result<Opened, Error> {
        let name = self.application_key(keyed.key);
        let link = self.links.link().await?;
        let recent = match self.links.is_recent(&link).await {
            Ok(recent) => recent,
            Err(error) => return Err(self.links.failed(&link, &error)),
        };
        let answer = self
            .run(Script::OpenKey, &[&name], |link| {
                let gone = recent || link.forgetful() == "1";
                let ask = gone && !keyed.absent_in_store;
                vec![
                    format!("{:?}", keyed.key.body_hash),
                    keyed.uid.simple().to_string(),
                    keyed.lease_ms.to_string(),
                    token.reveal(),
                    u8::from(ask).to_string(),
                ]
            })
            .await?;
        match answer.word() {
            "granted" => Ok(Opened::Granted { generation: 1 }),
            "repeat" => Ok(Opened::Repeat(answer.token(1)?)),
            "resume" => Ok(Opened::Resume {
                token: answer.token(1)?,
                uid: answer.uid(2)?,
                generation: answer.number(3)?,
            }),
            "flight" => Ok(Opened::InFlight),
            "body" => Ok(Opened::OtherBody),
            "ask" => Ok(Opened::AskStore),
            _ => Err(answer.strange()),
        }
    }

    /// Makes the counter of a new application; `None` where there is one that cannot be believed.
    async fn make(&self, token: AppToken, is_first_try: bool) -> Result<Option<u32>, Error> {
        let name = self.counter(Counter::Chats(token));
        let first_try = if is_first_try { "1" } else { "0" };
        let answer = self
            .run(Script::Open, &[&name], |link| {
                vec![link.server.clone(), first_try.to_owned()]
            })
            .await?;
        match answer.word() {
            "granted" => answer.number(1).map(Some),
            _ => Ok(None),
        }
    }
}

#[async_trait]
impl Counters for Numbers {
    async fn take(&self, take: Take) -> Result<Taken, Error> {
        let token = take.counter.token();
        let shared = [
            self.counter(Counter::Chats(token)),
            self.fence(Counter::Chats(token)),
        ];
        let counter = self.counter(take.counter);
        let key = take.keyed.map(|keyed| self.key(token, keyed.key));
        let key = key.unwrap_or_else(|| counter.clone());
        let chat = match take.counter {
            Counter::Chats(_) => 0,
            Counter::Messages(chat) => chat.chat.get(),
        };
        let mut arguments = vec![take.count.max(1).to_string(), chat.to_string()];
        arguments.extend(match take.keyed {
            Some(keyed) => [
                format!("{:?}", keyed.key.body_hash),
                keyed.uid.simple().to_string(),
                keyed.lease_ms.to_string(),
                u8::from(keyed.absent_in_store).to_string(),
            ],
            None => [const { String::new() }; 4],
        });
        let call = Call {
            keys: vec![counter, self.fence(take.counter), key],
            arguments,
        };
        let words = self.takes.call(token, shared.to_vec(), call).await?;
        let answer = Answer { words };
        match answer.word() {
            "granted" => Ok(Taken::Granted {
                first: answer.number(1)?,
                generation: answer.number(2)?,
            }),
            "repeat" => Ok(Taken::Repeat(answer.grant()?)),
            "resume" => Ok(Taken::Resume(answer.grant()?)),
            "flight" => Ok(Taken::InFlight),
            "body" => Ok(Taken::OtherBody),
            "ask" => Ok(Taken::AskStore),
            "range" => Ok(Taken::OutOfRange),
            "fenced" => Ok(Taken::Fenced),
            "exhausted" => Err(Error::Exhausted),
            "unknown" if answer.words.get(1).is_some_and(|what| what == "chats") => {
                Ok(Taken::Unknown(Counter::Chats(token)))
            }
            "unknown" => Ok(Taken::Unknown(take.counter)),
            _ => Err(answer.strange()),
        }
    }

    async fn open(&self, token: AppToken, keyed: Option<Keyed>) -> Result<Opened, Error> {
        // Two steps on two shards: what is between them is repeated by the next try, because the key
        // is in flight until it is acknowledged.
        let (token, first) = match keyed {
            None => (token, None),
            Some(keyed) => match self.open_key(token, &keyed).await? {
                Opened::Granted { .. } => {
                    reach(Failpoint::ApplicationKeyCounter);
                    (token, Some((keyed.uid, true)))
                }
                Opened::Resume { token, uid, .. } => (token, Some((uid, false))),
                other => return Ok(other),
            },
        };
        let is_first_try = first.is_none_or(|(_, is_first_try)| is_first_try);
        match (self.make(token, is_first_try).await?, first) {
            (Some(generation), None | Some((_, true))) => Ok(Opened::Granted { generation }),
            (Some(generation), Some((uid, false))) => Ok(Opened::Resume {
                token,
                uid,
                generation,
            }),
            (None, Some((uid, _))) => Ok(Opened::Lost { token, uid }),
            (None, None) => Err(Error::Unavailable(
                "the application's counter has to be recovered first".into(),
            )),
        }
    }

    async fn open_chat(&self, chat: ChatKey) -> Result<(), Error> {
        let application = self.counter(Counter::Chats(chat.token));
        let counter = self.counter(Counter::Messages(chat));
        self.run(Script::OpenChat, &[&application, &counter], |link| {
            vec![link.server.clone(), self.under_way_ms.to_string()]
        })
        .await
        .map(drop)
    }

    async fn acknowledge(&self, token: AppToken, key: StoredKey) -> Result<(), Error> {
        let body = format!("{:?}", key.body_hash);
        let call = Call {
            keys: vec![self.key(token, key)],
            arguments: vec![body.clone()],
        };
        let words = self.acknowledgements.call(token, Vec::new(), call).await?;
        if (Answer { words }).word() == "done" {
            return Ok(());
        }
        // That of an application's own create is on a shard that its hash chooses.
        let link = self.links.link().await?;
        let name = self.application_key(key);
        let arguments = [link.server.as_str(), link.forgetful(), &body];
        let told: Result<Vec<Words>, _> = link.run(Script::Acknowledge, &[&name], &arguments).await;
        let told = told.map_err(|error| self.links.failed(&link, &error))?;
        for words in told {
            self.links.judged(&link, words)?;
        }
        Ok(())
    }

    async fn release(&self, token: AppToken, key: StoredKey, grant: Grant) -> Result<(), Error> {
        let name = match grant.count {
            0 => self.application_key(key),
            _ => self.key(token, key),
        };
        self.run(Script::Release, &[&name], |_| {
            vec![grant.uid.simple().to_string()]
        })
        .await
        .map(drop)
    }

    async fn last(&self, counter: Counter) -> Result<Option<u32>, Error> {
        let name = self.counter(counter);
        let answer = self
            .run(Script::Last, &[&name], |link| vec![link.server.clone()])
            .await?;
        match answer.word() {
            "known" => answer.number(1).map(Some),
            _ => Ok(None),
        }
    }

    async fn last_of(&self, counters: &[Counter]) -> Result<Vec<Option<u32>>, Error> {
        // One connection carries many questions at once.
        futures_util::stream::iter(counters.to_vec())
            .map(|counter| self.last(counter))
            .buffered(ASKED_AT_ONCE)
            .try_collect()
            .await
    }

    async fn restore(&self, counter: Counter, last: u32, generation: u32) -> Result<(), Error> {
        let name = self.counter(counter);
        let application = self.counter(Counter::Chats(counter.token()));
        let fence = self.fence(counter);
        self.run(Script::Restore, &[&name, &application, &fence], |link| {
            vec![
                link.server.clone(),
                last.to_string(),
                generation.to_string(),
            ]
        })
        .await
        .map(drop)
    }

    async fn restore_key(
        &self,
        token: AppToken,
        key: StoredKey,
        grant: Grant,
    ) -> Result<(), Error> {
        let of_application = grant.count == 0;
        let name = if of_application {
            self.application_key(key)
        } else {
            self.key(token, key)
        };
        self.run(Script::RestoreKey, &[&name], |_| {
            vec![
                format!("{:?}", key.body_hash),
                grant.uid.simple().to_string(),
                grant.first.to_string(),
                grant.count.to_string(),
                grant.generation.to_string(),
                if of_application {
                    token.reveal()
                } else {
                    String::new()
                },
            ]
        })
        .await
        .map(drop)
    }

    async fn claim(&self, counter: Counter, lease_ms: u64) -> Result<Option<Duration>, Error> {
        let keys = [&*self.fence(counter), &*self.counter(counter)];
        let answer = self
            .run(Script::Claim, &keys, |link| {
                vec![
                    link.server.clone(),
                    lease_ms.max(1).to_string(),
                    link.first_seen_ms.to_string(),
                ]
            })
            .await?;
        match answer.word() {
            "claimed" => Ok(Some(Duration::from_millis(answer.wide(1)?))),
            _ => Ok(None),
        }
    }

    fn floor(&self) -> Floor {
        Floor::Log
    }

    async fn check(&self) -> Result<(), Error> {
        let link = self.links.link().await?;
        link.ping()
            .await
            .map_err(|error| self.links.failed(&link, &error))
    }
}

/// A word, and what belongs to it.
struct Answer {
    words: Vec<String>,
}

impl Answer {
    fn word(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    fn number(&self, at: usize) -> Result<u32, Error> {
        self.words
            .get(at)
            .and_then(|word| word.parse().ok())
            .ok_or_else(|| self.strange())
    }

    fn wide(&self, at: usize) -> Result<u64, Error> {
        self.words
            .get(at)
            .and_then(|word| word.parse().ok())
            .ok_or_else(|| self.strange())
    }

    fn uid(&self, at: usize) -> Result<Uuid, Error> {
        self.words
            .get(at)
            .and_then(|word| Uuid::try_parse(word).ok())
            .ok_or_else(|| self.strange())
    }

    fn token(&self, at: usize) -> Result<AppToken, Error> {
        self.words
            .get(at)
            .and_then(|word| word.parse().ok())
            .ok_or_else(|| self.strange())
    }

    fn grant(&self) -> Result<Grant, Error> {
        Ok(Grant {
            first: self.number(1)?,
            count: self.number(2)?,
            uid: self.uid(3)?,
            generation: self.number(4)?,
        })
    }

    /// The word alone: what belongs to it may be a token.
    fn strange(&self) -> Error {
        Error::Unavailable(format!(
            "a script answered '{}' in a shape of its own",
            self.word()
        ))
    }
}

/// A client that has not connected yet.
pub(crate) fn client(config: &Config) -> Result<Client, crate::error::Error> {
    // The parser's words may repeat the URL, and with it the password.
    Client::open(config.redis_url.as_str()).map_err(|error| {
        let problem = if config.redis_url.starts_with("rediss://") {
            format!("it cannot be used: {:?}", error.kind())
        } else {
            "it is no URL of a Redis server".to_owned()
        };
        crate::error::Error::wrong(
            SETTING,
            problem,
            "write redis://USER:PASSWORD@HOST:PORT/DB, or rediss:// in a build with the feature `tls`",
        )
    })
}

fn unusable(error: &RedisError) -> crate::error::Error {
    match error.code() {
        Some("NOAUTH" | "WRONGPASS" | "NOPERM") => crate::error::Error::wrong(
            SETTING,
            format!("the server refuses us: {error}"),
            "correct user and password, and allow all commands on our keys",
        ),
        _ if error.kind() == redis::ErrorKind::AuthenticationFailed => crate::error::Error::wrong(
            SETTING,
            "the server refuses user or password",
            "correct user and password in it",
        ),
        _ => crate::error::Error::not_up(
            SETTING,
            format!("Redis does not answer: {error}"),
            "start Redis, or correct host and port",
        ),
    }
}
