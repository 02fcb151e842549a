//! The loop: it alone owns the terminal, the clock and the tasks, and it decides nothing.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use chat_wire::time::Timestamp;
use crossterm::clipboard::CopyToClipboard;
use crossterm::event::{Event as Input, MouseButton, MouseEvent, MouseEventKind};
use crossterm::execute;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::api::{self, Api, Slot};
use crate::event::{Effect, Event, Now};
use crate::state::dashboard::{Setup, State};
use crate::terminal::{Guard, Screen};
use crate::update::update;
use crate::{snapshot, view};

/// Most keys that wait; whoever holds a key down gets no further ahead than this.
const KEYS_MAX: usize = 256;

/// Why the dashboard ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Somebody quit.
    Quit,
    /// SIGINT, from outside: Ctrl-C is a key here.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// SIGHUP: the terminal went away.
    HungUp,
}

/// Shows the dashboard until somebody quits or a signal comes. It draws on standard error, which
/// must be a terminal, and gives it back in every case, also when a task panics; the panic then
/// goes on from here.
///
/// # Errors
/// Those of the terminal.
pub async fn run(api: Api, setup: Setup) -> io::Result<End> {
    let mut signals = Signals::new()?;
    let guard = Guard::take()?;
    let mut terminal = Terminal::new(CrosstermBackend::new(Screen::default()))?;
    let size = terminal.size()?;
    let clock = Clock(Instant::now());
    let mut dashboard = Dashboard {
        state: State::new(setup, clock.now(), (size.width, size.height)),
        api,
        jobs: JoinSet::new(),
        fetches: HashMap::new(),
    };
    let mut keys = read_keys();
    let mut event = Event::Tick;
    loop {
        let effects = update(&mut dashboard.state, clock.now(), event);
        if dashboard.perform(effects, &mut terminal)? {
            drop(guard);
            return Ok(End::Quit);
        }
        // What is waiting already is taken first: one frame shows all of it.
        if let Ok(input) = keys.try_recv() {
            event = dashboard.input(input?);
            continue;
        }
        let state = &dashboard.state;
        terminal.draw(|frame| view::draw(state, frame.buffer_mut()))?;
        let pause = Duration::from_millis(state.wake_ms().saturating_sub(state.now.ms));
        event = tokio::select! {
            biased;
            end = signals.next() => {
                drop(guard);
                return Ok(end);
            }
            input = keys.recv() => match input {
                Some(input) => dashboard.input(input?),
                None => return Err(io::Error::other("the keyboard cannot be read any more")),
            },
            Some(done) = dashboard.jobs.join_next() => match done {
                Ok(event) => event,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // Another request took its place.
                Err(_) => Event::Tick,
            },
            () = tokio::time::sleep(pause) => Event::Tick,
        };
    }
}

struct Clock(Instant);

impl Clock {
    fn now(&self) -> Now {
        Now {
            ms: u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX),
            wall: Timestamp::now(),
        }
    }
}

/// The one reader of the keyboard. It has a thread of its own, because reading blocks.
fn read_keys() -> mpsc::Receiver<io::Result<Input>> {
    let (sender, receiver) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        loop {
            let input = crossterm::event::read();
            let failed = input.is_err();
            if sender.blocking_send(input).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

struct Dashboard {
    state: State,
    api: Api,
    jobs: JoinSet<Event>,
    /// The request under way of each source.
    fetches: HashMap<Slot, AbortHandle>,
}

impl Dashboard {
    fn input(&self, input: Input) -> Event {
        match input {
            Input::Key(key) => Event::Key(key),
            Input::Paste(text) => Event::Paste(text),
            Input::Resize(columns, rows) => Event::Resize(columns, rows),
            Input::Mouse(mouse) => self.mouse(mouse),
            Input::FocusGained | Input::FocusLost => Event::Tick,
        }
    }

    fn mouse(&self, mouse: MouseEvent) -> Event {
        match mouse.kind {
            MouseEventKind::ScrollDown => Event::Wheel(3),
            MouseEventKind::ScrollUp => Event::Wheel(-3),
            MouseEventKind::Down(MouseButton::Left) => {
                view::hit(&self.state, mouse.column, mouse.row).map_or(Event::Tick, Event::Click)
            }
            _ => Event::Tick,
        }
    }

    /// Does what `update` wants; `true` to end.
    fn perform(
        &mut self,
        effects: Vec<Effect>,
        terminal: &mut Terminal<CrosstermBackend<Screen>>,
    ) -> io::Result<bool> {
        for effect in effects {
            match effect {
                Effect::Fetch { slot, seq, request } => {
                    let api = self.api.clone();
                    let task = self.jobs.spawn(async move {
                        let result = api::perform(&api, slot, request).await;
                        Event::Answered { slot, seq, result }
                    });
                    if let Some(before) = self.fetches.insert(slot, task) {
                        before.abort();
                    }
                }
                Effect::Act(act) => {
                    let api = self.api.clone();
                    self.jobs
                        .spawn(async move { Event::Acted(api::act(&api, act).await) });
                }
                Effect::Copy(text) => {
                    let copy = CopyToClipboard::to_clipboard_from(text);
                    execute!(terminal.backend_mut(), copy)?;
                }
                Effect::Save => {
                    let files = Snapshot::of(&self.state);
                    self.jobs
                        .spawn_blocking(move || Event::Saved(files.write()));
                }
                Effect::Mouse(on) => Guard::mouse(on)?,
                Effect::Clear => {
                    // `clear` would ask the terminal for the cursor, and wait for the reader of keys.
                    let size = terminal.size()?;
                    terminal.resize(Rect::new(0, 0, size.width, size.height))?;
                }
                Effect::Quit => return Ok(true),
            }
        }
        Ok(false)
    }
}

/// A snapshot that is to be written into the working directory.
struct Snapshot {
    name: String,
    text: String,
    json: String,
}

impl Snapshot {
    fn of(state: &State) -> Self {
        let at: String = state
            .now
            .wall
            .to_string()
            .chars()
            .filter(|c| c.is_ascii_digit())
            .take(17)
            .collect();
        Self {
            name: format!("chatctl-{}-{at}", state.page.name()),
            text: snapshot::text(state, state.size),
            json: format!("{:#}\n", snapshot::data(state)),
        }
    }

    fn write(self) -> Result<String, String> {
        for (ending, content) in [("txt", &self.text), ("json", &self.json)] {
            let name = format!("{}.{ending}", self.name);
            // The data has tokens in it, so nobody else may read it.
            private(Path::new(&name), content).map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(format!("{0}.txt and {0}.json", self.name))
    }
}

fn private(path: &Path, content: &str) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    io::Write::write_all(&mut options.open(path)?, content.as_bytes())
}

#[cfg(unix)]
pub(crate) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    pub(crate) async fn next(&mut self) -> End {
        tokio::select! {
            _ = self.interrupt.recv() => End::Interrupted,
            _ = self.terminate.recv() => End::Terminated,
            _ = self.hangup.recv() => End::HungUp,
        }
    }
}

#[cfg(not(unix))]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn next(&mut self) -> End {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        End::Interrupted
    }
}
