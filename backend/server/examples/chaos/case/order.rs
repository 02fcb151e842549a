//! No order between topics is assumed: messages of a chat whose own worker hangs (invariant: no-topic-order).

use std::time::{Duration, Instant};

use chat_client::client::Read;

use crate::check::{self, Verdict};
use crate::load::{Habits, Load};
use crate::process::{self, Role};
use crate::system::{SETTLING, Shape, System};
use crate::{Failure, say};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Messages of the new chat
    #[arg(long, default_value_t = 100)]
    messages: usize,
    /// Seconds for which the workers of applications and chats hang
    #[arg(long, default_value_t = 15)]
    seconds: u64,
}

/// Nobody goes away: each message is to be there.
const STUBBORN: Habits = Habits {
    stubborn: 1.0,
    aborted: 0.0,
    repeated: 0.0,
};
/// A worker that waits uses next to nothing; one that spins uses a core.
const IDLE_SHARE: f64 = 0.25;
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    shape: Shape,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let engines = std::sync::Arc::clone(on.mode.engines()?);
    let mut system = System::start(on, shape).await?;
    say("kill -STOP the workers of applications and chats");
    verdict.happened("workers that hang", signal(&mut system, "-STOP").await?);
    let load = Load::prepare(&system, "order", 1, STUBBORN).await?;
    let (client, chat) = (system.client()?, load.chats[0]);
    load.run(plan.messages, 8, seed).join().await?;

    let began = Instant::now();
    while client
        .messages(load.token, chat, chat_client::messages::Span::Start, 1_000)
        .await?
        .messages
        .len()
        < plan.messages
    {
        if began.elapsed() > SETTLING {
            return Err("the messages wait for their chat's worker".into());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    verdict.figure(
        "messages read after",
        format!("{} ms", began.elapsed().as_millis()),
    );
    let pending = matches!(client.peek_chat(load.token, chat).await?, Read::Pending(_));
    verdict.must("a chat without its row is pending", pending, || {
        "it is not".to_owned()
    });

    let before = used(&mut system)?;
    tokio::time::sleep(Duration::from_secs(plan.seconds)).await;
    let share = (used(&mut system)? - before).as_secs_f64() / plan.seconds as f64;
    verdict.figure("cores used by waiting workers", format!("{share:.3}"));
    verdict.must("no spinning", share < IDLE_SHARE, || {
        format!("{share:.2} cores")
    });

    say("kill -CONT");
    signal(&mut system, "-CONT").await?;
    let released = Instant::now();
    loop {
        let read = client.peek_chat(load.token, chat).await?;
        if matches!(&read, Read::Ready(chat) if chat.messages_count as usize == plan.messages) {
            break;
        }
        if released.elapsed() > SETTLING {
            return Err("the chat does not appear".into());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    verdict.figure(
        "chat read after",
        format!("{} ms", released.elapsed().as_millis()),
    );
    check::load(&system, &load, verdict).await?;
    let dead = crate::letters::count(&engines).await?;
    verdict.figure("dead letters", dead);
    verdict.must("nothing dead-lettered", dead == 0, || {
        format!("{dead} letters")
    });
    system.end().await
}

async fn signal(system: &mut System, signal: &str) -> Result<usize, Failure> {
    let mut told = 0;
    for name in ["applications", "chats"] {
        for worker in system.of(Role::Worker(name)) {
            worker.signal(signal).await?;
            told += 1;
        }
    }
    Ok(told)
}

/// Processor time of the workers that do not hang.
fn used(system: &mut System) -> Result<Duration, Failure> {
    let mut all = Duration::ZERO;
    for name in ["messages", "search"] {
        for worker in system.of(Role::Worker(name)) {
            let used = worker.processor_time();
            all += used.ok_or("the system does not tell a worker's processor time")?;
        }
    }
    Ok(all)
}
