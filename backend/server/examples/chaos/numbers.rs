//! Many connections on one chat: the numbers are 1..N, each once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use chat_client::client::Create;
use chat_wire::applications::NewApplication;
use chat_wire::messages::NewMessage;
use tokio::task::JoinSet;

use crate::Failure;
use crate::check::{Verdict, all_messages};
use crate::process::{self, Server};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Creates in all
    #[arg(long, default_value_t = 20_000)]
    creates: u32,
    /// Connections at once
    #[arg(long, default_value_t = 64)]
    connections: u32,
}

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    server: process::Plan,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let server = Server::start(server).await?;
    let client = server.client()?;
    let name = NewApplication {
        name: "numbers".into(),
    };
    let token = client
        .create_application(&name, &Create::default())
        .await?
        .value
        .token;
    let chat = client
        .create_chat(token, &Create::default())
        .await?
        .value
        .chat_number;

    let left = Arc::new(AtomicU32::new(plan.creates));
    let mut connections = JoinSet::new();
    let started = Instant::now();
    for _ in 0..plan.connections {
        let (client, left) = (client.clone(), Arc::clone(&left));
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

    server.drained(Duration::from_secs(120)).await?;
    let (messages, settled) = all_messages(&client, token, chat).await?;
    let stored = messages.iter().map(|message| message.message_number.get());
    verdict.figure("rows", messages.len());
    verdict.must(
        "rows are 1..N",
        stored.eq(1..=plan.creates) && settled == plan.creates,
        || format!("{} rows, settled through {settled}", messages.len()),
    );
    server.end().await
}
