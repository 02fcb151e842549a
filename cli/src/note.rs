//! Everything that is not data: errors, hints, progress and remarks, on standard error.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::error::Error;
use crate::output::text::visible;

/// Whether a program reads along, so that every line has to be an object.
static JSON: AtomicBool = AtomicBool::new(false);

/// Most lines that are kept while the terminal shows something else; the first ones go.
const KEPT_MAX: usize = 1_000;
/// Lines that wait for the terminal, while something else has it.
static KEPT: Mutex<Option<Vec<String>>> = Mutex::new(None);

fn kept() -> MutexGuard<'static, Option<Vec<String>>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While this lives, nothing is written over what the terminal shows; afterwards all of it is.
pub(crate) struct Keep;

/// Begins to keep lines back.
pub(crate) fn keep() -> Keep {
    kept().get_or_insert_default();
    Keep
}

impl Drop for Keep {
    fn drop(&mut self) {
        let lines = kept().take();
        for text in lines.into_iter().flatten() {
            line(&text);
        }
    }
}

/// From now on remarks are objects with the one member `note`.
pub(crate) fn as_objects() {
    JSON.store(true, Ordering::Relaxed);
}

/// Writes one line. That it cannot be written is not worth failing for.
pub(crate) fn line(text: &str) {
    #[derive(Serialize)]
    struct Document<'a> {
        note: &'a str,
    }
    if let Some(lines) = &mut *kept() {
        if lines.len() >= KEPT_MAX {
            lines.remove(0);
        }
        lines.push(text.to_owned());
        return;
    }
    let mut stderr = io::stderr().lock();
    let _ = if JSON.load(Ordering::Relaxed) {
        let document = Document { note: text };
        writeln!(stderr, "{}", crate::output::json::to_string(&document))
    } else {
        writeln!(stderr, "{}", visible(text))
    };
}

/// Says what went wrong, for a person or for a program.
pub(crate) fn error(error: &Error, json: bool) {
    let mut stderr = io::stderr().lock();
    // As above: there is no third place to complain to.
    let _ = if json {
        writeln!(stderr, "{}", as_json(error))
    } else {
        write!(stderr, "{}", as_text(error, paint()))
    };
}

fn as_json(error: &Error) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        code: &'a str,
        message: &'a str,
        hint: Option<&'a str>,
        retryable: bool,
    }
    crate::output::json::to_string(&Document {
        code: &error.code,
        message: &error.message,
        hint: error.hint.as_deref(),
        retryable: error.retryable,
    })
}

fn as_text(error: &Error, paint: bool) -> String {
    let (red, cyan, plain) = if paint {
        ("\x1b[1;31m", "\x1b[36m", "\x1b[0m")
    } else {
        ("", "", "")
    };
    let mut text = String::new();
    for (at, line) in error.message.lines().enumerate() {
        let label = if at == 0 { "error: " } else { "" };
        text.push_str(&format!("{red}{label}{plain}{}\n", visible(line)));
    }
    if let Some(hint) = &error.hint {
        text.push_str(&format!("{cyan}hint:{plain} {}\n", visible(hint)));
    }
    text
}

fn paint() -> bool {
    io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_told_later() {
        let keep = keep();
        for number in 0..=KEPT_MAX {
            line(&format!("line {number}"));
        }
        let waiting = kept().clone().unwrap();
        assert_eq!(waiting.len(), KEPT_MAX);
        assert_eq!(waiting[0], "line 1");
        *kept() = Some(Vec::new());
        drop(keep);
        assert_eq!(*kept(), None);
    }

    #[test]
    fn for_a_person_and_for_a_program() {
        let error = Error::usage("no \x1b[31m application").with_hint("give --app");
        assert_eq!(
            as_text(&error, false),
            "error: no \\x1b[31m application\nhint: give --app\n"
        );
        assert_eq!(
            as_json(&error),
            r#"{"code":"usage","message":"no \u001b[31m application","hint":"give --app","retryable":false}"#
        );
    }
}
