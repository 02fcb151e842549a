//! An engine that goes back in time while API and workers run on: a failover to a replica that lags
//! behind, or a backup that is put in place (invariant: no-record-skipped).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_client::client::Client;
use chat_wire::ids::ChatNumber;
use tokio_util::sync::CancellationToken;

use crate::check::Verdict;
use crate::load::{Habits, Load, Running};
use crate::mode::{Engine, Engines};
use crate::oracle::{self, Before, Known, Said, Sample, Scene, Walk};
use crate::process::{self, Role};
use crate::reconciled;
use crate::system::{SETTLING, Shape, System, lag_of};
use crate::{Failure, say};

/// Who goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
    /// The store, to a copy some seconds old
    Mariadb,
    /// The counters, to a dump some seconds old
    Redis,
    /// The counters, to nothing
    RedisEmptied,
    /// The index, to a copy some seconds old
    Elasticsearch,
    /// The log, to a copy some seconds old: every topic loses its tail
    Kafka,
}

impl Way {
    const fn engine(self) -> Engine {
        match self {
            Self::Mariadb => Engine::Mariadb,
            Self::Redis | Self::RedisEmptied => Engine::Redis,
            Self::Elasticsearch => Engine::Elasticsearch,
            Self::Kafka => Engine::Kafka,
        }
    }
}

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Who goes back
    #[arg(long, value_enum)]
    way: Way,
    /// Seconds of creates before the copy, between the copy and the failover, and after it
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Chats that they are spread over
    #[arg(long, default_value_t = 20)]
    chats: u32,
    /// Connections at once
    #[arg(long, default_value_t = 16)]
    connections: u64,
    /// Creates a second: an engine may take minutes to come back, and everything is compared
    #[arg(long, default_value_t = 100)]
    rate: u32,
}

/// Records that may wait where workers have come after.
const NEARLY_ALL: u64 = 200;
/// How long the API may refuse creates once the engine is back.
const BACK_WITHIN: Duration = Duration::from_secs(60);
/// How long the index may take once everything is drained.
const CATCH_UP: Duration = Duration::from_secs(60);
/// How long numbers may take that nobody uses.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at pages and search.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What a worker had read before the log stopped is applied within this time.
const APPLIED_WITHIN: Duration = Duration::from_secs(3);

/// What clients saw from the failover on.
#[derive(Debug, Default)]
struct Seen {
    samples: Vec<Sample>,
    walks: Vec<Walk>,
}

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    shape: Shape,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let engines = Arc::clone(on.mode.engines()?);
    let mut on = on;
    if plan.way == Way::Kafka {
        // What the log has lost, only the rows can tell the index: the schedule sees to it.
        on.flags.retain(|flag| *flag != "--reconcile-every=0");
    }
    let mut system = System::start(on, shape).await?;
    let load = Load::prepare(&system, "failover", plan.chats, Habits::MIXED).await?;
    let load = load.paced(plan.rate)?;
    let calm = Duration::from_secs(plan.seconds);
    let running = load.run(usize::MAX >> 1, plan.connections, seed);
    tokio::time::sleep(calm).await;
    let copied_at = Instant::now();
    if plan.way != Way::RedisEmptied {
        say(&format!("copying the data of {}", plan.way.engine().name()));
        engines.copy(plan.way.engine()).await?;
    }
    acknowledged_again(&load).await?;
    tokio::time::sleep(calm).await;
    // What no worker has read when an engine goes back says little about those that did.
    read_up(&system).await?;
    verdict.figure("before", load.outcomes().text());

    let before = Said::before(&system).await?;
    let (known, restored_at) = go_back(plan.way, &engines, &load, copied_at).await?;
    let stop = CancellationToken::new();
    let rest = async {
        let _stopped = stop.clone().drop_guard();
        go_on(&mut system, &load, running, calm, verdict).await
    };
    let client = load.clients[0].clone();
    let (seen, rest) = tokio::join!(watch(&client, &load, &stop), rest);
    rest?;
    let scene = Failover {
        plan,
        known: &known,
        restored_at,
        before: &before,
    };
    scene.judge(&system, &load, seen, verdict).await?;
    system.end().await
}

/// Puts an engine back; returns what is known afterwards, and since when.
async fn go_back(
    way: Way,
    engines: &Engines,
    load: &Load,
    copied_at: Instant,
) -> Result<(Known, Instant), Failure> {
    say(&format!("{way:?} goes back"));
    let mut known = Known::default();
    if way == Way::Kafka {
        engines.down(Engine::Kafka).await?;
        let stopped_at = Instant::now();
        tokio::time::sleep(APPLIED_WITHIN).await;
        known.store = rows(engines, load).await?;
        engines.roll_back(Engine::Kafka).await?;
        known.log = acknowledged(load, copied_at);
        return Ok((known, stopped_at));
    }
    let began = Instant::now();
    match way {
        Way::RedisEmptied => engines.empty(Engine::Redis).await?,
        other => engines.roll_back(other.engine()).await?,
    }
    Ok((known, began))
}

/// The rows of the load's application.
async fn rows(engines: &Engines, load: &Load) -> Result<HashMap<oracle::Place, String>, Failure> {
    let (database, hex) = (engines.database(), load.token.reveal());
    let select = format!(
        "SELECT chat_number, number, HEX(body) FROM messages \
         WHERE application_token = UNHEX('{hex}') AND state = 0"
    );
    let told = engines
        .tool(Engine::Mariadb, &[&database, "-e", &select])
        .await?;
    let mut rows = HashMap::new();
    for line in told.lines() {
        let mut cells = line.split('\t');
        let mut cell = || cells.next().ok_or("a row has too few columns");
        let chat = ChatNumber::new(cell()?.parse()?).ok_or("a chat has the number 0")?;
        let number = cell()?.parse()?;
        rows.insert((chat, number), text(cell()?)?);
    }
    Ok(rows)
}

/// The text of bytes in hexadecimal.
fn text(hex: &str) -> Result<String, Failure> {
    let digits = hex.as_bytes().chunks(2);
    let bytes: Result<Vec<u8>, _> = digits
        .map(|two| u8::from_str_radix(&String::from_utf8_lossy(two), 16))
        .collect();
    Ok(String::from_utf8(bytes?)?)
}

/// What was acknowledged before this moment.
fn acknowledged(load: &Load, before: Instant) -> HashMap<oracle::Place, String> {
    let operations = load.ledger.operations().into_iter();
    operations
        .filter(|one| one.acknowledged_at.is_some_and(|at| at < before))
        .filter_map(|one| Some(((one.chat, one.number?.get()), one.body)))
        .collect()
}

/// Waits until a create that begins now is acknowledged.
async fn acknowledged_again(load: &Load) -> Result<(), Failure> {
    let (began, before) = (Instant::now(), count(load));
    while count(load) <= before {
        if began.elapsed() > BACK_WITHIN {
            return Err("creates are not taken again".into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Waits until the workers are about as far as the log.
async fn read_up(system: &System) -> Result<(), Failure> {
    let (admin, began) = (system.admin()?, Instant::now());
    loop {
        let lag = admin.lag().await;
        let left = lag.map_err(Failure::from);
        let left = left.and_then(|lag| lag_of(&lag, "messages-store"));
        if left.as_ref().is_ok_and(|left| *left < NEARLY_ALL) {
            return Ok(());
        }
        if began.elapsed() > SETTLING {
            return Err(format!("the workers do not come after: {left:?}").into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn count(load: &Load) -> usize {
    let operations = load.ledger.operations();
    operations.iter().filter(|one| one.number.is_some()).count()
}

/// Creates go on for a while; then everything is read.
async fn go_on(
    system: &mut System,
    load: &Load,
    running: Running,
    calm: Duration,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let again = acknowledged_again(load).await;
    verdict.must("creates are taken again", again.is_ok(), || {
        format!("not within {BACK_WITHIN:?}: the API is started again")
    });
    if again.is_err() {
        for api in system.of(Role::Api) {
            api.kill_and_respawn().await?;
        }
        system.ready().await?;
    }
    tokio::time::sleep(calm).await;
    load.stop();
    let joined = running.join().await;
    verdict.succeeds("no create is refused for good", joined);
    verdict.figure("after", load.outcomes().text());
    system.ready().await?;
    let drained = system.drained(SETTLING).await;
    verdict.succeeds("it drains again", drained);
    Ok(())
}

/// Searches and walks through the chats until it is told to stop. What is not answered shows nothing.
async fn watch(client: &Client, load: &Load, stop: &CancellationToken) -> Seen {
    let mut seen = Seen::default();
    for chat in load.chats.iter().copied().cycle() {
        if stop.is_cancelled() {
            break;
        }
        seen.walks
            .extend(oracle::walk(client, load.token, chat).await);
        seen.samples
            .extend(oracle::sample(client, load.token).await);
        tokio::time::sleep(LOOK_EVERY).await;
    }
    seen
}

struct Failover<'a> {
    plan: &'a Plan,
    known: &'a Known,
    restored_at: Instant,
    before: &'a Before,
}

impl Failover<'_> {
    async fn judge(
        &self,
        system: &System,
        load: &Arc<Load>,
        mut seen: Seen,
        verdict: &mut Verdict,
    ) -> Result<(), Failure> {
        let client = system.client()?;
        let probed = load.probe().await;
        verdict.succeeds("every chat takes creates", probed);
        let known = self.known(load);
        let since = (&known, self.restored_at);
        let left = oracle::unsettled(&client, load, since, SETTLED_WITHIN).await?;
        verdict.must("dense after settling", left.is_empty(), || left.join(", "));
        let same = oracle::index_catches_up(&client, load.token, &load.chats, CATCH_UP).await?;
        verdict.must("the index catches up by itself", same, || {
            format!("search and pages differ after {CATCH_UP:?}")
        });
        seen.samples
            .push(oracle::sample(&client, load.token).await?);
        verdict.happened("searches meanwhile", seen.samples.len());
        verdict.happened("walks meanwhile", seen.walks.len());
        say("comparing");
        let lost = self.compare(load, &client, &seen, verdict).await?;
        let said = Said::since(system, self.before).await?;
        verdict.figure("errors logged", said.errors.len());
        verdict.figure("findings", said.findings.len());
        for line in said.errors.iter().take(3).chain(&said.findings) {
            say(line.trim());
        }
        if lost > 0 && (self.plan.way != Way::Kafka || self.known.shows_a_loss()) {
            said.must_report("failover", lost, verdict);
        }
        say("reconciling");
        let run = reconciled::reconcile(&system.admin()?, load.token).await?;
        verdict.figure("reconciliation", format!("{} planned", run.planned));
        system.drained(SETTLING).await?;
        // What is kept is kept by a run as well.
        self.compare(load, &client, &Seen::default(), verdict)
            .await?;
        Ok(())
    }

    /// What the parts know by now, beside what is acknowledged since.
    fn known(&self, load: &Load) -> Known {
        let mut known = Known {
            log: self.known.log.clone(),
            store: self.known.store.clone(),
            ..Known::default()
        };
        if self.plan.way != Way::Kafka {
            // The log has everything.
            known.log = acknowledged(load, Instant::now());
        }
        known
    }

    async fn compare(
        &self,
        load: &Load,
        client: &Client,
        seen: &Seen,
        verdict: &mut Verdict,
    ) -> Result<usize, Failure> {
        let operations = load.ledger.operations();
        let known = self.known(load);
        let stored = oracle::pages(client, load.token, &load.chats).await?;
        let scene = Scene {
            name: "failover",
            restored_at: self.restored_at,
            operations: &operations,
            known: &known,
        };
        let outcome = scene.judge(&stored, verdict);
        scene.searches(&seen.samples, &stored, verdict);
        scene.walks(&seen.walks, &stored, verdict);
        verdict.figure("acknowledged", outcome.kept + outcome.lost);
        verdict.figure("lost", outcome.lost);
        Ok(outcome.lost)
    }
}
