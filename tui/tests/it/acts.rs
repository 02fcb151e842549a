//! Keys that act on the server: what is asked first, and what is sent then.

use chat_tui::api::{Act, Answer};
use chat_tui::event::Event;
use chat_tui::failure::{Failure, Kind};
use chat_tui::state::dashboard::Setup;
use chat_tui::state::page::Page;
use chat_wire::admin::dlq;
use chat_wire::admin::reconcile::{Order, Phase, Runs};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::robot::{self, Robot};
use crate::sample::data;

#[test]
fn a_plan_is_carried_out_only_after_the_question() {
    let mut robot = Robot::on(Page::Reconcile);
    robot.keys("X");
    robot.sees("Carry out 5 steps for everything?");
    robot.sees("raise 2 counters, never lower");
    robot.enter();
    assert_eq!(robot.acts, [], "Cancel has the focus");
    robot.keys("X");
    robot.key(KeyCode::Tab);
    robot.enter();
    let order = Order {
        execute: true,
        ..Order::default()
    };
    assert_eq!(robot.acts, [Act::Reconcile(order)]);
}

#[test]
fn a_plan_for_something_else_is_not_carried_out() {
    let mut robot = Robot::on(Page::Reconcile);
    robot.keys("fX");
    robot.sees("there is no plan for everything yet: press P");
    robot.keys("P");
    let order = Order {
        full: true,
        ..Order::default()
    };
    assert_eq!(robot.acts, [Act::Reconcile(order)]);
}

#[test]
fn a_row_of_the_counters_is_planned_by_a_key() {
    let mut robot = Robot::on(Page::Counters);
    robot.enter();
    robot.keys("P");
    assert_eq!(robot.state.page, Page::Reconcile);
    let order = Order {
        token: Some(data::token(1)),
        chat: Some(data::chat(17)),
        ..Order::default()
    };
    assert_eq!(robot.acts, [Act::Reconcile(order)]);
    robot.sees("chat 17 of Corner shop");
}

#[test]
fn a_run_at_work_is_cancelled_after_the_question() {
    let mut robot = Robot::on(Page::Reconcile);
    robot.keys("C");
    robot.sees("no run is at work");
    robot.server = |_| {
        let run = data::run(robot::noon(), Order::default(), Phase::Acting);
        Ok(Answer::Runs(Box::new(Runs {
            current: Some(run),
            last: None,
        })))
    };
    robot.keys("rC");
    robot.sees("[▸ Let it run ]");
    robot.key(KeyCode::Right);
    robot.enter();
    assert_eq!(robot.acts, [Act::CancelReconcile]);
}

#[test]
fn who_holds_a_run_is_named() {
    let mut robot = Robot::on(Page::Reconcile);
    let press = KeyEvent::new(KeyCode::Char('P'), KeyModifiers::NONE);
    robot.unanswered(Event::Key(press));
    robot.event(Event::Acted(Err(Failure {
        kind: Kind::Busy,
        text: "a reconciliation is at work in host-b, process 12, api".into(),
        hint: None,
    })));
    robot.sees("refused: a reconciliation is at work in host-b, process 12, api");
    robot.server = |_| {
        let run = data::run(robot::noon(), Order::default(), Phase::Comparing);
        Ok(Answer::Runs(Box::new(Runs {
            current: Some(run),
            last: None,
        })))
    };
    robot.keys("r");
    for key in ["P", "X"] {
        robot.keys(key);
        robot.sees("a run is at work in host-a, process 4711, all; C cancels it");
    }
    assert_eq!(robot.acts, [], "nothing more is asked for");
}

#[test]
fn letters_are_replayed_one_or_all() {
    let mut robot = Robot::on(Page::Letters);
    robot.keys("R");
    robot.sees("Replay this one");
    robot.sees("Replay all 103 that wait");
    robot.keys("l");
    robot.enter();
    let Some(Act::Replay(order)) = robot.acts.pop() else {
        panic!("nothing was replayed");
    };
    assert_eq!(order.ids, ["messages.dlq-0-0"]);
    assert!(order.execute && !order.all);
    robot.sees("1 letter replayed");
    robot.keys("Rll");
    robot.enter();
    let Some(Act::Replay(order)) = robot.acts.pop() else {
        panic!("nothing was replayed");
    };
    assert!(order.ids.is_empty() && order.all);
}

#[test]
fn a_letter_is_discarded_with_a_reason() {
    let mut robot = Robot::on(Page::Letters);
    robot.keys("Dq");
    robot.key(KeyCode::Tab);
    robot.key(KeyCode::Tab);
    robot.enter();
    let expected = dlq::Order {
        ids: vec!["messages.dlq-0-0".into()],
        reason: Some("q".into()),
        execute: true,
        ..dlq::Order::default()
    };
    assert_eq!(robot.acts, [Act::Discard(expected)]);
}

#[test]
fn a_letter_that_was_decided_about_is_not_offered_again() {
    let mut robot = Robot::on(Page::Letters);
    robot.keys("GR");
    robot.sees_no("this one");
    robot.sees("Replay all 103 that wait");
}

#[test]
fn read_only_has_no_acts() {
    let mut robot = Robot::new(Setup {
        page: Page::Letters,
        read_only: true,
        ..Setup::default()
    });
    robot.sees("READ ONLY");
    robot.sees_no("R replay");
    robot.keys("RD4PXC3P");
    robot.enter();
    assert_eq!(robot.acts, []);
    robot.keys("4?");
    robot.sees_no("Carry out");
}
