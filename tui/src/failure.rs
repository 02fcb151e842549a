//! Why a source has no data, in the words of whoever looks at the screen.

use chat_client::error::Error;
use chat_wire::problem::Code;
use serde::Serialize;

/// What kind of failure it is; the exit code of `--once` follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The server has no such path: it is older than this dashboard.
    NotOffered,
    /// No connection.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// The key is missing or wrong.
    Unauthorized,
    /// What was asked about does not exist.
    NotFound,
    /// Another run is at work.
    Busy,
    /// Anything else.
    Other,
}

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What kind it is.
    pub kind: Kind,
    /// What happened.
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// What `error` means for somebody who wanted `what`, a path of the API.
    #[must_use]
    pub fn of(error: &Error, what: &str) -> Self {
        let kind = kind_of(error);
        let text = match kind {
            Kind::NotOffered => format!("this server does not offer {what}"),
            _ => error.to_string(),
        };
        let hint = match (kind, error) {
            (_, Error::Problem { problem, .. }) if problem.hint.is_some() => problem.hint.clone(),
            (Kind::NotOffered, _) => Some("it is older than this dashboard: update chatd".into()),
            (Kind::Unreachable, _) => {
                Some("start chatd, or give its admin address with --admin".into())
            }
            (Kind::Unauthorized, _) => {
                Some("give the key with CHATCTL_ADMIN_KEY or --admin-key-file".into())
            }
            _ => None,
        };
        Self { kind, text, hint }
    }
}

fn kind_of(error: &Error) -> Kind {
    match error {
        Error::Unreachable { .. } => Kind::Unreachable,
        Error::Timeout { .. } | Error::Pending { .. } => Kind::Timeout,
        Error::Status { status, .. } => match status {
            401 | 403 => Kind::Unauthorized,
            404 | 405 | 501 => Kind::NotOffered,
            502..=504 => Kind::Unreachable,
            _ => Kind::Other,
        },
        Error::Problem { problem, .. } => match problem.code {
            Code::NoSuchPath | Code::MethodNotAllowed => Kind::NotOffered,
            Code::Unauthorized => Kind::Unauthorized,
            Code::Busy => Kind::Busy,
            Code::UnknownApplication
            | Code::UnknownChat
            | Code::UnknownMessage
            | Code::UnknownLetter
            | Code::Gone => Kind::NotFound,
            _ => Kind::Other,
        },
        Error::Address { .. } | Error::Protocol { .. } => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_wire::problem::Problem;

    fn problem(code: Code) -> Error {
        Error::Problem {
            status: code.status(),
            problem: Box::new(Problem::new(code, "a detail")),
            retry_after: None,
        }
    }

    #[test]
    fn a_missing_path_is_told_apart_from_a_missing_record() {
        let path = Failure::of(&problem(Code::NoSuchPath), "/admin/drift");
        assert_eq!(path.kind, Kind::NotOffered);
        assert_eq!(path.text, "this server does not offer /admin/drift");
        let letter = Failure::of(&problem(Code::UnknownLetter), "/admin/dlq/x");
        assert_eq!(letter.kind, Kind::NotFound);
        assert_eq!(letter.text, "a detail");
    }

    #[test]
    fn a_foreign_404_is_a_missing_path_too() {
        let error = Error::Status {
            url: "http://x".into(),
            status: 404,
            detail: "Not Found".into(),
            retry_after: None,
        };
        assert_eq!(Failure::of(&error, "/admin/stats").kind, Kind::NotOffered);
    }
}
