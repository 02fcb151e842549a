//! The screen as text and its data as JSON: for `--once`, and for the key that writes both to files.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::api::Slot;
use crate::state::dashboard::{Overlay, State};
use crate::state::picker::Picker;
use crate::view;

/// The screen at this size as plain text: no escape codes, and no blanks at the ends of lines.
#[must_use]
pub fn text(state: &State, (width, height): (u16, u16)) -> String {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    view::draw(state, &mut buffer);
    lines(&buffer)
}

/// The text of a buffer, line by line.
#[must_use]
pub fn lines(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in buffer.area.y..buffer.area.bottom() {
        let mut line = String::new();
        let mut hidden = 0;
        for x in buffer.area.x..buffer.area.right() {
            let Some(cell) = buffer.cell((x, y)) else {
                continue;
            };
            // A wide character covers the cell behind it.
            if hidden == 0 {
                line.push_str(cell.symbol());
                hidden = unicode_width::UnicodeWidthStr::width(cell.symbol()).max(1);
            }
            hidden -= 1;
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What is on the screen as JSON: for each source its data, its age and its error. What the server
/// did not say is absent, and never zero.
#[must_use]
pub fn data(state: &State) -> Value {
    let mut sources = Map::new();
    for (slot, _) in state.wanted() {
        let Some(poll) = state.poll(slot) else {
            continue;
        };
        let source = json!({
            "age_ms": poll.age_ms(state.now.ms),
            "error": poll.failure,
            "data": of(state, slot),
        });
        sources.insert(name(slot).to_owned(), source);
    }
    json!({
        "page": state.page.name(),
        "at": state.now.wall,
        "admin": state.setup.admin,
        "sources": sources,
    })
}

const fn name(slot: Slot) -> &'static str {
    match slot {
        Slot::Stats => "stats",
        Slot::Lag => "lag",
        Slot::Drift => "drift",
        Slot::Runs => "runs",
        Slot::Letters => "letters",
        Slot::Letter => "letter",
        Slot::Doctor => "doctor",
        Slot::CounterMessages | Slot::HitMessages => "messages",
        Slot::Hits => "hits",
        Slot::Applications => "applications",
        Slot::Chats => "chats",
    }
}

fn of(state: &State, slot: Slot) -> Value {
    match slot {
        Slot::Stats => value(state.overview.stats.data.as_ref()),
        Slot::Lag => value(state.topics.lag.data.as_ref()),
        Slot::Drift => value(state.counters.drift.data.as_ref()),
        Slot::Runs => value(state.reconcile.runs.data.as_ref()),
        Slot::Letters => value(state.letters.page.data.as_ref()),
        Slot::Letter => {
            let open = state.letters.open.as_ref();
            value(open.and_then(|open| open.letter.data.as_ref()))
        }
        Slot::Doctor => value(state.doctor.diagnosis.data.as_ref()),
        Slot::CounterMessages | Slot::HitMessages => {
            value(state.reader().and_then(|reader| reader.page.data.as_ref()))
        }
        Slot::Hits => value(state.search.hits.data.as_ref()),
        Slot::Applications => match &state.overlay {
            Some(Overlay::Picker(Picker::Applications { page, .. })) => value(page.data.as_ref()),
            _ => Value::Null,
        },
        Slot::Chats => match &state.overlay {
            Some(Overlay::Picker(Picker::Chats { page, .. })) => value(page.data.as_ref()),
            _ => Value::Null,
        },
    }
}

fn value<T: Serialize>(data: Option<&T>) -> Value {
    // Everything here came as JSON.
    data.and_then(|data| serde_json::to_value(data).ok())
        .unwrap_or(Value::Null)
}
