//! Records that can never apply among good ones (invariant: poison-blocks-nobody).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_client::client::Create;
use chat_client::key::IdempotencyKey;
use chat_wire::messages::NewMessage;
use chat_wire::problem::Code;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::check::{self, Verdict};
use crate::letters;
use crate::load::{COMMON, Habits, Load};
use crate::mode::{Engine, Engines};
use crate::process;
use crate::system::{SETTLING, Shape, System};
use crate::{Failure, say};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Records of each kind of poison
    #[arg(long, default_value_t = 10)]
    each: usize,
    /// Writers that wait until each message is stored
    #[arg(long, default_value_t = 8)]
    writers: usize,
}

/// A good message is stored within this time, whatever stands before it.
const STALL: Duration = Duration::from_secs(1);
/// How long a writer asks the server to wait.
const WAIT: Duration = Duration::from_secs(10);
/// Before the poison, so that the groups have shared out their partitions, and after it.
const CALM: Duration = Duration::from_secs(8);
/// Pause of a writer: what is measured is not what the machine can do.
const PAUSE: Duration = Duration::from_millis(20);

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    shape: Shape,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let engines = Arc::clone(on.mode.engines()?);
    let system = System::start(on, shape).await?;
    let load = Load::prepare(&system, "poison", 20, Habits::MIXED).await?;
    let before = calm(plan, &load, seed).await?;
    verdict.figure("slowest before", format!("{} ms", before.as_millis()));
    let stop = CancellationToken::new();
    let mut writers = start(plan, &load, &stop, seed ^ 1);
    let mut expected = BTreeSet::new();
    for topic in ["messages", "chats", "applications"] {
        let records = records(plan.each, &load);
        say(&format!("{} records of poison into {topic}", records.len()));
        produce(&engines, topic, &records).await?;
        expected.extend(records.into_iter().map(|record| (topic, record.value)));
    }
    tokio::time::sleep(CALM).await;
    stop.cancel();
    let (mut slowest, mut stored) = (Duration::ZERO, 0);
    while let Some(done) = writers.join_next().await {
        let (took, count) = done??;
        slowest = slowest.max(took);
        stored += count;
    }
    verdict.figure("good messages meanwhile", stored);
    verdict.figure(
        "slowest until stored",
        format!("{} ms", slowest.as_millis()),
    );
    verdict.must("stall under 1 s", slowest < STALL, || {
        format!("{slowest:?}")
    });
    system.drained(SETTLING).await?;
    check_letters(&engines, &expected, verdict).await?;
    too_large(&load, verdict).await?;
    check::load(&system, &load, verdict).await?;
    system.end().await
}

/// Writers without poison; returns the longest wait of the second half of the time.
async fn calm(plan: &Plan, load: &Arc<Load>, seed: u64) -> Result<Duration, Failure> {
    tokio::time::sleep(CALM / 2).await;
    let stop = CancellationToken::new();
    let mut writers = start(plan, load, &stop, seed);
    tokio::time::sleep(CALM / 2).await;
    stop.cancel();
    let mut slowest = Duration::ZERO;
    while let Some(done) = writers.join_next().await {
        slowest = slowest.max(done??.0);
    }
    Ok(slowest)
}

fn start(
    plan: &Plan,
    load: &Arc<Load>,
    stop: &CancellationToken,
    seed: u64,
) -> JoinSet<Result<(Duration, usize), Failure>> {
    let mut writers = JoinSet::new();
    for nth in 0..plan.writers {
        let rng = StdRng::seed_from_u64(seed ^ ((nth as u64 + 1) << 8));
        writers.spawn(write(Arc::clone(load), stop.clone(), rng));
    }
    writers
}

/// Creates and waits for each row; returns the longest wait.
async fn write(
    load: Arc<Load>,
    stop: CancellationToken,
    mut rng: StdRng,
) -> Result<(Duration, usize), Failure> {
    let (mut slowest, mut count) = (Duration::ZERO, 0);
    while !stop.is_cancelled() {
        let chat = load.chats[rng.random_range(0..load.chats.len())];
        let client = &load.clients[rng.random_range(0..load.clients.len())];
        let key = IdempotencyKey::random();
        let body = format!("{COMMON}{} {}", key.as_str(), crate::load::fuzz(&mut rng));
        let id = load.ledger.begin(chat, &body, &key)?;
        let message = NewMessage {
            body,
            sender: None,
            sent_at: None,
        };
        let create = Create {
            key: Some(key),
            wait: Some(WAIT),
        };
        let started = Instant::now();
        let created = client
            .create_message(load.token, chat, &message, &create)
            .await?;
        slowest = slowest.max(started.elapsed());
        load.ledger.answer(id, Ok(created.value.message_number))?;
        if !created.stored {
            return Err(format!("a message was not stored within {WAIT:?}").into());
        }
        count += 1;
        tokio::time::sleep(PAUSE).await;
    }
    Ok((slowest, count))
}

/// A record as the console producer takes it.
struct Poison {
    headers: String,
    key: String,
    value: String,
}

/// Every kind of poison, over all partitions.
fn records(each: usize, load: &Load) -> Vec<Poison> {
    let token = load.token.reveal();
    let huge = "x".repeat(70_000);
    let kinds: [(&str, &str, &str, String); 7] = [
        ("", "", "", "garbage".to_owned()),
        ("message.created", "1", "uid", "{ not JSON".to_owned()),
        ("message.created", "0", "uid", "{}".to_owned()),
        ("message.exploded", "1", "uid", "{}".to_owned()),
        ("message.created", "1", "", "{}".to_owned()),
        (
            "message.created",
            "1",
            "uid",
            "{\"application_token\":7}".to_owned(),
        ),
        (
            "message.created",
            "1",
            "uid",
            // A body above the limit, which no create path lets through.
            format!(
                "{{\"application_token\":\"{token}\",\"chat_number\":1,\"first\":4000000000,\
                 \"created_at\":\"2026-01-01T00:00:00Z\",\"generation\":1,\"messages\":[{{\"uid\":\
                 \"00000000-0000-7000-8000-000000000000\",\"body\":\"{huge}\"}}]}}"
            ),
        ),
    ];
    let mut all = Vec::new();
    for (kind, (event, schema, uid, value)) in kinds.into_iter().enumerate() {
        for nth in 0..each {
            let mut headers = vec![format!("kind:{kind}")];
            if !event.is_empty() {
                headers.push(format!("event:{event}"));
                headers.push(format!("schema:{schema}"));
            }
            if !uid.is_empty() {
                headers.push(format!("uid:{:08x}-0000-7000-8000-{kind:04x}{nth:08x}", 1));
            }
            all.push(Poison {
                headers: headers.join(","),
                key: format!("k{kind}-{nth}"),
                // A blank behind JSON is JSON: it tells one record from another.
                value: format!("{value}{}", " ".repeat(kind * each + nth)),
            });
        }
    }
    all
}

async fn produce(engines: &Engines, topic: &str, records: &[Poison]) -> Result<(), Failure> {
    let lines: String = records
        .iter()
        .map(|one| format!("{}\t{}\t{}\n", one.headers, one.key, one.value))
        .collect();
    let name = engines.topic(topic);
    let args = [
        "produce",
        "--topic",
        &name,
        "--property",
        "parse.headers=true",
        "--property",
        "parse.key=true",
    ];
    engines.tool_with(Engine::Kafka, &args, &lines).await?;
    Ok(())
}

/// Each record was put aside once, with its bytes, its origin and a reason.
async fn check_letters(
    engines: &Engines,
    expected: &BTreeSet<(&'static str, String)>,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let mut found = BTreeSet::new();
    let mut origins = BTreeSet::new();
    let mut count = 0;
    for topic in ["messages", "chats", "applications"] {
        for letter in letters::all(engines, topic).await? {
            let from_topic = letter.origin.split('/').nth(1) == Some(topic);
            verdict.must(
                "origin and reason",
                from_topic && !letter.reason.is_empty(),
                || format!("{letter:?}"),
            );
            let once = origins.insert(letter.origin.clone());
            verdict.must("each dead-lettered once", once, || letter.origin.clone());
            found.insert((topic, letter.value));
            count += 1;
        }
    }
    verdict.figure("poison", expected.len());
    verdict.figure("dead letters", count);
    verdict.must("every poison is a dead letter", found == *expected, || {
        format!("{} different ones of {}", found.len(), expected.len())
    });
    Ok(())
}

/// What is too large never reaches the log.
async fn too_large(load: &Load, verdict: &mut Verdict) -> Result<(), Failure> {
    let message = NewMessage {
        body: "x".repeat(70_000),
        sender: None,
        sent_at: None,
    };
    let answer = load.clients[0]
        .create_message(load.token, load.chats[0], &message, &Create::default())
        .await;
    let refused = answer
        .as_ref()
        .is_err_and(|error| error.code() == Some(Code::TooLarge));
    verdict.must("413 for what is too large", refused, || {
        format!("{answer:?}")
    });
    Ok(())
}
