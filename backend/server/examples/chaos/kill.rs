//! `kill -9` at random moments of many creates.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chat_client::client::{Client, Create};
use chat_client::key::IdempotencyKey;
use chat_wire::applications::NewApplication;
use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::messages::NewMessage;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;

use crate::check::{self, Verdict};
use crate::ledger::{Ledger, Operation};
use crate::process::{self, LOOK_AGAIN, Server};
use crate::{Failure, say};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Creates in all
    #[arg(long, default_value_t = 50_000)]
    creates: usize,
    /// Chats that they are spread over
    #[arg(long, default_value_t = 200)]
    chats: u32,
    /// Connections at once
    #[arg(long, default_value_t = 64)]
    connections: u64,
    /// Kills, spread at random over the run
    #[arg(long, default_value_t = 20)]
    kills: usize,
}

/// Every body contains it.
const COMMON: &str = "create ";
/// How long one create is tried, restarts included.
const PATIENCE: Duration = Duration::from_secs(60);

struct Shared {
    client: Client,
    token: AppToken,
    chats: Vec<ChatNumber>,
    ledger: Ledger,
    begun: AtomicUsize,
    creates: usize,
}

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    server: process::Plan,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let ledger = Ledger::create(&server.work)?;
    let mut server = Server::start(server).await?;
    let client = server.client()?;
    let name = NewApplication {
        name: "kill -9".into(),
    };
    let token = client
        .create_application(&name, &Create::default())
        .await?
        .value
        .token;
    let mut chats = Vec::new();
    for _ in 0..plan.chats {
        chats.push(
            client
                .create_chat(token, &Create::default())
                .await?
                .value
                .chat_number,
        );
    }

    let shared = Arc::new(Shared {
        client,
        token,
        chats,
        ledger,
        begun: AtomicUsize::new(0),
        creates: plan.creates,
    });
    let started = Instant::now();
    let mut connections = JoinSet::new();
    for nth in 0..plan.connections {
        let rng = StdRng::seed_from_u64(seed ^ nth);
        connections.spawn(create_until_done(Arc::clone(&shared), rng));
    }
    let restarts = kill_along(&mut server, &shared, plan.kills, seed).await?;
    while let Some(done) = connections.join_next().await {
        done??;
    }
    verdict.figure("kills", restarts.len());
    verdict.figure("seconds", format!("{:.1}", started.elapsed().as_secs_f64()));
    let slowest = restarts.iter().max().copied().unwrap_or_default();
    verdict.figure("slowest restart", format!("{} ms", slowest.as_millis()));

    verdict.figure(
        "drained after",
        format!("{} ms", server.drained(PATIENCE).await?.as_millis()),
    );
    let shared = Arc::into_inner(shared).ok_or("a connection is still at work")?;
    let operations = shared.ledger.close()?;
    report(&operations, verdict);
    for chat in &shared.chats {
        let of_chat: Vec<&Operation> = operations.iter().filter(|op| op.chat == *chat).collect();
        check::chat(&shared.client, token, *chat, &of_chat, COMMON, verdict).await?;
    }
    server.end().await
}

/// Kills at random numbers of begun creates, so that the kills are spread whatever the speed.
async fn kill_along(
    server: &mut Server,
    shared: &Shared,
    kills: usize,
    seed: u64,
) -> Result<Vec<Duration>, Failure> {
    let mut rng = StdRng::seed_from_u64(seed);
    let last = shared.creates.saturating_sub(1).max(1);
    let mut moments: Vec<usize> = (0..kills).map(|_| rng.random_range(0..last)).collect();
    moments.sort_unstable();
    let mut restarts = Vec::new();
    for moment in moments {
        let deadline = Instant::now() + PATIENCE;
        while shared.begun.load(Ordering::Relaxed) < moment {
            if Instant::now() > deadline {
                return Err("the creates do not go on".into());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        restarts.push(server.kill_and_restart().await?);
        say(&format!(
            "killed at create {moment}, back after {} ms",
            restarts[restarts.len() - 1].as_millis()
        ));
    }
    Ok(restarts)
}

async fn create_until_done(shared: Arc<Shared>, mut rng: StdRng) -> Result<(), Failure> {
    loop {
        let nth = shared.begun.fetch_add(1, Ordering::Relaxed);
        if nth >= shared.creates {
            return Ok(());
        }
        let chat = shared.chats[rng.random_range(0..shared.chats.len())];
        let body = format!("{COMMON}{nth} {}", fuzz(&mut rng));
        // Half of the callers give up at the first failure, as many real ones do.
        let stubborn = rng.random_bool(0.5);
        one(&shared, chat, body, stubborn).await?;
    }
}

async fn one(
    shared: &Shared,
    chat: ChatNumber,
    body: String,
    stubborn: bool,
) -> Result<(), Failure> {
    let key = IdempotencyKey::random();
    let id = shared.ledger.begin(chat, &body, key.as_str())?;
    let message = NewMessage {
        body,
        sender: None,
        sent_at: None,
    };
    let create = Create {
        key: Some(key),
        wait: None,
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = shared
            .client
            .create_message(shared.token, chat, &message, &create)
            .await;
        match answer {
            Ok(created) => {
                return shared.ledger.answer(id, Ok(created.value.message_number));
            }
            Err(error) if error.retryable() => {
                shared.ledger.answer(id, Err(error.to_string()))?;
                if !stubborn {
                    return Ok(());
                }
                if Instant::now() > deadline {
                    return Err(format!("a create is refused for too long: {error}").into());
                }
                tokio::time::sleep(error.retry_after().unwrap_or(LOOK_AGAIN)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Some text of any script.
fn fuzz(rng: &mut StdRng) -> String {
    const ALPHABETS: [&str; 5] = [
        "plain %_*?\"\\",
        "\u{e4}e\u{301}\u{fb01}\u{df}",
        "\u{5e9}\u{5dc}\u{5d5}\u{5dd}\u{202e}",
        "\u{6f22}\u{5b57}\u{304b}\u{3099}",
        "\u{1f600}\u{1f468}\u{200d}\u{1f469}",
    ];
    let alphabet: Vec<char> = ALPHABETS[rng.random_range(0..ALPHABETS.len())]
        .chars()
        .collect();
    let length = rng.random_range(0..60);
    (0..length)
        .map(|_| alphabet[rng.random_range(0..alphabet.len())])
        .collect()
}

fn report(operations: &[Operation], verdict: &mut Verdict) {
    let acknowledged = operations.iter().filter(|op| op.number.is_some()).count();
    let repeated = operations.iter().filter(|op| op.sends > 1).count();
    verdict.figure("creates begun", operations.len());
    verdict.figure("acknowledged", acknowledged);
    verdict.figure("never acknowledged", operations.len() - acknowledged);
    verdict.figure("sent more than once", repeated);
    let mut numbers: Vec<_> = operations
        .iter()
        .filter_map(|op| op.number.map(|number| (op.chat, number)))
        .collect();
    numbers.sort_unstable();
    let twice = numbers.windows(2).filter(|pair| pair[0] == pair[1]).count();
    verdict.must("no number acknowledged twice", twice == 0, || {
        format!("{twice} numbers")
    });
}
