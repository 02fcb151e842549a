//! The exit codes, and what each of them means.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done.
    Ok,
    /// Something failed that no other code names.
    Failure,
    /// The command line, the environment or the configuration file is wrong.
    Usage,
    /// The token, chat or message is unknown, or gone.
    NotFound,
    /// A key is missing or wrong.
    Auth,
    /// The server cannot be reached, or something that it needs does not answer.
    Unreachable,
    /// The request contradicts an earlier one.
    Conflict,
    /// The deadline passed.
    Timeout,
    /// Some of it was done.
    Partial,
    /// The question was answered, and what was asked about is not well.
    Unhealthy,
    /// The load was sent, and an objective was missed.
    Objective,
    /// SIGHUP.
    HungUp,
    /// SIGINT.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

impl Exit {
    /// All of them, in order of code.
    pub(crate) const ALL: &'static [Self] = &[
        Self::Ok,
        Self::Failure,
        Self::Usage,
        Self::NotFound,
        Self::Auth,
        Self::Unreachable,
        Self::Conflict,
        Self::Timeout,
        Self::Partial,
        Self::Unhealthy,
        Self::Objective,
        Self::HungUp,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// What the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Auth => 4,
            Self::Unreachable => 5,
            Self::Conflict => 6,
            Self::Timeout => 7,
            Self::Partial => 8,
            Self::Unhealthy => 10,
            Self::Objective => 99,
            Self::HungUp => 129,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// The name in JSON errors, where the API gave none that is more precise.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failure => "failure",
            Self::Usage => "usage",
            Self::NotFound => "not_found",
            Self::Auth => "auth",
            Self::Unreachable => "unreachable",
            Self::Conflict => "conflict",
            Self::Timeout => "timeout",
            Self::Partial => "partial",
            Self::Unhealthy => "unhealthy",
            Self::Objective => "objective",
            Self::HungUp => "hung_up",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
        }
    }

    /// One line for `chatctl help exit-codes`.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done; also when the reader of a pipe has gone away",
            Self::Failure => "failed in a way that no other code names",
            Self::Usage => "wrong flag, argument, environment variable or configuration file",
            Self::NotFound => {
                "no such application, chat, message, group or dead letter, or it is gone"
            }
            Self::Auth => "the admin key is missing or wrong",
            Self::Unreachable => "the server, or something that it needs, does not answer",
            Self::Conflict => {
                "the request contradicts an earlier one (idempotency key reused), or another run is at work"
            }
            Self::Timeout => "no answer, not stored, or not as --until wants it, within --timeout",
            Self::Partial => {
                "some of it was done: lines were refused, the input was cut short, steps failed; or a load test lost or doubled something"
            }
            Self::Unhealthy => "the answer is: not well (lag, drift, doctor)",
            Self::Objective => "an objective of a load test was missed",
            Self::HungUp => "stopped by SIGHUP: the terminal of the dashboard went away",
            Self::Interrupted => "stopped by SIGINT (Ctrl-C)",
            Self::Terminated => "stopped by SIGTERM",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_distinct() {
        for (at, one) in Exit::ALL.iter().enumerate() {
            for other in &Exit::ALL[at + 1..] {
                assert_ne!(one.code(), other.code());
                assert_ne!(one.name(), other.name());
            }
        }
    }
}
