//! A user at a dashboard without a terminal or a network: presses keys, and answers for the server.

use chat_tui::api::{Act, Answer, Outcome, Request, Slot};
use chat_tui::event::{Effect, Event, Now};
use chat_tui::failure::{Failure, Kind};
use chat_tui::state::dashboard::{Setup, State};
use chat_tui::theme::Theme;
use chat_tui::update::update;
use chat_tui::view;
use chat_wire::admin::reconcile::Phase;
use chat_wire::time::Timestamp;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};

use crate::sample::{chats, data};

/// The time of everything that is drawn in tests.
pub(crate) fn noon() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

/// How the server answers.
pub(crate) type Server = fn(&Request) -> Result<Answer, Failure>;

pub(crate) struct Robot {
    pub(crate) state: State,
    pub(crate) now_ms: u64,
    pub(crate) server: Server,
    /// What was wanted that is neither a fetch nor an act.
    pub(crate) other: Vec<Effect>,
    /// What was asked.
    pub(crate) asked: Vec<Request>,
    /// What was done.
    pub(crate) acts: Vec<Act>,
}

impl Robot {
    pub(crate) fn new(setup: Setup) -> Self {
        let mut robot = Self {
            state: State::new(setup, at(0), (100, 30)),
            now_ms: 0,
            server: sample,
            other: Vec::new(),
            asked: Vec::new(),
            acts: Vec::new(),
        };
        robot.event(Event::Tick);
        robot
    }

    pub(crate) fn on(page: chat_tui::state::page::Page) -> Self {
        Self::new(Setup {
            page,
            ..Setup::default()
        })
    }

    /// Something happens, and whatever follows from it at once.
    pub(crate) fn event(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for effect in update(&mut self.state, at(self.now_ms), event) {
                match effect {
                    Effect::Fetch { slot, seq, request } => {
                        self.asked.push(request.clone());
                        let result = (self.server)(&request);
                        events.push(Event::Answered { slot, seq, result });
                    }
                    Effect::Act(act) => {
                        events.push(Event::Acted(Ok(outcome(&act))));
                        self.acts.push(act);
                    }
                    other => self.other.push(other),
                }
            }
        }
    }

    /// The same, while the server answers nothing.
    pub(crate) fn unanswered(&mut self, event: Event) {
        self.other
            .extend(update(&mut self.state, at(self.now_ms), event));
    }

    /// Time goes by, a second at a time or less.
    pub(crate) fn wait(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while self.now_ms < until {
            self.now_ms = self.state.wake_ms().clamp(self.now_ms + 1, until);
            self.event(Event::Tick);
        }
    }

    pub(crate) fn key(&mut self, code: KeyCode) {
        self.event(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    }

    pub(crate) fn keys(&mut self, text: &str) {
        for c in text.chars() {
            self.key(KeyCode::Char(c));
        }
    }

    pub(crate) fn enter(&mut self) {
        self.key(KeyCode::Enter);
    }

    pub(crate) fn esc(&mut self) {
        self.key(KeyCode::Esc);
    }

    pub(crate) fn buffer(&self, (width, height): (u16, u16)) -> Buffer {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        view::draw(&self.state, &mut buffer);
        buffer
    }

    /// The screen as text.
    pub(crate) fn screen(&self) -> String {
        chat_tui::snapshot::text(&self.state, (100, 30))
    }

    #[track_caller]
    pub(crate) fn sees(&self, text: &str) {
        let screen = self.screen();
        assert!(screen.contains(text), "no {text:?} on\n{screen}");
    }

    #[track_caller]
    pub(crate) fn sees_no(&self, text: &str) {
        let screen = self.screen();
        assert!(!screen.contains(text), "{text:?} on\n{screen}");
    }

    /// The screen with its styles.
    pub(crate) fn picture(&mut self, theme: Theme) -> String {
        self.state.theme = theme;
        dump(&self.buffer((100, 30)))
    }

    pub(crate) fn last_asked(&self, like: impl Fn(&Request) -> bool) -> Option<&Request> {
        self.asked.iter().rev().find(|request| like(request))
    }
}

fn at(ms: u64) -> Now {
    let micros = noon().as_micros() + i64::try_from(ms).unwrap() * 1_000;
    Now {
        ms,
        wall: Timestamp::from_micros(micros).unwrap(),
    }
}

fn outcome(act: &Act) -> Outcome {
    use chat_wire::admin::dlq::Decision;
    let decision = Decision {
        done: 1,
        ..Decision::default()
    };
    match act {
        Act::Reconcile(order) => {
            Outcome::Started(Box::new(data::run(noon(), *order, Phase::Comparing)))
        }
        Act::CancelReconcile => Outcome::Cancelling,
        Act::Replay(_) => Outcome::Replayed(decision),
        Act::Discard(_) => Outcome::Discarded(decision),
    }
}

/// A server that has everything.
pub(crate) fn sample(request: &Request) -> Result<Answer, Failure> {
    let at = noon();
    Ok(match request {
        Request::Stats => Answer::Stats(Box::new(data::stats(at))),
        Request::Lag(query) => Answer::Lag(data::lag_of(at, query)),
        Request::Drift(query) => Answer::Drift(data::drift(at, query.token)),
        Request::Runs => Answer::Runs(Box::new(data::planned(at))),
        Request::Letters(_) => Answer::Letters(data::letters(at)),
        Request::Letter(_) => Answer::Letter(Box::new(data::letter(at))),
        Request::Doctor => Answer::Doctor(data::doctor()),
        Request::Messages { .. } => Answer::Messages(chats::messages(at)),
        Request::Search { .. } => Answer::Hits(chats::hits(at)),
        Request::Applications { .. } => Answer::Applications(chats::application_page(at)),
        Request::Chats { .. } => Answer::Chats(chats::chat_page(at)),
    })
}

/// A server that is not there.
pub(crate) fn down(_: &Request) -> Result<Answer, Failure> {
    Err(Failure {
        kind: Kind::Unreachable,
        text: "cannot reach http://127.0.0.1:7701: connection refused".into(),
        hint: Some("start chatd, or give its admin address with --admin".into()),
    })
}

/// A server that is older than the dashboard: it has lag, applications and the API.
pub(crate) fn old(request: &Request) -> Result<Answer, Failure> {
    let slot = match request {
        Request::Stats => Slot::Stats,
        Request::Drift(_) => Slot::Drift,
        Request::Runs => Slot::Runs,
        Request::Letters(_) | Request::Letter(_) => Slot::Letters,
        Request::Doctor => Slot::Doctor,
        _ => return sample(request),
    };
    Err(Failure {
        kind: Kind::NotOffered,
        text: format!("this server does not offer {}", slot.path()),
        hint: Some("it is older than this dashboard: update chatd".into()),
    })
}

/// The text of a buffer, and below it the runs of each style: `row, columns, style, text`.
pub(crate) fn dump(buffer: &Buffer) -> String {
    let mut text = chat_tui::snapshot::lines(buffer);
    text.push_str("--- styles\n");
    for y in 0..buffer.area.height {
        let mut x = 0;
        while x < buffer.area.width {
            let style = name_of(buffer, x, y);
            let start = x;
            let mut run = String::new();
            while x < buffer.area.width && name_of(buffer, x, y) == style {
                run.push_str(buffer[(x, y)].symbol());
                x += 1;
            }
            if !style.is_empty() {
                text.push_str(&format!("{y},{start}-{}: {style}: {}\n", x - 1, run.trim()));
            }
        }
    }
    text
}

fn name_of(buffer: &Buffer, x: u16, y: u16) -> String {
    let cell = &buffer[(x, y)];
    let mut parts = Vec::new();
    if cell.fg != Color::Reset {
        parts.push(cell.fg.to_string());
    }
    if cell.bg != Color::Reset {
        parts.push(format!("on {}", cell.bg));
    }
    if cell.modifier != Modifier::empty() {
        parts.push(format!("{:?}", cell.modifier));
    }
    parts.join(" ")
}
