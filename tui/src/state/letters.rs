//! Dead letters: a page of them, and the bytes of one.

use chat_client::admin::LetterQuery;
use chat_wire::admin::dlq::{Letter, LetterPage, LetterWithBytes, Place, State as Decided};

use super::grid::{Cell, Column, Grid, List, Row};
use super::pager::Pager;
use super::poll::Source;
use super::signs;
use crate::event::Now;
use crate::format;
use crate::theme::Tone;

/// Letters on one page of the server.
pub const PAGE_ROWS: u32 = 100;

/// The page.
#[derive(Debug, Clone)]
pub struct Letters {
    /// `/admin/dlq`.
    pub page: Source<LetterPage>,
    /// Only those in this state.
    pub wanted: Option<Decided>,
    /// Pages of the server.
    pub pager: Pager<String>,
    /// The letters.
    pub list: List,
    /// The letter that was opened.
    pub open: Option<Opened>,
}

impl Default for Letters {
    /// Those that wait, because they want a decision.
    fn default() -> Self {
        Self {
            page: Source::default(),
            wanted: Some(Decided::Waiting),
            pager: Pager::default(),
            list: List::default(),
            open: None,
        }
    }
}

/// A letter with its bytes.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Its id.
    pub id: String,
    /// `/admin/dlq/{id}`.
    pub letter: Source<LetterWithBytes>,
    /// Whether the bytes are shown in hexadecimal.
    pub hex: bool,
    /// Lines above the first that is shown.
    pub scroll: usize,
}

/// Headings.
pub const COLUMNS: &[Column] = &[
    Column::left("STATE", "state"),
    Column::right("AGE", "age"),
    Column::left("ORIGIN", "origin").rank(1),
    Column::left("EVENT", "event").rank(2),
    Column::right("SIZE", "size").rank(3),
    Column::left("REASON", "reason").grows(),
];

impl Letters {
    /// What the server is asked for.
    #[must_use]
    pub fn query(&self) -> LetterQuery {
        LetterQuery {
            topic: None,
            state: self.wanted,
            after: self.pager.after.clone(),
            limit: PAGE_ROWS,
        }
    }

    /// The next state to look for.
    pub fn want_next(&mut self) {
        self.wanted = match self.wanted {
            Some(Decided::Waiting) => Some(Decided::Replayed),
            Some(Decided::Replayed) => Some(Decided::Discarded),
            Some(Decided::Discarded) => None,
            None => Some(Decided::Waiting),
        };
    }

    /// The table.
    #[must_use]
    pub fn grid(&self, now: Now) -> Grid {
        let letters = self
            .page
            .data
            .as_ref()
            .map_or(&[][..], |page| &page.letters);
        let rows = letters.iter().map(|letter| row(letter, now));
        Grid::new(COLUMNS, rows.collect(), &self.list)
    }

    /// The letter that is opened, or else chosen.
    #[must_use]
    pub fn chosen(&self, now: Now) -> Option<&Letter> {
        let letters = &self.page.data.as_ref()?.letters;
        let grid = self.grid(now);
        let id = match &self.open {
            Some(open) => &open.id,
            None => &grid.rows.get(grid.selected(&self.list)?)?.id,
        };
        letters.iter().find(|letter| letter.id == *id)
    }
}

/// Where a record stands.
#[must_use]
pub fn place(place: &Place) -> String {
    let topic = format::visible(&place.topic);
    format!("{topic}/{}/{}", place.partition, place.offset)
}

fn row(letter: &Letter, now: Now) -> Row {
    let (sign, tone) = signs::letter(letter.state);
    let age_ms = now.wall.millis_since(letter.buried_at);
    Row {
        id: letter.id.clone(),
        cells: vec![
            Cell::text(format!("{sign} {}", letter.state.as_str())).tone(tone),
            Cell::sorted(format::age(age_ms), age_ms / 1_000),
            letter
                .origin
                .as_ref()
                .map_or_else(Cell::unknown, |origin| Cell::text(place(origin))),
            letter
                .event
                .as_deref()
                .map_or_else(Cell::unknown, |event| Cell::text(format::visible(event))),
            Cell::sorted(format::bytes(letter.bytes), letter.bytes),
            Cell::text(format::visible(&letter.reason)).tone(Tone::Plain),
        ],
    }
}

/// Lines of 16 bytes: offset, hexadecimal, and what can be read of them.
#[must_use]
pub fn hex_lines(base64: &str) -> Vec<String> {
    let Some(bytes) = decode_base64(base64) else {
        return vec!["the bytes came in a form that cannot be read".to_owned()];
    };
    let lines = bytes.chunks(16).enumerate().map(|(at, chunk)| {
        let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        let text: String = chunk
            .iter()
            .map(|byte| match byte {
                b' '..=b'~' => char::from(*byte),
                _ => '·',
            })
            .collect();
        format!("{:08x}  {:<47}  {text}", at * 16, hex.join(" "))
    });
    lines.collect()
}

/// RFC 4648, section 4; `None` for anything else.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut bits, mut held) = (0_u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_by_the_rfc() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9vYmFy", b"foobar"),
            ("/+8=", &[0xff, 0xef]),
        ] {
            assert_eq!(decode_base64(text).as_deref(), Some(bytes), "{text}");
        }
        assert_eq!(decode_base64("Z m"), None);
    }

    #[test]
    fn bytes_are_shown_sixteen_a_line() {
        let lines = hex_lines("AAECAwQFBgcICQoLDA0OD0FC");
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("00000000  00 01 02"));
        assert!(lines[1].starts_with("00000010  41 42 ") && lines[1].ends_with("AB"));
    }
}
