//! Three times as much as the backend can do, on a schedule that does not wait for it (invariant: overload-is-bounded).
//!
//! What it can do is found in the same run, by the same generator, on the same processors and in the same
//! model: arrivals that do not wait, at one rate after another. Capacity is the highest rate at which all
//! are accepted, in time; the peak is the most that was accepted at any rate. Clients that wait for their
//! answers may get more out of it, because they never come while it is busy with others: how much is told
//! beside it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_wire::ids::{ChatNumber, MessageNumber};

use crate::check::{self, Verdict};
use crate::cores::Split;
use crate::ledger::Operation;
use crate::load::{self, COMMON};
use crate::open::{Arrivals, Figures, Generator, Target};
use crate::process;
use crate::system::{Shape, System};
use crate::{Failure, say};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Seconds of overload
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seconds of each look for the capacity
    #[arg(long, default_value_t = 6)]
    capacity_seconds: u64,
    /// So many times the capacity
    #[arg(long, default_value_t = 3.0)]
    times: f64,
    /// Arrivals a second, in place of what was found
    #[arg(long)]
    rate: Option<f64>,
    /// Rates at which the capacity is looked for, as parts of what clients get that wait
    #[arg(long, value_delimiter = ',', default_values_t = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2])]
    parts: Vec<f64>,
    /// Connections that each wait for their answers
    #[arg(long, value_delimiter = ',', default_values_t = [64, 128, 256, 512])]
    connections: Vec<usize>,
    /// Most connections under overload: more than the server has places, fewer than it takes
    #[arg(long, default_value_t = 8_192)]
    connections_max: usize,
    /// Chats that the creates are spread over
    #[arg(long, default_value_t = 100)]
    chats: u32,
}

/// Below the capacity this share of the arrivals is accepted: a refusal in a thousand is a hiccup.
const ACCEPTED: f64 = 0.999;
/// Of the peak, at least this share must be accepted.
const GOODPUT: f64 = 0.8;
/// A smaller share of the arrivals sent when they were due, and the server did not see the overload.
const ON_TIME: f64 = 0.99;
/// An accepted create takes at most so long, in milliseconds, at the 99th percentile.
const ACCEPTED_MS: f64 = 1_000.0;
/// A refusal as well.
const REFUSED_MS: f64 = 1_000.0;
/// Afterwards all is as before within this time.
const RECOVERED_WITHIN: Duration = Duration::from_secs(5);
/// A look at the recovery: this long, at this part of the capacity.
const PROBE: Duration = Duration::from_millis(500);
const PROBE_PART: f64 = 0.1;
/// All is as before when the slowest of a probe takes no longer, in milliseconds.
const CALM_MS: f64 = 250.0;
/// How long the workers may take for what was accepted.
const DRAINED_WITHIN: Duration = Duration::from_secs(900);

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    mut on: process::Plan,
    shape: Shape,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    on.split = Split::new();
    note_split(on.split.as_ref(), verdict);
    let split = on.split.clone();
    let system = System::start(on, shape).await?;
    let (token, chats) = load::application(&system.client()?, "overload", plan.chats).await?;
    let target = Target {
        apis: system.serving().map(process::Process::address).collect(),
        token,
        chats,
        name: "overload",
    };
    let generator = Generator::new(target, plan.connections_max, &system.plan.work)?;
    let found = capacity(plan, &system, &generator, split.as_ref(), verdict).await?;
    let rate = plan.rate.unwrap_or(found.in_time * plan.times);
    say(&format!("overload: {rate:.0}/s for {} s", plan.seconds));
    let before = used(&system);
    let span = Duration::from_secs(plan.seconds);
    let overload = generator
        .run(Arrivals::Open(rate), span, split.as_ref())
        .await?;
    let used = used(&system)
        .zip(before)
        .map(|(after, before)| after - before);
    // Where a rate was given, none may have been accepted as a whole.
    let normal = if found.in_time > 0.0 {
        found.in_time
    } else {
        found.peak
    };
    let recovered = recovery(&generator, normal, split.as_ref()).await?;
    tell(verdict, rate, &found, &overload, recovered);
    if let Some(used) = used {
        let share = used.as_secs_f64() / overload.seconds * 100.0;
        verdict.figure("serving", format!("{share:.0} % of a processor"));
    }
    judge(verdict, found.peak, &overload, recovered);
    for process in system.serving() {
        if let Some((now, most)) = process.memory() {
            let name = process.role.name();
            verdict.figure("memory", format!("{name}: {now} MiB, at most {most} MiB"));
        }
    }
    everything_stored(&system, &generator, verdict).await?;
    system.end().await
}

/// Says which processors the backend and the generator have.
pub(crate) fn note_split(split: Option<&Split>, verdict: &mut Verdict) {
    let text = split.map_or_else(
        || "shared by backend and generator".to_owned(),
        |Split { backend, generator }| format!("backend {backend}, generator {generator}"),
    );
    verdict.figure("processors", text);
}

/// What the backend can do, in creates a second.
struct Capacity {
    /// The highest rate of arrivals that are all accepted, and in time.
    in_time: f64,
    /// The most that was accepted of arrivals at any rate.
    peak: f64,
    /// The most that clients get who wait for their answers, at any latency.
    waiting: f64,
}

async fn capacity(
    plan: &Plan,
    system: &System,
    generator: &Arc<Generator>,
    split: Option<&Split>,
    verdict: &mut Verdict,
) -> Result<Capacity, Failure> {
    let span = Duration::from_secs(plan.capacity_seconds);
    let mut found = Capacity {
        in_time: 0.0,
        peak: 0.0,
        waiting: 0.0,
    };
    for connections in &plan.connections {
        let closed = Arrivals::Closed(*connections);
        // A first round warms up what is measured in the second.
        generator.run(closed, span / 4, split).await?;
        let figures = generator.run(closed, span, split).await?;
        found.waiting = found.waiting.max(figures.rate());
        let text = figures.span_text();
        verdict.figure("waiting clients", format!("{connections}: {text}"));
    }
    if found.waiting <= 0.0 {
        return Err("nothing was accepted, so there is no capacity to go beyond".into());
    }
    // What the workers still had to do would be done at the cost of the first rates.
    system.drained(DRAINED_WITHIN).await?;
    for part in &plan.parts {
        let rate = found.waiting * part;
        let figures = generator.run(Arrivals::Open(rate), span, split).await?;
        let text = figures.span_text();
        verdict.figure("arrivals", format!("{rate:.0}/s: accepted {text}"));
        found.peak = found.peak.max(figures.rate());
        let in_time = figures.accepted_ms(99) <= ACCEPTED_MS && figures.on_time() >= ON_TIME;
        if in_time && figures.accepted_share() >= ACCEPTED {
            found.in_time = found.in_time.max(rate);
        }
    }
    if found.in_time <= 0.0 && plan.rate.is_none() {
        return Err("at no rate were all arrivals accepted in time: give lower --parts".into());
    }
    let Capacity {
        in_time,
        peak,
        waiting,
    } = found;
    verdict.figure(
        "capacity",
        format!("{in_time:.0}/s, all accepted with a p99 up to {ACCEPTED_MS} ms"),
    );
    verdict.figure(
        "peak",
        format!(
            "{peak:.0}/s, {:.2} of what waiting clients get",
            peak / waiting
        ),
    );
    Ok(found)
}

/// Processor time of what serves clients.
fn used(system: &System) -> Option<Duration> {
    system.serving().map(process::Process::processor_time).sum()
}

fn tell(
    verdict: &mut Verdict,
    rate: f64,
    found: &Capacity,
    overload: &Figures,
    recovered: Option<Duration>,
) {
    let (accepted, shed) = (overload.rate(), overload.shed_rate());
    let Capacity {
        in_time,
        peak,
        waiting,
    } = found;
    let parts = [rate / in_time, rate / peak, rate / waiting].map(|part| format!("{part:.2}"));
    let [of_capacity, of_peak, of_waiting] = parts;
    verdict.figure(
        "overload",
        format!(
            "{rate:.0}/s: {of_capacity} times the capacity, {of_peak} the peak, {of_waiting} what \
             waiting clients get"
        ),
    );
    verdict.figure(
        "goodput",
        format!(
            "{accepted:.0}/s, {:.2} of the peak, {:.2} of what waiting clients get",
            accepted / peak,
            accepted / waiting
        ),
    );
    let (p50, p99) = (overload.accepted_ms(50), overload.accepted_ms(99));
    verdict.figure("accepted", format!("p50 {p50:.1} ms, p99 {p99:.1} ms"));
    let refused = overload.refused_text();
    verdict.figure("refused", format!("{shed:.0}/s: {refused}"));
    verdict.figure("generator", overload.generator_text());
    verdict.figure(
        "normal again",
        recovered.map_or_else(
            || "not in time".to_owned(),
            |after| format!("after {:.1} s", after.as_secs_f64()),
        ),
    );
}

fn judge(verdict: &mut Verdict, peak: f64, overload: &Figures, recovered: Option<Duration>) {
    let on_time = overload.on_time();
    verdict.must(
        "the generator keeps its schedule",
        on_time >= ON_TIME,
        || {
            let share = on_time * 100.0;
            format!("{share:.1} % of the arrivals were sent when they were due: the server did not see the rest")
        },
    );
    let refused = overload.refused_us.values().map(Vec::len).sum::<usize>();
    verdict.must("there was an overload", refused > 0, || {
        "nothing was refused: give more with --times or --rate".to_owned()
    });
    let goodput = overload.rate() / peak;
    verdict.must("goodput under overload", goodput >= GOODPUT, || {
        format!("{goodput:.2} of the peak, not {GOODPUT}")
    });
    let p99 = overload.accepted_ms(99);
    verdict.must("accepted in time", p99 <= ACCEPTED_MS, || {
        format!("p99 {p99:.0} ms")
    });
    let shed = overload.shed_ms(99);
    verdict.must("refused fast", shed <= REFUSED_MS, || {
        format!("p99 {shed:.0} ms")
    });
    verdict.must("the rest is 429 or 503", overload.failed() == 0, || {
        overload.refused_text()
    });
    verdict.must("normal again in time", recovered.is_some(), || {
        format!("not within {} s", RECOVERED_WITHIN.as_secs())
    });
}

/// How long it takes until a light load is answered as if nothing had been.
async fn recovery(
    generator: &Arc<Generator>,
    normal: f64,
    split: Option<&Split>,
) -> Result<Option<Duration>, Failure> {
    let over = Instant::now();
    while over.elapsed() < RECOVERED_WITHIN + PROBE {
        let after = over.elapsed();
        let light = Arrivals::Open(normal * PROBE_PART);
        let probe = generator.run(light, PROBE, split).await?;
        let calm = probe.refused_us.is_empty() && probe.accepted_ms(100) <= CALM_MS;
        if calm && !probe.accepted_us.is_empty() {
            return Ok((after <= RECOVERED_WITHIN).then_some(after));
        }
    }
    Ok(None)
}

/// Waits for the workers, and compares what is stored with the ledger: all that was acknowledged, once,
/// under its number; nothing of what was shed, and no number that it would have burned.
pub(crate) async fn everything_stored(
    system: &System,
    generator: &Generator,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let drained = system.drained(DRAINED_WITHIN).await?;
    verdict.figure("drained after", format!("{:.1} s", drained.as_secs_f64()));
    let operations = generator.operations();
    let mut by_chat: BTreeMap<ChatNumber, Vec<&Operation>> = BTreeMap::new();
    for operation in &operations {
        by_chat.entry(operation.chat).or_default().push(operation);
    }
    let client = system.client()?;
    let target = generator.target();
    let (mut rows, mut voids) = (0_u64, 0_u64);
    for chat in &target.chats {
        let operations = by_chat.remove(chat).unwrap_or_default();
        let highest = operations.iter().filter_map(|op| op.number).max();
        let highest = highest.map_or(0, MessageNumber::get);
        system.settled(target.token, *chat, highest).await?;
        let found = check::chat(&client, target.token, *chat, &operations, COMMON, verdict).await?;
        rows += u64::from(found.0);
        voids += u64::from(found.1);
    }
    let unknown = operations.iter().filter(|op| op.number.is_none()).count();
    verdict.figure("rows", rows);
    verdict.figure("void numbers", format!("{voids}, of {unknown} unanswered"));
    verdict.must(
        "shed work burns no number",
        voids <= u64::try_from(unknown)?,
        || format!("{voids} numbers are void, {unknown} creates were not answered"),
    );
    Ok(())
}
