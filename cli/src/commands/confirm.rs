//! Leave to act: a plan is shown, and somebody says yes.
//!
//! Questions are asked on standard error, and only where a person sits at the terminal and reads
//! text. Anywhere else --yes has to be given.

use std::io::IsTerminal;

use crate::error::Error;
use crate::session::Session;

/// What has to be typed.
pub(crate) enum Asks<'a> {
    /// `y`: it can be done again, or undone.
    Yes,
    /// This very text: it cannot be undone.
    Text(&'a str),
}

impl Session {
    /// Whether a question can be asked at all.
    pub(crate) fn can_ask(&self) -> bool {
        let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        terminal && !self.settings.no_input && !self.settings.format.is_json()
    }

    /// Refuses before anything is asked of the server, where nobody could be asked for leave.
    pub(crate) fn leave_is_possible(&self, yes: bool) -> Result<(), Error> {
        if yes || self.can_ask() {
            return Ok(());
        }
        let message = "--execute acts, and there is nobody here to say yes to it";
        Err(Error::usage(message).with_hint("give --yes too"))
    }

    /// Asks for leave to do `what`.
    pub(crate) fn leave(&self, what: &str, asks: &Asks<'_>) -> Result<(), Error> {
        let prompt = match asks {
            Asks::Yes => format!("{what}? [y/N]"),
            Asks::Text(text) => format!("{what}? Type {text} to do it"),
        };
        if asks.agrees(&self.ask(&prompt, "--yes")?) {
            return Ok(());
        }
        Err(Error::failure("nothing was done").with_code("declined"))
    }
}

impl Asks<'_> {
    fn agrees(&self, answer: &str) -> bool {
        let answer = answer.trim();
        match self {
            Self::Yes => matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"),
            Self::Text(text) => answer == *text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for yes in ["y", "Y", "yes", " YES "] {
            assert!(Asks::Yes.agrees(yes), "{yes:?}");
        }
        for no in ["", "n", "yea", "12"] {
            assert!(!Asks::Yes.agrees(no), "{no:?}");
        }
        assert!(Asks::Text("12").agrees("12 "));
        for no in ["", "y", "1", "012"] {
            assert!(!Asks::Text("12").agrees(no), "{no:?}");
        }
    }
}
