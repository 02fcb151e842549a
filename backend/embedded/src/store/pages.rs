//! Pages of messages.

use std::sync::Arc;

use chat_core::port::store::{ChatKey, Error, MessageRow, Span, State};
use sqlx::SqliteConnection;

use super::absent;
use super::read::{Text, all, text};
use super::rows::{self, MESSAGE, Values};

type Result<T> = std::result::Result<T, Error>;

text!(
    MESSAGES_AFTER,
    "SELECT {MESSAGE} FROM messages WHERE application_token = ? AND chat_number = ? \
     AND number > ? AND number <= ? ORDER BY number LIMIT ?"
);
text!(
    MESSAGES_BEFORE,
    "SELECT {MESSAGE} FROM messages WHERE application_token = ? AND chat_number = ? \
     AND number < ? ORDER BY number DESC LIMIT ?"
);
/// A page of live messages. Rows of any state are read, so that one whose state is damaged is noticed
/// and not passed over, as is a number that must have a row and has none.
pub(crate) async fn messages_in(
    on: &mut SqliteConnection,
    chat: ChatKey,
    span: Span,
    limit: u32,
) -> Result<Vec<MessageRow>> {
    let mut live = Vec::new();
    let mut missing = None;
    let mut rest = span;
    while live.len() < limit as usize {
        let rows = rows_in(on, chat, rest, limit).await?;
        let is_last = rows.len() < limit as usize;
        let numbers = rows.iter().map(|row| row.key.number.get());
        missing = missing.or(first_gap(rest, numbers, is_last));
        if let Some(last) = rows.last().map(|row| row.key.number.get()) {
            rest = match rest {
                Span::After { through, .. } => Span::After {
                    after: last,
                    through,
                },
                Span::Before(_) => Span::Before(last),
            };
        }
        let room = limit as usize - live.len();
        live.extend(
            rows.into_iter()
                .filter(|row| row.state == State::Live)
                .take(room),
        );
        if is_last {
            break;
        }
    }
    if let Some(missing) = missing {
        absent::number(on, chat, missing).await?;
    }
    Ok(live)
}

/// The first number of a span that has no row, in the direction of reading.
fn first_gap(span: Span, numbers: impl Iterator<Item = u32>, is_last: bool) -> Option<u32> {
    let (mut wanted, end, step): (i64, i64, i64) = match span {
        Span::After { after, through } => (i64::from(after) + 1, i64::from(through), 1),
        Span::Before(before) => (i64::from(before) - 1, 1, -1),
    };
    for number in numbers {
        if i64::from(number) != wanted {
            return u32::try_from(wanted).ok();
        }
        wanted += step;
    }
    let behind = (wanted - end) * step > 0;
    (is_last && !behind)
        .then(|| u32::try_from(wanted).ok())
        .flatten()
}

/// Rows of any state.
async fn rows_in(
    on: &mut SqliteConnection,
    chat: ChatKey,
    span: Span,
    limit: u32,
) -> Result<Vec<MessageRow>> {
    let mut values = Values::with_capacity(5);
    values.chat_key(chat);
    let text = match span {
        Span::After { after, through } => {
            values.int(after).int(through);
            &MESSAGES_AFTER
        }
        Span::Before(before) => {
            values.int(before);
            &MESSAGES_BEFORE
        }
    };
    values.int(limit);
    all(on, text.sql(), values, rows::message).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_without_a_row_is_found() {
        let after = |after, through| Span::After { after, through };
        let gap =
            |span, numbers: &[u32], is_last| first_gap(span, numbers.iter().copied(), is_last);
        assert_eq!(gap(after(0, 3), &[1, 2, 3], true), None);
        assert_eq!(gap(after(0, 3), &[1, 2], false), None);
        assert_eq!(gap(after(0, 3), &[1, 2], true), Some(3));
        assert_eq!(gap(after(4, 9), &[5, 7], false), Some(6));
        assert_eq!(gap(after(9, 3), &[], true), None);
        assert_eq!(gap(Span::Before(4), &[3, 2, 1], true), None);
        assert_eq!(gap(Span::Before(4), &[3, 1], true), Some(2));
        assert_eq!(gap(Span::Before(4), &[3, 2], true), Some(1));
        assert_eq!(gap(Span::Before(1), &[], true), None);
        assert_eq!(gap(Span::Before(0), &[], true), None);
    }
}
