//! One application far above its limit beside a quiet one (invariant: tenants-do-not-interfere).
//!
//! The quiet one is measured alone, beside the other within its limit (which tells what the other's own
//! creates cost it), and beside the other far above its limit, which is what is judged.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_wire::admin::limit::NewRateLimit;

use crate::case::overload::{everything_stored, note_split};
use crate::check::Verdict;
use crate::cores::Split;
use crate::open::{self, Arrivals, Figures, Generator, Target};
use crate::process::{self, LOOK_AGAIN};
use crate::system::{Shape, System};
use crate::{Failure, say};
use crate::{load, raw};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Seconds of each part: the quiet one alone, beside the other within its limit, and above it
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Messages a second that the loud one may create, in all API processes together
    #[arg(long, default_value_t = 500)]
    limit: u32,
    /// So many times its limit the loud one sends
    #[arg(long, default_value_t = 10.0)]
    times: f64,
    /// Messages a second of the quiet one
    #[arg(long, default_value_t = 200.0)]
    quiet: f64,
    /// Most connections of each
    #[arg(long, default_value_t = 1_024)]
    connections: usize,
    /// Chats of each
    #[arg(long, default_value_t = 20)]
    chats: u32,
}

/// The quiet one's p99 grows less than so many times.
const GROWTH: f64 = 2.0;
/// What is below this, in milliseconds, is not told apart from noise.
const FLOOR_MS: f64 = 5.0;
/// The loud one gets at most this many times its limit, one second's worth at the start left out.
const ABOVE: f64 = 1.1;
/// And at least this part of it: a limit is a right as well.
const BELOW: f64 = 0.9;
/// How long a limit may take to be heeded by all processes.
const HEEDED: Duration = Duration::from_secs(30);
/// A smaller share of the arrivals sent when they were due, and the case says nothing.
const ON_TIME: f64 = 0.99;
/// What the loud one sends when it keeps its limit.
const WITHIN: f64 = 0.9;

/// What was measured of the quiet one, and of the other far above its limit.
struct Measured {
    alone: Figures,
    beside_good: Figures,
    beside: Figures,
    loud: Figures,
}

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
    let loud = generator(&system, plan, "loud").await?;
    let quiet = generator(&system, plan, "quiet").await?;
    limit(&system, plan, loud.target()).await?;
    let measured = measure(plan, &quiet, &loud, split.as_ref()).await?;
    judge(plan, verdict, &measured);
    for generator in [&quiet, &loud] {
        everything_stored(&system, generator, verdict).await?;
    }
    foreign(&system, &loud, &quiet, verdict).await?;
    system.end().await
}

async fn measure(
    plan: &Plan,
    quiet: &Arc<Generator>,
    loud: &Arc<Generator>,
    split: Option<&Split>,
) -> Result<Measured, Failure> {
    let span = Duration::from_secs(plan.seconds);
    let (calm, limit) = (Arrivals::Open(plan.quiet), f64::from(plan.limit));
    say(&format!("the quiet one alone: {:.0}/s", plan.quiet));
    quiet.run(calm, Duration::from_secs(2), split).await?;
    let alone = quiet.run(calm, span, split).await?;
    let beside = async |arrivals: f64| {
        say(&format!("beside it the loud one: {arrivals:.0}/s"));
        let both = vec![(quiet, calm), (loud, Arrivals::Open(arrivals))];
        let figures = open::run(both, span, split).await?;
        let both: [Figures; 2] = figures.try_into().map_err(|_| "two were asked for")?;
        Ok::<_, Failure>(both)
    };
    let [beside_good, _] = beside(limit * WITHIN).await?;
    let [beside, loud] = beside(limit * plan.times).await?;
    Ok(Measured {
        alone,
        beside_good,
        beside,
        loud,
    })
}

/// Sets the limit of the loud one, and waits until every API process heeds it.
async fn limit(system: &System, plan: &Plan, loud: &Target) -> Result<(), Failure> {
    let apis = u32::try_from(loud.apis.len())?;
    let rate_limit = (plan.limit / apis).max(1);
    let limit = NewRateLimit { rate_limit };
    system.admin()?.set_limit(loud.token, limit).await?;
    let started = Instant::now();
    for api in &loud.apis {
        while told(*api, loud).await? != Some(rate_limit) {
            if started.elapsed() > HEEDED {
                return Err(format!("{api} does not heed the limit of {rate_limit}/s").into());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    Ok(())
}

/// The limit that a process says in the head of its answers to changes: here to that of a message that
/// is not there, which changes nothing.
async fn told(api: SocketAddr, loud: &Target) -> Result<Option<u32>, Failure> {
    let chat = loud.chats.first().ok_or("there is no chat")?;
    let path = format!(
        "/applications/{}/chats/{chat}/messages/{}",
        loud.token.reveal(),
        u32::MAX
    );
    let waiting = raw::send(api, "DELETE", &path, &[], "").await?;
    let (_, head, _) = waiting.whole().await?;
    let policy = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("ratelimit-policy")
            .then_some(value)
    });
    let quota =
        policy.and_then(|policy| policy.split(';').find_map(|part| part.strip_prefix("q=")));
    Ok(quota.and_then(|quota| quota.parse().ok()))
}

async fn generator(
    system: &System,
    plan: &Plan,
    name: &'static str,
) -> Result<std::sync::Arc<Generator>, Failure> {
    let (token, chats) = load::application(&system.client()?, name, plan.chats).await?;
    let target = Target {
        apis: system.serving().map(process::Process::address).collect(),
        token,
        chats,
        name,
    };
    Generator::new(target, plan.connections, &system.plan.work)
}

fn judge(plan: &Plan, verdict: &mut Verdict, measured: &Measured) {
    let Measured {
        alone,
        beside_good,
        beside,
        loud,
    } = measured;
    let times = Figures::span_text;
    verdict.figure("quiet, alone", times(alone));
    verdict.figure("quiet, the other in limits", times(beside_good));
    verdict.figure("quiet, beside loud", times(beside));
    let (before, after) = (alone.accepted_ms(99), beside.accepted_ms(99));
    let growth = after / before.max(f64::MIN_POSITIVE);
    verdict.figure("its p99 grows", format!("{growth:.2} times"));
    verdict.figure(
        "loud",
        format!("{}; its limit is {}/s", times(loud), plan.limit),
    );
    verdict.figure("generator, quiet", beside.generator_text());
    verdict.figure("generator, loud", loud.generator_text());
    for figures in [alone, beside, loud] {
        let share = figures.on_time();
        verdict.must("the generator keeps its schedule", share >= ON_TIME, || {
            format!("{:.1} % were sent when they were due", share * 100.0)
        });
    }
    verdict.must(
        "a quiet tenant stays fast",
        after <= GROWTH * before.max(FLOOR_MS),
        || format!("p99 {before:.1} ms alone, {after:.1} ms beside a loud one"),
    );
    verdict.must(
        "a quiet tenant is never refused",
        beside.refused_us.is_empty(),
        || beside.refused_text(),
    );
    let limit = f64::from(plan.limit);
    // As much as one second allows is there at the start.
    let most = limit * ABOVE + limit / loud.seconds;
    verdict.must(
        "a loud tenant gets its limit and no more",
        (limit * BELOW..=most).contains(&loud.rate()),
        || format!("{:.0}/s of {limit}/s", loud.rate()),
    );
    verdict.must("the rest is 429", loud.failed() == 0, || {
        loud.refused_text()
    });
}

/// No token opens another application's data.
async fn foreign(
    system: &System,
    loud: &Generator,
    quiet: &Generator,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let client = system.client()?;
    for (own, other) in [(loud, quiet), (quiet, loud)] {
        let (own, other) = (own.target(), other.target());
        let text = format!("{}{} ", load::COMMON, other.name);
        let sort = chat_wire::search::Sort::Number;
        let hits = crate::check::all_hits(&client, own.token, None, &text, sort).await?;
        verdict.must("nothing of another tenant", hits.is_empty(), || {
            format!("{} finds {} of {}", own.name, hits.len(), other.name)
        });
    }
    Ok(())
}
