//! What went wrong, what to do about it, and the exit code that says so.

use std::borrow::Cow;
use std::io;

use chat_client::error::Error as ClientError;
use chat_wire::problem::Code;

use crate::exit::Exit;

/// The end of a command that did not do all that it was asked.
#[derive(Debug)]
pub(crate) struct Error {
    /// `Ok` where there is nobody to tell: the reader of our output has gone away.
    pub(crate) exit: Exit,
    /// For programs: the API's code, or the name of the exit code.
    pub(crate) code: Cow<'static, str>,
    /// Lower case, no full stop.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// Whether the same command may succeed later.
    pub(crate) retryable: bool,
}

impl Error {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: Cow::Borrowed(exit.name()),
            message: message.into(),
            hint: None,
            retryable: false,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn failure(message: impl Into<String>) -> Self {
        Self::new(Exit::Failure, message)
    }

    /// The end of a check whose answer is: not well.
    pub(crate) fn unhealthy(message: impl Into<String>) -> Self {
        Self::new(Exit::Unhealthy, message)
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn with_code(mut self, code: &'static str) -> Self {
        self.code = Cow::Borrowed(code);
        self
    }

    /// An error of reading or writing the named file.
    pub(crate) fn file(path: &str, error: &io::Error) -> Self {
        Self::failure(format!("{path}: {error}")).with_code("file")
    }
}

/// Errors of writing to standard output, the only ones that come without a name.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Ok, "the reader of the output has gone away");
        }
        Self::failure(format!("cannot write the output: {error}"))
    }
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        Self {
            exit: exit_of(&error),
            code: code_of(&error),
            message: error.to_string(),
            hint: hint_of(&error),
            retryable: error.retryable(),
        }
    }
}

fn exit_of(error: &ClientError) -> Exit {
    match error {
        ClientError::Address { .. } => Exit::Usage,
        ClientError::Unreachable { .. } => Exit::Unreachable,
        ClientError::Timeout { .. } | ClientError::Pending { .. } => Exit::Timeout,
        ClientError::Protocol { .. } => Exit::Failure,
        ClientError::Problem {
            problem, status, ..
        } => match problem.code {
            Code::KeyReused => Exit::Conflict,
            _ => exit_of_status(*status),
        },
        ClientError::Status { status, .. } => exit_of_status(*status),
    }
}

const fn exit_of_status(status: u16) -> Exit {
    match status {
        401 | 403 => Exit::Auth,
        404 | 410 => Exit::NotFound,
        408 | 504 => Exit::Timeout,
        409 | 412 => Exit::Conflict,
        502 | 503 => Exit::Unreachable,
        _ => Exit::Failure,
    }
}

fn code_of(error: &ClientError) -> Cow<'static, str> {
    Cow::Borrowed(match error {
        ClientError::Problem { problem, .. } => problem.code.as_str(),
        ClientError::Pending { .. } => "pending",
        ClientError::Protocol { .. } => "protocol",
        ClientError::Status { .. } => "foreign_answer",
        _ => exit_of(error).name(),
    })
}

fn hint_of(error: &ClientError) -> Option<String> {
    let hint = match error {
        ClientError::Problem { problem, .. } => {
            return problem
                .hint
                .clone()
                .or_else(|| own_hint(problem.code).map(str::to_owned));
        }
        ClientError::Address { .. } => "give an address like --server http://127.0.0.1:7700",
        ClientError::Unreachable { .. } => {
            "start the backend with `chatd`, or give its address with --server, or with --admin that of the admin listener"
        }
        ClientError::Timeout { .. } => "give it more time with --timeout, for example --timeout 2m",
        ClientError::Pending { .. } => {
            "it is safe, and appears once the workers have caught up; try again later"
        }
        ClientError::Status { .. } | ClientError::Protocol { .. } => {
            "check that --server is the address of chatd, and that both have the same version"
        }
    };
    Some(hint.to_owned())
}

const fn own_hint(code: Code) -> Option<&'static str> {
    match code {
        Code::Unauthorized => Some("give the key with CHATCTL_ADMIN_KEY or --admin-key-file"),
        Code::UnknownApplication => Some("check --app; `chatctl app ls` lists all applications"),
        Code::UnknownChat => Some("check --chat; `chatctl chat ls` lists the application's chats"),
        Code::UnknownMessage => Some("`chatctl msg ls` lists the chat's messages"),
        Code::UnknownLetter => Some("`chatctl dlq ls --state all` lists the dead letters"),
        Code::Busy => Some(
            "`chatctl reconcile status` shows the other run, `chatctl reconcile cancel` ends it",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_wire::problem::Problem;

    fn exit_of_code(code: Code) -> Exit {
        let problem = Problem::new(code, "detail");
        Error::from(ClientError::Problem {
            status: problem.status,
            problem: Box::new(problem),
            retry_after: None,
        })
        .exit
    }

    #[test]
    fn every_problem_has_its_exit_code() {
        for code in Code::ALL {
            let expected = match code {
                Code::Unauthorized => Exit::Auth,
                Code::NoSuchPath
                | Code::UnknownApplication
                | Code::UnknownChat
                | Code::UnknownMessage
                | Code::UnknownLetter
                | Code::Gone => Exit::NotFound,
                Code::KeyInFlight | Code::KeyReused | Code::Busy => Exit::Conflict,
                Code::RequestTimeout => Exit::Timeout,
                Code::Unavailable
                | Code::Overloaded
                | Code::Fenced
                | Code::NotAcknowledged
                | Code::Stopping => Exit::Unreachable,
                Code::InvalidJson
                | Code::InvalidParameter
                | Code::MethodNotAllowed
                | Code::TooLarge
                | Code::UnsupportedMediaType
                | Code::InvalidValue
                | Code::TooManyRequests
                | Code::Damaged
                | Code::Internal => Exit::Failure,
            };
            assert_eq!(exit_of_code(*code), expected, "{code:?}");
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let error = Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(error.exit, Exit::Ok);
    }
}
