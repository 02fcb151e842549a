//! One run: its settings, its output, its clients, and the questions it may ask.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use chat_client::admin::Admin;
use chat_client::client::{Client, Config};
use chat_client::observer::{Event, Observer};
use chat_client::retries::Retries;
use chat_wire::ids::{AppToken, ChatNumber};

use crate::error::Error;
use crate::exit::Exit;
use crate::note;
use crate::output::Out;
use crate::settings::Settings;

/// What every command gets.
pub(crate) struct Session {
    pub(crate) settings: Settings,
    pub(crate) out: Out,
}

/// An application, a chat of it, or everything.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scope {
    pub(crate) token: Option<AppToken>,
    /// Only together with a token.
    pub(crate) chat: Option<ChatNumber>,
}

impl Session {
    /// Takes standard output.
    pub(crate) fn new(settings: Settings) -> Self {
        if settings.format.is_json() {
            note::as_objects();
        }
        let out = Out::new(settings.format, settings.quiet, settings.color);
        Self { settings, out }
    }

    /// A client of the API.
    pub(crate) fn client(&self) -> Result<Client, Error> {
        Ok(Client::new(self.client_config(&self.settings.server))?)
    }

    /// A client of the admin listener.
    pub(crate) fn admin(&self) -> Result<Admin, Error> {
        let mut config = self.client_config(&self.settings.admin);
        config.bearer.clone_from(&self.settings.admin_key);
        Ok(Admin::new(config)?)
    }

    /// What both have in common.
    pub(crate) fn client_config(&self, address: &str) -> Config {
        let (quiet, verbose) = (self.settings.quiet, self.settings.verbose);
        Config {
            timeout: self.settings.timeout,
            retries: Retries {
                most: self.settings.retries,
                ..Retries::default()
            },
            observer: Observer::new(move |event| {
                if let Some(text) = describe(event, quiet, verbose) {
                    note::line(&text);
                }
            }),
            ..Config::new(address)
        }
    }

    /// A remark, unless nobody wants any.
    pub(crate) fn remark(&self, text: &str) {
        if !self.settings.quiet {
            note::line(text);
        }
    }

    /// The application: the argument, or the setting, or the answer to a question.
    pub(crate) fn app(&self, argument: Option<&str>) -> Result<AppToken, Error> {
        let text = match argument.or(self.settings.app.as_deref()) {
            Some(text) => text.to_owned(),
            None => self.ask("token of the application", "--app TOKEN")?,
        };
        // A text that cannot be a token is the token of no application: whoever mistypes
        // one gets the same answer, however it is wrong.
        text.parse().map_err(|error| {
            Error::new(
                Exit::NotFound,
                format!("no application has this token: {error}"),
            )
            .with_code("unknown_application")
            .with_hint("check --app; `chatctl app ls` lists all applications")
        })
    }

    /// The chat: the argument, or the setting, or the answer to a question.
    pub(crate) fn chat(&self, argument: Option<ChatNumber>) -> Result<ChatNumber, Error> {
        if let Some(number) = argument.or(self.settings.chat) {
            return Ok(number);
        }
        let text = self.ask("number of the chat", "--chat NUMBER")?;
        text.parse()
            .map_err(|error| Error::usage(format!("{text:?} is no chat: {error}")))
    }

    /// What operators' commands are limited to: an application, a chat of it, or nothing.
    pub(crate) fn scope(&self) -> Result<Scope, Error> {
        let chat = self.settings.chat;
        if self.settings.app.is_none() {
            return match chat {
                None => Ok(Scope::default()),
                Some(_) => Err(
                    Error::usage("a chat is of an application, and --app is missing")
                        .with_hint("give --app TOKEN too, or leave out --chat"),
                ),
            };
        }
        let token = Some(self.app(None)?);
        Ok(Scope { token, chat })
    }

    /// Asks a person, where there is one and asking is allowed.
    pub(crate) fn ask(&self, what: &str, flag: &str) -> Result<String, Error> {
        let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        if self.settings.no_input || !terminal {
            return Err(Error::usage(format!("the {what} is missing"))
                .with_hint(format!("give it as {flag}")));
        }
        let read = || -> io::Result<String> {
            let mut stderr = io::stderr().lock();
            write!(stderr, "{what}: ")?;
            stderr.flush()?;
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line)?;
            Ok(line.trim_end_matches(['\r', '\n']).to_owned())
        };
        read().map_err(|error| Error::file("standard input", &error))
    }
}

/// What is said of something on the wire, if anything.
pub(crate) fn describe(event: &Event<'_>, quiet: bool, verbose: bool) -> Option<String> {
    match event {
        Event::Answered {
            method,
            path,
            status,
            elapsed,
        } if verbose => Some(format!("{method} {path}: {status} in {}", millis(*elapsed))),
        Event::Retrying { cause, after } if !quiet => {
            Some(format!("{cause}; trying again in {}", millis(*after)))
        }
        _ => None,
    }
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}
