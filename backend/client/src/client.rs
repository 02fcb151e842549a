//! The client of the API.

use std::time::Duration;

use crate::error::Error;
use crate::http::Http;
use crate::key::IdempotencyKey;
use crate::observer::Observer;
use crate::retries::Retries;

/// Where the server is, and how patient to be with it.
#[derive(Debug, Clone)]
pub struct Config {
    /// `http://` or `https://`, host and port; a path is kept as a prefix.
    pub server: String,
    /// Bearer key, which only the admin listener asks for.
    pub bearer: Option<String>,
    /// Longest time for one call, all its attempts and pauses included.
    pub timeout: Duration,
    /// How often a call is repeated that may be repeated.
    pub retries: Retries,
    /// Who is told of answers and retries.
    pub observer: Observer,
}

impl Config {
    /// This address, with a deadline of 30 s, three retries, no key and nobody watching.
    #[must_use]
    pub fn new(server: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            bearer: None,
            timeout: Duration::from_secs(30),
            retries: Retries::default(),
            observer: Observer::default(),
        }
    }
}

/// A client of the API; its clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) http: Http,
}

impl Client {
    /// # Errors
    /// [`Error::Address`] where the address is none.
    pub fn new(config: Config) -> Result<Self, Error> {
        Ok(Self {
            http: Http::new(config)?,
        })
    }
}

/// What goes with a create.
#[derive(Debug, Clone, Default)]
pub struct Create {
    /// Repeating the call with the same key repeats the first answer; a random key where there is none.
    /// For `POST /applications` it must be a UUID.
    pub key: Option<IdempotencyKey>,
    /// Ask the server to answer only once the row is stored, for at most this long (`Prefer: wait`, RFC 7240).
    pub wait: Option<Duration>,
}

/// The answer to a create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created<T> {
    /// What the server gave.
    pub value: T,
    /// Whether the row is stored already (201) or only durable in the log (202).
    pub stored: bool,
}

/// A look at something that may have a number but no row yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read<T> {
    /// It is stored.
    Ready(T),
    /// It was handed out and will be stored; the server suggests this pause.
    Pending(Option<Duration>),
}
