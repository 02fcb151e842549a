//! Acts on the server: each behind a question that names what will happen, and how often.

use chat_wire::admin::dlq::{self, State as Decided};

use super::say;
use crate::api::{Act, Outcome};
use crate::event::Effect;
use crate::failure::{Failure, Kind};
use crate::format::{ago, plural};
use crate::keys::Action;
use crate::state::dashboard::{Overlay, State};
use crate::state::dialog::Dialog;
use crate::state::letters;
use crate::state::page::Page;
use crate::state::reconcile::{self, Scope};
use crate::theme::Tone;

/// A key that acts was pressed.
pub(super) fn press(state: &mut State, action: Action, effects: &mut Vec<Effect>) {
    match action {
        Action::PlanRow => plan_row(state, effects),
        Action::Plan => plan(state, effects),
        Action::Full => state.reconcile.full = !state.reconcile.full,
        Action::Everything => state.reconcile.scope = Scope::default(),
        Action::Execute => execute(state),
        Action::Cancel => cancel(state),
        Action::Replay => replay(state),
        Action::Discard => discard(state),
        _ => {}
    }
}

/// Sends an act; one at a time, so that no key press is carried out twice.
pub(super) fn begin(state: &mut State, act: Act, effects: &mut Vec<Effect>) {
    if let Some(acting) = state.acting {
        say(state, Tone::Warn, format!("still {acting}"));
        return;
    }
    state.acting = Some(match &act {
        Act::Reconcile(order) if order.execute => "starting the reconciliation",
        Act::Reconcile(_) => "starting the plan",
        Act::CancelReconcile => "cancelling",
        Act::Replay(_) => "replaying",
        Act::Discard(_) => "discarding",
    });
    effects.push(Effect::Act(act));
}

/// An act came to its end.
pub(super) fn done(state: &mut State, result: Result<Outcome, Failure>) {
    let acting = state.acting.take().unwrap_or("acting");
    let now_ms = state.now.ms;
    match result {
        Ok(Outcome::Started(run)) => {
            let text = if run.order.execute {
                "the reconciliation has begun"
            } else {
                "the plan has begun"
            };
            say(state, Tone::Good, text);
            let runs = state.reconcile.runs.data.get_or_insert_default();
            runs.current = Some(*run);
        }
        Ok(Outcome::Cancelling) => say(state, Tone::Good, "the run ends after its step"),
        Ok(Outcome::Replayed(decision)) => decided(state, "replayed", &decision),
        Ok(Outcome::Discarded(decision)) => decided(state, "discarded", &decision),
        // Somebody was faster: the text names who holds it, and the page shows that run next.
        Err(failure) if failure.kind == Kind::Busy => {
            say(state, Tone::Warn, format!("refused: {}", failure.text));
        }
        Err(failure) => {
            // Whether it was done is unknown when the answer did not come.
            let doubt = match failure.kind {
                Kind::Timeout => "; it may have been done all the same",
                _ => "",
            };
            say(
                state,
                Tone::Bad,
                format!("{acting} failed: {}{doubt}", failure.text),
            );
        }
    }
    state.reconcile.runs.poll.restart(now_ms);
    state.letters.page.poll.restart(now_ms);
}

fn decided(state: &mut State, what: &str, decision: &dlq::Decision) {
    let mut text = format!("{} {what}", plural(decision.done, "letter"));
    if decision.before > 0 {
        text += &format!(", {} decided before", decision.before);
    }
    let tone = match decision.failed.first() {
        Some(failed) => {
            text += &format!(", {} failed: {}", decision.failed.len(), failed.detail);
            Tone::Bad
        }
        None => Tone::Good,
    };
    say(state, tone, text);
}

fn plan_row(state: &mut State, effects: &mut Vec<Effect>) {
    let reader = state.counters.reader.as_ref();
    let reading = reader.map(|reader| (reader.token, reader.name.clone(), Some(reader.chat)));
    let row = state.counters.chosen();
    let row = reading.or_else(|| row.map(|row| (row.token, row.name.clone(), row.chat)));
    let Some((token, name, chat)) = row else {
        say(state, Tone::Dim, "nothing is chosen");
        return;
    };
    state.reconcile.scope = Scope {
        token: Some(token),
        name,
        chat,
    };
    super::moves::go_to(state, Page::Reconcile);
    plan(state, effects);
}

fn plan(state: &mut State, effects: &mut Vec<Effect>) {
    if super::moves::is_missing(state) {
        say(
            state,
            Tone::Warn,
            "this server does not offer reconciliation",
        );
        return;
    }
    if is_held(state) {
        return;
    }
    begin(state, Act::Reconcile(state.reconcile.order(false)), effects);
}

/// Whether a run is at work; says who holds it then.
fn is_held(state: &mut State) -> bool {
    let Some(run) = state.reconcile.current() else {
        return false;
    };
    let text = format!("a run is at work in {}; C cancels it", run.owner);
    say(state, Tone::Warn, text);
    true
}

fn execute(state: &mut State) {
    if is_held(state) {
        return;
    }
    let scope = state.reconcile.scope.text();
    let Some(plan) = state.reconcile.plan() else {
        let text = format!("there is no plan for {scope} yet: press P");
        say(state, Tone::Warn, text);
        return;
    };
    if plan.planned == 0 {
        say(
            state,
            Tone::Good,
            format!("nothing is to be done for {scope}"),
        );
        return;
    }
    let steps = plural(plan.planned, "step");
    let mut lines = reconcile::acts(plan);
    let age_ms = state
        .now
        .wall
        .millis_since(plan.ended_at.unwrap_or(plan.started_at));
    lines.push(format!(
        "planned {}; each step looks again before it acts",
        ago(age_ms)
    ));
    let order = state.reconcile.order(true);
    let dialog = Dialog::new(
        format!("Carry out {steps} for {scope}?"),
        lines,
        vec![(format!("Carry out {steps}"), Act::Reconcile(order))],
    );
    state.overlay = Some(Overlay::Dialog(dialog));
}

fn cancel(state: &mut State) {
    let Some(run) = state.reconcile.current() else {
        let text = match state.reconcile.runs.data {
            Some(_) => "no run is at work",
            None => "it is not known yet whether a run is at work",
        };
        say(state, Tone::Dim, text);
        return;
    };
    let lines = vec![
        format!("{} of {} done", run.done, plural(run.planned, "step")),
        format!("it is run by {}", run.owner),
        "it ends after its step; the next run goes on from there".to_owned(),
    ];
    let acts = vec![("Cancel the run".to_owned(), Act::CancelReconcile)];
    let mut dialog = Dialog::new("Cancel the run at work?", lines, acts);
    // Two buttons with the word cancel would be a trap.
    if let Some(keep) = dialog.buttons.first_mut() {
        keep.label = "Let it run".to_owned();
    }
    state.overlay = Some(Overlay::Dialog(dialog));
}

fn replay(state: &mut State) {
    let Some((lines, choices)) = orders(state) else {
        return;
    };
    let acts = choices
        .into_iter()
        .map(|(what, order)| (format!("Replay {what}"), Act::Replay(order)));
    let title = "Replay to where it came from?";
    let dialog = Dialog::new(title, lines, acts.collect());
    state.overlay = Some(Overlay::Dialog(dialog));
}

fn discard(state: &mut State) {
    let Some((lines, choices)) = orders(state) else {
        return;
    };
    let acts = choices
        .into_iter()
        .map(|(what, order)| (format!("Discard {what}"), Act::Discard(order)));
    let dialog = Dialog::new("Give up for good?", lines, acts.collect()).with_reason();
    state.overlay = Some(Overlay::Dialog(dialog));
}

/// What an order is about in words, and the order.
type Choice = (String, dlq::Order);

/// What is said of the chosen letter, and the orders to choose from: this one, or all.
fn orders(state: &mut State) -> Option<(Vec<String>, Vec<Choice>)> {
    let Some(page) = &state.letters.page.data else {
        say(state, Tone::Dim, "it is not known yet what waits");
        return None;
    };
    let waiting = page.waiting;
    let chosen = state
        .letters
        .chosen(state.now)
        .filter(|letter| letter.state == Decided::Waiting);
    let mut lines = Vec::new();
    let mut choices = Vec::new();
    if let Some(letter) = chosen {
        let origin = letter.origin.as_ref().map_or_else(
            || "of unknown origin".to_owned(),
            |origin| format!("from {}", letters::place(origin)),
        );
        lines.push(format!("chosen: {} {origin}", letter.id));
        lines.push(crate::format::visible(&letter.reason));
        let order = dlq::Order {
            ids: vec![letter.id.clone()],
            execute: true,
            ..dlq::Order::default()
        };
        choices.push(("this one".to_owned(), order));
    }
    if waiting > 0 {
        lines.push(format!(
            "{} waiting in all topics",
            plural(waiting, "letter")
        ));
        let order = dlq::Order {
            all: true,
            execute: true,
            ..dlq::Order::default()
        };
        let all = crate::format::count(waiting);
        choices.push((format!("all {all} that wait"), order));
    }
    if choices.is_empty() {
        say(state, Tone::Dim, "no letter waits for a decision");
        return None;
    }
    Some((lines, choices))
}
