//! The one function that changes the state. It is pure: the same state, time and event always
//! give the same state and effects, and nothing here waits, draws or asks for the time.

mod acts;
mod answers;
mod moves;
mod press;

use crate::event::{Effect, Event, Now, Target};
use crate::state::dashboard::{Flash, Overlay, Prompt, State};
use crate::state::topics;
use crate::theme::Tone;

/// How long a remark stays.
const FLASH_MS: u64 = 4_000;

/// Takes an event, and says what has to be done.
pub fn update(state: &mut State, now: Now, event: Event) -> Vec<Effect> {
    state.now = now;
    let mut effects = Vec::new();
    match event {
        Event::Key(key) => press::key(state, key, &mut effects),
        Event::Paste(text) => paste(state, &text),
        Event::Resize(columns, rows) => state.size = (columns, rows),
        Event::Wheel(by) => wheel(state, by),
        Event::Click(Target::Page(page)) => moves::go_to(state, page),
        Event::Click(Target::Row(at)) => {
            let grid = state.grid();
            if let Some(list) = state.list_mut() {
                list.select(&grid, at);
            }
        }
        Event::Tick => {}
        Event::Answered { slot, seq, result } => answers::take(state, slot, seq, result),
        Event::Acted(result) => acts::done(state, result),
        Event::Saved(Ok(files)) => say(state, Tone::Good, format!("written: {files}")),
        Event::Saved(Err(error)) => say(state, Tone::Bad, format!("not written: {error}")),
    }
    if state
        .flash
        .as_ref()
        .is_some_and(|flash| flash.until_ms <= now.ms)
    {
        state.flash = None;
    }
    state.search.settle(now.ms);
    partitions(state);
    ask(state, &mut effects);
    effects
}

/// Asks every source that is on the screen and due.
fn ask(state: &mut State, effects: &mut Vec<Effect>) {
    let frozen = state.frozen_ms.is_some();
    for (slot, request) in state.wanted() {
        let now_ms = state.now.ms;
        let seq = state.seq + 1;
        let Some(poll) = state.poll_mut(slot) else {
            continue;
        };
        // What was just opened is asked for even while the rest is frozen.
        if !poll.due(now_ms) || (frozen && poll.answered()) {
            continue;
        }
        poll.begin(now_ms, seq);
        state.seq = seq;
        effects.push(Effect::Fetch { slot, seq, request });
    }
}

/// Asks for other partitions at once where other ones are looked at than were asked for.
fn partitions(state: &mut State) {
    if state.topics.group.is_none() {
        state.topics.asked = None;
        return;
    }
    let query = Some(topics::query(state));
    if state.topics.asked != query {
        state.topics.asked = query;
        state.topics.lag.poll.restart(state.now.ms);
    }
}

/// Says something for a while.
fn say(state: &mut State, tone: Tone, text: impl Into<String>) {
    state.flash = Some(Flash {
        text: text.into(),
        tone,
        until_ms: state.now.ms + FLASH_MS,
    });
}

fn paste(state: &mut State, text: &str) {
    let typing = press::is_typing(state);
    match (&mut state.overlay, &mut state.prompt) {
        (Some(Overlay::Dialog(dialog)), _) => dialog.paste(text),
        (Some(_), _) => {}
        (None, Some(Prompt::Filter(input) | Prompt::Jump(input))) => {
            input.paste(text);
            press::filter_typed(state);
        }
        (None, None) if typing => {
            state.search.input.paste(text);
            press::search_typed(state);
        }
        (None, None) => {}
    }
}

fn wheel(state: &mut State, by: i32) {
    let by = isize::try_from(by).unwrap_or_default();
    moves::step(state, by);
}
