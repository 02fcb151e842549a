//! A log that was re-created: the workers say so, and later edits still win.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_client::client::Create;
use chat_client::messages::Span;
use chat_wire::messages::{EditMessage, NewMessage};

use crate::check::{self, Verdict};
use crate::load::{self, Habits, Load};
use crate::mode::Engine;
use crate::process;
use crate::system::{SETTLING, Shape, System, migrate};
use crate::{Failure, say};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Creates before, and again after
    #[arg(long, default_value_t = 2_000)]
    creates: usize,
    /// Messages that are edited before, and again after
    #[arg(long, default_value_t = 100)]
    edits: u32,
}

const STUBBORN: Habits = Habits {
    stubborn: 1.0,
    aborted: 0.0,
    repeated: 0.0,
};
/// What a worker says.
const SAID: &str = "the log is not the one that was applied";
const LOOK_AGAIN: Duration = Duration::from_millis(100);

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
    let load = Load::prepare(&system, "log", 20, STUBBORN).await?;
    load.run(plan.creates, 16, seed).join().await?;
    let client = system.client()?;
    let (token, chats) = load::application(&client, "edits", 1).await?;
    let chat = chats[0];
    let mut numbers = Vec::new();
    for nth in 0..plan.edits {
        let message = NewMessage {
            body: format!("first {nth}"),
            sender: None,
            sent_at: None,
        };
        let created = client
            .create_message(token, chat, &message, &Create::default())
            .await?;
        numbers.push(created.value.message_number);
    }
    let edit = async |text: &'static str| {
        for number in &numbers {
            let body = format!("{text} {number}");
            client
                .edit_message(token, chat, *number, &EditMessage { body })
                .await?;
        }
        Ok::<_, Failure>(())
    };
    edit("second").await?;
    system.drained(SETTLING).await?;

    let topic = engines.topic("messages");
    say(&format!("deleting {topic}, then chatd migrate"));
    let args = ["topics", "--delete", "--topic", &topic];
    engines.tool(Engine::Kafka, &args).await?;
    let gone = Instant::now();
    let args = ["topics", "--list"];
    while engines
        .tool(Engine::Kafka, &args)
        .await?
        .lines()
        .any(|line| line == topic)
    {
        if gone.elapsed() > SETTLING {
            return Err("the topic does not go".into());
        }
    }
    migrate(&system.plan).await?;
    let made = Instant::now();
    load.run(plan.creates, 16, seed ^ 1).join().await?;
    verdict.figure(
        "creates taken again after",
        format!("{} ms", made.elapsed().as_millis()),
    );
    edit("third").await?;
    let said = said(&system, made).await?;
    verdict.figure(
        "the workers say so after",
        format!("{:.1} s", said.as_secs_f64()),
    );
    check::load(&system, &load, verdict).await?;
    let page = client.messages(token, chat, Span::Start, 1_000).await?;
    let third = page
        .messages
        .iter()
        .filter(|message| message.body == format!("third {}", message.message_number));
    let third = third.count();
    verdict.figure("later edits that won", format!("{third} of {}", plan.edits));
    verdict.must(
        "later edits still win",
        third == plan.edits as usize,
        || format!("{third} of {}", plan.edits),
    );
    system.end().await
}

/// Waits until a worker has said what happened.
async fn said(system: &System, since: Instant) -> Result<Duration, Failure> {
    loop {
        for process in &system.processes {
            if process.log()?.contains(SAID) {
                return Ok(since.elapsed());
            }
        }
        if since.elapsed() > SETTLING {
            return Err("no worker says that the log is another one".into());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
