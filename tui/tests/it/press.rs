//! Keys, as a user presses them, and what comes of them.

use chat_client::admin::{LagQuery, LagSort};
use chat_client::messages::Span;
use chat_tui::api::{Answer, Request};
use chat_tui::event::{Effect, Event, Target};
use chat_tui::state::dashboard::Setup;
use chat_tui::state::page::Page;
use chat_tui::theme::Theme;
use chat_wire::admin::lag::PartitionLag;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::robot::{self, Robot};
use crate::sample::data;

fn ctrl(robot: &mut Robot, c: char) {
    robot.event(Event::Key(KeyEvent::new(
        KeyCode::Char(c),
        KeyModifiers::CONTROL,
    )));
}

#[test]
fn digits_tabs_and_names_lead_to_every_page() {
    let mut robot = Robot::on(Page::Overview);
    for (page, digit) in Page::ALL.into_iter().zip('1'..) {
        if robot.state.page == Page::Search {
            robot.esc();
        }
        robot.key(KeyCode::Char(digit));
        assert_eq!(robot.state.page, page);
    }
    robot.key(KeyCode::Tab);
    assert_eq!(robot.state.page, Page::Overview);
    robot.key(KeyCode::BackTab);
    assert_eq!(robot.state.page, Page::Doctor);
    robot.keys(":dlq");
    robot.enter();
    assert_eq!(robot.state.page, Page::Letters);
    robot.keys(":nowhere");
    robot.enter();
    robot.sees("no page \"nowhere\"");
}

#[test]
fn only_what_is_on_the_screen_is_asked_for() {
    let mut robot = Robot::on(Page::Overview);
    robot.wait(10_000);
    assert!(robot.asked.iter().all(|request| *request == Request::Stats));
    assert_eq!(robot.asked.len(), 6, "at the start, and every 2 s");
    robot.keys("5");
    assert!(matches!(robot.asked.last(), Some(Request::Letters(_))));
}

#[test]
fn a_problem_of_the_overview_leads_to_its_page() {
    let mut robot = Robot::on(Page::Overview);
    robot.keys("jjj");
    robot.enter();
    assert_eq!(robot.state.page, Page::Counters);
    let drifted = robot.last_asked(|request| matches!(request, Request::Drift(_)));
    assert!(matches!(drifted, Some(Request::Drift(query)) if query.drifted));
}

#[test]
fn from_an_application_to_its_messages_and_back() {
    let mut robot = Robot::on(Page::Counters);
    robot.keys("j");
    robot.key(KeyCode::Up);
    robot.enter();
    robot.sees("Counters › Corner shop");
    let asked = robot.last_asked(|request| matches!(request, Request::Drift(_)));
    assert!(matches!(asked, Some(Request::Drift(query)) if query.token == Some(data::token(1))));
    robot.enter();
    robot.sees("Counters › Corner shop › chat 17");
    robot.keys("gjj");
    robot.sees("14–16");
    robot.keys("p");
    let asked = robot.last_asked(|request| matches!(request, Request::Messages { .. }));
    let Some(Request::Messages { span, .. }) = asked else {
        panic!("no messages were asked for");
    };
    assert!(matches!(span, Span::Before(number) if number.get() == 10));
    robot.esc();
    robot.esc();
    robot.sees("Newsroom");
    robot.sees("Applications: counter and chats");
}

#[test]
fn pages_of_the_server_are_turned_and_not_collected() {
    let mut robot = Robot::on(Page::Counters);
    robot.keys("n");
    let Some(Request::Drift(query)) = robot.asked.last() else {
        panic!("no comparison was asked for");
    };
    assert_eq!(query.after.as_deref(), Some("page-2"));
    robot.sees("page 2: 8 rows");
    robot.keys("pp");
    robot.sees("this is the first page");
}

#[test]
fn verdicts_are_filtered_by_the_server() {
    let mut robot = Robot::on(Page::Counters);
    robot.keys("vv");
    let Some(Request::Drift(query)) = robot.asked.last() else {
        panic!("no comparison was asked for");
    };
    let wanted = query.verdict.map(|verdict| verdict.as_str());
    assert_eq!(wanted, Some("counter_behind"));
    robot.sees("only counter behind");
}

#[test]
fn a_filter_holds_while_it_is_typed_and_esc_drops_it() {
    let mut robot = Robot::on(Page::Topics);
    robot.keys("/lag>1k !index");
    robot.sees("2 of 5 rows");
    robot.enter();
    robot.sees("filter: lag>1k !index");
    robot.sees_no("messages-index  ");
    robot.esc();
    robot.sees("5 rows");
    robot.keys("/nothing is like that");
    robot.sees("nothing matches the filter");
    robot.esc();
    robot.sees("5 rows");
}

#[test]
fn rows_are_sorted_by_any_column_and_the_choice_stays() {
    let mut robot = Robot::on(Page::Topics);
    robot.keys("jj");
    robot.sees("messages-audit reads");
    robot.keys("sss");
    robot.sees("LAG▼");
    robot.sees("messages-audit reads");
    robot.keys("I");
    robot.sees("LAG▲");
}

#[test]
fn only_the_partitions_that_are_looked_at_are_asked_for() {
    let lags = |robot: &Robot| -> Vec<LagQuery> {
        let lags = robot.asked.iter().filter_map(|request| match request {
            Request::Lag(query) => Some(query.clone()),
            _ => None,
        });
        lags.collect()
    };
    let mut robot = Robot::on(Page::Topics);
    robot.server = |request| {
        let mut answer = robot::sample(request)?;
        if let (Request::Lag(query), Answer::Lag(lag)) = (request, &mut answer) {
            let group = &mut lag.groups[0];
            let one = group.partitions[0].clone();
            let numbered = |partition| PartitionLag {
                partition,
                ..one.clone()
            };
            let most = query.partitions.unwrap_or(1_000).min(1_000);
            group.partitions = (0..most).map(numbered).collect();
            group.partitions_total = 1_000;
        }
        Ok(answer)
    };
    assert_eq!(lags(&robot), [], "groups come with the snapshot");
    robot.enter();
    let first = lags(&robot);
    let worst = LagQuery {
        group: Some("messages-index".to_owned()),
        partitions: Some(100),
        sort: LagSort::Lag,
    };
    assert_eq!(first, std::slice::from_ref(&worst));
    robot.sees("100 of 1,000 rows");
    // The end of what is here brings more, at once.
    robot.keys("G");
    let next = LagQuery {
        partitions: Some(200),
        ..worst
    };
    assert_eq!(lags(&robot).last(), Some(&next));
    robot.sees("200 of 1,000 rows");
    // By number is an order of the server too; what only we can do needs all of them.
    robot.keys("sI");
    assert_eq!(lags(&robot).last().unwrap().sort, LagSort::Partition);
    robot.keys("s");
    assert_eq!(lags(&robot).last().unwrap().partitions, None);
    robot.keys("sssssssss");
    assert_eq!(lags(&robot).last(), Some(&next));
    robot.keys("/ok");
    assert_eq!(lags(&robot).last().unwrap().partitions, None);
}

#[test]
fn frozen_data_does_not_change_and_says_how_old_it_is() {
    let mut robot = Robot::on(Page::Topics);
    robot.keys(" ");
    let asked = robot.asked.len();
    robot.wait(30_000);
    assert_eq!(robot.asked.len(), asked);
    robot.sees("FROZEN 30 s ago");
    robot.sees("! 30 s ago");
    robot.keys("3");
    assert!(
        robot.asked.len() > asked,
        "what was never seen is asked for"
    );
    robot.keys("2 ");
    assert!(robot.asked.len() > asked + 1);
    robot.sees_no("FROZEN");
}

#[test]
fn a_search_asks_once_typing_pauses() {
    let mut robot = Robot::new(Setup {
        page: Page::Search,
        application: Some(data::token(1)),
        ..Setup::default()
    });
    let searches = |robot: &Robot| {
        let all = robot.asked.iter();
        all.filter(|request| matches!(request, Request::Search { .. }))
            .count()
    };
    for c in "parcel".chars() {
        robot.key(KeyCode::Char(c));
        robot.wait(50);
    }
    assert_eq!(searches(&robot), 0);
    robot.wait(150);
    assert_eq!(searches(&robot), 1);
    robot.sees("not searchable yet");
    robot.key(KeyCode::Down);
    robot.enter();
    robot.sees("Search › chat 17 › message 21");
    let asked = robot.asked.last();
    assert!(
        matches!(asked, Some(Request::Messages { span: Span::Around(n), .. }) if n.get() == 21)
    );
    let chosen = robot.state.reader().and_then(|reader| reader.chosen());
    assert_eq!(chosen.map(|message| message.message_number.get()), Some(21));
    robot.esc();
    robot.sees("Hits");
}

#[test]
fn an_application_and_a_chat_are_chosen_from_lists() {
    let mut robot = Robot::on(Page::Search);
    robot.esc();
    robot.keys("c");
    robot.sees("choose the application first");
    robot.keys("a");
    robot.sees("Newsroom");
    robot.keys("j");
    robot.enter();
    robot.esc();
    robot.keys("c");
    robot.key(KeyCode::Down);
    robot.key(KeyCode::Down);
    robot.enter();
    robot.sees("in Newsroom, chat 2, latest first");
    robot.keys("x");
    robot.wait(200);
    let Some(Request::Search { token, query }) = robot.asked.last() else {
        panic!("nothing was searched");
    };
    assert_eq!((*token, query.chat), (data::token(2), Some(data::chat(2))));
}

#[test]
fn help_names_every_key_of_the_page() {
    let mut robot = Robot::on(Page::Letters);
    robot.state.size = (120, 80);
    robot.keys("?");
    let screen = chat_tui::snapshot::text(&robot.state, (120, 80));
    for binding in chat_tui::keys::KEYS {
        let shown = screen.contains(binding.help);
        assert_eq!(
            shown,
            binding.holds(Page::Letters, false),
            "{}",
            binding.help
        );
    }
    robot.keys("?");
    robot.sees_no("This help");
}

#[test]
fn quitting_copying_saving_mouse_and_theme_are_effects() {
    let mut robot = Robot::on(Page::Doctor);
    robot.keys("j");
    robot.keys("yS");
    let copied = Effect::Copy("systemctl restart elasticsearch".into());
    assert_eq!(robot.other, [copied, Effect::Save]);
    robot.event(Event::Saved(Ok("a.txt and a.json".into())));
    robot.sees("written: a.txt and a.json");
    robot.other.clear();
    robot.keys("mmtq");
    ctrl(&mut robot, 'c');
    let expected = [
        Effect::Mouse(true),
        Effect::Mouse(false),
        Effect::Quit,
        Effect::Quit,
    ];
    assert_eq!(robot.other, expected);
    assert_eq!(robot.state.theme, Theme::Light);
}

#[test]
fn a_token_is_copied_whole_and_shown_short() {
    let mut robot = Robot::on(Page::Counters);
    let token = data::token(1).reveal();
    robot.sees_no(&token);
    robot.keys("y");
    assert_eq!(robot.other, [Effect::Copy(token)]);
}

#[test]
fn clicks_hit_what_they_point_at() {
    let mut robot = Robot::on(Page::Topics);
    let target = chat_tui::view::hit(&robot.state, 20, 1);
    assert_eq!(target, Some(Target::Page(Page::Topics)));
    let row = chat_tui::view::hit(&robot.state, 20, 7);
    assert_eq!(row, Some(Target::Row(2)));
    robot.event(Event::Click(Target::Row(2)));
    robot.sees("messages-audit reads");
    robot.event(Event::Wheel(-3));
    robot.sees("messages-index reads");
    robot.event(Event::Click(Target::Page(Page::Doctor)));
    assert_eq!(robot.state.page, Page::Doctor);
    assert_eq!(chat_tui::view::hit(&robot.state, 0, 0), None);
}

#[test]
fn it_reconnects_by_itself() {
    let mut robot = Robot::on(Page::Topics);
    robot.server = robot::down;
    robot.wait(120_000);
    robot.sees("unreachable");
    robot.sees("! 2 min ago");
    let asked = robot.asked.len();
    robot.server = robot::sample;
    robot.wait(10_001);
    assert!(robot.asked.len() > asked);
    robot.sees("not ready chatd 0.1.0");
    robot.sees_no("! 2 min");
}

#[test]
fn nothing_spins() {
    for page in Page::ALL {
        let mut robot = Robot::on(page);
        for server in [robot::sample, robot::down, robot::old] {
            robot.server = server;
            for freeze in [" ", " "] {
                robot.keys(freeze);
                let (mut wakes, until) = (0, robot.now_ms + 60_000);
                while robot.now_ms < until {
                    // A wake-up that is due now would be a loop without a pause.
                    assert!(robot.state.wake_ms() > robot.now_ms, "{page:?}");
                    robot.now_ms = robot.state.wake_ms();
                    robot.event(Event::Tick);
                    wakes += 1;
                }
                assert!(wakes < 200, "{wakes} in a minute on {page:?}");
            }
        }
    }
}

#[test]
fn random_keys_at_random_do_no_harm() {
    let mut seed = 88_172_645_463_325_252_u64;
    let mut next = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below).unwrap()
    };
    let codes = [
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Tab,
        KeyCode::Down,
        KeyCode::Up,
        KeyCode::Left,
        KeyCode::PageDown,
        KeyCode::Backspace,
    ];
    let servers = [robot::sample, robot::sample, robot::down, robot::old];
    let mut robot = Robot::on(Page::Overview);
    for _ in 0..6_000 {
        match next(4) {
            0 => robot.key(codes[next(8)]),
            1 | 2 => {
                let c = char::from(b' ' + u8::try_from(next(95)).unwrap());
                robot.key(KeyCode::Char(c));
            }
            _ => {
                robot.server = servers[next(4)];
                robot.wait(u64::try_from(next(700)).unwrap());
            }
        }
        let size = (
            u16::try_from(next(130) + 1).unwrap(),
            u16::try_from(next(50) + 1).unwrap(),
        );
        robot.event(Event::Resize(size.0, size.1));
        robot.buffer(size);
    }
}

#[test]
fn a_server_that_hangs_is_no_longer_called_ready() {
    let mut robot = Robot::on(Page::Overview);
    robot.sees("✗ not ready");
    // Its answers stay away: what is asked is taken, and nothing comes of it.
    for second in 1..=5_u64 {
        robot.now_ms = second * 1_000;
        robot.unanswered(Event::Tick);
    }
    robot.sees("? no news for 5 s");
    robot.sees("! 5 s ago");
}
