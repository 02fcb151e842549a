//! Everything that the dashboard knows.

use chat_wire::ids::{AppToken, ChatNumber};

use super::counters::{Counters, Inside};
use super::dialog::Dialog;
use super::doctor::Doctor;
use super::grid::{Grid, List};
use super::input::Input;
use super::letters::Letters;
use super::overview::{self, Overview};
use super::page::Page;
use super::picker::Picker;
use super::reader::Reader;
use super::reconcile::Reconcile;
use super::search::Search;
use super::topics::{self, Topics};
use crate::api::Slot;
use crate::event::Now;
use crate::theme::{Theme, Tone};

/// How it was started.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Which page comes first.
    pub page: Page,
    /// Milliseconds between two looks at the server.
    pub interval_ms: u64,
    /// Which colours.
    pub theme: Theme,
    /// No acts.
    pub read_only: bool,
    /// Start inside this application.
    pub application: Option<AppToken>,
    /// Start inside this chat of it.
    pub chat: Option<ChatNumber>,
    /// Start with this filter, or with this search.
    pub filter: String,
    /// Address of the admin listener, as it is shown.
    pub admin: String,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            page: Page::Overview,
            interval_ms: 2_000,
            theme: Theme::Dark,
            read_only: false,
            application: None,
            chat: None,
            filter: String::new(),
            admin: "http://127.0.0.1:7701".to_owned(),
        }
    }
}

/// What lies over the page.
#[derive(Debug, Clone)]
pub enum Overlay {
    /// The help, scrolled by so many lines.
    Help(usize),
    /// A question.
    Dialog(Dialog),
    /// A list to choose from.
    Picker(Picker),
}

/// A line at the bottom that is being typed.
#[derive(Debug, Clone)]
pub enum Prompt {
    /// The filter of the table.
    Filter(Input),
    /// The name of a page.
    Jump(Input),
}

/// A remark that goes away by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flash {
    /// What.
    pub text: String,
    /// How it is meant.
    pub tone: Tone,
    /// Until when.
    pub until_ms: u64,
}

/// The dashboard.
#[derive(Debug, Clone)]
pub struct State {
    /// How it was started.
    pub setup: Setup,
    /// The clocks at the last event.
    pub now: Now,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// What is shown.
    pub page: Page,
    /// Which colours.
    pub theme: Theme,
    /// Since when nothing new is shown.
    pub frozen_ms: Option<u64>,
    /// Whether the mouse is ours.
    pub mouse: bool,
    /// Whether the details have all the room.
    pub expanded: bool,
    /// What lies over the page.
    pub overlay: Option<Overlay>,
    /// The line that is being typed.
    pub prompt: Option<Prompt>,
    /// A remark.
    pub flash: Option<Flash>,
    /// What is being done on the server.
    pub acting: Option<&'static str>,
    /// Number of the last request.
    pub seq: u64,
    /// The page, and the head of all pages.
    pub overview: Overview,
    /// The page.
    pub topics: Topics,
    /// The page.
    pub counters: Counters,
    /// The page.
    pub reconcile: Reconcile,
    /// The page.
    pub letters: Letters,
    /// The page.
    pub search: Search,
    /// The page.
    pub doctor: Doctor,
}

impl State {
    /// As it is at the beginning.
    #[must_use]
    pub fn new(setup: Setup, now: Now, size: (u16, u16)) -> Self {
        let mut state = Self {
            page: setup.page,
            theme: setup.theme,
            now,
            size,
            frozen_ms: None,
            mouse: false,
            expanded: false,
            overlay: None,
            prompt: None,
            flash: None,
            acting: None,
            seq: 0,
            overview: Overview::default(),
            topics: Topics::default(),
            counters: Counters::default(),
            reconcile: Reconcile::default(),
            letters: Letters::default(),
            search: Search::default(),
            doctor: Doctor::default(),
            setup,
        };
        state.start();
        state
    }

    /// Goes where the flags say.
    fn start(&mut self) {
        let (token, chat) = (self.setup.application, self.setup.chat);
        if let Some(token) = token {
            self.search.application = Some((token, String::new()));
            self.search.chat = chat;
            self.counters.inside = Some(Inside::new(token, ""));
            self.counters.reader = chat.map(|chat| Reader::latest(token, String::new(), chat));
        }
        let filter = self.setup.filter.clone();
        if self.page == Page::Search {
            self.search.input = Input::new(filter);
            self.search.typing = true;
            self.search.changed(self.now.ms, 0);
        } else if let Some(list) = self.list_mut() {
            list.filter = filter;
        }
    }

    /// The messages that are being read, where some are.
    #[must_use]
    pub const fn reader(&self) -> Option<&Reader> {
        match self.page {
            Page::Counters => self.counters.reader.as_ref(),
            Page::Search => self.search.reader.as_ref(),
            _ => None,
        }
    }

    /// The same, to change them.
    pub const fn reader_mut(&mut self) -> Option<&mut Reader> {
        match self.page {
            Page::Counters => self.counters.reader.as_mut(),
            Page::Search => self.search.reader.as_mut(),
            _ => None,
        }
    }

    /// The table that is shown.
    #[must_use]
    pub fn grid(&self) -> Grid {
        if let Some(reader) = self.reader() {
            return reader.grid();
        }
        match self.page {
            Page::Overview => overview::grid(self),
            Page::Topics => topics::grid(self),
            Page::Counters => self.counters.grid(),
            Page::Reconcile => self.reconcile.grid(),
            Page::Letters => self.letters.grid(self.now),
            Page::Search => self.search.grid(),
            Page::Doctor => self.doctor.grid(),
        }
    }

    /// What is chosen in it, and how it is sorted and filtered.
    #[must_use]
    pub fn list(&self) -> &List {
        if let Some(reader) = self.reader() {
            return &reader.list;
        }
        match self.page {
            Page::Overview => &self.overview.list,
            Page::Topics if self.topics.group.is_some() => &self.topics.partitions,
            Page::Topics => &self.topics.groups,
            Page::Counters => self.counters.list(),
            Page::Reconcile => &self.reconcile.list,
            Page::Letters => &self.letters.list,
            Page::Search => &self.search.list,
            Page::Doctor => &self.doctor.list,
        }
    }

    /// The same, to change it; `None` where there is none.
    pub fn list_mut(&mut self) -> Option<&mut List> {
        if self.reader().is_some() {
            return self.reader_mut().map(|reader| &mut reader.list);
        }
        Some(match self.page {
            Page::Overview => &mut self.overview.list,
            Page::Topics if self.topics.group.is_some() => &mut self.topics.partitions,
            Page::Topics => &mut self.topics.groups,
            Page::Counters => self.counters.list_mut(),
            Page::Reconcile => &mut self.reconcile.list,
            Page::Letters => &mut self.letters.list,
            Page::Search => &mut self.search.list,
            Page::Doctor => &mut self.doctor.list,
        })
    }

    /// The source of the table that is shown.
    #[must_use]
    pub fn main_slot(&self) -> Slot {
        match self.page {
            Page::Overview => Slot::Stats,
            Page::Topics if self.topics.wants_partitions(self) => Slot::Lag,
            Page::Topics => Slot::Stats,
            Page::Counters if self.counters.reader.is_some() => Slot::CounterMessages,
            Page::Counters => Slot::Drift,
            Page::Reconcile => Slot::Runs,
            Page::Letters => Slot::Letters,
            Page::Search if self.search.reader.is_some() => Slot::HitMessages,
            Page::Search => Slot::Hits,
            Page::Doctor => Slot::Doctor,
        }
    }
}
