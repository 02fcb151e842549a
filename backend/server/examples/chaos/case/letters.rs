//! Acknowledged messages that the store refuses for a while: dead letters, listed, shown, replayed in
//! vain, and replayed twice when the cause is gone (invariant: replays-keep-origin).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use chat_client::client::Create;
use chat_client::key::IdempotencyKey;
use chat_wire::messages::NewMessage;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use crate::chatctl::Chatctl;
use crate::check::{self, Verdict};
use crate::damage::{Cause, LONGEST_SENDER};
use crate::load::{COMMON, Habits, Load};
use crate::process;
use crate::system::{SETTLING, Shape, System};
use crate::{Failure, say};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// The program that lists, shows and replays
    #[arg(long, default_value = "target/release/chatctl")]
    chatctl: PathBuf,
    /// Messages that are stored
    #[arg(long, default_value_t = 10_000)]
    creates: usize,
    /// Messages among them that the store refuses
    #[arg(long, default_value_t = 100)]
    poison: usize,
    /// Connections at once
    #[arg(long, default_value_t = 16)]
    connections: u64,
}

/// Nobody goes away: what is acknowledged is what counts.
const STUBBORN: Habits = Habits {
    stubborn: 1.0,
    aborted: 0.0,
    repeated: 0.02,
};
/// Everything that waits, back to where it came from.
const REPLAY: [&str; 7] = ["dlq", "replay", "--all", "--execute", "--yes", "-o", "json"];

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    shape: Shape,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let system = System::start(on, shape).await?;
    let server = system.serving().next().ok_or("nothing serves")?;
    let chatctl = Chatctl::of(&plan.chatctl, server);
    let load = Load::prepare(&system, "letters", 20, STUBBORN).await?;
    let (mode, data) = (&system.plan.mode, system.plan.data());
    Cause::There.set(mode, &data).await?;
    let running = load.run(plan.creates, plan.connections, seed);
    poison(plan, &load, seed).await?;
    running.join().await?;
    system.drained(SETTLING).await?;

    let mut letters = Letters {
        plan,
        chatctl,
        verdict,
    };
    let first = letters.waiting("listed").await?;
    letters.show(&first).await?;
    letters.replay("replayed in vain", plan.poison).await?;
    system.drained(SETTLING).await?;
    letters.waiting("dead letters again").await?;
    Cause::Gone.set(mode, &data).await?;
    letters.replay("replayed", plan.poison).await?;
    letters.replay("replayed once more", 0).await?;
    system.drained(SETTLING).await?;
    letters.none().await?;
    check::load(&system, &load, verdict).await?;
    system.end().await
}

/// Messages with a sender that the store does not take; each is acknowledged.
async fn poison(plan: &Plan, load: &Arc<Load>, seed: u64) -> Result<(), Failure> {
    let mut rng = StdRng::seed_from_u64(seed ^ 1);
    for nth in 0..plan.poison {
        let chat = load.chats[rng.random_range(0..load.chats.len())];
        let client = &load.clients[nth % load.clients.len()];
        let key = IdempotencyKey::random();
        let body = format!("{COMMON}that is refused {nth}");
        let id = load.ledger.begin(chat, &body, &key)?;
        let message = NewMessage {
            body,
            sender: Some("x".repeat(LONGEST_SENDER + 1)),
            sent_at: None,
        };
        let create = Create {
            key: Some(key),
            wait: None,
        };
        let created = client
            .create_message(load.token, chat, &message, &create)
            .await?;
        load.ledger.answer(id, Ok(created.value.message_number))?;
    }
    Ok(())
}

/// Dead letters, as `chatctl` tells of them.
struct Letters<'a> {
    plan: &'a Plan,
    chatctl: Chatctl,
    verdict: &'a mut Verdict,
}

impl Letters<'_> {
    async fn list(&self) -> Result<Vec<Value>, Failure> {
        let args = ["dlq", "ls", "--limit", "all", "-o", "ndjson"];
        let said = self.chatctl.run(&args).await?.well()?;
        let lines = said.out.lines().map(serde_json::from_str);
        Ok(lines.collect::<Result<_, _>>()?)
    }

    /// Each of the poison waits, with its origin and a reason.
    async fn waiting(&mut self, name: &'static str) -> Result<Vec<Value>, Failure> {
        let began = Instant::now();
        let letters = self.list().await?;
        let took = began.elapsed().as_millis();
        self.verdict
            .figure(name, format!("{} letters in {took} ms", letters.len()));
        let poison = self.plan.poison;
        self.verdict
            .must("each becomes one letter", letters.len() == poison, || {
                format!("{name}: {} letters of {poison}", letters.len())
            });
        for letter in &letters {
            let told = letter["origin"]["topic"] == "messages"
                && letter["reason"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty())
                && letter["state"] == "waiting";
            self.verdict
                .must("origin and reason", told, || letter.to_string());
        }
        Ok(letters)
    }

    /// The original bytes of one of them.
    async fn show(&mut self, letters: &[Value]) -> Result<(), Failure> {
        let id = letters.first().and_then(|letter| letter["id"].as_str());
        let id = id.ok_or("no letter is listed")?;
        let args = ["dlq", "show", id, "-o", "json"];
        let shown = self.chatctl.run(&args).await?.well()?.json()?;
        let text = shown["text"].as_str().unwrap_or_default();
        say(&format!("{id}: {}: {text}", shown["reason"]));
        self.verdict.must(
            "the original bytes",
            text.contains("that is refused"),
            || shown.to_string(),
        );
        Ok(())
    }

    /// Replays everything that waits; so many are there.
    async fn replay(&mut self, name: &'static str, wanted: usize) -> Result<(), Failure> {
        let said = self.chatctl.run(&REPLAY).await?;
        let decided = said.json()?;
        let (done, took) = (&decided["done"], said.took.as_millis());
        self.verdict
            .figure(name, format!("{done} in {took} ms, exit {:?}", said.code));
        self.verdict
            .must("each is replayed once", *done == wanted, || {
                format!("{name}: {decided}")
            });
        Ok(())
    }

    /// Nothing waits any more.
    async fn none(&mut self) -> Result<(), Failure> {
        let left = self.list().await?;
        self.verdict
            .must("nothing waits in the end", left.is_empty(), || {
                format!("{} letters", left.len())
            });
        Ok(())
    }
}
