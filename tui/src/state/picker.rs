//! Choosing an application, or a chat of it, from the server's lists.

use chat_wire::admin::ApplicationPage;
use chat_wire::chats::ChatPage;
use chat_wire::ids::{AppToken, ChatNumber};

use super::counters::short_token;
use super::grid::{Cell, Column, Grid, List, Row};
use super::pager::Pager;
use super::poll::Source;
use crate::format;
use crate::theme::Tone;

/// Rows on one page of the server.
pub const PAGE_ROWS: u32 = 100;

/// A list to choose from.
#[derive(Debug, Clone)]
pub enum Picker {
    /// Applications.
    Applications {
        /// `/admin/applications`.
        page: Box<Source<ApplicationPage>>,
        /// Pages of the server.
        pager: Pager<AppToken>,
        /// The rows.
        list: List,
    },
    /// Chats.
    Chats {
        /// Of this application.
        token: AppToken,
        /// Its chats.
        page: Box<Source<ChatPage>>,
        /// Pages of the server.
        pager: Pager<ChatNumber>,
        /// The rows.
        list: List,
    },
}

const APPLICATIONS: &[Column] = &[
    Column::left("APPLICATION", "application").grows(),
    Column::left("TOKEN", "token").rank(1),
    Column::right("CHATS", "chats"),
];

const CHATS: &[Column] = &[
    Column::right("CHAT", "chat"),
    Column::right("MESSAGES", "messages"),
    Column::left("CREATED", "created").rank(1).grows(),
];

impl Picker {
    /// Of all applications.
    #[must_use]
    pub fn applications() -> Self {
        Self::Applications {
            page: Box::default(),
            pager: Pager::default(),
            list: List::default(),
        }
    }

    /// Of the chats of this application.
    #[must_use]
    pub fn chats(token: AppToken) -> Self {
        Self::Chats {
            token,
            page: Box::default(),
            pager: Pager::default(),
            list: List::default(),
        }
    }

    /// The rows.
    #[must_use]
    pub const fn list(&self) -> &List {
        match self {
            Self::Applications { list, .. } | Self::Chats { list, .. } => list,
        }
    }

    /// The same, to change them.
    pub const fn list_mut(&mut self) -> &mut List {
        match self {
            Self::Applications { list, .. } | Self::Chats { list, .. } => list,
        }
    }

    /// The table. The first row of chats is the whole application.
    #[must_use]
    pub fn grid(&self) -> Grid {
        match self {
            Self::Applications { page, list, .. } => {
                let rows = page.data.iter().flat_map(|page| &page.applications);
                let rows = rows.map(|application| Row {
                    id: application.token.reveal(),
                    cells: vec![
                        Cell::text(format::visible(&application.name)),
                        Cell::text(short_token(application.token)).tone(Tone::Dim),
                        Cell::count(application.chats_count.into()),
                    ],
                });
                Grid::new(APPLICATIONS, rows.collect(), list)
            }
            Self::Chats {
                page, list, pager, ..
            } => {
                let whole = Row {
                    id: "all".to_owned(),
                    cells: vec![Cell::text("all"), Cell::none(), Cell::none()],
                };
                let first = (pager.number() == 1 && page.data.is_some()).then_some(whole);
                let rows = page.data.iter().flat_map(|page| &page.chats);
                let rows = rows.map(|chat| Row {
                    id: chat.chat_number.to_string(),
                    cells: vec![
                        Cell::count(chat.chat_number.get().into()),
                        Cell::count(chat.messages_count.into()),
                        Cell::text(format::when(chat.created_at)).tone(Tone::Dim),
                    ],
                });
                Grid::new(CHATS, first.into_iter().chain(rows).collect(), list)
            }
        }
    }

    /// Goes to the next page of the server, or back.
    pub fn turn(&mut self, forth: bool, now_ms: u64) -> bool {
        let (turned, poll) = match self {
            Self::Applications { page, pager, .. } => {
                let next = page.data.as_ref().and_then(|page| page.next_after);
                (turn(pager, forth, next), &mut page.poll)
            }
            Self::Chats { page, pager, .. } => {
                let next = page.data.as_ref().and_then(|page| page.next_after);
                (turn(pager, forth, next), &mut page.poll)
            }
        };
        if turned {
            poll.restart(now_ms);
            self.list_mut().rewind();
        }
        turned
    }

    /// Id of the row that is chosen.
    #[must_use]
    pub fn chosen(&self) -> Option<String> {
        let grid = self.grid();
        let at = grid.selected(self.list())?;
        grid.rows.into_iter().nth(at).map(|row| row.id)
    }

    /// Name of the application with this token, if it is on the page.
    #[must_use]
    pub fn name_of(&self, token: AppToken) -> Option<String> {
        let Self::Applications { page, .. } = self else {
            return None;
        };
        let found = page.data.as_ref()?.applications.iter();
        let mut found = found.filter(|application| application.token == token);
        found.next().map(|application| application.name.clone())
    }
}

/// Goes forth or back in the pages.
pub fn turn<C: Clone>(pager: &mut Pager<C>, forth: bool, next: Option<C>) -> bool {
    if forth {
        pager.forth(next)
    } else {
        pager.back()
    }
}
