//! Why the engines cannot be used: the setting, what is wrong with it, and what to do.

/// An error of [`connect`](crate::open::connect) or [`migrate`](crate::open::migrate).
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {problem}; {remedy}")]
pub struct Error {
    setting: &'static str,
    problem: String,
    remedy: String,
    retryable: bool,
}

impl Error {
    /// The engine does not answer, or not yet: the same call may succeed later.
    pub(crate) fn not_up(
        setting: &'static str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            setting,
            problem: problem.into(),
            remedy: remedy.into(),
            retryable: true,
        }
    }

    /// Somebody has to change something first.
    pub(crate) fn wrong(
        setting: &'static str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            retryable: false,
            ..Self::not_up(setting, problem, remedy)
        }
    }

    /// The variable that has to do with it.
    #[must_use]
    pub const fn setting(&self) -> &'static str {
        self.setting
    }

    /// Whether waiting may help: the engine is not up yet.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        self.retryable
    }
}
