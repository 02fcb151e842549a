//! `chatctl dashboard`: what operators see on one screen, and their acts at a key press.

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::time::Duration;

use chat_client::admin::Admin;
use chat_client::client::{Client, Config};
use chat_client::observer::Observer;
use chat_client::retries::Retries;
use chat_tui::api::Api;
use chat_tui::failure::{Failure, Kind};
use chat_tui::once::{failure, once};
use chat_tui::run::{End, run};
use chat_tui::snapshot;
use chat_tui::state::dashboard::{Setup, State};
use chat_tui::state::page::Page;
use chat_tui::theme::Theme;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::commands::on_one_thread;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::{Color, Format};
use crate::session::Session;
use crate::settings::duration;

/// Size of a frame where there is no terminal to ask.
const SIZE: (u16, u16) = (100, 30);
/// Largest side of a frame: more than any screen has.
const SIDE_MAX: u16 = 1_000;
/// A screen that waits longer for an answer asks again.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Shortest pause between two looks: each of them asks the engines.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Show everything on one screen: lag, counters beside counts, reconciliation, dead letters, search
///
/// Keys are those of vim or the arrows; ? shows them all. The pages are asked for one by one and
/// only as they are looked at, so that the size of the system does not matter. --app and --chat
/// start inside an application or chat. Acts (reconcile, replay, discard) always ask first, and
/// --read-only hides them.
///
/// With --once, or where standard input, output or error is not a terminal, one frame is printed
/// and nothing waits for a key: as text, or with -o json as the data that is on the page. The exit
/// code is not 0 where a source of the page gave none.
#[derive(Debug, Args)]
#[command(after_help = "For example: chatctl dashboard --once --page counters --size 100x30")]
pub(crate) struct Dashboard {
    /// Start with this page
    #[arg(long, value_name = "NAME", default_value = "overview",
        value_parser = PossibleValuesParser::new(Page::ALL.map(Page::name)).map(|name| Page::parse(&name).unwrap_or_default()))]
    page: Page,
    /// Start with this filter, or on the page of search with this text
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    filter: String,
    /// Pause between two looks at the server; some sources are looked at less often
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = interval)]
    interval: Duration,
    /// Colours: dark, light, mono, colour-blind [default: dark, or mono where colour is not wanted]
    #[arg(long, value_name = "NAME", hide_possible_values = true,
        value_parser = PossibleValuesParser::new(Theme::ALL.map(Theme::name)).map(|name| Theme::parse(&name).unwrap_or_default()))]
    theme: Option<Theme>,
    /// Hide everything that acts on the server
    #[arg(long = "read-only")]
    read_only: bool,
    /// Print one frame and end
    #[arg(long)]
    once: bool,
    /// Size of that frame, like 100x30 [default: that of the terminal, or 100x30]
    #[arg(long, value_name = "COLUMNSxROWS", value_parser = size)]
    size: Option<(u16, u16)>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < INTERVAL_MIN {
        return Err("the shortest interval is 100ms".to_owned());
    }
    Ok(interval)
}

fn size(text: &str) -> Result<(u16, u16), String> {
    let parsed = text.split_once('x').and_then(|(columns, rows)| {
        let side = |text: &str| {
            text.parse()
                .ok()
                .filter(|side| (1..=SIDE_MAX).contains(side))
        };
        Some((side(columns)?, side(rows)?))
    });
    parsed.ok_or_else(|| format!("{text:?} is no size like 100x30"))
}

impl Dashboard {
    pub(crate) fn run(self, session: &mut Session) -> Result<Exit, Error> {
        let terminal = stdin().is_terminal() && stdout().is_terminal() && stderr().is_terminal();
        let api = api(session)?;
        let setup = self.setup(session)?;
        if self.once || self.size.is_some() || !terminal {
            return on_one_thread(self.frame(session, &api, setup));
        }
        if session.settings.format_is_flag && session.settings.format != Format::Table {
            return Err(Error::usage("a screen has no format")
                .with_hint("give --once to print one frame, for example with -o json"));
        }
        // Signals are the dashboard's own here: it has a terminal to give back first.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::failure(format!("cannot start: {error}")))?;
        let ended = runtime.block_on(run(api, setup));
        // Requests that are still under way end with the process.
        runtime.shutdown_background();
        match ended {
            Ok(End::Quit) => Ok(Exit::Ok),
            Ok(End::Interrupted) => Ok(Exit::Interrupted),
            Ok(End::Terminated) => Ok(Exit::Terminated),
            Ok(End::HungUp) => Ok(Exit::HungUp),
            Err(error) => Err(Error::failure(format!("the terminal fails: {error}"))),
        }
    }

    async fn frame(&self, session: &mut Session, api: &Api, setup: Setup) -> Result<Exit, Error> {
        let size = self.size.or_else(of_terminal).unwrap_or(SIZE);
        let state = once(api, setup, size, session.settings.timeout).await;
        match session.out.format() {
            Format::Json | Format::Ndjson => session.out.json_line(&snapshot::data(&state))?,
            Format::Table => {
                let text = snapshot::text(&state, size);
                session.out.raw(text.as_bytes())?;
            }
            Format::Yaml | Format::Csv => {
                return Err(Error::usage("a frame is text, or JSON with -o json"));
            }
        }
        session.out.flush()?;
        match failure(&state) {
            None if state.settled() => Ok(Exit::Ok),
            None => Err(late(&state)),
            Some(failure) => Err(failed(failure)),
        }
    }

    fn setup(&self, session: &Session) -> Result<Setup, Error> {
        let scope = session.scope()?;
        let theme = self.theme.unwrap_or_else(|| {
            let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            match session.settings.color {
                Color::Never => Theme::Mono,
                Color::Auto if unwanted => Theme::Mono,
                Color::Auto | Color::Always => Theme::Dark,
            }
        });
        Ok(Setup {
            page: self.page,
            interval_ms: u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX),
            theme,
            read_only: self.read_only,
            application: scope.token,
            chat: scope.chat,
            filter: self.filter.clone(),
            admin: session.settings.admin.clone(),
        })
    }
}

/// Clients that say nothing on standard error, which the dashboard draws on, and that try once: it
/// asks again by itself.
fn api(session: &Session) -> Result<Api, Error> {
    let config = |address: &str| Config {
        timeout: session.settings.timeout.min(ANSWER_MAX),
        retries: Retries {
            most: 0,
            ..Retries::default()
        },
        observer: Observer::default(),
        ..Config::new(address)
    };
    let mut admin = config(&session.settings.admin);
    admin.bearer.clone_from(&session.settings.admin_key);
    Ok(Api {
        admin: Admin::new(admin)?,
        client: Client::new(config(&session.settings.server))?,
    })
}

fn of_terminal() -> Option<(u16, u16)> {
    // Only standard output counts: it is where the frame goes.
    let (width, height) = terminal_size::terminal_size_of(stdout())?;
    Some((width.0, height.0))
}

fn late(state: &State) -> Error {
    let text = format!("no answer from {} in time", state.setup.admin);
    Error::new(Exit::Timeout, text).with_hint("give it more time with --timeout")
}

fn failed(failure: Failure) -> Error {
    let exit = match failure.kind {
        Kind::Unreachable => Exit::Unreachable,
        Kind::Timeout => Exit::Timeout,
        Kind::Unauthorized => Exit::Auth,
        Kind::NotFound => Exit::NotFound,
        Kind::Busy => Exit::Conflict,
        Kind::NotOffered | Kind::Other => Exit::Failure,
    };
    let error = Error::new(exit, failure.text);
    match failure.hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_sides() {
        assert_eq!(size("100x30"), Ok((100, 30)));
        for text in ["", "100", "0x1", "1x0", "100x", "1001x30", "-1x3", "1x1x1"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_interval_is_not_shorter_than_the_server_bears() {
        assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
        assert!(interval("99ms").is_err());
    }
}
