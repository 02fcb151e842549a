//! Three times as much as the backend can do, on a schedule that does not wait for it (promise 18).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chat_wire::ids::{ChatNumber, MessageNumber};

use crate::check::{self, Verdict};
use crate::ledger::Operation;
use crate::load::{self, COMMON};
use crate::open::{Generator, Target};
use crate::process;
use crate::system::{Shape, System};
use crate::{Failure, say};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Seconds of overload
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seconds in which the capacity is found
    #[arg(long, default_value_t = 10)]
    capacity_seconds: u64,
    /// So many times the capacity
    #[arg(long, default_value_t = 3.0)]
    times: f64,
    /// Arrivals a second, in place of what was found
    #[arg(long)]
    rate: Option<f64>,
    /// Connections that find the capacity
    #[arg(long, default_value_t = 128)]
    connections: usize,
    /// Most connections under overload: more than the server has places
    #[arg(long, default_value_t = 4_096)]
    connections_max: usize,
    /// Chats that the creates are spread over
    #[arg(long, default_value_t = 100)]
    chats: u32,
}

/// Of the peak, at least this share must be accepted.
const GOODPUT: f64 = 0.8;
/// More than this part of the arrivals without a connection, and the server did not see the overload.
const SKIPPED_PART: f64 = 0.01;
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
    on: process::Plan,
    shape: Shape,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let system = System::start(on, shape).await?;
    let (token, chats) = load::application(&system.client()?, "overload", plan.chats).await?;
    let target = Target {
        apis: system.serving().map(process::Process::address).collect(),
        token,
        chats,
        name: "overload",
    };
    let work = system.plan.work.clone();
    let generator = Generator::new(target, plan.connections_max, &work)?;
    // A first round warms up what is measured in the second.
    let span = Duration::from_secs(plan.capacity_seconds);
    generator.closed(plan.connections, span / 4).await?;
    let peak = generator.closed(plan.connections, span).await?;
    verdict.figure("peak", format!("{:.0}/s", peak.rate()));
    verdict.figure(
        "at the peak",
        format!(
            "p50 {:.1} ms, p99 {:.1} ms, refused {}",
            peak.accepted_ms(50),
            peak.accepted_ms(99),
            peak.refused_text()
        ),
    );
    let rate = plan.rate.unwrap_or(peak.rate() * plan.times);
    let seconds = plan.seconds;
    say(&format!("overload: {rate:.0}/s for {seconds} s"));
    let overload = generator
        .open(rate, Duration::from_secs(plan.seconds))
        .await?;
    let recovered = recovery(&generator, peak.rate()).await?;
    judge(verdict, rate, &peak, &overload, recovered);
    for process in system.serving() {
        if let Some((now, most)) = process.memory() {
            let name = process.role.name();
            verdict.figure("memory", format!("{name}: {now} MiB, at most {most} MiB"));
        }
    }
    everything_stored(&system, &generator, verdict).await?;
    system.end().await
}

fn judge(
    verdict: &mut Verdict,
    rate: f64,
    peak: &crate::open::Figures,
    overload: &crate::open::Figures,
    recovered: Option<Duration>,
) {
    let goodput = overload.rate() / peak.rate().max(f64::MIN_POSITIVE);
    verdict.figure("arrivals", format!("{rate:.0}/s"));
    verdict.figure(
        "goodput",
        format!("{:.0}/s, {goodput:.2} of the peak", overload.rate()),
    );
    let (p50, p99) = (overload.accepted_ms(50), overload.accepted_ms(99));
    verdict.figure("accepted", format!("p50 {p50:.1} ms, p99 {p99:.1} ms"));
    verdict.figure("refused", overload.refused_text());
    let skipped = f64::from(u32::try_from(overload.skipped).unwrap_or(u32::MAX));
    let part = skipped / (rate * overload.seconds).max(1.0);
    verdict.figure(
        "generator",
        format!(
            "{} ({:.1} %) arrivals without a connection, at most {:.1} ms late",
            overload.skipped,
            part * 100.0,
            overload.late_us as f64 / 1_000.0
        ),
    );
    verdict.figure(
        "normal again",
        recovered.map_or_else(
            || "not in time".to_owned(),
            |after| format!("after {:.1} s", after.as_secs_f64()),
        ),
    );
    verdict.must(
        "the generator keeps its schedule",
        part <= SKIPPED_PART,
        || {
            format!(
                "{} arrivals found no connection, so the server did not see them",
                overload.skipped
            )
        },
    );
    // Whoever is held back keeps a connection: arrivals without one are part of what is refused.
    let refused = overload.refused_us.values().map(Vec::len).sum::<usize>();
    verdict.must("there was an overload", refused > 0, || {
        "nothing was refused: give more with --times or --rate".to_owned()
    });
    verdict.must("goodput under overload", goodput >= GOODPUT, || {
        format!("{goodput:.2} of the peak, not {GOODPUT}")
    });
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
    generator: &std::sync::Arc<Generator>,
    peak: f64,
) -> Result<Option<Duration>, Failure> {
    let over = Instant::now();
    while over.elapsed() < RECOVERED_WITHIN + PROBE {
        let after = over.elapsed();
        let probe = generator.open(peak * PROBE_PART, PROBE).await?;
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
