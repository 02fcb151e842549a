//! Whoever created something reads it, from another API process as well (invariant: read-your-write).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chat_client::client::{Create, Read};
use chat_client::error::Error;
use chat_client::key::IdempotencyKey;
use chat_wire::messages::NewMessage;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;

use crate::Failure;
use crate::check::{self, Verdict};
use crate::load::{COMMON, Habits, Load};
use crate::mode::Mode;
use crate::process;
use crate::system::{Shape, System};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Messages, and a tenth as many chats
    #[arg(long, default_value_t = 2_000)]
    creates: usize,
    /// Connections at once
    #[arg(long, default_value_t = 16)]
    connections: u64,
}

/// What `Prefer: wait` asks for.
const WAIT: Duration = Duration::from_secs(10);
const NOBODY_ELSE: Habits = Habits {
    stubborn: 1.0,
    aborted: 0.0,
    repeated: 0.0,
};

/// What was read, by what was promised.
#[derive(Debug, Default)]
struct Seen {
    /// After 201: it is there.
    stored: AtomicUsize,
    /// After 202: it is there already.
    ready: AtomicUsize,
    /// After 202: 202 again.
    pending: AtomicUsize,
    chats: AtomicUsize,
}

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    shape: Shape,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    if matches!(on.mode, Mode::Engines(_)) && shape.apis < 2 {
        return Err("this case is about a second API process: give --apis 2".into());
    }
    let system = System::start(on, shape).await?;
    let load = Load::prepare(&system, "visible", 10, NOBODY_ELSE).await?;
    let (seen, left) = (
        Arc::new(Seen::default()),
        Arc::new(AtomicUsize::new(plan.creates)),
    );
    let mut writers = JoinSet::new();
    for nth in 0..plan.connections {
        let rng = StdRng::seed_from_u64(seed ^ (nth + 1));
        let writer = write(Arc::clone(&load), Arc::clone(&seen), Arc::clone(&left), rng);
        writers.spawn(writer);
    }
    let mut unseen = Vec::new();
    while let Some(done) = writers.join_next().await {
        unseen.extend(done??);
    }
    verdict.figure("API processes", load.clients.len());
    verdict.happened("read after 201", seen.stored.load(Ordering::Relaxed));
    let (ready, pending) = (&seen.ready, &seen.pending);
    let (ready, pending) = (
        ready.load(Ordering::Relaxed),
        pending.load(Ordering::Relaxed),
    );
    verdict.happened("read after 202", ready + pending);
    verdict.figure("of these 202 again", pending);
    verdict.happened("chats read", seen.chats.load(Ordering::Relaxed));
    for one in unseen {
        verdict.must("a create is seen by every process", false, || one);
    }
    check::load(&system, &load, verdict).await?;
    system.end().await
}

/// Creates by one process and reads by another; returns what was not to be read as it should.
async fn write(
    load: Arc<Load>,
    seen: Arc<Seen>,
    left: Arc<AtomicUsize>,
    mut rng: StdRng,
) -> Result<Vec<String>, Failure> {
    let mut unseen = Vec::new();
    let take = |left: usize| left.checked_sub(1);
    while let Ok(nth) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
        let at = rng.random_range(0..load.clients.len());
        let (one, other) = (
            &load.clients[at],
            &load.clients[(at + 1) % load.clients.len()],
        );
        let chat = load.chats[rng.random_range(0..load.chats.len())];
        let key = IdempotencyKey::random();
        let body = format!("{COMMON}{nth}");
        let id = load.ledger.begin(chat, &body, &key)?;
        let message = NewMessage {
            body: body.clone(),
            sender: None,
            sent_at: None,
        };
        let create = Create {
            key: Some(key),
            wait: rng.random_bool(0.5).then_some(WAIT),
        };
        let created = one
            .create_message(load.token, chat, &message, &create)
            .await?;
        let number = created.value.message_number;
        load.ledger.answer(id, Ok(number))?;
        let read = other.peek_message(load.token, chat, number).await;
        let counted = match (&read, created.stored) {
            (Ok(Read::Ready(found)), _) if found.body != body => None,
            (Ok(Read::Ready(_)), true) => Some(&seen.stored),
            (Ok(Read::Ready(_)), false) => Some(&seen.ready),
            (Ok(Read::Pending(_)), false) => Some(&seen.pending),
            _ => None,
        };
        match counted {
            Some(count) => {
                count.fetch_add(1, Ordering::Relaxed);
            }
            None => unseen.push(format!(
                "chat {chat}: message {number}, stored {}: {read:?}",
                created.stored
            )),
        }
        if nth % 10 == 0 {
            let made = one.create_chat(load.token, &Create::default()).await?;
            let number = made.value.chat_number;
            let read: Result<_, Error> = other.peek_chat(load.token, number).await;
            seen.chats.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = read {
                unseen.push(format!("chat {number}: {error}"));
            }
        }
    }
    Ok(unseen)
}
