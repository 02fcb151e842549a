//! The dashboard tells the truth, whatever is frozen, and gives the terminal back (invariant: lag-is-true,
//! invariant: terminal-given-back).

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::check::Verdict;
use crate::damage::Hold;
use crate::load::{Habits, Load};
use crate::mode::{Engine, Mode};
use crate::process::{self, Role};
use crate::system::{Shape, System};
use crate::terminal::Terminal;
use crate::{Failure, say};

/// What is looked at.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// The program whose dashboard it is
    #[arg(long, default_value = "target/release/chatctl")]
    chatctl: PathBuf,
    /// Creates a second while a worker is frozen
    #[arg(long, default_value_t = 100)]
    rate: u32,
}

/// The group whose worker is frozen.
const GROUP: &str = "messages-store";
/// Everybody keeps at it.
const STUBBORN: Habits = Habits {
    stubborn: 1.0,
    aborted: 0.0,
    repeated: 0.0,
};
/// Looks at a lag that grows, each higher than the one before.
const RISES: usize = 3;
/// Something that is awaited on the screen comes within this time.
const WITHIN: Duration = Duration::from_secs(60);
/// Keys answer within this time, whatever hangs.
const KEY_WITHIN: Duration = Duration::from_millis(50);
/// Rounds of keys; other programs of the machine may hold up one, and not each of them.
const ROUNDS: usize = 5;
/// Before keys are pressed, so that requests hang.
const HANGING: Duration = Duration::from_secs(3);
/// The engines, all of them.
const ENGINES: [Engine; 4] = [
    Engine::Kafka,
    Engine::Redis,
    Engine::Mariadb,
    Engine::Elasticsearch,
];
/// A key, and what only its page says; the last page is the one that comes before the first.
const PAGES: [(&str, &str); 6] = [
    ("2", "Lag by group"),
    ("3", "Applications: counter"),
    ("4", "what changed since"),
    ("5", "Dead letters: waiting"),
    ("7", "Checks, in the order"),
    ("1", "What needs you"),
];

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let one = Shape {
        apis: 1,
        workers: 1,
    };
    let mut system = System::start(on, one).await?;
    let mut watcher = Watcher { plan, verdict };
    watcher.frozen_worker(&mut system, seed).await?;
    watcher.frozen_server(&system).await?;
    if let Mode::Engines(engines) = &system.plan.mode {
        let frozen = watcher.frozen_engines(&system, engines).await;
        for engine in ENGINES {
            engines.thaw(engine).await?;
        }
        frozen?;
    }
    watcher.ends(&system).await?;
    system.end().await
}

/// Somebody at the dashboard.
struct Watcher<'a> {
    plan: &'a Plan,
    verdict: &'a mut Verdict,
}

impl Watcher<'_> {
    fn open(&self, system: &System, page: &str) -> Result<Terminal, Failure> {
        let server = system.serving().next().ok_or("nothing serves")?;
        let (server, admin) = (server.api(), server.admin_url());
        let args = ["dashboard", "--page", page, "--server", &server];
        let terminal = Terminal::start(
            &self.plan.chatctl,
            &[&args[..], &["--admin", &admin]].concat(),
        )?;
        terminal.wait_for("data", WITHIN, |screen| is_fresh(screen).then_some(()))?;
        Ok(terminal)
    }

    fn figure(&mut self, name: &'static str, value: String) {
        say(&format!("{name}: {value}"));
        self.verdict.figure(name, value);
    }

    /// A worker that hangs: its lag grows on the screen, and its status says so.
    async fn frozen_worker(&mut self, system: &mut System, seed: u64) -> Result<(), Failure> {
        let load = Load::prepare(system, "dashboard", 20, STUBBORN).await?;
        let load = load.paced(self.plan.rate)?;
        let running = load.run(usize::MAX / 2, 8, seed);
        let terminal = self.open(system, "topics")?;
        terminal.wait_for("ok", WITHIN, |screen| status(screen, "ok"))?;
        let hold = freeze(system).await?;
        let frozen = Instant::now();
        let mut rises = Vec::new();
        let mut last = 0;
        for _ in 0..RISES {
            let above = |screen: &str| lag(screen).filter(|lag| *lag > last);
            last = terminal.wait_for("growing lag", WITHIN, above)?.0;
            rises.push(format!(
                "{last} after {:.1} s",
                frozen.elapsed().as_secs_f64()
            ));
        }
        self.figure("a frozen worker's lag", rises.join(", "));
        let bad = |screen: &str| Some(row(screen)?.1).filter(|status| status != "ok");
        let (said, _) = terminal.wait_for("a status that is not ok", WITHIN, bad)?;
        let after = frozen.elapsed().as_secs_f64();
        self.figure("its status", format!("{said} after {after:.1} s"));
        let thawed = Instant::now();
        thaw(system, hold).await?;
        terminal.wait_for("ok again", WITHIN, |screen| status(screen, "ok"))?;
        let after = thawed.elapsed().as_secs_f64();
        self.figure("ok again", format!("{after:.1} s after it goes on"));
        load.stop();
        running.join().await
    }

    /// A server that hangs: what is shown is marked as old, keys answer, and all is well by itself.
    async fn frozen_server(&mut self, system: &System) -> Result<(), Failure> {
        let mut terminal = self.open(system, "overview")?;
        let server = system.serving().next().ok_or("nothing serves")?;
        server.signal("-STOP").await?;
        let seen = self.stale(&terminal);
        let keys = self.keys(&mut terminal, "keys, chatd frozen").await;
        server.signal("-CONT").await?;
        seen.and(keys)?;
        let fresh = |screen: &str| (is_fresh(screen) && !is_stale(screen)).then_some(());
        let (_, took) = terminal.wait_for("fresh data", WITHIN, fresh)?;
        let took = took.as_secs_f64();
        self.figure("fresh again", format!("{took:.1} s after it goes on"));
        Ok(())
    }

    fn stale(&mut self, terminal: &Terminal) -> Result<(), Failure> {
        let stale = |screen: &str| is_stale(screen).then_some(());
        let (_, took) = terminal.wait_for("a mark of old data", WITHIN, stale)?;
        let took = took.as_secs_f64();
        self.figure(
            "marked as old",
            format!("{took:.1} s after chatd is frozen"),
        );
        Ok(())
    }

    /// All engines hang: keys answer.
    async fn frozen_engines(
        &mut self,
        system: &System,
        engines: &crate::mode::Engines,
    ) -> Result<(), Failure> {
        let mut terminal = self.open(system, "overview")?;
        for engine in ENGINES {
            engines.freeze(engine).await?;
        }
        sleep(HANGING).await;
        self.keys(&mut terminal, "keys, all engines frozen").await?;
        for engine in ENGINES {
            engines.thaw(engine).await?;
        }
        let fresh = |screen: &str| (is_fresh(screen) && !is_stale(screen)).then_some(());
        let (_, took) = terminal.wait_for("fresh data", WITHIN, fresh)?;
        let took = took.as_secs_f64();
        self.figure("fresh after that", format!("{took:.1} s after they go on"));
        Ok(())
    }

    /// From each key to its page.
    async fn keys(&mut self, terminal: &mut Terminal, name: &'static str) -> Result<(), Failure> {
        sleep(HANGING).await;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let mut slowest = Duration::ZERO;
            for (key, text) in PAGES {
                slowest = slowest.max(terminal.latency(key, text)?);
            }
            rounds.push(slowest);
        }
        rounds.sort_unstable();
        let best = rounds[0];
        self.figure(name, format!("slowest of each round {rounds:.1?}"));
        self.verdict
            .must("keys answer within 50 ms", best < KEY_WITHIN, || {
                format!("{name}: {rounds:?}")
            });
        Ok(())
    }

    /// Whatever ends it, the terminal is as before.
    async fn ends(&mut self, system: &System) -> Result<(), Failure> {
        let ways = [("q", 0), ("TERM", 143), ("HUP", 129), ("INT", 130)];
        for (way, code) in ways {
            let mut terminal = self.open(system, "topics")?;
            let began = Instant::now();
            match way {
                "q" => terminal.press("q")?,
                signal => terminal.signal(&format!("-{signal}")).await?,
            }
            let ended = terminal.end(WITHIN)?;
            let left = terminal.left_behind();
            let took = began.elapsed().as_millis();
            say(&format!(
                "ended by {way}: exit {ended} after {took} ms, left behind {left:?}"
            ));
            self.verdict
                .must("the terminal is given back", left.is_empty(), || {
                    format!("{way}: {left:?}")
                });
            self.verdict
                .must("the exit code says why", ended == code, || {
                    format!("{way}: {ended}")
                });
        }
        Ok(())
    }
}

/// Suspends the worker; the embedded default has none of its own, and its rows are locked instead.
async fn freeze(system: &mut System) -> Result<Option<Hold>, Failure> {
    if matches!(system.plan.mode, Mode::Embedded) {
        return Ok(Some(Hold::take(system).await?));
    }
    for worker in system.of(Role::Worker("messages")) {
        worker.signal("-STOP").await?;
    }
    Ok(None)
}

async fn thaw(system: &mut System, hold: Option<Hold>) -> Result<(), Failure> {
    if let Some(hold) = hold {
        return hold.release(system).await;
    }
    for worker in system.of(Role::Worker("messages")) {
        worker.signal("-CONT").await?;
    }
    Ok(())
}

/// The line of the group: its lag, where it is known, and its status.
fn row(screen: &str) -> Option<(Option<u64>, String)> {
    let line = screen.lines().find(|line| line.contains(GROUP))?;
    let mut words = line.split_whitespace().skip_while(|word| *word == "│");
    let (_sign, status) = (words.next()?, words.next()?);
    let lag = words.find(|word| *word == GROUP).and(words.next())?;
    Some((lag.replace(',', "").parse().ok(), status.to_owned()))
}

fn lag(screen: &str) -> Option<u64> {
    row(screen)?.0
}

fn status(screen: &str, wanted: &str) -> Option<()> {
    (row(screen)?.1 == wanted).then_some(())
}

/// Whether a panel says that its data is of now.
fn is_fresh(screen: &str) -> bool {
    screen.contains(" now, every ") || screen.contains(" 1 s ago, every ")
}

/// Whether a panel says that its data is old.
fn is_stale(screen: &str) -> bool {
    let marked = |rest: &str| {
        rest.starts_with(|c: char| c.is_ascii_digit()) && rest.contains(" ago, every ")
    };
    screen
        .lines()
        .any(|line| line.split("! ").skip(1).any(marked))
}
