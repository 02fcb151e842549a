//! Answers of the server: each goes to its source, and to no other.

use crate::api::{Answer, Slot};
use crate::failure::Failure;
use crate::state::dashboard::{Overlay, State};
use crate::state::picker::Picker;

/// Takes an answer. One that nobody waits for any more changes nothing.
pub(super) fn take(state: &mut State, slot: Slot, seq: u64, result: Result<Answer, Failure>) {
    let now_ms = state.now.ms;
    let interval_ms = state.interval_ms(slot);
    let Some(poll) = state.poll_mut(slot) else {
        return;
    };
    let (answer, failure) = match result {
        Ok(answer) => (Some(answer), None),
        Err(failure) => (None, Some(failure)),
    };
    if poll.end(now_ms, seq, interval_ms, failure)
        && let Some(answer) = answer
    {
        keep(state, slot, answer);
    }
}

fn keep(state: &mut State, slot: Slot, answer: Answer) {
    match (slot, answer) {
        (Slot::Stats, Answer::Stats(stats)) => state.overview.take(*stats),
        (Slot::Lag, Answer::Lag(lag)) => state.topics.lag.data = Some(lag),
        (Slot::Drift, Answer::Drift(page)) => state.counters.drift.data = Some(page),
        (Slot::Runs, Answer::Runs(runs)) => state.reconcile.runs.data = Some(*runs),
        (Slot::Letters, Answer::Letters(page)) => state.letters.page.data = Some(page),
        (Slot::Letter, Answer::Letter(letter)) => {
            if let Some(open) = &mut state.letters.open {
                open.letter.data = Some(*letter);
            }
        }
        (Slot::Doctor, Answer::Doctor(found)) => state.doctor.diagnosis.data = Some(found),
        (Slot::CounterMessages, Answer::Messages(page)) => {
            if let Some(reader) = &mut state.counters.reader {
                reader.take(page);
            }
        }
        (Slot::HitMessages, Answer::Messages(page)) => {
            if let Some(reader) = &mut state.search.reader {
                reader.take(page);
            }
        }
        (Slot::Hits, Answer::Hits(page)) => state.search.hits.data = Some(page),
        (Slot::Applications, Answer::Applications(found)) => {
            if let Some(Overlay::Picker(Picker::Applications { page, .. })) = &mut state.overlay {
                page.data = Some(found);
            }
        }
        (Slot::Chats, Answer::Chats(found)) => {
            if let Some(Overlay::Picker(Picker::Chats { page, .. })) = &mut state.overlay {
                page.data = Some(found);
            }
        }
        // A source is only ever asked its own request.
        _ => {}
    }
}
