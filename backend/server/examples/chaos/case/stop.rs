//! SIGTERM under load: whoever waits for an answer gets it, and nothing is read twice (invariant: graceful-stop).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chat_client::key::IdempotencyKey;
use chat_wire::ids::ChatNumber;
use chat_wire::messages::MessageCreated;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::check::{self, Verdict};
use crate::load::{COMMON, Habits, Load};
use crate::process;
use crate::raw;
use crate::system::{SETTLING, Shape, System};
use crate::{Failure, say};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Connections at once, to each process that serves
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Times that every process is stopped
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// `CHATD_STOP_DEADLINE_MS` and what a busy machine needs on top.
const DEADLINE: Duration = Duration::from_secs(12);
/// Load before each stop.
const CALM: Duration = Duration::from_secs(2);
/// What was sent so long before the signal has surely reached the process.
const SURELY_THERE: Duration = Duration::from_millis(50);
/// Where a connection is refused, the process is on its way down or up.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);

/// One request whose connection broke.
struct Broken {
    to: SocketAddr,
    sent_at: Instant,
    broke_at: Instant,
}

/// Writers on connections of their own.
struct Writers {
    load: Arc<Load>,
    next: AtomicUsize,
    stop: CancellationToken,
    broken: Mutex<Vec<Broken>>,
    statuses: Mutex<BTreeMap<u16, usize>>,
}

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    shape: Shape,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let mut system = System::start(on, shape).await?;
    let load = Load::prepare(&system, "stop", 20, Habits::MIXED).await?;
    let writers = Arc::new(Writers {
        load: Arc::clone(&load),
        next: AtomicUsize::new(0),
        stop: CancellationToken::new(),
        broken: Mutex::default(),
        statuses: Mutex::default(),
    });
    let mut running = JoinSet::new();
    let addresses: Vec<SocketAddr> = system.serving().map(|one| one.address()).collect();
    for address in addresses {
        for _ in 0..plan.connections {
            running.spawn(Arc::clone(&writers).write_on(address));
        }
    }
    let stops = stop_each(&mut system, plan.rounds, verdict).await?;
    writers.stop.cancel();
    while let Some(done) = running.join_next().await {
        done??;
    }
    report(&writers, &stops, verdict);
    reads_nothing_twice(&mut system, verdict).await?;
    check::load(&system, &load, verdict).await?;
    system.end().await
}

/// Stops and starts every process, one after another; returns where and when.
async fn stop_each(
    system: &mut System,
    rounds: u32,
    verdict: &mut Verdict,
) -> Result<Vec<(SocketAddr, Instant)>, Failure> {
    let (mut stops, mut slowest) = (Vec::new(), Duration::ZERO);
    for _ in 0..rounds {
        for process in &mut system.processes {
            tokio::time::sleep(CALM).await;
            stops.push((process.address(), Instant::now()));
            let took = process.terminate(DEADLINE).await?;
            say(&format!(
                "{} ended after {} ms",
                process.role.name(),
                took.as_millis()
            ));
            slowest = slowest.max(took);
            process.respawn()?;
            process.ready().await?;
        }
    }
    verdict.happened("stops", stops.len());
    verdict.figure("slowest stop", format!("{} ms", slowest.as_millis()));
    Ok(stops)
}

fn report(writers: &Writers, stops: &[(SocketAddr, Instant)], verdict: &mut Verdict) {
    let statuses = writers.statuses.lock().expect("no holder panics");
    let text = statuses
        .iter()
        .map(|(status, count)| format!("{status}: {count}"));
    verdict.figure("answers", text.collect::<Vec<_>>().join(", "));
    let broken = writers.broken.lock().expect("no holder panics");
    let mut in_flight = 0;
    for one in broken.iter() {
        let met = stops
            .iter()
            .rfind(|(address, at)| *address == one.to && *at <= one.broke_at)
            .filter(|(_, at)| one.broke_at < *at + DEADLINE);
        let before = met.is_none_or(|(_, at)| one.sent_at + SURELY_THERE < *at);
        in_flight += usize::from(before);
    }
    verdict.figure(
        "broken connections",
        format!(
            "{} at the moment of a stop, {in_flight} in flight",
            broken.len() - in_flight
        ),
    );
    verdict.must("no request in flight is cut off", in_flight == 0, || {
        format!("{in_flight} requests")
    });
}

/// Workers that were told to stop have written down how far they came.
async fn reads_nothing_twice(system: &mut System, verdict: &mut Verdict) -> Result<(), Failure> {
    system.drained(SETTLING).await?;
    // Counted by the same name before it: a metric that is not there would be 0 at any time.
    verdict.happened("events before a restart", system.applied().await?);
    for process in &mut system.processes {
        process.terminate(DEADLINE).await?;
        process.respawn()?;
    }
    system.ready().await?;
    system.drained(SETTLING).await?;
    // Whoever is assigned something reads within this time.
    tokio::time::sleep(CALM).await;
    let applied = system.applied().await?;
    verdict.figure("events after a restart", applied);
    verdict.must("a restart reads nothing again", applied == 0, || {
        format!("{applied} events")
    });
    Ok(())
}

impl Writers {
    async fn write_on(self: Arc<Self>, to: SocketAddr) -> Result<(), Failure> {
        let load = &self.load;
        let token = load.token.reveal();
        while !self.stop.is_cancelled() {
            let nth = self.next.fetch_add(1, Ordering::Relaxed);
            let chat = load.chats[nth % load.chats.len()];
            let body = format!("{COMMON}{nth} under load");
            let key = IdempotencyKey::random();
            let id = load.ledger.begin(chat, &body, &key)?;
            let path = format!("/applications/{token}/chats/{chat}/messages");
            let json = serde_json::json!({ "body": body }).to_string();
            let headers = [
                ("Content-Type", "application/json"),
                ("Idempotency-Key", key.as_str()),
                ("Prefer", "wait=2"),
            ];
            let Ok(sent) = raw::send(to, "POST", &path, &headers, &json).await else {
                load.ledger.answer(id, Err("refused"))?;
                tokio::time::sleep(REFUSED_PAUSE).await;
                continue;
            };
            let sent_at = Instant::now();
            match sent.answer().await {
                Ok((status, text)) => self.note(id, chat, status, &text)?,
                Err(error) => {
                    load.ledger.answer(id, Err(&error.to_string()))?;
                    let broken = Broken {
                        to,
                        sent_at,
                        broke_at: Instant::now(),
                    };
                    self.broken.lock().expect("no holder panics").push(broken);
                }
            }
        }
        Ok(())
    }

    fn note(&self, id: usize, chat: ChatNumber, status: u16, text: &str) -> Result<(), Failure> {
        *self
            .statuses
            .lock()
            .expect("no holder panics")
            .entry(status)
            .or_default() += 1;
        match status {
            201 | 202 => {
                let created: MessageCreated = serde_json::from_str(text)?;
                self.load.ledger.answer(id, Ok(created.message_number))
            }
            503 => self.load.ledger.answer(id, Err(text)),
            _ => Err(format!("chat {chat}: {status} {text}").into()),
        }
    }
}
