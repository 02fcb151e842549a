//! Search: results while typing, and the message with what is around it.

use chat_client::search::Query;
use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::search::{Hit, SearchPage, Sort};

use super::grid::{Cell, Column, Grid, List, Row};
use super::input::Input;
use super::pager::Pager;
use super::poll::Source;
use super::reader::{self, Reader};
use crate::api::Request;

/// Hits on one page.
pub const PAGE_ROWS: u32 = 50;
/// How long nothing must be typed before it is searched.
pub const DEBOUNCE_MS: u64 = 150;
/// Characters shown before the first occurrence of a long body.
const LEAD: usize = 24;

/// The page.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// In which application, and its name.
    pub application: Option<(AppToken, String)>,
    /// Only in this chat.
    pub chat: Option<ChatNumber>,
    /// What is typed.
    pub input: Input,
    /// Whether keys go into the text.
    pub typing: bool,
    /// When the text will be searched.
    pub due_ms: Option<u64>,
    /// The text whose hits are shown or asked for.
    pub asked: String,
    /// Order of the hits.
    pub sort: Sort,
    /// The hits.
    pub hits: Source<SearchPage>,
    /// Pages of hits.
    pub pager: Pager<String>,
    /// The hits as a table.
    pub list: List,
    /// The message that was jumped to.
    pub reader: Option<Reader>,
}

/// Headings.
pub const COLUMNS: &[Column] = &[
    Column::right("CHAT", "chat"),
    Column::right("NUMBER", "number"),
    Column::left("CREATED", "created").rank(2),
    Column::left("SENDER", "sender").rank(1),
    Column::left("BODY", "body").grows(),
];

impl Search {
    /// What the server is asked for; nothing while there is no application or no text.
    #[must_use]
    pub fn request(&self) -> Option<Request> {
        let (token, _) = self.application.as_ref()?;
        if self.asked.is_empty() {
            return None;
        }
        Some(Request::Search {
            token: *token,
            query: Query {
                text: self.asked.clone(),
                chat: self.chat,
                sort: self.sort,
                limit: PAGE_ROWS,
                cursor: self.pager.after.clone(),
            },
        })
    }

    /// The text, the application or the chat is another one: search soon.
    pub fn changed(&mut self, now_ms: u64, after_ms: u64) {
        self.due_ms = Some(now_ms + after_ms);
    }

    /// Searches for what is typed now, if it is time.
    pub fn settle(&mut self, now_ms: u64) {
        if self.due_ms.is_none_or(|due| due > now_ms) {
            return;
        }
        self.due_ms = None;
        self.asked = self.input.text().to_owned();
        self.pager = Pager::default();
        self.list.rewind();
        if self.asked.is_empty() {
            self.hits.data = None;
        }
        // The hits of before stay until the new ones are there, so that nothing flickers.
        self.hits.poll.restart(now_ms);
    }

    /// The table.
    #[must_use]
    pub fn grid(&self) -> Grid {
        let hits = self.hits.data.as_ref().map_or(&[][..], |page| &page.hits);
        Grid::new(COLUMNS, hits.iter().map(row).collect(), &self.list)
    }

    /// The hit that is chosen.
    #[must_use]
    pub fn chosen(&self) -> Option<&Hit> {
        let grid = self.grid();
        let id = &grid.rows.get(grid.selected(&self.list)?)?.id;
        let hits = &self.hits.data.as_ref()?.hits;
        hits.iter().find(|hit| hit_id(hit) == *id)
    }
}

fn hit_id(hit: &Hit) -> String {
    format!("{}/{}", hit.message.chat_number, hit.message.message_number)
}

fn row(hit: &Hit) -> Row {
    let message = &hit.message;
    let [created, sender, body] = reader::columns_of(message);
    Row {
        id: hit_id(hit),
        cells: vec![
            Cell::count(message.chat_number.get().into()),
            Cell::count(message.message_number.get().into()),
            created,
            sender,
            excerpt(body, &hit.highlights),
        ],
    }
}

/// A body from a little before the first occurrence on, with the occurrences marked.
fn excerpt(body: Cell, highlights: &[(u32, u32)]) -> Cell {
    let marks = highlights
        .iter()
        .map(|(start, end)| (*start as usize, *end as usize));
    let first = highlights.first().map_or(0, |(start, _)| *start as usize);
    let skip = first.saturating_sub(LEAD);
    if skip < 2 {
        return Cell {
            marks: marks.collect(),
            ..body
        };
    }
    let text: String = body.text.chars().skip(skip).collect();
    Cell {
        // The sign for what was left out is one character, like the last one that it stands for.
        text: format!("…{}", text.chars().skip(1).collect::<String>()),
        marks: marks
            .map(|(start, end)| (start.saturating_sub(skip), end.saturating_sub(skip)))
            .collect(),
        ..body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_keeps_its_marks_in_place() {
        let body = format!("{}needle and more", "x".repeat(100));
        let cell = excerpt(Cell::text(body), &[(100, 106)]);
        let (start, end) = cell.marks[0];
        let marked: String = cell.text.chars().skip(start).take(end - start).collect();
        assert_eq!(marked, "needle");
        assert!(cell.text.starts_with('…'));
        let short = excerpt(Cell::text("a needle"), &[(2, 8)]);
        assert_eq!((short.text.as_str(), short.marks[0]), ("a needle", (2, 8)));
    }

    #[test]
    fn nothing_is_searched_before_typing_pauses() {
        let mut search = Search {
            application: Some((AppToken::from_bytes([1; 16]), String::new())),
            ..Search::default()
        };
        search.input = Input::new("x");
        search.changed(1_000, DEBOUNCE_MS);
        search.settle(1_149);
        assert_eq!(search.request(), None);
        search.settle(1_150);
        assert!(search.request().is_some());
    }
}
