//! Many connections on one chat: the numbers are 1..N, each once (invariant: unique-numbers).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use chat_client::client::Create;
use chat_wire::messages::NewMessage;
use tokio::task::JoinSet;

use crate::Failure;
use crate::check::{Verdict, all_messages};
use crate::load;
use crate::process;
use crate::system::{SETTLING, Shape, System};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Creates in all
    #[arg(long, default_value_t = 20_000)]
    creates: u32,
    /// Connections at once, to each process that serves
    #[arg(long, default_value_t = 64)]
    connections: u32,
}

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    shape: Shape,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let system = System::start(on, shape).await?;
    let client = system.client()?;
    let (token, chats) = load::application(&client, "numbers", 1).await?;
    let chat = chats[0];

    let left = Arc::new(AtomicU32::new(plan.creates));
    let mut connections = JoinSet::new();
    let started = Instant::now();
    let clients = system.clients()?;
    verdict.figure(
        "connections",
        format!("{} to each of {}", plan.connections, clients.len()),
    );
    for client in std::iter::repeat_n(clients, plan.connections as usize).flatten() {
        let left = Arc::clone(&left);
        connections.spawn(async move {
            let mut numbers = Vec::new();
            let take = |left: u32| left.checked_sub(1);
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_ok()
            {
                let message = NewMessage {
                    body: "one of many".into(),
                    sender: None,
                    sent_at: None,
                };
                let created = client
                    .create_message(token, chat, &message, &Create::default())
                    .await?;
                numbers.push(created.value.message_number.get());
            }
            Ok::<_, chat_client::error::Error>(numbers)
        });
    }
    let mut numbers = Vec::new();
    while let Some(done) = connections.join_next().await {
        numbers.extend(done??);
    }
    let seconds = started.elapsed().as_secs_f64();
    numbers.sort_unstable();
    verdict.figure("creates acknowledged", numbers.len());
    verdict.figure(
        "creates a second",
        format!("{:.0}", f64::from(plan.creates) / seconds),
    );
    verdict.must(
        "numbers are 1..N",
        numbers.iter().copied().eq(1..=plan.creates),
        || {
            let mut distinct = numbers.clone();
            distinct.dedup();
            format!(
                "{} numbers, {} different ones",
                numbers.len(),
                distinct.len()
            )
        },
    );

    system.drained(SETTLING).await?;
    let (messages, settled) = all_messages(&client, token, chat).await?;
    let stored = messages.iter().map(|message| message.message_number.get());
    verdict.figure("rows", messages.len());
    verdict.must(
        "rows are 1..N",
        stored.eq(1..=plan.creates) && settled == plan.creates,
        || format!("{} rows, settled through {settled}", messages.len()),
    );
    system.end().await
}
