//! One application far above its limit beside a quiet one (promise 19).

use std::time::Duration;

use chat_wire::admin::limit::NewRateLimit;

use crate::case::overload::everything_stored;
use crate::check::Verdict;
use crate::load;
use crate::open::{Figures, Generator, Target};
use crate::process;
use crate::system::{Shape, System};
use crate::{Failure, say};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Seconds of each part: the quiet one alone, then both
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
const HEEDED: Duration = Duration::from_secs(5);

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    shape: Shape,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let system = System::start(on, shape).await?;
    let loud = generator(&system, plan, "loud").await?;
    let quiet = generator(&system, plan, "quiet").await?;
    let apis = u32::try_from(loud.target().apis.len())?;
    let limit = NewRateLimit {
        rate_limit: (plan.limit / apis).max(1),
    };
    let admin = system.admin()?;
    admin.set_limit(loud.target().token, limit).await?;
    tokio::time::sleep(HEEDED).await;

    let span = Duration::from_secs(plan.seconds);
    say(&format!("the quiet one alone: {:.0}/s", plan.quiet));
    quiet.open(plan.quiet, Duration::from_secs(2)).await?;
    let alone = quiet.open(plan.quiet, span).await?;
    let arrivals = f64::from(plan.limit) * plan.times;
    say(&format!("beside it the loud one: {arrivals:.0}/s"));
    let (beside, above) = tokio::join!(quiet.open(plan.quiet, span), loud.open(arrivals, span));
    judge(plan, verdict, &alone, &beside?, &above?);
    for generator in [&quiet, &loud] {
        everything_stored(&system, generator, verdict).await?;
    }
    foreign(&system, &loud, &quiet, verdict).await?;
    system.end().await
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

fn judge(plan: &Plan, verdict: &mut Verdict, alone: &Figures, beside: &Figures, loud: &Figures) {
    let times = |figures: &Figures| {
        let (p50, p99) = (figures.accepted_ms(50), figures.accepted_ms(99));
        format!(
            "{:.0}/s, p50 {p50:.1} ms, p99 {p99:.1} ms, refused {}",
            figures.rate(),
            figures.refused_text()
        )
    };
    verdict.figure("quiet, alone", times(alone));
    verdict.figure("quiet, beside loud", times(beside));
    let (before, after) = (alone.accepted_ms(99), beside.accepted_ms(99));
    let growth = after / before.max(f64::MIN_POSITIVE);
    verdict.figure("its p99 grows", format!("{growth:.2} times"));
    verdict.figure(
        "loud",
        format!("{}; its limit is {}/s", times(loud), plan.limit),
    );
    verdict.figure(
        "generator",
        format!(
            "skipped {} and {}, at most {:.1} ms late",
            beside.skipped,
            loud.skipped,
            beside.late_us.max(loud.late_us) as f64 / 1_000.0
        ),
    );
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
