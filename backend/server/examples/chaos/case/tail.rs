//! Many readers that follow chats, come and go, and some that stop reading (invariant: streams-lose-nothing).

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_client::key::IdempotencyKey;
use chat_wire::ids::{AppToken, ChatNumber};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::check::{self, Verdict, all_messages};
use crate::load::{COMMON, Habits, Load};
use crate::process::{self, Process};
use crate::stream::{Event, Stream, stall};
use crate::system::{SETTLING, Shape, System};
use crate::{Failure, say};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Readers
    #[arg(long, default_value_t = 1_000)]
    readers: usize,
    /// Readers besides that ask and never read
    #[arg(long, default_value_t = 10)]
    stalled: usize,
    /// Chats that they follow
    #[arg(long, default_value_t = 20)]
    chats: u32,
    /// Messages a second
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// Bytes of a body
    #[arg(long, default_value_t = 4_096)]
    bytes: usize,
    /// Seconds of messages
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

/// Numbers without a message would hold up everybody behind them, by design.
const STUBBORN: Habits = Habits {
    stubborn: 1.0,
    aborted: 0.0,
    repeated: 0.0,
};
/// A reader stays connected for so long, in milliseconds, at the least and at the most.
const STAYS_MS: (u64, u64) = (200, 4_000);
/// A reader stays away for so long, in milliseconds, at the most.
const AWAY_MS: u64 = 500;
/// A reader that is there sees a message within this time.
const SEEN_WITHIN: Duration = Duration::from_secs(2);
/// When no more messages come, a reader stays for so long: whatever is missing comes at once.
const LAST_STAY: Duration = Duration::from_secs(5);

/// What one reader read.
#[derive(Debug, Default)]
struct Read {
    chat: Option<ChatNumber>,
    numbers: Vec<u32>,
    connections: usize,
    resets: usize,
    wrong: Vec<String>,
    /// When it saw a message while it was connected before that was sent.
    seen: Vec<(u32, Instant, Instant)>,
}

/// Where readers go.
#[derive(Clone)]
struct Target {
    apis: Vec<SocketAddr>,
    token: AppToken,
}

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    shape: Shape,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let system = System::start(on, shape).await?;
    let load = Load::prepare(&system, "tail", plan.chats, STUBBORN).await?;
    let target = Target {
        apis: system.serving().map(Process::address).collect(),
        token: load.token,
    };
    let stalled = stalled(plan, &target, &load.chats).await?;
    let stop = CancellationToken::new();
    let mut readers = JoinSet::new();
    for nth in 0..plan.readers {
        let chat = load.chats[nth % load.chats.len()];
        let rng = StdRng::seed_from_u64(seed ^ (nth as u64 + 1));
        readers.spawn(follow(target.clone(), chat, rng, stop.clone()));
    }
    write(plan, &load, seed).await?;
    system.drained(SETTLING).await?;
    say("no more messages");
    stop.cancel();
    let mut all = Vec::new();
    while let Some(done) = readers.join_next().await {
        all.push(done??);
    }
    drop(stalled);
    judge(&system, &load, &all, verdict).await?;
    check::load(&system, &load, verdict).await?;
    system.end().await
}

/// Readers that never read.
async fn stalled(
    plan: &Plan,
    target: &Target,
    chats: &[ChatNumber],
) -> Result<Vec<TcpStream>, Failure> {
    let mut all = Vec::new();
    for nth in 0..plan.stalled {
        let api = target.apis[nth % target.apis.len()];
        all.push(stall(api, target.token, chats[nth % chats.len()]).await?);
    }
    Ok(all)
}

/// Messages at a steady rate.
async fn write(plan: &Plan, load: &Arc<Load>, seed: u64) -> Result<(), Failure> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut tick = tokio::time::interval(Duration::from_secs(1) / plan.rate);
    let end = Instant::now() + Duration::from_secs(plan.seconds);
    let mut writers = JoinSet::new();
    let filling = "x".repeat(plan.bytes);
    for nth in 0_u64.. {
        tick.tick().await;
        if Instant::now() > end {
            break;
        }
        let load = Arc::clone(load);
        let chat = load.chats[rng.random_range(0..load.chats.len())];
        let body = format!("{COMMON}{nth} {filling}");
        writers.spawn(async move {
            let key = IdempotencyKey::random();
            let id = load.ledger.begin(chat, &body, &key)?;
            let client = &load.clients[0];
            while load.send(client, id, chat, &body, &key).await?.is_some() {
                tokio::task::yield_now().await;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(done) = writers.join_next().await {
        done??;
    }
    Ok(())
}

/// Follows a chat over many connections, each from behind the last number on; when no more messages
/// come, until nothing has come for a while.
async fn follow(
    target: Target,
    chat: ChatNumber,
    mut rng: StdRng,
    stop: CancellationToken,
) -> Result<Read, Failure> {
    let mut read = Read {
        chat: Some(chat),
        ..Read::default()
    };
    loop {
        let last = stop.is_cancelled();
        let api = target.apis[rng.random_range(0..target.apis.len())];
        let after = read.numbers.last().copied().unwrap_or(0);
        let began = Instant::now();
        let mut stream = Stream::open(api, target.token, chat, after).await?;
        read.connections += 1;
        let stays = match last {
            true => LAST_STAY,
            false => Duration::from_millis(rng.random_range(STAYS_MS.0..STAYS_MS.1)),
        };
        let until = began + stays;
        while let Ok(event) = tokio::time::timeout_at(until.into(), stream.next()).await {
            match event? {
                Some(event) => read.take(&event, began),
                None => break,
            }
        }
        drop(stream);
        if last {
            return Ok(read);
        }
        let away = Duration::from_millis(rng.random_range(0..AWAY_MS));
        tokio::time::sleep(away).await;
    }
}

impl Read {
    fn take(&mut self, event: &Event, connected_at: Instant) {
        match event {
            Event::Message(number) => {
                let last = self.numbers.last().copied().unwrap_or(0);
                if *number <= last {
                    self.wrong.push(format!("{number} behind {last}"));
                }
                self.numbers.push(*number);
                self.seen.push((*number, connected_at, Instant::now()));
            }
            // It says so, and whoever wants to know reads from the beginning.
            Event::Reset => {
                self.resets += 1;
                self.numbers.clear();
            }
        }
    }
}

async fn judge(
    system: &System,
    load: &Load,
    all: &[Read],
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let client = system.client()?;
    let operations = load.ledger.operations();
    let (mut delays, mut messages) = (Vec::new(), 0);
    for chat in &load.chats {
        let (stored, _) = all_messages(&client, load.token, *chat).await?;
        let stored: Vec<u32> = stored.iter().map(|one| one.message_number.get()).collect();
        let wanted: BTreeSet<u32> = stored.iter().copied().collect();
        let acknowledged = operations.iter().filter(|one| one.chat == *chat);
        let acknowledged: HashMap<u32, Instant> = acknowledged
            .filter_map(|one| Some((one.number?.get(), one.acknowledged_at?)))
            .collect();
        for read in all.iter().filter(|read| read.chat == Some(*chat)) {
            messages += read.numbers.len();
            for wrong in &read.wrong {
                verdict.must("each number once, in order", false, || {
                    format!("chat {chat}: {wrong}")
                });
            }
            let numbers: BTreeSet<u32> = read.numbers.iter().copied().collect();
            verdict.must("each number, or a reset", numbers == wanted, || {
                let missing: Vec<&u32> = wanted.difference(&numbers).take(5).collect();
                format!(
                    "chat {chat}: {} of {}, without {missing:?}",
                    numbers.len(),
                    wanted.len()
                )
            });
            delays.extend(read.seen.iter().filter_map(|(number, connected, seen)| {
                let sent = acknowledged.get(number)?;
                (connected < sent).then(|| seen.saturating_duration_since(*sent))
            }));
        }
    }
    delays.sort_unstable();
    verdict.happened("messages read", messages);
    verdict.happened("connections", all.iter().map(|read| read.connections).sum());
    verdict.figure("resets", all.iter().map(|read| read.resets).sum::<usize>());
    verdict.happened("messages seen live", delays.len());
    let at = |share: usize| delays.get(delays.len().saturating_sub(1) * share / 100);
    let (p50, p99) = (
        at(50).copied().unwrap_or_default(),
        at(99).copied().unwrap_or_default(),
    );
    verdict.figure("seen after", format!("p50 {p50:.1?}, p99 {p99:.1?}"));
    verdict.must(
        "a stalled reader slows no other",
        p99 <= SEEN_WITHIN,
        || format!("p99 {p99:?}"),
    );
    Ok(())
}
