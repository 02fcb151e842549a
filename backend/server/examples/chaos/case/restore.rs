//! Log, store and index put back from an older copy, each alone and each pair, and databases copied
//! without what stands beside them in `-wal` (invariant: restored-parts).

mod files;

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use self::files::{Part, Wal};
use crate::check::Verdict;
use crate::load::{Habits, Load};
use crate::mode::Mode;
use crate::oracle::{self, Before, Known, Said, Sample, Scene};
use crate::process;
use crate::reconciled;
use crate::system::{Shape, System};
use crate::{Failure, say};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Creates before the copy, again after it, and again after what was put back
    #[arg(long, default_value_t = 300)]
    creates: usize,
    /// Chats that they are spread over
    #[arg(long, default_value_t = 5)]
    chats: u32,
    /// Connections at once
    #[arg(long, default_value_t = 16)]
    connections: u64,
    /// Only scenes whose names contain this
    #[arg(long)]
    only: Option<String>,
}

/// How the older copy was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copied {
    /// After SIGTERM.
    Stopped,
    /// After SIGKILL in the middle of creates.
    Killed,
}

/// What is done to the data directory while nothing runs.
#[derive(Debug, Clone, Copy)]
enum Act {
    PutBack(Copied, &'static [Part]),
    WithoutWal(&'static [Wal]),
}

/// Every scene.
const ACTS: [Act; 15] = {
    use Act::{PutBack, WithoutWal};
    use Copied::{Killed, Stopped};
    use Part::{Index, Log, Store};
    [
        PutBack(Stopped, &[Log]),
        PutBack(Stopped, &[Store]),
        PutBack(Stopped, &[Index]),
        PutBack(Stopped, &[Log, Store]),
        PutBack(Stopped, &[Log, Index]),
        PutBack(Stopped, &[Store, Index]),
        PutBack(Killed, &[Log]),
        PutBack(Killed, &[Store]),
        PutBack(Killed, &[Index]),
        PutBack(Killed, &[Log, Store]),
        PutBack(Killed, &[Log, Index]),
        PutBack(Killed, &[Store, Index]),
        WithoutWal(&[Wal::Log]),
        WithoutWal(&[Wal::Store]),
        WithoutWal(&[Wal::Log, Wal::Store]),
    ]
};

/// Who is not answered gives up: what was acknowledged before the files changed is what counts.
const ONCE: Habits = Habits {
    stubborn: 0.0,
    aborted: 0.02,
    repeated: 0.05,
};
/// How long SIGTERM may take.
const STOP: Duration = Duration::from_secs(20);
/// Longest time between the first create of a phase and its end in a kill.
const KILL_WITHIN_MS: u64 = 300;
/// How long numbers may take that nobody uses: twice the deadline of a create, and some rounds.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);
/// How long the index may take once everything is drained.
const CATCH_UP: Duration = Duration::from_secs(5);
/// How long reading the log may take.
const DRAINED_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at how many creates have begun.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// Searches while the system comes to itself.
const SAMPLES: usize = 5;

impl Act {
    fn name(self) -> String {
        let list = |names: Vec<&str>| names.join(" and ");
        match self {
            Self::PutBack(copied, parts) => {
                let parts = list(parts.iter().map(|part| part.name()).collect());
                let copied = match copied {
                    Copied::Stopped => "stopped",
                    Copied::Killed => "killed",
                };
                format!("{parts} from a copy of a {copied} process")
            }
            Self::WithoutWal(wals) => {
                list(wals.iter().map(|wal| wal.name()).collect()) + " removed after a kill"
            }
        }
    }
}

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: &process::Plan,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    if !matches!(on.mode, Mode::Embedded) {
        return Err(
            "this case is about the files of the embedded default: leave --engines out".into(),
        );
    }
    let mut played = 0;
    for (nth, act) in ACTS.into_iter().enumerate() {
        let name = act.name();
        if plan
            .only
            .as_ref()
            .is_some_and(|only| !name.contains(only.as_str()))
        {
            continue;
        }
        let mut on = on.clone();
        on.work = on.work.join(format!("scene-{nth}"));
        on.flags.push("--create-deadline-ms=1000");
        std::fs::create_dir_all(&on.work)?;
        let played_out = play(plan, on, act, &name, seed ^ nth as u64, verdict).await;
        let played_out = played_out.map_err(|error| format!("{name}: {error}"));
        verdict.succeeds("every scene comes to its end", played_out);
        played += 1;
    }
    verdict.happened("scenes", played);
    Ok(())
}

/// Creates, a copy, creates, a kill, older files, a start, creates; then everything is compared.
async fn play(
    plan: &Plan,
    on: process::Plan,
    act: Act,
    name: &str,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let alone = Shape {
        apis: 1,
        workers: 1,
    };
    let mut system = System::start(on, alone).await?;
    let load = Load::prepare(&system, "restore", plan.chats, ONCE).await?;
    let mut rng = StdRng::seed_from_u64(seed);
    let (data, copy) = (system.plan.data(), system.plan.work.join("copy"));
    let before = Said::before(&system).await?;

    let copied = match act {
        Act::PutBack(copied, _) => copied,
        Act::WithoutWal(_) => Copied::Stopped,
    };
    end(&mut system, &load, plan, &mut rng, copied).await?;
    files::copy(&data, &copy)?;
    system.processes[0].respawn()?;
    system.ready().await?;
    end(&mut system, &load, plan, &mut rng, Copied::Killed).await?;

    match act {
        Act::PutBack(_, parts) => files::put_back(parts, &copy, &data)?,
        Act::WithoutWal(wals) => files::remove(wals, &data)?,
    }
    let restored_at = Instant::now();
    let witness = system.plan.work.join("witness");
    let known = files::known(&data, &witness, load.token, &load.chats).await?;
    let before = before.behind_now(&system)?;
    system.processes[0].respawn()?;
    if let Err(error) = system.ready().await {
        // Nothing is lost and nothing is given out while it says why it does not start.
        let said = system.processes[0].log()?;
        let said = said.get(before.behind(0)..).unwrap_or_default().trim();
        verdict.must("a refusal to start says why", !said.is_empty(), || {
            format!("{name}: {error}")
        });
        say(&format!("{name:<50} does not start: {said}"));
        return system.end().await;
    }
    let samples = go_on(plan, &system, &load, seed).await?;
    let compared = Compared {
        name,
        restored_at,
        known: &known,
        before: &before,
    };
    compared.judge(&system, &load, samples, verdict).await?;
    system.end().await
}

/// Creates, and the end of the process in the way that is wanted.
async fn end(
    system: &mut System,
    load: &std::sync::Arc<Load>,
    plan: &Plan,
    rng: &mut StdRng,
    how: Copied,
) -> Result<(), Failure> {
    match how {
        Copied::Stopped => {
            let running = load.run(plan.creates, plan.connections, rng.random());
            running.join().await?;
            system.processes[0].terminate(STOP).await.map(drop)
        }
        Copied::Killed => {
            let wanted = load.begun_ever() + plan.creates;
            let running = load.run(usize::MAX >> 1, plan.connections, rng.random());
            while load.begun_ever() < wanted {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            let more = rng.random_range(0..KILL_WITHIN_MS);
            tokio::time::sleep(Duration::from_millis(more)).await;
            system.processes[0].kill().await?;
            load.stop();
            running.join().await
        }
    }
}

/// Creates after the start, with searches beside them.
async fn go_on(
    plan: &Plan,
    system: &System,
    load: &std::sync::Arc<Load>,
    seed: u64,
) -> Result<Vec<Sample>, Failure> {
    let client = system.client()?;
    let mut samples = vec![oracle::sample(&client, load.token).await?];
    let running = load.run(plan.creates, plan.connections, seed ^ 3);
    for _ in 0..SAMPLES {
        samples.push(oracle::sample(&client, load.token).await?);
    }
    running.join().await?;
    // Every chat has been given a number since.
    load.probe().await?;
    samples.push(oracle::sample(&client, load.token).await?);
    Ok(samples)
}

/// What a scene is compared with.
struct Compared<'a> {
    name: &'a str,
    restored_at: Instant,
    known: &'a Known,
    before: &'a Before,
}

impl Compared<'_> {
    async fn judge(
        &self,
        system: &System,
        load: &Load,
        mut samples: Vec<Sample>,
        verdict: &mut Verdict,
    ) -> Result<(), Failure> {
        let name = self.name;
        let client = system.client()?;
        system.drained(DRAINED_WITHIN).await?;
        let operations = load.ledger.operations();
        let since = (self.known, self.restored_at);
        let left = oracle::unsettled(&client, load, since, SETTLED_WITHIN).await?;
        verdict.must("dense after settling", left.is_empty(), || {
            format!("{name}: settled are {}", left.join(", "))
        });
        let chats = &load.chats;
        let same = oracle::index_catches_up(&client, load.token, chats, CATCH_UP).await?;
        verdict.must("the index catches up by itself", same, || {
            format!("{name}: search and pages differ after {CATCH_UP:?}")
        });
        samples.push(oracle::sample(&client, load.token).await?);
        let stored = oracle::pages(&client, load.token, &load.chats).await?;
        let scene = Scene {
            name,
            restored_at: self.restored_at,
            operations: &operations,
            known: self.known,
        };
        let outcome = scene.judge(&stored, verdict);
        scene.searches(&samples, &stored, verdict);
        let said = Said::since(system, self.before).await?;
        // What nothing that is left has ever seen cannot be missed.
        if outcome.lost > 0 && self.known.shows_a_loss() {
            said.must_report(name, outcome.lost, verdict);
        }
        say(&format!(
            "{name:<50} {} creates, {} kept, {} lost, {} errors logged, {} findings, {} of {} searches complete",
            operations.len(),
            outcome.kept,
            outcome.lost,
            said.errors.len(),
            said.findings.len(),
            samples.iter().filter(|sample| sample.is_complete()).count(),
            samples.len(),
        ));
        for line in said
            .errors
            .iter()
            .take(2)
            .chain(said.findings.iter().take(2))
        {
            say(&format!("{:<50} {}", "", line.trim()));
        }
        self.after_reconciliation(system, load, verdict).await
    }

    /// Whatever a run finds to do, it takes nothing away, and the search afterwards is right.
    async fn after_reconciliation(
        &self,
        system: &System,
        load: &Load,
        verdict: &mut Verdict,
    ) -> Result<(), Failure> {
        let (name, client) = (self.name, system.client()?);
        let run = reconciled::reconcile(&system.admin()?, load.token).await?;
        say(&format!(
            "{:<50} reconciliation: {} planned, {} done, {} wait, {} failed",
            "", run.planned, run.done, run.waits, run.failed
        ));
        system.drained(DRAINED_WITHIN).await?;
        let sample = oracle::sample(&client, load.token).await?;
        let operations = load.ledger.operations();
        let stored = oracle::pages(&client, load.token, &load.chats).await?;
        let scene = Scene {
            name,
            restored_at: self.restored_at,
            operations: &operations,
            known: self.known,
        };
        scene.judge(&stored, verdict);
        verdict.must(
            "search equals pages after a reconciliation",
            sample.finds(&stored),
            || format!("{name}: {} stored, found {}", stored.len(), sample.count()),
        );
        scene.searches(&[sample], &stored, verdict);
        Ok(())
    }
}
