//! The counters: they hand out numbers, and they may be lost.

use std::time::Duration;

use async_trait::async_trait;
use chat_wire::ids::AppToken;
use uuid::Uuid;

use crate::key::StoredKey;
use crate::port::store::ChatKey;

/// Why the counters did not do what they were asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine is away or slow; a number may have been taken.
    #[error("the counters do not answer: {0}")]
    Unavailable(String),
    /// The last number that fits has been given out.
    #[error("the numbers are used up")]
    Exhausted,
    /// More is remembered than the limit allows.
    #[error("too many idempotency keys are remembered")]
    Full,
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Full => true,
            Self::Exhausted => false,
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counter {
    /// The chats of an application.
    Chats(AppToken),
    /// The messages of a chat.
    Messages(ChatKey),
}

impl Counter {
    /// The application that it belongs to.
    #[must_use]
    pub const fn token(&self) -> AppToken {
        match self {
            Self::Chats(token) => *token,
            Self::Messages(key) => key.token,
        }
    }
}

/// A create that carries an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyed {
    /// Hash of scope and key, and hash of the body.
    pub key: StoredKey,
    /// Uid that the event will have if this call is the first.
    pub uid: Uuid,
    /// How long the key counts as in flight, in milliseconds.
    pub lease_ms: u64,
    /// The store was asked for this key and does not know it.
    pub absent_in_store: bool,
}

/// Asks for numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Take {
    /// Of what.
    pub counter: Counter,
    /// How many in a row, at least 1.
    pub count: u32,
    /// With a key, the answer is repeated for the same key.
    pub keyed: Option<Keyed>,
}

/// Numbers that were given out for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// First number; for an application 0.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// Of the event that carries them.
    pub uid: Uuid,
    /// Of the counters when they were taken.
    pub generation: u32,
}

/// The answer to a [`Take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// New numbers, this caller's alone.
    Granted {
        /// First number.
        first: u32,
        /// Of the counters.
        generation: u32,
    },
    /// The key was answered before: say the same again.
    Repeat(Grant),
    /// The key was seen, its lease is over and nothing was acknowledged: append the same event again, in the
    /// generation that the grant says, which is the counter's.
    Resume(Grant),
    /// The key is under way.
    InFlight,
    /// The key was used with another body.
    OtherBody,
    /// The key is not known here, and may be in the store: look, then ask again.
    AskStore,
    /// The chat number is above the application's last.
    OutOfRange,
    /// A key is missing or cannot be believed: recover, then ask again.
    Unknown(Counter),
    /// The application is being recovered.
    Fenced,
}

/// The answer to a create of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// The token is new and its counter stands at 0.
    Granted {
        /// Of the counters.
        generation: u32,
    },
    /// The key was answered before with this token.
    Repeat(AppToken),
    /// The key's lease is over and nothing was acknowledged: append this event again.
    Resume {
        /// Token of the first try.
        token: AppToken,
        /// Uid of the first try.
        uid: Uuid,
        /// Of the counters.
        generation: u32,
    },
    /// As [`Opened::Resume`], but the token's counter was made and cannot be believed any more: recover it, or put
    /// it back at 0 where nothing of the application is known, and append this event.
    Lost {
        /// Token of the first try.
        token: AppToken,
        /// Uid of the first try.
        uid: Uuid,
    },
    /// The key is under way.
    InFlight,
    /// The key was used with another body.
    OtherBody,
    /// The key is not known here, and may be in the store: look, then ask again.
    AskStore,
}

/// Where what is missing in the counters has to be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    /// The counters know all that the log holds beyond the store: ask the store alone.
    Store,
    /// The counters may have lost anything, and others may have given out numbers of theirs: fence,
    /// wait for whoever still appends, then ask the log's tail and the store.
    Log,
}

/// Numbers.
#[async_trait]
pub trait Counters: Send + Sync {
    /// Takes numbers, in one round trip.
    async fn take(&self, take: Take) -> Result<Taken, Error>;

    /// Makes an application's counter, at 0.
    async fn open(&self, token: AppToken, keyed: Option<Keyed>) -> Result<Opened, Error>;

    /// Makes a chat's counter at 0, once its number is known to be in the log.
    async fn open_chat(&self, chat: ChatKey) -> Result<(), Error>;

    /// Notes that the event of this key is durable, so that its answer may be repeated.
    async fn acknowledge(&self, token: AppToken, key: StoredKey) -> Result<(), Error>;

    /// Ends the lease of a key whose event is certainly not in the log, so that the next try with the
    /// key resumes these numbers at once. The key of another event, and one that was acknowledged, stays.
    async fn release(&self, _token: AppToken, _key: StoredKey, _grant: Grant) -> Result<(), Error> {
        // Without it the next try waits until the lease ends by itself.
        Ok(())
    }

    /// The last number given out; `None` where that is not known.
    async fn last(&self, counter: Counter) -> Result<Option<u32>, Error>;

    /// As [`Counters::last`] for many, in the order asked for.
    async fn last_of(&self, counters: &[Counter]) -> Result<Vec<Option<u32>>, Error> {
        let mut found = Vec::with_capacity(counters.len());
        for counter in counters {
            found.push(self.last(*counter).await?);
        }
        Ok(found)
    }

    /// Puts a counter where recovery found it: never lower than it stands.
    async fn restore(&self, counter: Counter, last: u32, generation: u32) -> Result<(), Error>;

    /// Puts back the answer of a key that recovery found in the log.
    async fn restore_key(&self, token: AppToken, key: StoredKey, grant: Grant)
    -> Result<(), Error>;

    /// Claims the recovery of a counter for so many milliseconds; `None` where somebody has it. A claim
    /// ends with [`Counters::restore`]; until then a take of the counter is [`Taken::Fenced`]. The answer is for how
    /// long, at least, nobody can have been given a number of the counter: whoever was given one before that needs
    /// not be waited for any more.
    async fn claim(&self, _counter: Counter, _lease_ms: u64) -> Result<Option<Duration>, Error> {
        // With [`Floor::Store`] a recovery waits for nothing and takes no claim.
        Ok(Some(Duration::ZERO))
    }

    /// Where what is missing has to be looked for.
    fn floor(&self) -> Floor;

    /// Answers when the engine does.
    async fn check(&self) -> Result<(), Error>;
}
