//! Keys: first for what lies over the page, then for what is being typed, then by the key map.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{acts, moves, say};
use crate::event::Effect;
use crate::keys::{self, Action};
use crate::state::dashboard::{Overlay, Prompt, State};
use crate::state::dialog::Answer;
use crate::state::input::Input;
use crate::state::page::Page;
use crate::state::picker::Picker;
use crate::state::search::DEBOUNCE_MS;
use crate::theme::Tone;
use chat_wire::search::Sort;

/// Takes a key.
pub(super) fn key(state: &mut State, key: KeyEvent, effects: &mut Vec<Effect>) {
    if key.kind == KeyEventKind::Release {
        return;
    }
    if state.overlay.is_some() {
        return overlay(state, key, effects);
    }
    if state.prompt.is_some() {
        return prompt(state, key, effects);
    }
    if is_typing(state) && typed(state, key) {
        return;
    }
    if let Some(action) = keys::action(key, state.page, state.setup.read_only) {
        perform(state, action, effects);
    }
}

/// Whether keys go into the search.
pub(super) const fn is_typing(state: &State) -> bool {
    matches!(state.page, Page::Search) && state.search.typing && state.search.reader.is_none()
}

/// The search has another text.
pub(super) fn search_typed(state: &mut State) {
    state.search.changed(state.now.ms, DEBOUNCE_MS);
}

/// The filter has another text: it holds at once.
pub(super) fn filter_typed(state: &mut State) {
    let Some(Prompt::Filter(input)) = &state.prompt else {
        return;
    };
    let text = input.text().to_owned();
    if let Some(list) = state.list_mut() {
        list.filter = text;
    }
}

fn overlay(state: &mut State, key: KeyEvent, effects: &mut Vec<Effect>) {
    let quit = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    match &mut state.overlay {
        Some(Overlay::Dialog(dialog)) => match dialog.key(key) {
            Answer::Open => {}
            Answer::Cancelled => state.overlay = None,
            Answer::Confirmed(act) => {
                state.overlay = None;
                acts::begin(state, *act, effects);
            }
        },
        Some(Overlay::Help(_)) => match keys::action(key, state.page, state.setup.read_only) {
            Some(Action::Quit) if quit => effects.push(Effect::Quit),
            Some(Action::Help | Action::Back | Action::Quit | Action::Open) => state.overlay = None,
            Some(action) => scroll(state, action),
            None => {}
        },
        Some(Overlay::Picker(_)) => picker(state, key),
        None => {}
    }
}

fn scroll(state: &mut State, action: Action) {
    match action {
        Action::Down => moves::step(state, 1),
        Action::Up => moves::step(state, -1),
        Action::HalfDown => moves::step(state, moves::half(state)),
        Action::HalfUp => moves::step(state, -moves::half(state)),
        Action::Top => moves::step(state, isize::MIN),
        Action::Bottom => moves::step(state, isize::MAX),
        _ => {}
    }
}

fn picker(state: &mut State, key: KeyEvent) {
    let now_ms = state.now.ms;
    let Some(Overlay::Picker(picker)) = &mut state.overlay else {
        return;
    };
    match keys::action(key, Page::Overview, true) {
        Some(Action::Back | Action::Quit) => state.overlay = None,
        Some(Action::More) => {
            picker.turn(true, now_ms);
        }
        Some(Action::Less) => {
            picker.turn(false, now_ms);
        }
        Some(Action::Open) => pick(state),
        Some(action) => scroll(state, action),
        None => {}
    }
}

fn pick(state: &mut State) {
    let Some(Overlay::Picker(picker)) = &state.overlay else {
        return;
    };
    let Some(id) = picker.chosen() else { return };
    match picker {
        Picker::Applications { .. } => {
            let Ok(token) = id.parse() else { return };
            let name = picker.name_of(token).unwrap_or_default();
            state.search.application = Some((token, name));
            state.search.chat = None;
        }
        Picker::Chats { .. } => state.search.chat = id.parse().ok(),
    }
    state.overlay = None;
    state.search.hits.data = None;
    state.search.typing = true;
    state.search.changed(state.now.ms, 0);
}

fn prompt(state: &mut State, key: KeyEvent, effects: &mut Vec<Effect>) {
    let escape = key.code == KeyCode::Esc
        || (key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c'));
    match (&mut state.prompt, key.code) {
        (Some(Prompt::Filter(_)), _) if escape => {
            state.prompt = Some(Prompt::Filter(Input::default()));
            filter_typed(state);
            state.prompt = None;
        }
        (Some(Prompt::Filter(_)), KeyCode::Enter) => state.prompt = None,
        (Some(Prompt::Filter(_)), KeyCode::Down) => moves::step(state, 1),
        (Some(Prompt::Filter(_)), KeyCode::Up) => moves::step(state, -1),
        (Some(Prompt::Filter(input)), _) => {
            if input.key(key) {
                filter_typed(state);
            }
        }
        (Some(Prompt::Jump(_)), _) if escape => state.prompt = None,
        (Some(Prompt::Jump(input)), KeyCode::Enter) => {
            let text = input.text().trim().to_owned();
            state.prompt = None;
            jump(state, &text, effects);
        }
        (Some(Prompt::Jump(input)), _) => {
            input.key(key);
        }
        (None, _) => {}
    }
}

fn jump(state: &mut State, text: &str, effects: &mut Vec<Effect>) {
    if matches!(text, "q" | "quit") {
        effects.push(Effect::Quit);
    } else if let Some(page) = Page::parse(text) {
        moves::go_to(state, page);
    } else if !text.is_empty() {
        let names: Vec<&str> = Page::ALL.iter().map(|page| page.name()).collect();
        let names = names.join(", ");
        say(
            state,
            Tone::Warn,
            format!("no page {text:?}; there are {names}"),
        );
    }
}

/// A key for the text of the search; `false` where the key map has it.
fn typed(state: &mut State, key: KeyEvent) -> bool {
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Enter | KeyCode::Esc | KeyCode::Down => state.search.typing = false,
        KeyCode::Tab | KeyCode::BackTab | KeyCode::F(_) => return false,
        KeyCode::Char('c' | 'l' | 'd') if ctrl => return false,
        _ => {
            if state.search.input.key(key) {
                search_typed(state);
            }
        }
    }
    true
}

fn perform(state: &mut State, action: Action, effects: &mut Vec<Effect>) {
    match action {
        Action::Quit => effects.push(Effect::Quit),
        Action::Help => state.overlay = Some(Overlay::Help(0)),
        Action::GoTo(page) => moves::go_to(state, page),
        Action::NextPage => moves::go_to(state, state.page.step(1)),
        Action::PreviousPage => moves::go_to(state, state.page.step(-1)),
        Action::Down
        | Action::Up
        | Action::Top
        | Action::Bottom
        | Action::HalfDown
        | Action::HalfUp => scroll(state, action),
        Action::Open => moves::open(state),
        Action::Back => moves::back(state),
        Action::More => moves::turn(state, true),
        Action::Less => moves::turn(state, false),
        Action::Filter => {
            let text = state.list().filter.clone();
            state.prompt = Some(Prompt::Filter(Input::new(text)));
        }
        Action::Jump => state.prompt = Some(Prompt::Jump(Input::default())),
        Action::Sort => {
            let columns = state.grid().columns;
            if let Some(list) = state.list_mut() {
                list.sort_next(columns);
            }
        }
        Action::Invert => {
            if let Some(list) = state.list_mut() {
                list.invert();
            }
        }
        Action::Refresh => moves::refresh(state),
        Action::Freeze => moves::freeze(state),
        Action::Expand => state.expanded = !state.expanded,
        Action::Copy => moves::copy(state, effects),
        Action::Snapshot => effects.push(Effect::Save),
        Action::Theme => {
            state.theme = state.theme.next();
            say(state, Tone::Dim, format!("theme: {}", state.theme.name()));
        }
        Action::Mouse => {
            state.mouse = !state.mouse;
            effects.push(Effect::Mouse(state.mouse));
        }
        Action::Redraw => effects.push(Effect::Clear),
        Action::Wanted => wanted(state),
        Action::Type | Action::Application | Action::Chat | Action::Order => search(state, action),
        Action::Hex => {
            if let Some(open) = &mut state.letters.open {
                open.hex = !open.hex;
                open.scroll = 0;
            }
        }
        Action::PlanRow
        | Action::Plan
        | Action::Full
        | Action::Everything
        | Action::Execute
        | Action::Cancel
        | Action::Replay
        | Action::Discard => acts::press(state, action, effects),
    }
}

/// Other rows: the next verdict, or the next state.
fn wanted(state: &mut State) {
    let now_ms = state.now.ms;
    match state.page {
        Page::Counters => {
            state.counters.wanted = state.counters.wanted.next();
            *state.counters.pager_mut() = crate::state::pager::Pager::default();
            state.counters.list_mut().rewind();
            state.counters.drift.poll.restart(now_ms);
        }
        Page::Letters => {
            state.letters.want_next();
            state.letters.pager = crate::state::pager::Pager::default();
            state.letters.list.rewind();
            state.letters.page.poll.restart(now_ms);
        }
        _ => {}
    }
}

fn search(state: &mut State, action: Action) {
    state.search.reader = None;
    match action {
        Action::Application => state.overlay = Some(Overlay::Picker(Picker::applications())),
        Action::Chat => match &state.search.application {
            Some((token, _)) => state.overlay = Some(Overlay::Picker(Picker::chats(*token))),
            None => say(state, Tone::Warn, "choose the application first: press a"),
        },
        Action::Order => {
            state.search.sort = match state.search.sort {
                Sort::Newest => Sort::Number,
                Sort::Number => Sort::Newest,
            };
            state.search.changed(state.now.ms, 0);
        }
        _ => state.search.typing = true,
    }
}
