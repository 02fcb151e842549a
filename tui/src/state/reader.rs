//! The messages of a chat, a page at a time.

use chat_client::messages::Span;
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::messages::{Message, MessagePage};

use super::grid::{Cell, Column, Grid, List, Row};
use super::poll::Source;
use crate::api::Request;
use crate::format;
use crate::theme::Tone;

/// Messages on one page.
pub const PAGE_ROWS: u32 = 50;

/// A chat that is being read.
#[derive(Debug, Clone)]
pub struct Reader {
    /// The application.
    pub token: AppToken,
    /// Its name, as far as it is known.
    pub name: String,
    /// The chat.
    pub chat: ChatNumber,
    /// The message that was jumped to.
    pub focus: Option<MessageNumber>,
    /// Which part of the chat is shown.
    pub span: Span,
    /// That part.
    pub page: Source<MessagePage>,
    /// Its rows.
    pub list: List,
}

/// Headings.
pub const COLUMNS: &[Column] = &[
    Column::right("NUMBER", "number"),
    Column::left("CREATED", "created").rank(2),
    Column::left("SENDER", "sender").rank(1),
    Column::left("BODY", "body").grows(),
];

impl Reader {
    /// The latest messages of a chat.
    #[must_use]
    pub fn latest(token: AppToken, name: String, chat: ChatNumber) -> Self {
        // No number is above this one, so the page below it is the last.
        let span = MessageNumber::new(u32::MAX).map_or(Span::Start, Span::Before);
        Self {
            token,
            name,
            chat,
            focus: None,
            span,
            page: Source::default(),
            list: List::default(),
        }
    }

    /// A message with what is on both sides of it.
    #[must_use]
    pub fn around(token: AppToken, name: String, chat: ChatNumber, number: MessageNumber) -> Self {
        let mut reader = Self::latest(token, name, chat);
        reader.span = Span::Around(number);
        reader.focus = Some(number);
        reader.list.select_id(number.to_string());
        reader
    }

    /// What the server is asked for.
    #[must_use]
    pub fn request(&self) -> Request {
        Request::Messages {
            token: self.token,
            chat: self.chat,
            span: self.span,
            limit: PAGE_ROWS,
        }
    }

    /// Takes a page. Where nothing is chosen yet, the latest message is.
    pub fn take(&mut self, page: MessagePage) {
        let last = page.messages.last();
        if let (Span::Before(_), Some(last)) = (self.span, last) {
            self.list.select_id(last.message_number.to_string());
        }
        self.page.data = Some(page);
    }

    /// Goes to the page above or below; `false` at the end.
    pub fn turn(&mut self, forth: bool, now_ms: u64) -> bool {
        let Some(page) = &self.page.data else {
            return false;
        };
        let span = if forth {
            page.next_after.map(Span::After)
        } else {
            page.next_before.map(Span::Before)
        };
        let Some(span) = span else { return false };
        self.span = span;
        self.list.rewind();
        self.page.poll.restart(now_ms);
        true
    }

    /// The table. Numbers that have no message are shown as a gap.
    #[must_use]
    pub fn grid(&self) -> Grid {
        let messages = self
            .page
            .data
            .as_ref()
            .map_or(&[][..], |page| &page.messages);
        let mut rows = Vec::with_capacity(messages.len());
        let mut last: Option<u32> = None;
        for message in messages {
            let number = message.message_number.get();
            if let Some(gap) = last.and_then(|last| gap(last + 1, number - 1)) {
                rows.push(gap);
            }
            rows.push(self.row(message));
            last = Some(number);
        }
        Grid::new(COLUMNS, rows, &self.list)
    }

    /// The message that is chosen.
    #[must_use]
    pub fn chosen(&self) -> Option<&Message> {
        let grid = self.grid();
        let id = &grid.rows.get(grid.selected(&self.list)?)?.id;
        let messages = &self.page.data.as_ref()?.messages;
        messages
            .iter()
            .find(|message| message.message_number.to_string() == *id)
    }

    fn row(&self, message: &Message) -> Row {
        let number = message.message_number;
        let tone = if self.focus == Some(number) {
            Tone::Accent
        } else {
            Tone::Plain
        };
        let mut cells = vec![Cell::count(number.get().into()).tone(tone)];
        cells.extend(columns_of(message).map(|cell| match cell.tone {
            Tone::Plain => cell.tone(tone),
            _ => cell,
        }));
        Row {
            id: number.to_string(),
            cells,
        }
    }
}

/// When a message was created, by whom, and what it says.
#[must_use]
pub fn columns_of(message: &Message) -> [Cell; 3] {
    [
        Cell::text(format::when(message.created_at)).tone(Tone::Dim),
        match &message.sender {
            Some(sender) => Cell::text(format::visible(sender)),
            None => Cell::none(),
        },
        Cell::text(format::visible(&message.body)),
    ]
}

fn gap(first: u32, last: u32) -> Option<Row> {
    let numbers = match last.checked_sub(first)? {
        0 => first.to_string(),
        _ => format!("{first}–{last}"),
    };
    Some(Row {
        id: format!("gap {first}"),
        cells: vec![
            Cell::sorted(numbers, first.into()).tone(Tone::Dim),
            Cell::none(),
            Cell::none(),
            Cell::text("deleted, void or not stored yet").tone(Tone::Dim),
        ],
    })
}
