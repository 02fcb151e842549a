//! `chatctl import`: many messages from a file, each once, however often it is run.

mod batch;
mod key;
mod line;
mod progress;
mod read;
mod rejects;
mod send;
mod source;
mod wait;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use chat_client::client::{Client, Config, Create};
use chat_client::observer::Observer;
use chat_wire::applications::NewApplication;
use chat_wire::ids::AppToken;
use clap::Args;
use serde::Serialize;

use self::key::Keys;
use self::progress::{Counts, Progress, Remaining};
use self::read::{End, Stop};
use self::rejects::Rejects;
use self::send::{Ended, Notes, Outcome, Plan};
use self::source::Source;
use self::wait::Wait;
use crate::commands::on_one_thread;
use crate::error::Error;
use crate::exit::Exit;
use crate::note;
use crate::output::Record;
use crate::output::table::{Cell, Column, left, right};
use crate::output::text::grouped;
use crate::session::{Session, describe};
use crate::settings::Layer;
use crate::signals;

/// Retries of one call where nobody said how many: enough to sit out a restart of the server.
const RETRIES: u32 = 8;

/// How long a batch waits while the server sheds creates: an import that is faster than the workers
/// becomes as fast as they are.
const SHED_FOR: Duration = Duration::from_secs(3_600);

/// What to do about an import that was not completed.
const RUN_AGAIN: &str =
    "run the same command again within 24 hours to complete it; nothing is made twice";

/// Import messages from NDJSON, plain or gzip
///
/// Each line is an object with chat (a text or a whole number; each distinct value becomes one
/// chat, numbered in order of first appearance), body, and optionally sender and sent_at. Other
/// fields are ignored. Each chat keeps the order of its lines.
///
/// An import that was stopped or has crashed is completed by running the same command again:
/// every request carries a key that depends on the content of the input alone, and the server
/// answers a key that it knows without creating anything. It remembers keys for 24 hours; after
/// that, or with another content, everything is created anew. The content of a pipe is told by
/// its first MiB.
///
/// Lines that are refused are counted and left out, and the command exits with 8. It also does
/// where the input is cut short (a truncated gzip): everything before the cut is imported.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// File to import, or - for standard input
    file: PathBuf,
    /// Create an application with this name and import into it, instead of --app
    #[arg(long, value_name = "NAME")]
    new_app: Option<String>,
    /// File to write refused lines to, as NDJSON: line, error, content
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Most batches under way at once
    #[arg(long, value_name = "COUNT", default_value = "4",
        value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// What to wait for in the end; more than none asks the admin listener
    #[arg(long, value_name = "FOR", value_enum, default_value_t = Wait::None)]
    wait: Wait,
    /// Take this for the identity of the input instead of its content
    #[arg(long, value_name = "TEXT")]
    import_id: Option<String>,
    /// Import once more what was imported before
    #[arg(long, conflicts_with = "import_id")]
    again: bool,
}

/// What an import prints in the end.
#[derive(Debug, Serialize)]
struct Summary {
    token: AppToken,
    chats: u64,
    messages: u64,
    rejected: u64,
    /// From the start to the last acknowledgement.
    seconds: f64,
    /// From the start until everything could be found; absent unless that was waited for.
    searchable_seconds: Option<f64>,
}

impl Record for Summary {
    const FIELDS: &'static [&'static str] = &[
        "token",
        "chats",
        "messages",
        "rejected",
        "seconds",
        "searchable_seconds",
    ];
    const COLUMNS: &'static [Column] = &[
        left("TOKEN"),
        right("CHATS"),
        right("MESSAGES"),
        right("REJECTED"),
        right("SECONDS"),
    ];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::show(self.token.reveal()),
            Cell::show(grouped(self.chats)),
            Cell::show(grouped(self.messages)),
            Cell::show(grouped(self.rejected)),
            Cell::show(self.seconds),
        ]
    }

    fn id(&self) -> String {
        self.token.reveal()
    }
}

impl Import {
    pub(crate) fn run(self, session: &mut Session) -> Result<Exit, Error> {
        self.check(session)?;
        // The reader has a thread of its own; sending is waiting, and one thread can wait for all.
        on_one_thread(self.work(session))
    }

    fn check(&self, session: &Session) -> Result<(), Error> {
        let app = session
            .settings
            .resolved
            .iter()
            .find(|it| it.key.name == "app");
        let app_is_flag =
            app.and_then(|app| app.chosen()).map(|(layer, _)| layer) == Some(Layer::Flag);
        if self.new_app.is_some() && app_is_flag {
            return Err(Error::usage("--app and --new-app exclude each other"));
        }
        match &self.rejects {
            Some(rejects) if source::same_file(rejects, &self.file) => Err(Error::usage(
                "--rejects is the file to be imported, and would overwrite it",
            )),
            _ => Ok(()),
        }
    }

    async fn work(self, session: &mut Session) -> Result<Exit, Error> {
        let started = Instant::now();
        let quiet = session.settings.quiet;
        let name = self.file.display().to_string();
        let source = Source::open(&self.file).map_err(|error| Error::file(&name, &error))?;
        let input = source.name.clone();
        let keys = self.keys(&source, session);
        let notes: Arc<OnceLock<Box<Notes>>> = Arc::default();
        let client = Client::new(config(session, &notes))?;
        let admin = session.admin()?;
        self.wait.check(&admin).await?;
        let token = self.token(session, &client, &keys).await?;
        let rejects = Rejects::open(self.rejects.as_deref(), quiet)
            .map_err(|error| Error::file("--rejects", &error))?;

        let counts = Arc::new(Counts::default());
        let bytes_read = Arc::clone(&source.bytes_read);
        let progress = Progress::start(Arc::clone(&counts), bytes_read, source.bytes_total, quiet);
        // Nobody else sets it.
        let _ = notes.set(Box::new(progress.notes()));
        let stop = Stop::default();
        let plan = Plan {
            client,
            token,
            keys,
            concurrency: self.concurrency.into(),
            rejects,
            counts,
            stop: stop.clone(),
            notes: Box::new(progress.notes()),
            quiet,
        };
        let mut asked = signals::ask_first();
        let outcome = send::run(plan, read::start(source, keys, stop), asked.clone()).await;
        drop(progress);

        let seconds = elapsed(started);
        let mut end = self.judge(&outcome, &input);
        let mut searchable_seconds = None;
        if matches!(outcome.end, Ended::Input(_)) {
            let remaining = Remaining::new(quiet);
            let patience = session.settings.timeout;
            let waited = tokio::select! {
                waited = self.wait.until_done(&admin, patience, remaining) => waited,
                exit = asked.wait() => {
                    Err(Error::new(exit, "stopped while waiting; everything is acknowledged"))
                }
            };
            match waited {
                Ok(()) if self.wait == Wait::Indexed => searchable_seconds = Some(elapsed(started)),
                Ok(()) => {}
                Err(error) => end = Err(error),
            }
        }
        session.out.one(&Summary {
            token,
            chats: outcome.chats,
            messages: outcome.messages,
            rejected: outcome.rejected,
            seconds,
            searchable_seconds,
        })?;
        end.map(|()| Exit::Ok)
    }

    fn keys(&self, source: &Source, session: &Session) -> Keys {
        if self.again {
            let name = Keys::fresh_name();
            session.remark(&format!(
                "should it be stopped, go on with --import-id {name} instead of --again"
            ));
            return Keys::of_name(&name);
        }
        match &self.import_id {
            Some(name) => Keys::of_name(name),
            None => Keys::of_content(source.digest),
        }
    }

    /// Whether all of it was done.
    fn judge(&self, outcome: &Outcome, input: &str) -> Result<(), Error> {
        let messages = grouped(outcome.messages);
        match &outcome.end {
            Ended::Input(End::Complete) if outcome.rejected == 0 => Ok(()),
            Ended::Input(End::Complete) => {
                let rejected = grouped(outcome.rejected);
                let message =
                    format!("{rejected} lines were refused; {messages} messages are imported");
                Err(
                    Error::new(Exit::Partial, message).with_hint(match &self.rejects {
                        Some(path) => {
                            format!("{} has each of them with its reason", path.display())
                        }
                        None => "--rejects FILE keeps refused lines with their reasons".to_owned(),
                    }),
                )
            }
            Ended::Input(End::Cut {
                whole_lines,
                reason,
            }) => {
                let lines = grouped(*whole_lines);
                let message = format!(
                    "{input} is cut short or damaged after line {lines} ({reason}); the {messages} messages before are imported"
                );
                Err(Error::new(Exit::Partial, message)
                    .with_code("input_cut_short")
                    .with_hint("a whole copy of it is another content, and would be imported from its beginning"))
            }
            Ended::Asked(exit) => {
                let message = format!("stopped after {messages} messages");
                Err(Error::new(*exit, message).with_hint(RUN_AGAIN))
            }
            Ended::Failed(error) => Err(Error {
                exit: error.exit,
                code: error.code.clone(),
                message: format!("{}; {messages} messages are imported", error.message),
                hint: Some(match &error.hint {
                    Some(first) => format!("{first}; then {RUN_AGAIN}"),
                    None => RUN_AGAIN.to_owned(),
                }),
                retryable: error.retryable,
            }),
        }
    }

    async fn token(
        &self,
        session: &Session,
        client: &Client,
        keys: &Keys,
    ) -> Result<AppToken, Error> {
        let Some(name) = &self.new_app else {
            let token = session.app(None)?;
            // A token that nobody knows is told before anything is read.
            client.application(token).await?;
            return Ok(token);
        };
        let create = Create {
            key: Some(keys.application(name)),
            wait: None,
        };
        let new = NewApplication { name: name.clone() };
        Ok(client.create_application(&new, &create).await?.value.token)
    }
}

fn config(session: &Session, notes: &Arc<OnceLock<Box<Notes>>>) -> Config {
    let (quiet, verbose) = (session.settings.quiet, session.settings.verbose);
    let notes = Arc::clone(notes);
    let mut config = session.client_config(&session.settings.server);
    if session.settings.retries_is_default {
        config.retries.most = RETRIES;
        config.retries.shed_for = SHED_FOR;
    }
    config.observer = Observer::new(move |event| {
        if let Some(text) = describe(event, quiet, verbose) {
            match notes.get() {
                Some(notes) => notes(&text),
                None => note::line(&text),
            }
        }
    });
    config
}

/// To the millisecond.
fn elapsed(started: Instant) -> f64 {
    (started.elapsed().as_secs_f64() * 1_000.0).round() / 1_000.0
}
