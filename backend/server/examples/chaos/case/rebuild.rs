//! What is only a projection is dropped and made again, while clients write on: the index from the rows,
//! the rows from the log (invariant: rebuilds-are-equal).

use std::sync::Arc;
use std::time::Duration;

use chat_client::client::{Client, Create};
use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::messages::{EditMessage, Message, NewMessage};

use crate::check::{self, Verdict, all_messages};
use crate::damage;
use crate::load::{self, Habits, Load};
use crate::mode::{Engine, Mode};
use crate::process;
use crate::reconciled;
use crate::system::{SETTLING, Shape, System, migrate};
use crate::{Failure, say};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Messages of the chat that is replayed
    #[arg(long, default_value_t = 300)]
    messages: u32,
    /// Chats that are written to meanwhile
    #[arg(long, default_value_t = 10)]
    chats: u32,
    /// Connections at once
    #[arg(long, default_value_t = 8)]
    connections: u64,
    /// Seconds of creates before and after each rebuild
    #[arg(long, default_value_t = 2)]
    seconds: u64,
}

const STUBBORN: Habits = Habits {
    stubborn: 1.0,
    aborted: 0.0,
    repeated: 0.02,
};
const PAUSE: Duration = Duration::from_millis(20);
/// How long SIGTERM may take.
const STOP: Duration = Duration::from_secs(20);

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    shape: Shape,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let mut system = System::start(on, shape).await?;
    let load = Load::prepare(&system, "rebuild", plan.chats, STUBBORN).await?;
    let load = load.slowly(PAUSE)?;
    let client = system.client()?;
    let (token, chats) = load::application(&client, "replayed", 1).await?;
    story(&client, token, chats[0], plan.messages).await?;
    system.drained(SETTLING).await?;
    let calm = Duration::from_secs(plan.seconds);
    let running = load.run(usize::MAX >> 1, plan.connections, seed);

    tokio::time::sleep(calm).await;
    say("the index is dropped and made again");
    drop_index(&mut system, &load).await?;
    tokio::time::sleep(calm).await;

    say("the rows of a chat are dropped, and its topic is read again");
    let before = all_messages(&client, token, chats[0]).await?.0;
    replay(&mut system, token, chats[0]).await?;
    tokio::time::sleep(calm).await;
    load.stop();
    running.join().await?;
    system.drained(SETTLING).await?;
    system.settled(token, chats[0], plan.messages).await?;
    let after = all_messages(&client, token, chats[0]).await?.0;
    same(&before, &after, verdict);
    check::load(&system, &load, verdict).await?;
    reconciled::nothing_to_do(&system, token, verdict).await?;
    system.end().await
}

/// Messages, of which every third is edited, twice sometimes, and every seventh deleted.
async fn story(
    client: &Client,
    token: AppToken,
    chat: ChatNumber,
    messages: u32,
) -> Result<(), Failure> {
    for nth in 0..messages {
        let message = NewMessage {
            body: format!("first {nth}"),
            sender: (nth % 2 == 0).then(|| format!("sender {nth}")),
            sent_at: None,
        };
        let create = Create::default();
        let created = client.create_message(token, chat, &message, &create);
        let number = created.await?.value.message_number;
        for (every, text) in [(3, "second"), (6, "third")] {
            if nth % every == 0 {
                let body = format!("{text} {nth}");
                let edit = EditMessage { body };
                client.edit_message(token, chat, number, &edit).await?;
            }
        }
        if nth % 7 == 0 {
            client.delete_message(token, chat, number).await?;
        }
    }
    Ok(())
}

async fn drop_index(system: &mut System, load: &Arc<Load>) -> Result<(), Failure> {
    let Mode::Engines(engines) = system.plan.mode.clone() else {
        system.processes[0].terminate(STOP).await?;
        std::fs::remove_dir_all(system.plan.data().join("index"))?;
        system.processes[0].respawn()?;
        return system.ready().await.map(drop);
    };
    let index = format!("/{}", engines.index());
    engines
        .tool(Engine::Elasticsearch, &["DELETE", &index])
        .await?;
    migrate(&system.plan).await?;
    // It is empty now: a run of everything fills it from the rows.
    let run = reconciled::reconcile(&system.admin()?, load.token).await?;
    say(&format!("{} of {} steps done", run.done, run.planned));
    Ok(())
}

/// Forgets a chat's rows and reads the topic from its beginning.
async fn replay(system: &mut System, token: AppToken, chat: ChatNumber) -> Result<(), Failure> {
    let (mode, data) = (system.plan.mode.clone(), system.plan.data());
    system.stop_applying().await?;
    damage::forget_rows(token, chat, &mode, &data).await?;
    damage::read_again(&["messages-store", "messages-index"], &mode, &data).await?;
    system.go_on_applying().await
}

fn same(before: &[Message], after: &[Message], verdict: &mut Verdict) {
    verdict.happened("rows before", before.len());
    verdict.figure("rows after", after.len());
    let differing = before.iter().zip(after).find(|(one, other)| one != other);
    verdict.must(
        "a replayed chat has the same rows",
        before.len() == after.len() && differing.is_none(),
        || {
            format!(
                "{} and {} rows, first {differing:?}",
                before.len(),
                after.len()
            )
        },
    );
}
