//! Pictures of every page, in colour and without.

use chat_tui::state::dashboard::Setup;
use chat_tui::state::page::Page;
use chat_tui::theme::Theme;
use crossterm::event::KeyCode;

use crate::robot::{self, Robot};
use crate::sample::data;

#[track_caller]
fn both(name: &str, mut robot: Robot) {
    insta::assert_snapshot!(format!("{name}_dark"), robot.picture(Theme::Dark));
    insta::assert_snapshot!(format!("{name}_mono"), robot.picture(Theme::Mono));
}

#[test]
fn overview() {
    let mut robot = Robot::on(Page::Overview);
    robot.wait(20_000);
    both("overview", robot);
}

#[test]
fn topics() {
    let mut robot = Robot::on(Page::Topics);
    both("topics", robot_with(&mut robot, KeyCode::Down));
    let mut robot = Robot::on(Page::Topics);
    robot.enter();
    both("topics_partitions", robot);
}

fn robot_with(robot: &mut Robot, key: KeyCode) -> Robot {
    let mut robot = std::mem::replace(robot, Robot::on(Page::Overview));
    robot.key(key);
    robot
}

#[test]
fn counters() {
    both("counters", Robot::on(Page::Counters));
    let mut robot = Robot::on(Page::Counters);
    robot.enter();
    both("counters_chats", robot);
    let mut robot = Robot::on(Page::Counters);
    robot.enter();
    robot.enter();
    both("counters_messages", robot);
}

#[test]
fn reconcile() {
    both("reconcile", Robot::on(Page::Reconcile));
    let mut robot = Robot::on(Page::Reconcile);
    robot.keys("X");
    both("reconcile_dialog", robot);
    let mut robot = Robot::on(Page::Reconcile);
    robot.server = |_| {
        let order = chat_wire::admin::reconcile::Order {
            execute: true,
            ..Default::default()
        };
        let run = data::run(
            robot::noon(),
            order,
            chat_wire::admin::reconcile::Phase::Finished,
        );
        Ok(chat_tui::api::Answer::Runs(Box::new(
            chat_wire::admin::reconcile::Runs {
                current: None,
                last: Some(run),
            },
        )))
    };
    robot.keys("r");
    both("reconcile_done", robot);
}

#[test]
fn letters() {
    both("letters", Robot::on(Page::Letters));
    let mut robot = Robot::on(Page::Letters);
    robot.enter();
    robot.keys("b");
    both("letters_bytes", robot);
    let mut robot = Robot::on(Page::Letters);
    robot.keys("D");
    both("letters_discard", robot);
}

#[test]
fn search() {
    let mut robot = Robot::new(Setup {
        page: Page::Search,
        application: Some(data::token(1)),
        ..Setup::default()
    });
    robot.keys("parcel");
    robot.wait(200);
    robot.enter();
    robot.key(KeyCode::Down);
    both("search", robot);
    let mut robot = Robot::on(Page::Search);
    robot.esc();
    robot.keys("a");
    both("search_picker", robot);
}

#[test]
fn doctor() {
    let mut robot = Robot::on(Page::Doctor);
    robot.keys("jj");
    both("doctor", robot);
}

#[test]
fn help() {
    let mut robot = Robot::on(Page::Letters);
    robot.keys("?");
    both("help", robot);
}

#[test]
fn nothing_answers() {
    let mut robot = Robot::on(Page::Counters);
    robot.server = robot::down;
    robot.wait(60_000);
    both("down", robot);
}

#[test]
fn nothing_ever_answered() {
    let mut robot = Robot::on(Page::Overview);
    robot.state.overview = Default::default();
    robot.server = robot::down;
    robot.event(chat_tui::event::Event::Tick);
    insta::assert_snapshot!("never_up", robot.screen());
}

#[test]
fn an_older_server() {
    let mut robot = Robot::on(Page::Counters);
    robot.server = robot::old;
    robot.state.counters = Default::default();
    robot.state.overview = Default::default();
    robot.wait(1_000);
    insta::assert_snapshot!("older", robot.screen());
    robot.keys("2");
    robot.sees("messages-index");
}

#[test]
fn creates_that_are_shed_need_somebody() {
    let mut robot = Robot::on(Page::Overview);
    let shedding = chat_wire::admin::stats::Shedding {
        group: "messages-index".into(),
        topic: "messages".into(),
        measure: chat_wire::admin::stats::Measure::Records,
        lag: 1_200_000,
        limit: 1_000_000,
        resume: 800_000,
        since: robot::noon(),
    };
    let stats = robot.state.overview.stats.data.as_mut().unwrap();
    let text = shedding.text();
    // The server says so in a check as well; it is told once.
    stats.checks[0].name = "lag".into();
    stats.checks[0].ok = false;
    stats.checks[0].detail = Some(text.clone());
    stats.shedding.push(shedding);
    let problems = chat_tui::state::overview::problems(&robot.state);
    let told: Vec<_> = problems
        .iter()
        .filter(|problem| problem.text.contains(&text))
        .collect();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].sign, told[0].page), ("✗", Page::Topics));
    assert!(
        robot
            .picture(Theme::Mono)
            .contains("1200000 records behind")
    );
}
