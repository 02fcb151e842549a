//! What a look at the lag of very many partitions costs, and how large its answers are: the dashboard
//! and `chatctl lag` ask for no more than they show.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_client::client::{Client, Create};
use chat_wire::admin::lag::Lag;
use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::messages::NewMessage;
use tokio::task::JoinSet;

use crate::check::Verdict;
use crate::load;
use crate::mode::Mode;
use crate::process::{self, Process, Role};
use crate::system::{Shape, System};
use crate::{Failure, raw, say};

/// How many.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Partitions of the topic of messages
    #[arg(long, default_value_t = 1_000)]
    partitions: u32,
    /// Chats with one message each, spread over them
    #[arg(long, default_value_t = 5_000)]
    chats: u32,
    /// Looks at each kind of answer
    #[arg(long, default_value_t = 20)]
    looks: u32,
}

/// Connections that make the chats.
const MAKERS: u32 = 16;
/// How long a group of so many partitions may take to read to the end.
const DRAINED_WITHIN: Duration = Duration::from_secs(180);
/// Time in which nobody asks anything: what the server's own samples cost.
const QUIET: Duration = Duration::from_secs(20);
/// Why there is no figure.
const UNTOLD: &str = "the system does not tell the processor time of a process";
/// Most bytes of what the dashboard asks for, whatever there is.
const SHOWN_BYTES: usize = 64 * 1024;
/// What is asked for: all of it, what the dashboard shows of one group, what `chatctl lag` shows.
const QUESTIONS: [(&str, &str); 3] = [
    ("everything", "/admin/lag"),
    (
        "a hundred of one group",
        "/admin/lag?group=messages-store&partitions=100&sort=lag",
    ),
    ("the groups alone", "/admin/lag?partitions=0"),
];

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    mut on: process::Plan,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let engines = on.mode.engines()?.with_partitions(plan.partitions);
    on.mode = Mode::Engines(Arc::new(engines));
    let alone = Shape {
        apis: 1,
        workers: 0,
    };
    let began = Instant::now();
    let mut system = System::start(on, alone).await?;
    say(&format!(
        "topics made and started after {:.1} s",
        began.elapsed().as_secs_f64()
    ));
    for name in Role::WORKERS {
        system.add(Role::Worker(name))?;
    }
    system.ready().await?;
    fill(plan, &system.client()?).await?;
    let drained = system.drained(DRAINED_WITHIN).await?;
    verdict.figure("partitions", plan.partitions);
    verdict.figure("drained after", format!("{:.1} s", drained.as_secs_f64()));
    let server = system.serving().next().ok_or("nothing serves")?;
    quiet(server, verdict).await?;
    for (name, question) in QUESTIONS {
        let bytes = look(plan, server, name, question, verdict).await?;
        let shown = bytes <= SHOWN_BYTES || question == "/admin/lag";
        verdict.must("an answer is as large as what is shown", shown, || {
            format!("{name}: {bytes} bytes")
        });
    }
    system.end().await
}

/// What the samples cost that the server takes by itself.
async fn quiet(server: &Process, verdict: &mut Verdict) -> Result<(), Failure> {
    let before = server.processor_time().ok_or(UNTOLD)?;
    tokio::time::sleep(QUIET).await;
    let used = server.processor_time().ok_or(UNTOLD)? - before;
    let share = used.as_secs_f64() * 100.0 / QUIET.as_secs_f64();
    verdict.figure("its own samples", format!("{share:.1} % of a core"));
    Ok(())
}

/// Asks several times; tells time, processor time and size, and returns the size.
async fn look(
    plan: &Plan,
    server: &Process,
    name: &'static str,
    question: &str,
    verdict: &mut Verdict,
) -> Result<usize, Failure> {
    let before = server.processor_time().ok_or(UNTOLD)?;
    let (mut times, mut bytes) = (Vec::new(), 0);
    for _ in 0..plan.looks {
        let began = Instant::now();
        let sent = raw::send(server.admin_address(), "GET", question, &[], "").await?;
        let (status, body) = sent.answer().await?;
        times.push(began.elapsed());
        bytes = body.len();
        let lag: Lag = serde_json::from_str(&body)?;
        let known = lag
            .groups
            .iter()
            .all(|one| one.figures.lag_records == Some(0));
        verdict.must("the lag of all partitions is known", known, || {
            format!("{status}: {:?}", lag.status)
        });
    }
    let used = server.processor_time().ok_or(UNTOLD)? - before;
    times.sort_unstable();
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    verdict.figure(
        name,
        format!(
            "{bytes} bytes, median {median:.1?}, slowest {slowest:.1?}, {:.1} ms of processor time",
            used.as_secs_f64() * 1_000.0 / f64::from(plan.looks)
        ),
    );
    Ok(bytes)
}

/// Chats with one message each.
async fn fill(plan: &Plan, client: &Client) -> Result<(), Failure> {
    let (token, _) = load::application(client, "partitions", 0).await?;
    let mut makers = JoinSet::new();
    for _ in 0..MAKERS {
        makers.spawn(make(client.clone(), token, plan.chats / MAKERS));
    }
    while let Some(done) = makers.join_next().await {
        done??;
    }
    Ok(())
}

async fn make(client: Client, token: AppToken, chats: u32) -> Result<(), Failure> {
    for _ in 0..chats {
        let created = client.create_chat(token, &Create::default()).await?;
        let chat: ChatNumber = created.value.chat_number;
        let message = NewMessage {
            body: "one of its partition".to_owned(),
            sender: None,
            sent_at: None,
        };
        let create = Create::default();
        client
            .create_message(token, chat, &message, &create)
            .await?;
    }
    Ok(())
}
