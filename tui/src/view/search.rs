//! Search: what is typed, the hits, and the chosen one in full.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Line, columns, top, with_details};
use super::{frame, panel, reader};
use crate::format;
use crate::state::counters::short_token;
use crate::state::dashboard::State;
use crate::state::search::Search;
use crate::theme::Tone;
use chat_wire::search::{Hit, Sort};

pub(super) fn draw(canvas: &mut Canvas<'_>, body: Rect, state: &State) {
    let search = &state.search;
    if let Some(open) = &search.reader {
        return reader::draw(canvas, body, state, open);
    }
    let (asked, rest) = top(body, 2);
    question(canvas, asked, search);
    let Some(_) = search.request() else {
        let text = match &search.application {
            None => "press esc and then a to choose an application".to_owned(),
            Some(_) => "type any part of a message; every character stands for itself".to_owned(),
        };
        let none = (String::new(), Tone::Dim);
        let inside = canvas.boxed(rest, "Hits", &none);
        canvas.wrapped(inside, &[vec![(text, Tone::Dim)]], 0);
        return;
    };
    let (table, details) = with_details(rest, state.expanded, 7);
    panel::table(canvas, table, state, &title(search), "nothing contains it");
    if details.height == 0 {
        return;
    }
    let none = (String::new(), Tone::Dim);
    match search.chosen() {
        Some(hit) => {
            let message = &hit.message;
            let title = format!(
                "chat {}, message {}: enter shows what is around it",
                message.chat_number, message.message_number
            );
            let inside = canvas.boxed(details, &title, &none);
            canvas.wrapped(inside, &[marked(hit)], 0);
        }
        None => {
            canvas.boxed(details, "Message", &none);
        }
    }
}

fn question(canvas: &mut Canvas<'_>, area: Rect, search: &Search) {
    let place = match &search.application {
        None => "no application".to_owned(),
        Some((token, name)) if name.is_empty() => short_token(*token),
        Some((_, name)) => format::visible(name),
    };
    let chat = search
        .chat
        .map_or_else(|| "all chats".to_owned(), |chat| format!("chat {chat}"));
    let order = match search.sort {
        Sort::Newest => "latest first",
        Sort::Number => "by number",
    };
    let line: Line = vec![
        (" in ".to_owned(), Tone::Dim),
        (place, Tone::Accent),
        (", ".to_owned(), Tone::Dim),
        (chat, Tone::Accent),
        (format!(", {order}"), Tone::Dim),
    ];
    canvas.line(area.x, area.y, area.width, &line);
    if area.height < 2 {
        return;
    }
    let row = Rect::new(area.x, area.y + 1, area.width, 1);
    if search.typing {
        frame::typed(canvas, row, " search: ", &search.input);
    } else {
        let used = canvas.put(row.x, row.y, row.width, " search: ", Tone::Dim);
        let text = format::visible(search.input.text());
        let used = used + canvas.cut(row.x + used, row.y, row.width - used, &text, Tone::Plain);
        let hint = "  i types";
        if row.width.saturating_sub(used) > columns(hint) {
            canvas.put(row.x + used, row.y, row.width - used, hint, Tone::Dim);
        }
    }
}

/// How current the hits are.
fn title(search: &Search) -> String {
    match &search.hits.data {
        Some(page) if !page.complete => {
            let lag = format::plural(page.lag_records, "record");
            format!("Hits; {lag} in the log not searchable yet")
        }
        _ => "Hits".to_owned(),
    }
}

/// The whole body with its occurrences marked.
fn marked(hit: &Hit) -> Line {
    let text: Vec<char> = format::visible(&hit.message.body).chars().collect();
    let mut line = Line::new();
    let mut at = 0;
    for (start, end) in &hit.highlights {
        let (start, end) = (*start as usize, *end as usize);
        // A highlight beyond the body would be the server's mistake, and is none of ours to die of.
        let (Some(before), Some(found)) = (text.get(at..start), text.get(start..end)) else {
            break;
        };
        line.push((before.iter().collect(), Tone::Plain));
        line.push((found.iter().collect(), Tone::Mark));
        at = end;
    }
    line.push((text[at..].iter().collect(), Tone::Plain));
    line
}
