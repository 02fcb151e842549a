//! Why a request is not done; knows no HTTP.

use chat_wire::time::Timestamp;

use crate::limits::Broken;
use crate::port::{counters, log, search, store};

/// Why a request is not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No application has the token.
    #[error("no application has this token")]
    UnknownApplication,
    /// The application has given out no such chat number.
    #[error("the application has no such chat")]
    UnknownChat,
    /// The chat has given out no such message number.
    #[error("the chat has no such message")]
    UnknownMessage,
    /// The message was deleted, or its number was never used.
    #[error("the message is gone")]
    Gone,
    /// A value breaks a rule; nothing was taken.
    #[error("{0}")]
    Invalid(Broken),
    /// A line of a batch breaks a rule; nothing was taken.
    #[error("line {line}: {broken}")]
    InvalidLine {
        /// From 1.
        line: u32,
        /// Which rule.
        broken: Broken,
    },
    /// The first create with this idempotency key is still under way.
    #[error("the first request with this idempotency key is still under way")]
    KeyInFlight,
    /// The idempotency key was used with another body.
    #[error("the idempotency key was used with another body")]
    KeyReused,
    /// The application's counters are being recovered.
    #[error("the application's numbers are being recovered")]
    Fenced,
    /// The log did not acknowledge before the deadline, or failed in a way that leaves the outcome open;
    /// a retry with the same key gets the same number.
    #[error("the log did not acknowledge the record, and may have it all the same")]
    NotAcknowledged,
    /// The log takes no records at present: nothing was appended, and nothing will come to be there.
    #[error("the log cannot take records: {0}")]
    NotAppended(String),
    /// Another run is at work.
    #[error("a reconciliation is at work in {owner} since {since}")]
    Busy {
        /// Which process runs it.
        owner: String,
        /// Since when.
        since: Timestamp,
    },
    /// There is no such dead letter.
    #[error("there is no such dead letter")]
    UnknownLetter,
    /// The last number that fits has been given out.
    #[error("all numbers are used up")]
    Exhausted,
    /// The store does not do what it should.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The log does not do what it should.
    #[error(transparent)]
    Log(#[from] log::Error),
    /// The counters do not do what they should.
    #[error(transparent)]
    Counters(counters::Error),
    /// The search index does not do what it should.
    #[error(transparent)]
    Search(#[from] search::Error),
}

impl Error {
    /// Whether the event of a request that failed so is certainly not in the log.
    pub(crate) const fn proves_absence(&self) -> bool {
        matches!(
            self,
            Self::NotAppended(_) | Self::Log(log::Error::Refused(_))
        )
    }
}

impl From<counters::Error> for Error {
    fn from(error: counters::Error) -> Self {
        match error {
            counters::Error::Exhausted => Self::Exhausted,
            other => Self::Counters(other),
        }
    }
}

impl From<Broken> for Error {
    fn from(broken: Broken) -> Self {
        Self::Invalid(broken)
    }
}
