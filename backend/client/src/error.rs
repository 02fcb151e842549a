//! The one way in which a call fails.

use std::time::Duration;

use chat_wire::problem::{Code, Problem};

/// Why a call gave no answer of the kind that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configured address is no URL that HTTP can use.
    #[error("{url:?} is no address of a server: {reason}")]
    Address {
        /// As it was configured.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection, or it broke before the answer was complete.
    #[error("cannot reach {url}: {cause}")]
    Unreachable {
        /// Address of the server, without path.
        url: String,
        /// What the operating system or HTTP said.
        cause: String,
    },
    /// The deadline passed without an answer.
    #[error("no answer from {url} within {:.1} s", after.as_secs_f64())]
    Timeout {
        /// Address of the server, without path.
        url: String,
        /// How long was waited.
        after: Duration,
    },
    /// What was asked for has its number, and was not stored by the deadline.
    #[error("accepted, but not stored within {:.1} s", after.as_secs_f64())]
    Pending {
        /// How long was waited.
        after: Duration,
    },
    /// The server refused, and says why.
    #[error("{}", problem.detail)]
    Problem {
        /// The document.
        problem: Box<Problem>,
        /// Of the answer.
        status: u16,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// An error status without a problem document that we know: another server, a proxy, or a newer version.
    #[error("{url} answered {status}: {detail}")]
    Status {
        /// Address of the server, without path.
        url: String,
        /// Of the answer.
        status: u16,
        /// The beginning of the body.
        detail: String,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// A success that cannot be read.
    #[error("{url} gave an answer that cannot be read: {reason}")]
    Protocol {
        /// Address of the server, without path.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Pending { .. } => true,
            Self::Address { .. } | Self::Protocol { .. } => false,
            Self::Problem { problem, .. } => code_is_retryable(problem.code),
            Self::Status { status, .. } => matches!(*status, 408 | 429 | 502 | 503 | 504),
        }
    }

    /// Whether the server is well and did nothing, because too much came at once.
    #[must_use]
    pub const fn shed(&self) -> bool {
        matches!(self.code(), Some(Code::TooManyRequests | Code::Overloaded))
    }

    /// When the server wants to be asked again.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem { retry_after, .. } | Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The code of the problem document, where there is one.
    #[must_use]
    pub const fn code(&self) -> Option<Code> {
        match self {
            Self::Problem { problem, .. } => Some(problem.code),
            _ => None,
        }
    }
}

/// Exhaustive, so that a new code has to be judged here.
const fn code_is_retryable(code: Code) -> bool {
    match code {
        Code::RequestTimeout
        | Code::KeyInFlight
        | Code::TooManyRequests
        | Code::Unavailable
        | Code::Overloaded
        | Code::Fenced
        | Code::NotAcknowledged
        | Code::Stopping => true,
        Code::InvalidJson
        | Code::InvalidParameter
        | Code::Unauthorized
        | Code::NoSuchPath
        | Code::UnknownApplication
        | Code::UnknownChat
        | Code::UnknownMessage
        | Code::UnknownLetter
        | Code::Busy
        | Code::MethodNotAllowed
        | Code::Gone
        | Code::TooLarge
        | Code::UnsupportedMediaType
        | Code::InvalidValue
        | Code::KeyReused
        | Code::Damaged
        | Code::Internal => false,
    }
}
