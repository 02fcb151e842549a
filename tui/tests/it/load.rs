//! The live view of a load test: pictures of it, every size, and a real terminal.

use chat_tui::load::show::{End, show};
use chat_tui::load::{Lag, Live, Operation, Phase, Point, draw};
use chat_tui::run::End as Cause;
use chat_tui::snapshot::lines;
use chat_tui::theme::Theme;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::robot::dump;

/// In the middle of a run of which everything goes well.
pub(crate) fn running() -> Live {
    let point = |at: u32| {
        let wave = f64::from(at % 6);
        Point {
            wanted: 1_000.0,
            ok: if at < 5 {
                200.0 * f64::from(at)
            } else {
                1_000.0
            },
            p50: Some(2.0 + wave / 10.0),
            p99: Some(5.0 + wave),
        }
    };
    Live {
        name: "steady".to_owned(),
        target: "http://127.0.0.1:7700".to_owned(),
        model: "open",
        phase: Phase::Running,
        elapsed: 40.2,
        planned: Some(60.0),
        wanted_per_second: 1_000.0,
        sent_per_second: 999.6,
        ok_per_second: 998.0,
        sent: 40_200,
        ok: 40_190,
        in_flight: 10,
        in_flight_max: 1_024,
        late_p99: Some(0.12),
        operations: vec![operation("history", 98.0, 0), operation("send", 900.0, 0)],
        series: (1..=40).map(point).collect(),
        lag: vec![
            lag("messages-store", Some(310), "ok", Some(0.4)),
            lag("messages-index", Some(2_048), "behind", Some(2.1)),
        ],
        ..Live::default()
    }
}

/// Far above the limit.
fn overloaded() -> Live {
    let point = |at: u32| {
        let stalled = (20..=24).contains(&at);
        Point {
            wanted: 3_000.0,
            ok: if stalled { 0.0 } else { 1_800.0 },
            p50: (!stalled).then_some(f64::from(at) * 4.0),
            p99: (!stalled).then_some(f64::from(at) * 40.0),
        }
    };
    Live {
        name: "over\u{1b}[2Jload".to_owned(),
        phase: Phase::Draining,
        elapsed: 130.0,
        planned: None,
        wanted_per_second: 0.0,
        sent_per_second: 0.0,
        ok_per_second: 12.5,
        failed: 21_037,
        skipped: 1_500,
        in_flight: 1_024,
        late_p99: Some(55.0),
        operations: vec![operation("send", 12.5, 21_037)],
        errors: vec![
            ("overloaded".to_owned(), 21_000),
            ("timeout".to_owned(), 37),
        ],
        series: (1..=200).map(point).collect(),
        lag: vec![
            lag("messages-store", Some(18_000), "growing", None),
            lag("messages-index", None, "unknown", None),
        ],
        note: Some("waiting for the workers".to_owned()),
        ..running()
    }
}

fn operation(name: &str, per_second: f64, failed: u64) -> Operation {
    Operation {
        name: name.to_owned(),
        per_second,
        ok: 40_190,
        failed,
        p50: Some(2.04),
        p99: Some(6.3),
        max: Some(1_250.0),
        service_p99: Some(5.9),
    }
}

fn lag(group: &str, records: Option<u64>, status: &str, drain_seconds: Option<f64>) -> Lag {
    Lag {
        group: group.to_owned(),
        records,
        status: status.to_owned(),
        drain_seconds,
    }
}

fn buffer(live: &Live, stopping: bool, (width, height): (u16, u16), theme: Theme) -> Buffer {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    draw(live, stopping, area, &mut buffer, theme);
    buffer
}

fn text(live: &Live, stopping: bool, size: (u16, u16)) -> String {
    lines(&buffer(live, stopping, size, Theme::Mono))
}

#[test]
fn a_run_that_goes_well() {
    let live = running();
    insta::assert_snapshot!(
        "load_dark",
        dump(&buffer(&live, false, (100, 30), Theme::Dark))
    );
    insta::assert_snapshot!(
        "load_mono",
        dump(&buffer(&live, false, (100, 30), Theme::Mono))
    );
}

#[test]
fn an_overload_that_is_ending() {
    let live = overloaded();
    insta::assert_snapshot!(
        "load_over_dark",
        dump(&buffer(&live, true, (100, 30), Theme::Dark))
    );
    insta::assert_snapshot!(
        "load_over_mono",
        dump(&buffer(&live, true, (100, 30), Theme::Mono))
    );
}

#[test]
fn small_terminals_and_the_first_moment() {
    insta::assert_snapshot!("load_small", text(&running(), false, (60, 14)));
    insta::assert_snapshot!("load_80x24", text(&overloaded(), true, (80, 24)));
    insta::assert_snapshot!("load_first", text(&Live::default(), false, (80, 24)));
}

#[test]
fn unknown_is_not_zero_and_none_is_neither() {
    let mut live = running();
    live.late_p99 = None;
    live.lag = vec![
        lag("a", Some(0), "ok", None),
        lag("b", None, "unknown", None),
    ];
    live.operations[0].p99 = None;
    let text = text(&live, false, (100, 30));
    assert!(text.contains("late, p99         ?"), "{text}");
    assert!(text.contains("✓ a                          0 ok"), "{text}");
    assert!(
        text.contains("? b                          ? unknown "),
        "{text}"
    );
    assert!(text.contains('—'), "{text}");
    live.lag.clear();
    let text = self::text(&live, false, (100, 30));
    assert!(text.contains("? nobody could be asked"), "{text}");
}

#[test]
fn every_size_draws() {
    let mut odd = overloaded();
    for (at, value) in [f64::NAN, f64::INFINITY, -1.0, 1e300]
        .into_iter()
        .enumerate()
    {
        odd.series[at].ok = value;
        odd.series[at].p99 = Some(value);
        odd.elapsed = value;
        odd.planned = Some(value);
        odd.ok_per_second = value;
    }
    odd.in_flight = u64::MAX;
    odd.in_flight_max = 1;
    odd.operations = vec![odd.operations[0].clone(); 30];
    odd.errors = vec![("x".repeat(300), u64::MAX); 30];
    odd.lag = vec![odd.lag[0].clone(); 30];
    for live in [running(), overloaded(), Live::default(), odd] {
        for width in 1..=110 {
            for height in (1..=40).step_by(if width > 64 { 3 } else { 1 }) {
                buffer(&live, width % 2 == 0, (width, height), Theme::Dark);
            }
        }
        for size in [(300, 100), (300, 1), (1, 100), (64, 19), (200, 20)] {
            buffer(&live, true, size, Theme::Mono);
        }
    }
}

#[test]
fn nothing_is_drawn_outside_of_its_area() {
    let whole = Rect::new(0, 0, 90, 40);
    let inside = Rect::new(7, 5, 70, 25);
    let mut buffer = Buffer::filled(whole, ratatui::buffer::Cell::new("x"));
    draw(&overloaded(), true, inside, &mut buffer, Theme::Dark);
    let outside = whole.positions().filter(|at| !inside.contains(*at));
    for at in outside {
        assert_eq!(buffer[at].symbol(), "x", "{at:?}");
    }
    draw(
        &running(),
        false,
        Rect::new(80, 35, 70, 25),
        &mut buffer,
        Theme::Dark,
    );
}

#[cfg(unix)]
mod terminal {
    use std::time::Duration;

    use portable_pty::CommandBuilder;
    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::pty::Pty;

    /// What the runner of a child does once somebody asks for the end.
    const RUNNER: &str = "CHAT_TUI_TEST_RUNNER";

    #[test]
    #[ignore = "it is what the other tests run in a process of its own"]
    fn child() {
        let Ok(runner) = std::env::var(RUNNER) else {
            return;
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (sender, live) = watch::channel(running());
        let (asks, asked) = mpsc::channel(1);
        let ended = runtime.block_on(async move {
            let shown = tokio::spawn(show(live, Theme::Dark, asks));
            let ran = tokio::spawn(run(runner, sender, asked));
            let ended = shown.await.unwrap().unwrap();
            if ended == End::Finished {
                println!("the runner heard {:?}", ran.await.unwrap());
            }
            ended
        });
        std::process::exit(match ended {
            End::Finished => 0,
            End::AtOnce(Cause::Quit) => 3,
            End::AtOnce(Cause::Interrupted) => 130,
            End::AtOnce(Cause::Terminated) => 143,
            End::AtOnce(Cause::HungUp) => 129,
        });
    }

    /// Goes on until it is asked to end; then it ends, or drains for ever, or panics.
    async fn run(
        then: String,
        live: watch::Sender<Live>,
        mut asked: mpsc::Receiver<Cause>,
    ) -> Option<Cause> {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        let cause = loop {
            tokio::select! {
                cause = asked.recv() => break cause,
                _ = ticks.tick() => live.send_modify(|live| live.sent += 1),
            }
        };
        match then.as_str() {
            "ends" => cause,
            "panics" => panic!("the runner has panicked"),
            _ => {
                live.send_modify(|live| live.phase = Phase::Draining);
                std::future::pending().await
            }
        }
    }

    fn view(runner: &str) -> Pty {
        let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            "load::terminal::child",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ]);
        command.env(RUNNER, runner);
        command.env("TERM", "xterm-256color");
        command.env("RUST_BACKTRACE", "0");
        let pty = Pty::start(command, (100, 30));
        pty.wait_for("end the load, drain and report");
        pty
    }

    #[test]
    fn the_first_key_asks_and_the_runner_ends() {
        for (key, heard) in [("q", "Some(Quit)"), ("\u{3}", "Some(Interrupted)")] {
            let mut pty = view("ends");
            assert!(pty.screen().alternate_screen());
            pty.press("xyz");
            pty.press(key);
            assert_eq!(pty.end(), 0);
            pty.assert_given_back();
            let text = pty.screen().contents();
            assert!(
                text.contains(&format!("the runner heard {heard}")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_second_key_does_not_wait_for_the_drain() {
        let mut pty = view("drains");
        pty.press("q");
        pty.wait_for("draining");
        pty.wait_for("ENDING");
        pty.resize((70, 20));
        pty.wait_for("end at once, without a report");
        pty.press("\u{3}");
        assert_eq!(pty.end(), 130);
        pty.assert_given_back();
    }

    #[test]
    fn signals_are_as_keys_and_a_hangup_ends_at_once() {
        let mut pty = view("ends");
        pty.signal("TERM");
        assert_eq!(pty.end(), 0);
        pty.assert_given_back();
        assert!(pty.screen().contents().contains("Some(Terminated)"));
        let mut pty = view("drains");
        pty.signal("INT");
        pty.wait_for("ENDING");
        pty.signal("TERM");
        assert_eq!(pty.end(), 143);
        pty.assert_given_back();
        let mut pty = view("drains");
        pty.signal("HUP");
        assert_eq!(pty.end(), 129);
        pty.assert_given_back();
    }

    #[test]
    fn a_panic_of_the_runner_gives_the_terminal_back_and_is_told() {
        let mut pty = view("panics");
        pty.press("q");
        assert_eq!(pty.end(), 101);
        pty.assert_given_back();
        let text = pty.screen().contents();
        assert!(text.contains("the runner has panicked"), "{text}");
    }
}
