//! Every size draws: whatever the terminal is, the dashboard does not end.

use std::time::{Duration, Instant};

use chat_tui::state::dashboard::Setup;
use chat_tui::state::page::Page;
use chat_tui::theme::Theme;
use crossterm::event::KeyCode;

use crate::robot::{Robot, down};
use crate::sample::data;

/// The dashboard in every state that draws something of its own.
fn states() -> Vec<Robot> {
    let mut robots: Vec<Robot> = Page::ALL.into_iter().map(Robot::on).collect();
    let mut add = |page, prepare: &dyn Fn(&mut Robot)| {
        let mut robot = Robot::new(Setup {
            page,
            application: (page == Page::Search).then(|| data::token(1)),
            ..Setup::default()
        });
        prepare(&mut robot);
        robots.push(robot);
    };
    add(Page::Topics, &Robot::enter);
    add(Page::Topics, &|robot| robot.keys("e"));
    add(Page::Counters, &Robot::enter);
    add(Page::Counters, &|robot| {
        robot.enter();
        robot.enter();
        robot.keys("e");
    });
    add(Page::Counters, &|robot| robot.keys("/lag"));
    add(Page::Reconcile, &|robot| robot.keys("X"));
    add(Page::Letters, &|robot| robot.keys("D"));
    add(Page::Letters, &|robot| {
        robot.enter();
        robot.keys("b");
    });
    add(Page::Search, &|robot| {
        robot.keys("parcel");
        robot.wait(200);
        robot.esc();
    });
    add(Page::Search, &|robot| {
        robot.esc();
        robot.keys("a");
    });
    add(Page::Doctor, &|robot| robot.keys("? m"));
    add(Page::Overview, &|robot| {
        robot.server = down;
        robot.key(KeyCode::Char(' '));
        robot.wait(20_000);
    });
    robots
}

/// Sizes from a small generator, the same in every run.
fn random_sizes(count: usize) -> impl Iterator<Item = (u16, u16)> {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (
            u16::try_from(seed % 300).unwrap() + 1,
            u16::try_from(seed / 300 % 100).unwrap() + 1,
        )
    })
    .take(count)
}

#[test]
fn every_small_size_draws() {
    for robot in states() {
        for width in 1..=40 {
            for height in 1..=20 {
                robot.buffer((width, height));
            }
        }
    }
}

#[test]
fn every_width_and_height_around_the_limits_draws() {
    for robot in states() {
        for width in 38..=130 {
            robot.buffer((width, 24));
            robot.buffer((width, 11));
        }
        for height in 8..=60 {
            robot.buffer((80, height));
            robot.buffer((41, height));
        }
    }
}

#[test]
fn random_sizes_draw() {
    let robots = states();
    for (size, robot) in random_sizes(600).zip(robots.iter().cycle()) {
        robot.buffer(size);
    }
    for robot in &robots {
        robot.buffer((300, 100));
        robot.buffer((1, 1));
    }
}

#[test]
fn a_terminal_that_is_too_small_says_so() {
    let robot = Robot::on(Page::Overview);
    let text = chat_tui::snapshot::text(&robot.state, (39, 10));
    assert!(text.starts_with("too small: 39×10 is here"), "{text}");
    let text = chat_tui::snapshot::text(&robot.state, (40, 10));
    assert!(text.contains("1 Overview"), "{text}");
}

#[test]
fn the_chosen_row_is_in_sight_at_every_size() {
    let mut robot = Robot::on(Page::Topics);
    robot.state.theme = Theme::Mono;
    robot.enter();
    robot.keys("sI");
    for row in 0..12 {
        for height in 10..40 {
            let text = chat_tui::snapshot::text(&robot.state, (80, height));
            let start = format!("│ {row:>10}  ");
            let found = text.lines().any(|line| line.starts_with(&start));
            assert!(found, "partition {row} at height {height}\n{text}");
        }
        robot.keys("j");
    }
}

/// A group of a thousand partitions, sorted and filtered: the largest table that there is.
fn thousand_partitions() -> Robot {
    let mut robot = Robot::new(Setup {
        page: Page::Topics,
        ..Setup::default()
    });
    robot.server = |request| {
        let mut answer = crate::robot::sample(request)?;
        if let chat_tui::api::Answer::Lag(lag) = &mut answer {
            for group in &mut lag.groups {
                let partition = group.partitions[1].clone();
                let numbered = |n| chat_wire::admin::lag::PartitionLag {
                    partition: n,
                    ..partition.clone()
                };
                group.partitions = (0..1_000).map(numbered).collect();
                group.partitions_total = 1_000;
            }
        }
        Ok(answer)
    };
    robot.enter();
    robot.keys("r/lag>1");
    robot.enter();
    robot.keys("sssG");
    robot.sees("1,000 rows");
    robot
}

#[test]
fn a_thousand_partitions_are_drawn_in_the_time_that_a_key_may_take() {
    let robot = thousand_partitions();
    let drawn = || {
        let began = Instant::now();
        robot.buffer((120, 40));
        began.elapsed()
    };
    // The best of many: what else the machine does is not the point.
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut best = drawn();
    while best >= Duration::from_millis(50) {
        assert!(Instant::now() < deadline, "{best:?}");
        best = best.min(drawn());
    }
}

/// Prints what a frame costs: `cargo test -p chat-tui --test it -- frames_are --nocapture --ignored`.
#[test]
#[ignore = "measures; run it alone"]
fn frames_are_drawn_fast() {
    let mut robots = states();
    robots.push(thousand_partitions());
    for size in [(80, 24), (120, 40), (300, 100)] {
        let rounds = 50;
        let mut times: Vec<(Duration, Page)> = robots
            .iter()
            .map(|robot| {
                let began = Instant::now();
                for _ in 0..rounds {
                    robot.buffer(size);
                }
                (began.elapsed() / rounds, robot.state.page)
            })
            .collect();
        times.sort_by_key(|(time, _)| *time);
        let (middle, last) = (times[times.len() / 2].0, times[times.len() - 1]);
        println!(
            "{}x{}: median {middle:.1?}, slowest {:.1?} ({})",
            size.0,
            size.1,
            last.0,
            last.1.name()
        );
    }
}
